package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// datacenter finds a datacenter by name or inventory path; an empty name means the only one there is.
func (c *Client) datacenter(ctx context.Context, name string) (*object.Datacenter, error) {
	f := find.NewFinder(c.vim)
	if name == "" {
		name = "*"
	}
	dc, err := f.Datacenter(ctx, name)
	if err == nil {
		return dc, nil
	}
	return nil, notFound(err, "datacenter", name, func() ([]string, error) {
		all, err := f.DatacenterList(ctx, "*")
		return names(all, func(d *object.Datacenter) string { return d.InventoryPath }), err
	})
}

// datastores resolves a name, glob or inventory path, or a datastore cluster's name, to datastores,
// usable or not.
func (c *Client) datastores(ctx context.Context, dc *object.Datacenter, name string) ([]datastore, error) {
	f := c.finder(dc)
	if name == "" {
		name = "*"
	}
	var refs []types.ManagedObjectReference
	list, err := f.DatastoreList(ctx, name)
	for _, d := range list {
		refs = append(refs, d.Reference())
	}
	if isNotFound(err) {
		if pod, perr := f.DatastoreCluster(ctx, name); perr == nil {
			err = nil
			children, cerr := pod.Children(ctx)
			if cerr != nil {
				return nil, fmt.Errorf("read datastore cluster %s: %w", name, cerr)
			}
			for _, ch := range children {
				refs = append(refs, ch.Reference())
			}
		}
	}
	if err != nil {
		return nil, notFound(err, "datastore", name, func() ([]string, error) {
			all, err := f.DatastoreList(ctx, "*")
			return names(all, func(d *object.Datastore) string { return d.Name() }), err
		})
	}
	return c.describe(ctx, dc, refs)
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
func (c *Client) folder(ctx context.Context, dc *object.Datacenter, path string) (*object.Folder, error) {
	folders, err := dc.Folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the folders of datacenter %s: %w", dc.Name(), err)
	}
	at := folders.VmFolder
	path = strings.TrimPrefix(path, folders.VmFolder.InventoryPath)
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
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
				return nil, fmt.Errorf("make VM folder %s in %s: %w", name, path, cmp.Or(err, errHidden))
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

func (c *Client) anyFinder() *find.Finder { return find.NewFinder(c.vim) }

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

func names[T any](list []T, of func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = of(v)
	}
	return out
}

func last(path string) string { return path[strings.LastIndex(path, "/")+1:] }
