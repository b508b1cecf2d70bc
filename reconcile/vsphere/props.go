package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// want names properties of one object.
type want struct {
	ref   types.ManagedObjectReference
	paths []string
}

// item is what vCenter showed of one object: exactly the properties that are set.
type item struct {
	ref   types.ManagedObjectReference
	props map[string]types.AnyType
}

// get returns a property and whether it is set and of that type. Arrays come unwrapped.
func get[T any](o item, path string) (T, bool) {
	v, ok := o.props[path].(T)
	return v, ok
}

func text(o item, path string) string { s, _ := get[string](o, path); return s }

// retrieve reads properties of known objects and returns them in the order asked for. A property vCenter would not
// show is an error: it must not be mistaken for one that is not set (law 6).
func (c *Client) retrieve(ctx context.Context, wants ...want) ([]item, error) {
	if len(wants) == 0 {
		return nil, nil
	}
	var specs []types.PropertyFilterSpec
	for _, w := range wants {
		specs = append(specs, types.PropertyFilterSpec{
			ObjectSet: []types.ObjectSpec{{Obj: w.ref}},
			PropSet:   []types.PropertySpec{{Type: w.ref.Type, PathSet: w.paths}},
		})
	}
	found, err := c.collect(ctx, specs)
	if err != nil {
		return nil, err
	}
	list := make([]item, len(wants))
	for i, w := range wants {
		o, ok := found[w.ref]
		if !ok {
			return nil, fmt.Errorf("vCenter did not show %s", w.ref.Value)
		}
		list[i] = o
	}
	return list, nil
}

// under reads properties of every object of a kind below a container, in no particular order.
func (c *Client) under(ctx context.Context, container types.ManagedObjectReference, kind string, paths []string) ([]item, error) {
	view, err := methods.CreateContainerView(ctx, c.vim, &types.CreateContainerView{
		This: *c.vim.ServiceContent.ViewManager, Container: container, Type: []string{kind}, Recursive: true,
	})
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	defer func() {
		// A view that stays costs the session a little memory until the logout.
		_, _ = methods.DestroyView(context.WithoutCancel(ctx), c.vim, &types.DestroyView{This: view.Returnval})
	}()
	found, err := c.collect(ctx, []types.PropertyFilterSpec{{
		ObjectSet: []types.ObjectSpec{{Obj: view.Returnval, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "ContainerView", Path: "view"},
		}}},
		PropSet: []types.PropertySpec{{Type: kind, PathSet: paths}},
	}})
	if err != nil {
		return nil, fmt.Errorf("read %ss: %w", kind, err)
	}
	list := make([]item, 0, len(found))
	for _, o := range found {
		list = append(list, o)
	}
	return list, nil
}

func (c *Client) collect(ctx context.Context, specs []types.PropertyFilterSpec) (map[types.ManagedObjectReference]item, error) {
	contents, err := mo.RetrievePropertiesEx(ctx, c.vim, types.RetrievePropertiesEx{
		This: c.vim.ServiceContent.PropertyCollector, SpecSet: specs,
	})
	if err != nil {
		return nil, err
	}
	found := make(map[types.ManagedObjectReference]item, len(contents))
	for _, content := range contents {
		for _, m := range content.MissingSet {
			return nil, fmt.Errorf("property %s of %s: %w", m.Path, content.Obj.Value, soap.WrapVimFault(m.Fault.Fault))
		}
		o, ok := found[content.Obj]
		if !ok {
			o = item{content.Obj, map[string]types.AnyType{}}
			found[content.Obj] = o
		}
		for _, p := range content.PropSet {
			o.props[p.Name] = unwrap(p.Val)
		}
	}
	return found, nil
}

// unwrap takes the slice out of the array types that properties come in.
func unwrap(v types.AnyType) types.AnyType {
	switch a := v.(type) {
	case types.ArrayOfManagedObjectReference:
		return a.ManagedObjectReference
	case types.ArrayOfOptionValue:
		return a.OptionValue
	case types.ArrayOfVirtualDevice:
		return a.VirtualDevice
	case types.ArrayOfGuestNicInfo:
		return a.GuestNicInfo
	case types.ArrayOfDatastoreHostMount:
		return a.DatastoreHostMount
	}
	return v
}
