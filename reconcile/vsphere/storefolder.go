package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// folder is a folder of one datastore with the methods of a Store. Each call is made once: whoever calls knows how
// long to be patient, and beneath it the session repeats reads that the network lost.
type folder struct {
	ds   datastore
	root string // as configured
	via  route

	mu  sync.Mutex
	top string // of a datastore without plain top folders: what the first part of root is really called; empty: not made
}

// openFolder finds out what the folder is really called.
func openFolder(ctx context.Context, cfg StoreConfig, root string, ds datastore) (*folder, error) {
	s := &folder{ds: ds, root: root, via: route{mode: cfg.Transport}}
	if ds.flat {
		var err error
		top, _, _ := strings.Cut(root, "/")
		if s.top, err = ds.topName(ctx, top); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	s.own()
	return s, nil
}

// Path returns the datastore path, for example "[iso-nfs] lkv/worker/0123.iso".
func (s *folder) Path(p string) string { return s.ds.path(s.in(p)) }

// in returns a path on the datastore.
func (s *folder) in(p string) string {
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
func (s *folder) own() { s.ds.c.gate.own(s.ds.dc.Reference(), s.Path("")) }

// Stat returns size and modification time of a file.
func (s *folder) Stat(ctx context.Context, p string) (fs.FileInfo, error) {
	f, err := s.ds.stat(ctx, s.in(p))
	if err != nil {
		return nil, judged(err)
	}
	return f, nil
}

// List returns the files of a folder.
func (s *folder) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	list, err := s.ds.search(ctx, s.in(dir), "*")
	if err != nil {
		return nil, judged(err)
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
func (s *folder) Free(ctx context.Context) (int64, error) {
	list, err := s.ds.c.retrieve(ctx, want{s.ds.ref, []string{"summary.freeSpace"}})
	if err != nil {
		return 0, judged(fmt.Errorf("read free space of [%s]: %w", s.ds.name, err))
	}
	free, ok := get[int64](list[0], "summary.freeSpace")
	if !ok {
		return -1, nil
	}
	return free, nil
}

// Mkdir makes a folder with its parents.
func (s *folder) Mkdir(ctx context.Context, dir string) error {
	if s.ds.flat {
		top, _, _ := strings.Cut(s.root, "/")
		real, err := s.ds.namespace(ctx, top)
		if err != nil {
			return judged(err)
		}
		s.mu.Lock()
		s.top = real
		s.mu.Unlock()
		s.own()
	}
	return judged(s.ds.mkdir(ctx, s.in(dir)))
}

// Move renames a file of the store. With overwrite false an existing target is fs.ErrExist.
func (s *folder) Move(ctx context.Context, from, to string, overwrite bool) error {
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
func (s *folder) Delete(ctx context.Context, p string) error {
	if !temporary(p) {
		return judged(&ForbiddenError{"Delete", p + " is no unfinished upload; see Remove"})
	}
	return s.remove(ctx, p)
}

// Remove removes a file that has its final name, which is <image>/<64 hex digits>.<anything>. Nothing else can be
// removed through a Store. Whether anybody still needs the file is for the caller to know (UsedFiles).
func (s *folder) Remove(ctx context.Context, p string) error {
	if !finished(p) {
		return judged(&ForbiddenError{"Remove", p + " is no file of an image"})
	}
	return s.remove(ctx, p)
}

func (s *folder) remove(ctx context.Context, p string) error {
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
