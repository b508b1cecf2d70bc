package vsphere

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// site is a placement with everything found.
type site struct {
	dc    *object.Datacenter
	ds    datastore                      // the VM's
	needs []datastore                    // every datastore the VM uses: its own, the ISO's, its disks'
	nets  []networkAt                    // its networks, in order
	hosts []types.ManagedObjectReference // candidates
	pool  *types.ManagedObjectReference  // nil: the chosen host's root pool
	where string                         // for messages
}

// networkAt is a network that was found.
type networkAt struct {
	object.NetworkReference
	name string
}

// host is a host that may run the VM.
type host struct {
	ref  types.ManagedObjectReference
	name string
	pool types.ManagedObjectReference
}

// site finds what a placement names. paths are the datastore paths of what the VM will use.
func (c *Client) site(ctx context.Context, w plan.WantVM, paths []string) (site, error) {
	p := w.Place
	dc, err := c.datacenter(ctx, p.Datacenter)
	if err != nil {
		return site{}, err
	}
	s := site{dc: dc}
	for _, path := range paths {
		ds, _, err := c.onePath(ctx, dc, path)
		if err != nil {
			return site{}, err
		}
		s.needs = append(s.needs, ds)
	}
	for _, n := range w.Networks {
		net, err := c.network(ctx, dc, n.Name)
		if err != nil {
			return site{}, err
		}
		s.nets = append(s.nets, networkAt{net, n.Name})
	}
	list, err := usable(c.datastores(ctx, dc, p.Datastore))
	if err != nil {
		return site{}, err
	}
	s.ds = c.promised.to(list, 0)
	s.needs = append(s.needs, s.ds)
	if err := c.compute(ctx, &s, p); err != nil {
		return site{}, err
	}
	return s, nil
}

// compute finds the candidates of a cluster, a host or a resource pool.
func (c *Client) compute(ctx context.Context, s *site, p plan.Placement) error {
	f := c.finder(s.dc)
	switch {
	case p.Host != "":
		h, err := f.HostSystem(ctx, p.Host)
		if err != nil {
			return notFound(err, "host", p.Host, func() ([]string, error) {
				all, err := f.HostSystemList(ctx, "*")
				return names(all, func(h *object.HostSystem) string { return h.Name() }), err
			})
		}
		s.hosts, s.where = []types.ManagedObjectReference{h.Reference()}, "host "+p.Host
		return nil
	case p.ResourcePool != "":
		pool, err := f.ResourcePool(ctx, p.ResourcePool)
		if err != nil {
			return notFound(err, "resource pool", p.ResourcePool, func() ([]string, error) {
				all, err := f.ResourcePoolList(ctx, "*")
				return names(all, func(r *object.ResourcePool) string { return r.InventoryPath }), err
			})
		}
		ref := pool.Reference()
		s.pool, s.where = &ref, "resource pool "+p.ResourcePool
		list, err := c.retrieve(ctx, want{ref, []string{"owner"}})
		if err != nil {
			return fmt.Errorf("read resource pool %s: %w", p.ResourcePool, err)
		}
		of, _ := get[types.ManagedObjectReference](list[0], "owner")
		return c.members(ctx, s, of)
	}
	name := cmp.Or(p.Cluster, "*")
	cr, err := f.ComputeResource(ctx, name)
	if err != nil {
		return notFound(err, "cluster", name, func() ([]string, error) {
			all, err := f.ComputeResourceList(ctx, "*")
			return names(all, func(r *object.ComputeResource) string { return r.Name() }), err
		})
	}
	s.where = "cluster " + cr.Name()
	return c.members(ctx, s, cr.Reference())
}

func (c *Client) members(ctx context.Context, s *site, of types.ManagedObjectReference) error {
	list, err := c.retrieve(ctx, want{of, []string{"host"}})
	if err != nil {
		return fmt.Errorf("read the hosts of %s: %w", s.where, err)
	}
	s.hosts, _ = get[[]types.ManagedObjectReference](list[0], "host")
	return nil
}

// host chooses among the candidates that are connected, not in maintenance mode, and reach the VM's datastores and
// networks.
func (c *Client) host(ctx context.Context, s site, choose func([]item) item) (host, error) {
	var wants []want
	for _, ref := range s.hosts {
		wants = append(wants, want{ref, []string{"name", "runtime.connectionState", "runtime.inMaintenanceMode", "parent", "network"}})
	}
	items, err := c.retrieve(ctx, wants...)
	if err != nil {
		return host{}, fmt.Errorf("read hosts: %w", err)
	}
	var good []item
	var why []string
	for _, it := range items {
		if reason := s.unfit(it); reason != "" {
			why = append(why, text(it, "name")+" "+reason)
			continue
		}
		good = append(good, it)
	}
	if len(good) == 0 {
		return host{}, fmt.Errorf("%w in %s: %s; put ISO and VM on datastores that the hosts share, or end the maintenance", errNoHost, s.where, strings.Join(why, "; "))
	}
	chosen := choose(good)
	h := host{ref: chosen.ref, name: text(chosen, "name")}
	parent, _ := get[types.ManagedObjectReference](chosen, "parent")
	list, err := c.retrieve(ctx, want{parent, []string{"resourcePool"}})
	if err != nil {
		return host{}, fmt.Errorf("read the resource pool of host %s: %w", h.name, err)
	}
	h.pool, _ = get[types.ManagedObjectReference](list[0], "resourcePool")
	return h, nil
}

// unfit says why a host cannot run the VM, or nothing.
func (s site) unfit(it item) string {
	state, _ := get[types.HostSystemConnectionState](it, "runtime.connectionState")
	maintenance, _ := get[bool](it, "runtime.inMaintenanceMode")
	switch {
	case state != types.HostSystemConnectionStateConnected:
		return "is " + string(state)
	case maintenance:
		return "is in maintenance mode"
	}
	for _, ds := range s.needs {
		if !slices.Contains(ds.hosts, it.ref) {
			return "does not reach datastore " + ds.name
		}
	}
	has, _ := get[[]types.ManagedObjectReference](it, "network")
	for _, n := range s.nets {
		if !slices.Contains(has, n.Reference()) {
			return "does not have network " + n.name
		}
	}
	return ""
}
