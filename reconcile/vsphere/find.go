package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// datacenter finds a datacenter by name or inventory path; an empty name means the only one there is. Names with
// slashes and percent signs are found the way a person writes them and the way vCenter does ("%2f", "%25").
func (c *Client) datacenter(ctx context.Context, name string) (*object.Datacenter, error) {
	all, err := c.datacenters(ctx)
	if err != nil {
		return nil, err
	}
	return oneDatacenter(all, name)
}

func oneDatacenter(all []*object.Datacenter, name string) (*object.Datacenter, error) {
	path := func(d *object.Datacenter) string { return d.InventoryPath }
	switch found := choose(all, name, path); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("datacenter %q is ambiguous: write its inventory path, one of %s", orElse(name, "*"), sorted(names(found, path)))
	case len(all) == 0:
		return nil, errors.New("this user sees no datacenter (R20)")
	}
	return nil, fmt.Errorf("datacenter %q not found; there is: %s", name, sorted(names(all, path)))
}

// datacenters returns every datacenter with its inventory path, also those in folders.
func (c *Client) datacenters(ctx context.Context) ([]*object.Datacenter, error) {
	found, err := c.collect(ctx, []types.PropertyFilterSpec{c.fromRoot(nil, nil)})
	if err != nil {
		return nil, fmt.Errorf("read Datacenters: %w", err)
	}
	return c.located(found)
}

// fromRoot asks for every datacenter and the folders it lies in, and, where properties of datastores are named, for
// the datastores of each: the places of a whole vCenter in one call.
func (c *Client) fromRoot(of, store []string) types.PropertyFilterSpec {
	down := &types.SelectionSpec{Name: "down"}
	steps := []types.BaseSelectionSpec{down}
	spec := types.PropertyFilterSpec{PropSet: []types.PropertySpec{
		{Type: "Folder", PathSet: []string{"name", "parent"}},
		{Type: "Datacenter", PathSet: append([]string{"name", "parent"}, of...)},
	}}
	if len(store) > 0 {
		steps = append(steps, &types.TraversalSpec{Type: "Datacenter", Path: "datastore"})
		spec.PropSet = append(spec.PropSet, types.PropertySpec{Type: "Datastore", PathSet: store})
	}
	spec.ObjectSet = []types.ObjectSpec{{Obj: c.vim.ServiceContent.RootFolder, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
		&types.TraversalSpec{SelectionSpec: *down, Type: "Folder", Path: "childEntity", SelectSet: steps},
	}}}
	return spec
}

// located gives datacenters their inventory paths, with the folders that were read beside them.
func (c *Client) located(found map[types.ManagedObjectReference]item) ([]*object.Datacenter, error) {
	root := c.vim.ServiceContent.RootFolder
	var all []*object.Datacenter
	for ref, o := range found {
		if ref.Type != "Datacenter" {
			continue
		}
		dc := object.NewDatacenter(c.vim, ref)
		dc.InventoryPath = "/" + text(o, "name")
		for up, ok := get[types.ManagedObjectReference](o, "parent"); ok && up != root; {
			f, known := found[up]
			if !known {
				return nil, fmt.Errorf("vCenter does not show the folder of datacenter %s", text(o, "name"))
			}
			dc.InventoryPath = "/" + text(f, "name") + dc.InventoryPath
			up, ok = get[types.ManagedObjectReference](f, "parent")
		}
		all = append(all, dc)
	}
	slices.SortFunc(all, func(a, b *object.Datacenter) int { return strings.Compare(a.InventoryPath, b.InventoryPath) })
	return all, nil
}

