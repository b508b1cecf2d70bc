package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// StoreConfig names a place for ISOs.
type StoreConfig struct {
	Name       string // of the store block
	Datacenter string // name or inventory path; empty: the only one
	Datastore  string // name, inventory path, or datastore cluster
	Folder     string // top folder; default "lkv"
	Image      string // whose files are read or written; of a datastore cluster, the member that has them is taken
	Transport  string // "auto", "vcenter" or "host": who takes uploads; empty: "auto"
}

// Store is a folder of a datastore. It has the methods package push asks of a store. Paths are relative to the
// folder and use slashes. Errors are *StoreError: they say whether another try may help.
type Store struct {
	ds   datastore
	name string
	root string // as configured
	via  route

	mu  sync.Mutex
	top string // of a datastore without plain top folders: what the first part of root is really called; empty: not made
}

// Store finds the datastore. Of a datastore cluster it takes the member that has the image's folder already, else the
// one with most free space. One in maintenance, or that no host that works has mounted, is not taken.
func (c *Client) Store(ctx context.Context, cfg StoreConfig) (*Store, error) {
	s, err := c.store(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Name, err)
	}
	return s, nil
}

func (c *Client) store(ctx context.Context, cfg StoreConfig) (*Store, error) {
	s := &Store{name: cfg.Name, root: path.Clean(strings.Trim(cfg.Folder, "/")), via: route{mode: cmp.Or(cfg.Transport, Auto)}}
	if s.root == "." {
		s.root = "lkv"
	}
	top, _, _ := strings.Cut(s.root, "/")
	switch {
	case top == "..":
		return nil, fmt.Errorf("folder %q leaves the datastore", cfg.Folder)
	case top == plan.DiskFolder:
		return nil, fmt.Errorf("folder %q is where data disks lie: use another", cfg.Folder)
	case !slices.Contains([]string{Auto, ViaVCenter, ViaHost}, s.via.mode):
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
	if list, err = usable(list, err); err != nil {
		return nil, err
	}
	if s.ds, err = holder(ctx, list, path.Join(s.root, cfg.Image)); err != nil {
		return nil, err
	}
	if s.ds.flat {
		if s.top, err = s.ds.topName(ctx, top); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	s.own()
	return s, nil
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

// holder returns the first datastore that has the folder; when none has it, the first. Of a single one nothing is asked.
func holder(ctx context.Context, list []datastore, dir string) (datastore, error) {
	for _, d := range list {
		if len(list) == 1 {
			break
		}
		_, err := d.search(ctx, dir, "*")
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
	}
	return list[0], nil
}

// Name returns the store's name in lkv.hcl.
func (s *Store) Name() string { return s.name }

// Path returns the datastore path, for example "[iso-nfs] lkv/worker/0123.iso".
func (s *Store) Path(p string) string { return s.ds.path(s.in(p)) }

// Datacenter returns the inventory path of the store's datacenter.
func (s *Store) Datacenter() string { return s.ds.dc.InventoryPath }

// in returns a path on the datastore.
func (s *Store) in(p string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	root := s.root
	if s.top != "" {
		_, below, _ := strings.Cut(root, "/")
		root = path.Join(s.top, below)
	}
	return path.Join(root, p)
}

// own tells the filter on the wire which folder is the store's.
func (s *Store) own() { s.ds.c.gate.own(s.ds.dc.Reference(), s.Path("")) }

// Stat returns size and modification time of a file.
func (s *Store) Stat(ctx context.Context, p string) (fs.FileInfo, error) {
	var f file
	err := again(ctx, func() (err error) { f, err = s.ds.stat(ctx, s.in(p)); return err })
	if err != nil {
		return nil, err
	}
	return f, nil
}

// List returns the files of a folder.
func (s *Store) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	var list []file
	err := again(ctx, func() (err error) { list, err = s.ds.search(ctx, s.in(dir), "*"); return err })
	if err != nil {
		return nil, err
	}
	var out []fs.FileInfo
	for _, f := range list {
		if !f.dir {
			out = append(out, f)
		}
	}
	return out, nil
}

// Free returns the free bytes of the datastore, read afresh.
func (s *Store) Free(ctx context.Context) (int64, error) {
	var list []item
	err := again(ctx, func() (err error) {
		list, err = s.ds.c.retrieve(ctx, want{s.ds.ref, []string{"summary.freeSpace"}})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read free space of [%s]: %w", s.ds.name, err)
	}
	free, ok := get[int64](list[0], "summary.freeSpace")
	if !ok {
		return -1, nil
	}
	return free, nil
}

// Mkdir makes a folder with its parents.
func (s *Store) Mkdir(ctx context.Context, dir string) error {
	return again(ctx, func() error {
		if s.ds.flat {
			top, _, _ := strings.Cut(s.root, "/")
			real, err := s.ds.namespace(ctx, top)
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.top = real
			s.mu.Unlock()
			s.own()
		}
		return s.ds.mkdir(ctx, s.in(dir))
	})
}

// Move renames a file of the store. With overwrite false an existing target is fs.ErrExist.
func (s *Store) Move(ctx context.Context, from, to string, overwrite bool) error {
	dc := s.ds.dc.Reference()
	res, err := methods.MoveDatastoreFile_Task(ctx, s.ds.c.vim, &types.MoveDatastoreFile_Task{
		This: *s.ds.c.vim.ServiceContent.FileManager, SourceName: s.Path(from), SourceDatacenter: &dc,
		DestinationName: s.Path(to), DestinationDatacenter: &dc, Force: types.NewBool(overwrite),
	})
	if err == nil {
		_, err = s.ds.c.await(ctx, res.Returnval, nil, taskTime)
	}
	switch {
	case isFault[*types.FileAlreadyExists](err):
		err = fmt.Errorf("move to %s: %w", s.Path(to), fs.ErrExist)
	case isMissing(err):
		err = fmt.Errorf("move %s: %w", s.Path(from), fs.ErrNotExist)
	}
	return judged(err)
}

// Delete removes an unfinished upload.
func (s *Store) Delete(ctx context.Context, p string) error {
	if !temporary(p) {
		return judged(&ForbiddenError{"Delete", p + " is no unfinished upload; see Remove"})
	}
	return s.remove(ctx, p)
}

// Remove removes a file that has its final name, which is <image>/<64 hex digits>.<anything>. Nothing else can be
// removed through a Store. Whether anybody still needs the file is for the caller to know (UsedFiles).
func (s *Store) Remove(ctx context.Context, p string) error {
	if !finished(p) {
		return judged(&ForbiddenError{"Remove", p + " is no file of an image"})
	}
	return s.remove(ctx, p)
}

func (s *Store) remove(ctx context.Context, p string) error {
	dc := s.ds.dc.Reference()
	res, err := methods.DeleteDatastoreFile_Task(ctx, s.ds.c.vim, &types.DeleteDatastoreFile_Task{
		This: *s.ds.c.vim.ServiceContent.FileManager, Name: s.Path(p), Datacenter: &dc,
	})
	if err == nil {
		_, err = s.ds.c.await(ctx, res.Returnval, nil, taskTime)
	}
	if isMissing(err) {
		err = fmt.Errorf("delete %s: %w", s.Path(p), fs.ErrNotExist)
	}
	return judged(err)
}
