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

	"github.com/vmware/govmomi/vim25/types"
)

// Choice gives each of a fleet's VMs and disks one of the datastores that a name, an inventory path, a pattern or a
// datastore cluster stands for. It is for folders of data disks, which are no Store.
type Choice struct {
	c    *Client
	list []datastore       // usable ones
	lies map[string]string // datastores of the files in the folder, by file name

	mu    sync.Mutex
	given map[string]string // what was answered, by what it is for
}

// Choice reads the datastores once, and which files lie in the folder on each. Of a single datastore nothing is asked.
func (c *Client) Choice(ctx context.Context, datacenter, name, folder string) (*Choice, error) {
	dc, err := c.datacenter(ctx, datacenter)
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
	return x, nil
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
