package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// local is the file behind a path on the datastore. Paths that leave the datastore are refused.
func (s *store) local(path string) (string, bool) {
	if path == "" {
		return s.dir, true
	}
	if !filepath.IsLocal(path) {
		return "", false
	}
	return filepath.Join(s.dir, path), true
}

// flat is the file with the bytes of a disk's descriptor file.
func flat(descriptor string) string { return strings.TrimSuffix(descriptor, ".vmdk") + "-flat.vmdk" }

// freeSpace is the capacity without what the files really occupy: disks are thin.
func (s *store) freeSpace() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free != nil {
		return *s.free, nil
	}
	var used int64
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was deleted meanwhile
		}
		if st, ok := info.Sys().(*syscall.Stat_t); err == nil && ok {
			used += st.Blocks * 512
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s.Capacity - used, err
}

// refresh writes capacity and free space into the datastore's properties.
func (l *Lab) refresh(s *store) error {
	free, err := s.freeSpace()
	if err != nil {
		return err
	}
	ctx := l.context()
	ds, ok := ctx.Map.Get(s.ref).(*simulator.Datastore)
	if !ok {
		return nil
	}
	ctx.WithLock(ds, func() {
		info := ds.Info.GetDatastoreInfo()
		info.FreeSpace, info.MaxFileSize = free, s.Capacity
		ctx.Update(ds, []types.PropertyChange{{Name: "summary.capacity", Val: s.Capacity}, {Name: "summary.freeSpace", Val: free}})
	})
	return nil
}

// refreshAll does so for every datastore; what cannot be read keeps its old numbers.
func (l *Lab) refreshAll() {
	for _, d := range l.inv.datacenters {
		for _, s := range d.stores {
			if err := l.refresh(s); err != nil {
				l.logf("free space of %s: %v", s.Name, err)
			}
		}
	}
}

// SetFreeSpace makes a datastore say, and keep to, that many free bytes; negative: what is really free again.
func (l *Lab) SetFreeSpace(dc, ds string, bytes int64) error {
	s := l.store(dc, ds)
	if s == nil {
		return errors.New("no datastore " + ds + " in " + dc)
	}
	s.mu.Lock()
	s.free = &bytes
	if bytes < 0 {
		s.free = nil
	}
	s.mu.Unlock()
	return l.refresh(s)
}

// SetAccessible makes a datastore accessible or not, as when the storage network fails.
func (l *Lab) SetAccessible(dc, ds string, ok bool) error {
	s := l.store(dc, ds)
	if s == nil {
		return errors.New("no datastore " + ds + " in " + dc)
	}
	l.update(s.ref, types.PropertyChange{Name: "summary.accessible", Val: ok})
	return nil
}

// accessible is the fault of a datastore that is not.
func (l *Lab) accessible(s *store) types.BaseMethodFault {
	ds, ok := l.model.Map().Get(s.ref).(*simulator.Datastore)
	up := false
	if ok {
		l.context().WithLock(ds, func() { up = ds.Summary.Accessible })
	}
	if up {
		return nil
	}
	return &types.InaccessibleDatastore{InvalidDatastore: types.InvalidDatastore{Datastore: &s.ref, Name: s.Name}}
}

// hasTop tells whether the first folder of a datastore path exists.
func (s *store) hasTop(p string) bool {
	_, rest, _ := strings.Cut(p, "] ")
	top, _, deep := strings.Cut(rest, "/")
	return deep && exists(filepath.Join(s.dir, top))
}

// room is the fault of a datastore without that many free bytes.
func (s *store) room(path string, bytes int64) types.BaseMethodFault {
	free, err := s.freeSpace()
	if err != nil || free < bytes {
		return &types.NoDiskSpace{FileFault: types.FileFault{File: path}, Datastore: s.Name}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
