package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
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
	found, err := c.collect(ctx, filters(wants))
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

// filters puts the objects of which the same is asked into one filter: the request stays small however many they are.
func filters(wants []want) []types.PropertyFilterSpec {
	var specs []types.PropertyFilterSpec
	at := map[string]int{}
	for _, w := range wants {
		key := w.ref.Type + " " + strings.Join(w.paths, " ")
		i, ok := at[key]
		if !ok {
			i, at[key] = len(specs), len(specs)
			specs = append(specs, types.PropertyFilterSpec{PropSet: []types.PropertySpec{{Type: w.ref.Type, PathSet: w.paths}}})
		}
		specs[i].ObjectSet = append(specs[i].ObjectSet, types.ObjectSpec{Obj: w.ref})
	}
	return specs
}

// under reads properties of every object of a kind below a container, in no particular order.
func (c *Client) under(ctx context.Context, container types.ManagedObjectReference, kind string, paths []string) ([]item, error) {
	view, err := c.view(ctx, container, kind)
	if err != nil {
		return nil, err
	}
	defer func() {
		// A view that stays costs the session a little memory until the logout.
		_, _ = methods.DestroyView(context.WithoutCancel(ctx), c.vim, &types.DestroyView{This: view})
	}()
	found, err := c.collect(ctx, []types.PropertyFilterSpec{through(view, kind, paths)})
	if err != nil {
		return nil, fmt.Errorf("read %ss: %w", kind, err)
	}
	list := make([]item, 0, len(found))
	for _, o := range found {
		list = append(list, o)
	}
	return list, nil
}

// view makes a list of every object of a kind below a container, which vCenter keeps up to date until the session ends.
func (c *Client) view(ctx context.Context, container types.ManagedObjectReference, kind string) (types.ManagedObjectReference, error) {
	res, err := methods.CreateContainerView(ctx, c.vim, &types.CreateContainerView{
		This: *c.vim.ServiceContent.ViewManager, Container: container, Type: []string{kind}, Recursive: true,
	})
	if err != nil {
		return types.ManagedObjectReference{}, fmt.Errorf("list %ss: %w", kind, err)
	}
	return res.Returnval, nil
}

// through asks for properties of every object in a view.
func through(view types.ManagedObjectReference, kind string, paths []string) types.PropertyFilterSpec {
	return types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: view, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "ContainerView", Path: "view"},
		}}},
		PropSet: []types.PropertySpec{{Type: kind, PathSet: paths}},
	}
}

// collect reads everything the filters name.
func (c *Client) collect(ctx context.Context, specs []types.PropertyFilterSpec) (map[types.ManagedObjectReference]item, error) {
	found := map[types.ManagedObjectReference]item{}
	return found, c.pages(ctx, specs, func(o item) error {
		known, ok := found[o.ref]
		if !ok {
			found[o.ref] = o
			return nil
		}
		for name, v := range o.props {
			known.props[name] = v
		}
		return nil
	})
}

// page bounds how many objects one answer has, and so how much of it is in memory at a time. A plan against ten thousand
// VMs had a heap of 58 MB at its peak with pages of 2,000 objects (13 calls), and of 77 MB with 5,000 (7 calls); in one
// page it was 113 MB. vCenter may answer with fewer.
const page = 5000

// pages reads everything the filters name and hands it on, object by object. What was handed on counts only when it
// returns nil: an error in the middle leaves a part, and a part must never be taken for the whole (law 6).
func (c *Client) pages(ctx context.Context, specs []types.PropertyFilterSpec, each func(item) error) error {
	pc := c.vim.ServiceContent.PropertyCollector
	res, err := methods.RetrievePropertiesEx(ctx, c.vim, &types.RetrievePropertiesEx{
		This: pc, SpecSet: specs, Options: types.RetrieveOptions{MaxObjects: page},
	})
	if err != nil {
		return err
	}
	for r := res.Returnval; r != nil; {
		if err := hand(r.Objects, each); err != nil {
			return err
		}
		if r.Token == "" {
			return nil
		}
		next, err := methods.ContinueRetrievePropertiesEx(ctx, c.vim, &types.ContinueRetrievePropertiesEx{This: pc, Token: r.Token})
		if err != nil {
			return err
		}
		r = &next.Returnval
	}
	return nil
}

func hand(objects []types.ObjectContent, each func(item) error) error {
	for _, content := range objects {
		for _, m := range content.MissingSet {
			return fmt.Errorf("property %s of %s: %w", m.Path, content.Obj.Value, soap.WrapVimFault(m.Fault.Fault))
		}
		o := item{content.Obj, make(map[string]types.AnyType, len(content.PropSet))}
		for _, p := range content.PropSet {
			o.props[p.Name] = unwrap(p.Val)
		}
		if err := each(o); err != nil {
			return err
		}
	}
	return nil
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
