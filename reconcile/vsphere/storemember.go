package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// partMark is where a temporary name of package push begins to differ from the final one.
const partMark = ".lkv-part-"

// find looks for a file on every member. Files that are named after their content may lie on several and are the same.
func (s *Store) find(ctx context.Context, p string) (*folder, fs.FileInfo, error) {
	if s.single() {
		info, err := s.home.Stat(ctx, p)
		return s.home, info, err
	}
	places := s.members
	if finished(p) {
		places = s.members[:s.ready]
	}
	var found []*folder
	var first fs.FileInfo
	missing := judged(fmt.Errorf("%s: %w", s.Path(p), fs.ErrNotExist))
	for _, f := range places {
		info, err := f.Stat(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if found = append(found, f); first == nil {
			first = info
		}
	}
	switch {
	case len(found) > 1 && !finished(p):
		return nil, nil, judged(fmt.Errorf("there are %s and %s: move the older one away", found[0].Path(p), found[1].Path(p)))
	case len(found) > 0:
		s.note(p, found[0])
		return found[0], first, nil
	case len(s.dark) > 0 && !finished(p) && !temporary(p):
		return nil, nil, judged(fmt.Errorf("look for %s: not found, but %s: it may lie there", p, strings.Join(s.dark, ", ")))
	}
	return nil, nil, missing
}

// single tells that there is one datastore and nothing to look for.
func (s *Store) single() bool { return len(s.members)+len(s.dark) == 1 }

// holding returns the member that has a file.
func (s *Store) holding(ctx context.Context, p string) (*folder, error) {
	s.mu.Lock()
	f := s.where[p]
	s.mu.Unlock()
	if s.single() {
		f = s.home
	}
	if f != nil {
		return f, nil
	}
	f, _, err := s.find(ctx, p)
	return f, err
}

// target returns the member that a temporary file is to be put on: where its final name is already, so that the move
// replaces that one; else the one that gets what is new.
func (s *Store) target(ctx context.Context, p string) (*folder, error) {
	if s.single() {
		return s.home, nil
	}
	final, _, _ := strings.Cut(p, partMark)
	f, _, err := s.find(ctx, final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if f, err = s.made(ctx, path.Dir(p)); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case f.ds.out != "":
		return nil, judged(fmt.Errorf("%s is to be replaced, but its datastore is %s: end that, or move the file to the same folder of another member of the cluster", f.Path(final), f.ds.out))
	}
	s.note(p, f)
	return f, nil
}

// List returns the files of a folder, of a name that lies on several members the youngest.
func (s *Store) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	if s.single() {
		return s.home.List(ctx, dir)
	}
	var all []fs.FileInfo
	there := false
	for _, f := range s.members {
		list, err := f.List(ctx, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		there = true
		for _, info := range list {
			i := slices.IndexFunc(all, func(x fs.FileInfo) bool { return x.Name() == info.Name() })
			switch {
			case i < 0:
				all = append(all, info)
				s.note(path.Join(dir, info.Name()), f)
			case info.ModTime().After(all[i].ModTime()):
				all[i] = info
			}
		}
	}
	if !there {
		return nil, judged(fmt.Errorf("list %s: %w", s.Path(dir), fs.ErrNotExist))
	}
	return all, nil
}

// Free returns the free bytes of the member with most of them, read afresh. What is new goes there from now on.
func (s *Store) Free(ctx context.Context) (int64, error) {
	most := int64(-1)
	for i, f := range s.members[:s.ready] {
		free, err := f.Free(ctx)
		if err != nil {
			return 0, err
		}
		if i == 0 || free > most {
			most = free
			s.mu.Lock()
			s.home = f
			s.mu.Unlock()
		}
	}
	return most, nil
}

// Mkdir makes a folder with its parents, where new files go.
func (s *Store) Mkdir(ctx context.Context, dir string) error {
	if s.single() {
		return s.home.Mkdir(ctx, dir)
	}
	_, err := s.made(ctx, dir)
	return err
}

// made returns the member that gets what is new, with that folder, which this session makes once.
func (s *Store) made(ctx context.Context, dir string) (*folder, error) {
	s.mu.Lock()
	f, mark := s.home, dir+"/"
	done := s.where[mark] == f
	s.mu.Unlock()
	if done {
		return f, nil
	}
	if err := f.Mkdir(ctx, dir); err != nil {
		return nil, err
	}
	s.note(mark, f)
	return f, nil
}

// Move renames a file within its datastore. With overwrite false an existing target, on whichever member, is
// fs.ErrExist.
func (s *Store) Move(ctx context.Context, from, to string, overwrite bool) error {
	f, err := s.holding(ctx, from)
	if err != nil {
		return err
	}
	if !overwrite && !s.single() {
		switch there, _, err := s.find(ctx, to); {
		case err == nil:
			return judged(fmt.Errorf("move to %s: %w", there.Path(to), fs.ErrExist))
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if err := f.Move(ctx, from, to, overwrite); err != nil {
		return err
	}
	if !s.single() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.where, from)
		s.where[to] = f
	}
	return nil
}

// Delete removes an unfinished upload.
func (s *Store) Delete(ctx context.Context, p string) error {
	f, err := s.holding(ctx, p)
	if err != nil {
		return err
	}
	return f.Delete(ctx, p)
}

// Remove removes a file that has its final name, which is <image>/<64 hex digits>.<anything>, from every member that
// has it. Nothing else can be removed through a Store. Whether anybody still needs the file is for the caller to know
// (UsedFiles).
func (s *Store) Remove(ctx context.Context, p string) error {
	if s.single() {
		return s.home.Remove(ctx, p)
	}
	gone := judged(fmt.Errorf("remove %s: %w", s.Path(p), fs.ErrNotExist))
	for _, f := range s.members {
		_, err := f.Stat(ctx, p)
		if err == nil {
			err = f.Remove(ctx, p)
		}
		switch {
		case err == nil:
			gone = nil
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return gone
}

// UsedFiles returns the files below the store's folder that a VM names, by path relative to the folder, each with
// one such VM. It looks at every VM and template of every datacenter that mounts the datastore, whatever their power
// state: at CD-ROM backings, those of snapshots too, and at the files that vCenter lists for the VM. Datastores are
// told apart by what they are, not by name. When anything cannot be read, it is an error and not a shorter list.
func (s *Store) UsedFiles(ctx context.Context) (map[string]string, error) {
	if len(s.dark) > 0 {
		return nil, judged(fmt.Errorf("read which ISOs VMs use: %s: bring it back, or take it out of the datastore cluster", strings.Join(s.dark, ", ")))
	}
	all := map[string]string{}
	for _, f := range s.members {
		used, err := f.UsedFiles(ctx)
		if err != nil {
			return nil, err
		}
		for p, vm := range used {
			all[p] = vm
		}
	}
	return all, nil
}
