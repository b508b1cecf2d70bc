package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// StoreConfig names a place for ISOs.
type StoreConfig struct {
	Name       string // of the store block
	Datacenter string // name or inventory path; empty: the only one
	Datastore  string // name, inventory path, pattern, or datastore cluster
	Folder     string // top folder; default "lkv"
	Transport  string // "auto", "vcenter" or "host": who takes uploads; empty: "auto"
}

// Store is a folder of a datastore, or of all members of a datastore cluster (or all that a pattern fits). It has the
// methods package push asks of a store. Paths are relative to the folder and use slashes. Errors are *StoreError: they
// say whether another try may help.
//
// With several members: every file is looked for on all of them. What is new goes to the member with most free space,
// and what replaces a file to where that lies. An ISO on a member in maintenance is not there, as no VM can boot from
// it, so that a second copy is pushed; anything else may lie there. While a member cannot be read, a file that no other
// has is not "missing" but an error, and nobody can say which files VMs use.
type Store struct {
	name    string
	members []*folder // those that take files first, most free space first
	ready   int       // how many of them take files
	dark    []string  // names of datastores that cannot be read, and why

	mu    sync.Mutex
	home  *folder            // gets what is new
	where map[string]*folder // of files that were found or put; only with several members
}

// Store finds the datastore, or the members of a datastore cluster. One in maintenance, or that no host that works has
// mounted, gets no files; when there is no other, it is an error.
func (c *Client) Store(ctx context.Context, cfg StoreConfig) (*Store, error) {
	s, err := c.store(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Name, err)
	}
	return s, nil
}

func (c *Client) store(ctx context.Context, cfg StoreConfig) (*Store, error) {
	cfg.Transport = cmp.Or(cfg.Transport, Auto)
	root := path.Clean(strings.Trim(cfg.Folder, "/"))
	if root == "." {
		root = "lkv"
	}
	top, _, _ := strings.Cut(root, "/")
	switch {
	case top == "..":
		return nil, fmt.Errorf("folder %q leaves the datastore", cfg.Folder)
	case top == plan.DiskFolder:
		return nil, fmt.Errorf("folder %q is where data disks lie: use another", cfg.Folder)
	case !slices.Contains([]string{Auto, ViaVCenter, ViaHost}, cfg.Transport):
		return nil, fmt.Errorf("transport %q: write auto, vcenter or host", cfg.Transport)
	}
	dc, err := c.storeDatacenter(ctx, cfg)
	if err != nil {
		return nil, err
	}
	list, err := c.datastores(ctx, dc, cfg.Datastore)
	if err == nil {
		list, err = c.reachable(ctx, list)
	}
	list = slices.CompactFunc(list, func(a, b datastore) bool { return a.ref == b.ref }) // some servers name a member twice
	good, err := usable(list, err)
	if err != nil {
		return nil, err
	}
	s := &Store{name: cfg.Name, ready: len(good), where: map[string]*folder{}}
	for _, d := range append(good, slices.DeleteFunc(list, func(d datastore) bool { return d.out == "" })...) {
		if err := s.join(ctx, cfg, root, d); err != nil {
			return nil, err
		}
	}
	s.home = s.members[0]
	return s, nil
}

// join adds a datastore. One that gets no files may be dark.
func (s *Store) join(ctx context.Context, cfg StoreConfig, root string, d datastore) error {
	f, err := openFolder(ctx, cfg, root, d)
	if d.out != "" && err == nil {
		if _, err = f.List(ctx, ""); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	switch {
	case err == nil:
		s.members = append(s.members, f)
	case d.out != "":
		s.dark = append(s.dark, d.name+" is "+d.out)
	}
	if d.out != "" {
		return nil
	}
	return err
}

// storeDatacenter also takes the datacenter from the datastore's inventory path.
func (c *Client) storeDatacenter(ctx context.Context, cfg StoreConfig) (*object.Datacenter, error) {
	if cfg.Datacenter == "" && strings.HasPrefix(cfg.Datastore, "/") {
		all, err := c.datacenters(ctx)
		if err != nil {
			return nil, err
		}
		for _, dc := range all {
			if strings.HasPrefix(cfg.Datastore, dc.InventoryPath+"/datastore/") {
				return dc, nil
			}
		}
	}
	return c.datacenter(ctx, cfg.Datacenter)
}

// Name returns the store's name in lkv.hcl.
func (s *Store) Name() string { return s.name }

// Path returns the datastore path, for example "[iso-nfs] lkv/worker/0123.iso". Of several members it is that of the
// one where the file was found or put; of any other file that of the one that would get it.
func (s *Store) Path(p string) string { return s.at(p).Path(p) }

func (s *Store) at(p string) *folder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.where[p], s.home)
}

func (s *Store) note(p string, f *folder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.where[p] = f
}

// Stat returns size and modification time of a file.
func (s *Store) Stat(ctx context.Context, p string) (fs.FileInfo, error) {
	_, info, err := s.find(ctx, p)
	return info, err
}

// Open streams a file through vCenter. When the connection breaks, it goes on where it was.
func (s *Store) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	f, err := s.holding(ctx, p)
	if err != nil {
		return nil, err
	}
	return f.Open(ctx, p)
}

// OpenRange streams at most n bytes of a file from an offset on. A server that does not know ranges sends the whole
// file, of which the rest is thrown away here.
func (s *Store) OpenRange(ctx context.Context, p string, off, n int64) (io.ReadCloser, error) {
	f, err := s.holding(ctx, p)
	if err != nil {
		return nil, err
	}
	return f.OpenRange(ctx, p, off, n)
}

// Put uploads a file. Only temporary names are let through.
func (s *Store) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	f, err := s.target(ctx, p)
	if err != nil {
		return err
	}
	return f.Put(ctx, p, r, size)
}

// CanCopyFrom tells whether vCenter itself can copy files from src to this store: src is a *Store of the same vCenter. It
// asks nobody. Import rules keep src from being a push.Store here.
func (s *Store) CanCopyFrom(src any) bool {
	o, ok := src.(*Store)
	if !ok || o == nil || !s.client().vcenter() {
		return false
	}
	id := s.client().vim.ServiceContent.About.InstanceUuid
	return id != "" && id == o.client().vim.ServiceContent.About.InstanceUuid
}

func (s *Store) client() *Client { return s.members[0].ds.c }

// CopyFrom makes vCenter copy a file with a final name of src to a temporary name of this store, also between
// datacenters. An existing target is fs.ErrExist, a missing source fs.ErrNotExist. When ctx ends, the copy is asked
// to stop; what it left is for the caller to delete.
func (s *Store) CopyFrom(ctx context.Context, src any, from, to string) error {
	o, ok := src.(*Store)
	if !ok || !s.CanCopyFrom(src) {
		return judged(errors.New("the stores are not behind the same vCenter"))
	}
	source, err := o.holding(ctx, from)
	if err != nil {
		return err
	}
	f, err := s.target(ctx, to)
	if err != nil {
		return err
	}
	return f.copyFrom(ctx, source, from, to)
}