// choose returns what a name means among inventory paths, most literal meaning first: a name or path as vCenter
// writes it, as a person writes it, a pattern. An empty name means all.
func choose[T any](all []T, name string, pathOf func(T) string) []T {
	rooted := "/" + strings.Trim(name, "/")
	for _, same := range []func(string) bool{
		func(p string) bool { return name == "" || p == rooted || last(p) == name },
		func(p string) bool { return plain(p) == rooted || plain(last(p)) == name },
		func(p string) bool { ok, err := path.Match(name, plain(last(p))); return ok && err == nil },
	} {
		var found []T
		for _, v := range all {
			if same(pathOf(v)) {
				found = append(found, v)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

func sorted(list []string) string {
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// datastores resolves a name, glob or inventory path, or a datastore cluster's name, to datastores,
// usable or not.
func (c *Client) datastores(ctx context.Context, dc *object.Datacenter, name string) ([]datastore, error) {
	found, err := c.collect(ctx, []types.PropertyFilterSpec{{
		ObjectSet: []types.ObjectSpec{{Obj: dc.Reference(), Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "Datacenter", Path: "datastore"},
		}}},
		PropSet: []types.PropertySpec{{Type: "Datastore", PathSet: []string{"name"}}},
	}})
	if err != nil {
		return nil, fmt.Errorf("read Datastores: %w", err)
	}
	refs, err := c.meant(ctx, dc, slices.Collect(maps.Values(found)), name)
	if err != nil {
		return nil, err
	}
	return c.describe(ctx, dc, refs)
}

// meant returns the datastores that a name stands for, list being those of the datacenter.
func (c *Client) meant(ctx context.Context, dc *object.Datacenter, list []item, name string) ([]types.ManagedObjectReference, error) {
	refs := called(list, dc, name)
	if len(refs) > 0 {
		return refs, nil
	}
	if name != anyName {
		members, err := c.podMembers(ctx, dc, name)
		if err != nil || len(members) > 0 {
			return members, err
		}
	}
	found := choose(list, name, func(o item) string { return "/" + text(o, "name") })
	refs = names(found, func(o item) types.ManagedObjectReference { return o.ref })
	if len(refs) == 0 && strings.Contains(name, "/") { // a pattern within a folder
		found, err := c.finder(dc).DatastoreList(ctx, name)
		if err != nil && !isNotFound(err) {
			return nil, fmt.Errorf("find datastore %q: %w", name, err)
		}
		refs = names(found, func(d *object.Datastore) types.ManagedObjectReference { return d.Reference() })
	}
	if len(refs) == 0 {
		if len(list) == 0 {
			return nil, fmt.Errorf("datastore %q not found", name)
		}
		return nil, fmt.Errorf("datastore %q not found; there is: %s", name, sorted(names(list, func(o item) string { return text(o, "name") })))
	}
	return refs, nil
}

// anyName is the pattern of every datastore there is.
const anyName = "*"

// podMembers returns the datastores of a datastore cluster; none when there is no such cluster.
func (c *Client) podMembers(ctx context.Context, dc *object.Datacenter, name string) ([]types.ManagedObjectReference, error) {
	pods, err := c.under(ctx, dc.Reference(), "StoragePod", []string{"name", "childEntity"})
	if err != nil {
		return nil, err
	}
	found := called(pods, dc, name)
	if len(found) == 0 {
		return nil, nil
	}
	i := slices.IndexFunc(pods, func(o item) bool { return o.ref == found[0] })
	refs, _ := get[[]types.ManagedObjectReference](pods[i], "childEntity")
	if len(refs) == 0 {
		return nil, fmt.Errorf("datastore cluster %q has no datastore", name)
	}
	return refs, nil
}

// called returns the objects of a datacenter with that name, or with that inventory path. Datastores and their
// clusters have different names within a datacenter, whatever folders they lie in.
func called(list []item, dc *object.Datacenter, name string) []types.ManagedObjectReference {
	below, absolute := strings.CutPrefix(name, dc.InventoryPath+"/datastore/")
	var refs []types.ManagedObjectReference
	for _, o := range list {
		n := text(o, "name")
		if n == name || plain(n) == name || absolute && last(below) == n {
			refs = append(refs, o.ref)
		}
	}
	return refs
}

// network finds a network or port group.
func (c *Client) network(ctx context.Context, dc *object.Datacenter, name string) (object.NetworkReference, error) {
	f := c.finder(dc)
	n, err := f.Network(ctx, name)
	if err == nil {
		return n, nil
	}
	return nil, notFound(err, "network", name, func() ([]string, error) {
		all, err := f.NetworkList(ctx, "*")
		return names(all, func(n object.NetworkReference) string { return last(n.GetInventoryPath()) }), err
	})
}

// folder finds a VM folder, relative to the datacenter's, and makes what is missing of it.
func (c *Client) folder(ctx context.Context, dc *object.Datacenter, dir string) (*object.Folder, error) {
	folders, err := dc.Folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the folders of datacenter %s: %w", dc.Name(), err)
	}
	at := folders.VmFolder
	dir = strings.TrimPrefix(dir, folders.VmFolder.InventoryPath)
	for _, name := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		next, err := c.child(ctx, at, name)
		if err != nil {
			return nil, err
		}
		if next == nil {
			next, err = at.CreateFolder(ctx, name)
			if isFault[*types.DuplicateName](err) { // somebody else made it just now
				next, err = c.child(ctx, at, name)
			}
			if err != nil || next == nil {
				return nil, fmt.Errorf("make VM folder %s in %s: %w", name, dir, cmp.Or(err, errHidden))
			}
		}
		at = next
	}
	return at, nil
}

// child returns the subfolder of that name, or nil when there is none.
func (c *Client) child(ctx context.Context, of *object.Folder, name string) (*object.Folder, error) {
	list, err := of.Children(ctx)
	if err != nil {
		return nil, fmt.Errorf("read VM folder: %w", err)
	}
	for _, ch := range list {
		f, ok := ch.(*object.Folder)
		if !ok {
			continue
		}
		got, err := f.ObjectName(ctx)
		if err != nil {
			return nil, fmt.Errorf("read VM folder: %w", err)
		}
		if plain(got) == name {
			return f, nil
		}
	}
	return nil, nil
}

// errHidden is a folder that exists and is not shown.
var errHidden = errors.New("it exists, but this user does not see it (R20)")

// plain undoes vCenter's escapes of percent signs and slashes in names.
func plain(name string) string {
	if p, err := url.PathUnescape(name); err == nil {
		return p
	}
	return name
}

func (c *Client) finder(dc *object.Datacenter) *find.Finder {
	return find.NewFinder(c.vim).SetDatacenter(dc)
}

func isNotFound(err error) bool {
	var nf *find.NotFoundError
	return errors.As(err, &nf)
}

// notFound says which names there are, so that a typo is seen at once.
func notFound(err error, kind, name string, all func() ([]string, error)) error {
	var several *find.MultipleFoundError
	if errors.As(err, &several) {
		return fmt.Errorf("%s %q is ambiguous: write its inventory path", kind, name)
	}
	if !isNotFound(err) {
		return fmt.Errorf("find %s %q: %w", kind, name, err)
	}
	list, lerr := all()
	if lerr != nil || len(list) == 0 {
		return fmt.Errorf("%s %q not found", kind, name)
	}
	slices.Sort(list)
	return fmt.Errorf("%s %q not found; there is: %s", kind, name, strings.Join(list, ", "))
}

func names[T, N any](list []T, of func(T) N) []N {
	out := make([]N, len(list))
	for i, v := range list {
		out[i] = of(v)
	}
	return out
}

func last(path string) string { return path[strings.LastIndex(path, "/")+1:] }
