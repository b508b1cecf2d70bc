package vsphere

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// making is what the choice of hosts needs to know of VMs that a look may not show yet: those of one wave are made at
// the same time, and each would find the same host empty.
type making struct {
	hosts map[string]types.ManagedObjectReference // that were chosen, by fleet and VM
	made  map[string]bool                         // those that are there by now: whoever begins to look sees them
	looks int                                     // choices under way
}

// hostFor chooses the host of a VM that is to be made, and counts the VM there from then on. end says how the making
// ended: what failed does not count.
func (f *Fleet) hostFor(ctx context.Context, fleet, vm string, s site) (h host, end func(error), err error) {
	f.beginChoice()
	defer f.endChoice()
	there, key := f.hostsOf(ctx, fleet), fleet+"/"+vm
	end = func(err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil {
			delete(f.making.hosts, key)
		} else {
			f.making.made[key] = true
		}
	}
	h, err = f.c.host(ctx, s, func(fit []item) item {
		f.mu.Lock()
		defer f.mu.Unlock()
		for k, ref := range f.making.hosts {
			if name, ours := strings.CutPrefix(k, fleet+"/"); ours && there[name].Value == "" {
				there[name] = ref
			}
		}
		best := fewest(fit, there)
		f.making.hosts[key] = best.ref
		delete(f.making.made, key)
		return best
	})
	if err != nil {
		end(err)
	}
	return h, end, err
}

// beginChoice forgets VMs that were made before anybody who chooses now began to look.
func (f *Fleet) beginChoice() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.making.looks++; f.making.looks > 1 {
		return
	}
	maps.DeleteFunc(f.making.hosts, func(key string, _ types.ManagedObjectReference) bool { return f.making.made[key] })
	clear(f.making.made)
}

func (f *Fleet) endChoice() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.making.looks--
}

// hostsOf says where the fleet's VMs are, by name. A look that fails only makes the spread worse.
func (f *Fleet) hostsOf(ctx context.Context, fleet string) map[string]types.ManagedObjectReference {
	out := map[string]types.ManagedObjectReference{}
	all, err := f.sweep(ctx)
	if err != nil {
		return out
	}
	names := map[types.ManagedObjectReference]string{}
	var wants []want
	for _, b := range all {
		if f.mine(b, fleet) {
			names[b.ref] = b.name
			wants = append(wants, want{b.ref, []string{"runtime.host"}})
		}
	}
	items, err := f.c.retrieve(ctx, wants...)
	if err != nil {
		return out
	}
	for _, it := range items {
		if h, ok := get[types.ManagedObjectReference](it, "runtime.host"); ok {
			out[names[it.ref]] = h
		}
	}
	return out
}

// fewest returns the host with the fewest VMs, of several the first by name.
func fewest(hosts []item, vms map[string]types.ManagedObjectReference) item {
	counts := map[types.ManagedObjectReference]int{}
	for _, h := range vms {
		counts[h]++
	}
	return slices.MinFunc(hosts, func(a, b item) int {
		return cmp.Or(cmp.Compare(counts[a.ref], counts[b.ref]), strings.Compare(text(a, "name"), text(b, "name")))
	})
}
