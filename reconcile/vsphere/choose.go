package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Choice gives each of a fleet's VMs and disks one of the datastores that a name, an inventory path, a pattern or a
// datastore cluster stands for. It is for folders of data disks, which are no Store.
type Choice struct {
	c    *Client
	list []datastore       // usable ones, within reach
	lies map[string]string // datastores of the files in the folder, by file name

	mu    sync.Mutex
	given map[string]string // what was answered, by what it is for
}

// Choice reads the datastores once, which hosts of the placement reach them, and which files lie in the folder on each. Of
// a single datastore nothing is asked.
func (c *Client) Choice(ctx context.Context, at plan.Placement, name, folder string) (*Choice, error) {
	dc, err := c.datacenter(ctx, at.Datacenter)
	if err != nil {
		return nil, fmt.Errorf("datastore %s: %w", name, err)
	}
	list, err := usable(c.datastores(ctx, dc, name))
	if err != nil {
		return nil, fmt.Errorf("datastore %s: %w", name, err)
	}
	x := &Choice{c: c, list: list, lies: map[string]string{}, given: map[string]string{}}
	for _, d := range list {
		if len(list) == 1 {
			break
		}
		files, err := d.search(ctx, folder, "*")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("datastore %s: %w", name, err)
		}
		for _, f := range files {
			x.lies[f.name] = d.name
		}
	}
	if len(list) > 1 {
		if x.list, err = c.reached(ctx, dc, at, list); err != nil {
			return nil, fmt.Errorf("datastore %s: %w", name, err)
		}
	}
	return x, nil
}

// reached keeps the datastores that most of the placement's hosts have mounted: a VM on one that few of them reach has
// few hosts to run on, and on one that none reaches it cannot be made.
func (c *Client) reached(ctx context.Context, dc *object.Datacenter, at plan.Placement, list []datastore) ([]datastore, error) {
	s := site{dc: dc}
	if err := c.compute(ctx, &s, at); err != nil {
		return nil, err
	}
	count := func(d datastore) (n int) {
		for _, h := range s.hosts {
			if slices.Contains(d.hosts, h) {
				n++
			}
		}
		return n
	}
	most := 0
	for _, d := range list {
		most = max(most, count(d))
	}
	if most == 0 {
		return nil, fmt.Errorf("no host of %s reaches any of %s; name datastores that its hosts have mounted", s.where, strings.Join(names(list, func(d datastore) string { return d.name }), ", "))
	}
	return slices.DeleteFunc(slices.Clone(list), func(d datastore) bool { return count(d) < most }), nil
}

// Next returns the name of the datastore for a VM or a disk that will take that many bytes there: the one where one of
// its files lies in the folder already, else the one with most room. The same one is asked for again gets the same
// answer. What was promised to others of this vCenter is no room any more.
func (x *Choice) Next(who string, bytes int64, files ...string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ds := x.given[who]; ds != "" {
		return ds
	}
	for _, f := range files {
		if ds := x.lies[f]; ds != "" {
			return ds
		}
	}
	ds := x.c.promised.to(x.list, bytes)
	x.given[who] = ds.name
	return ds.name
}

// promises are bytes that this process chose datastores for, and that their numbers do not show yet.
type promises struct {
	mu    sync.Mutex
	bytes map[types.ManagedObjectReference]int64
}

// to promises the bytes to the datastore with most room, of several the first by name.
func (p *promises) to(list []datastore, bytes int64) datastore {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := slices.MinFunc(list, func(a, b datastore) int {
		return cmp.Or(cmp.Compare(b.room-p.bytes[b.ref], a.room-p.bytes[a.ref]), strings.Compare(a.name, b.name))
	})
	if p.bytes == nil {
		p.bytes = map[types.ManagedObjectReference]int64{}
	}
	p.bytes[best.ref] += bytes
	return best
}
