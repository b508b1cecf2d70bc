package vsphere

import (
	"context"
	"maps"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// places are the datacenters of a vCenter with their datastores, as one look saw them.
type places struct {
	all    []*object.Datacenter
	stores map[types.ManagedObjectReference][]item // of a datacenter
}

// survey is the cheap pass over a whole vCenter: every VM, with whose it is, and every place that disks may lie in.
func (f *Fleet) survey(ctx context.Context) ([]brief, places, error) {
	vms, rest, err := f.sweepWith(ctx, f.c.fromRoot([]string{"datastore"}, storeProps))
	if err != nil {
		return nil, places{}, err
	}
	at := places{stores: map[types.ManagedObjectReference][]item{}}
	if at.all, err = f.c.located(rest); err != nil {
		return nil, places{}, err
	}
	for _, dc := range at.all {
		refs, _ := get[[]types.ManagedObjectReference](rest[dc.Reference()], "datastore")
		for _, ref := range refs {
			if o, shown := rest[ref]; shown {
				at.stores[dc.Reference()] = append(at.stores[dc.Reference()], o)
			}
		}
	}
	return vms, at, nil
}

// datastores is Client.datastores on what the survey read. Only names of datastore clusters and patterns within
// folders take further calls.
func (p places) datastores(ctx context.Context, c *Client, dcName, name string) ([]datastore, error) {
	dc, err := oneDatacenter(p.all, dcName)
	if err != nil {
		return nil, err
	}
	known := map[types.ManagedObjectReference]item{}
	for _, o := range p.stores[dc.Reference()] {
		known[o.ref] = o
	}
	refs, err := c.meant(ctx, dc, slices.Collect(maps.Values(known)), name)
	if err != nil {
		return nil, err
	}
	var list []item
	for _, ref := range refs {
		o, ok := known[ref]
		if !ok {
			return c.describe(ctx, dc, refs)
		}
		list = append(list, o)
	}
	return c.described(dc, list), nil
}

// locate notes the datacenters of VMs: those that their datastores belong to.
func (f *Fleet) locate(at places, vms []brief) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range vms {
		uses, _ := get[[]types.ManagedObjectReference](v.item, "datastore")
		for _, dc := range at.all {
			if slices.ContainsFunc(at.stores[dc.Reference()], func(o item) bool { return slices.Contains(uses, o.ref) }) {
				f.where[v.ref] = dc
			}
		}
	}
}
