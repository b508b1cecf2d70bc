package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vapi/library"
)

// channelFile is what a channel's file is called in an item, which has no folders.
var channelFile = regexp.MustCompile(`^channel\.[^/\[\]\\]+\.json$`)

const channelDir = "channels"

// nameIn splits a path into the item's name and the name of the file in it. A temporary name's ending stays.
func nameIn(p string) (image, name string) {
	image, name, _ = strings.Cut(strings.Trim(p, "/"), "/")
	if rest, ok := strings.CutPrefix(name, channelDir+"/"); ok {
		name = "channel." + rest
	}
	return image, name
}

// pathOf is the path of a file of an item: the opposite of nameIn.
func pathOf(image, name string) string {
	if rest, ok := strings.CutPrefix(name, "channel."); ok {
		return path.Join(image, channelDir, rest)
	}
	return path.Join(image, name)
}

// entry finds the item of an image. One that is certainly not there is fs.ErrNotExist.
func (l *Library) entry(ctx context.Context, image string) (library.Item, error) {
	ids, err := l.api.FindLibraryItems(ctx, library.FindItem{LibraryID: l.lib.ID, Name: image})
	if err != nil {
		return library.Item{}, fmt.Errorf("look for item %s: %w", image, err)
	}
	for _, id := range ids {
		it, err := l.api.GetLibraryItem(ctx, id)
		if err != nil {
			return library.Item{}, fmt.Errorf("read item %s: %w", image, err)
		}
		if it.Name != image || it.LibraryID != l.lib.ID {
			continue
		}
		if it.Type == library.ItemTypeOVF || it.Type == library.ItemTypeVMTX {
			return *it, fmt.Errorf("item %s of content library %s is a template (%s): give the image another name", image, l.lib.Name, it.Type)
		}
		l.api.gate.ownItem(it.ID, l.refused() == nil)
		return *it, nil
	}
	return library.Item{}, fmt.Errorf("item %s of content library %s: %w", image, l.lib.Name, fs.ErrNotExist)
}

// stored is a file of an item.
type stored struct {
	file
	at    string // path on the datastore
	whole bool   // its bytes are there; a library that synchronises on demand has files without
}

// stored lists the files of an item by name, and notes where they lie.
func (l *Library) stored(ctx context.Context, image string) (list map[string]stored, err error) {
	err = again(ctx, func() error {
		it, err := l.entry(ctx, image)
		if err == nil {
			list, err = l.storedIn(ctx, it.ID)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range list {
		l.paths[pathOf(image, name)] = l.files.ds.path(s.at)
	}
	return list, nil
}

func (l *Library) storedIn(ctx context.Context, id string) (map[string]stored, error) {
	all, err := l.api.ListLibraryItemStorage(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("list the files of item %s: %w", id, err)
	}
	list := map[string]stored{}
	for _, s := range all {
		if len(s.StorageURIs) == 0 {
			return nil, fmt.Errorf("vCenter does not say where %s of item %s lies", s.Name, id)
		}
		at, err := l.place(s.StorageURIs[0])
		if err != nil {
			return nil, err
		}
		list[s.Name] = stored{file{name: s.Name, size: s.Size}, at, s.Cached || l.refused() == nil}
	}
	return list, nil
}

// place makes a path on the datastore of a storage URI, "ds:///vmfs/volumes/<volume>/contentlib-…/…/x.iso?…". What
// does not lie below the library's folder is an error: then UsedFiles would not find it either.
func (l *Library) place(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("storage URI of content library %s: %w", l.lib.Name, hideURL(err))
	}
	volume, err := url.Parse(l.files.ds.volume)
	if err != nil {
		return "", fmt.Errorf("URL of datastore %s: %w", l.files.ds.name, hideURL(err))
	}
	rest, ok := strings.CutPrefix(path.Clean(u.Path), path.Clean(volume.Path)+"/")
	for _, root := range []string{l.files.root, l.files.top} {
		if below, in := strings.CutPrefix(rest, root+"/"); ok && in && root != "" {
			return path.Join(l.files.in(""), below), nil
		}
	}
	return "", fmt.Errorf("content library %s has a file at %s, which is not in folder %s of datastore %s", l.lib.Name, u.Path, l.files.root, l.files.ds.name)
}

// Stat returns the size of a file; the time stays zero. Of an upload that is not complete it is what vCenter has
// received and checked.
func (l *Library) Stat(ctx context.Context, p string) (fs.FileInfo, error) {
	if temporary(p) {
		f, err := l.received(ctx, p)
		if err != nil {
			return nil, judged(err)
		}
		return f, nil
	}
	s, err := l.find(ctx, p)
	if err != nil {
		return nil, judged(err)
	}
	return s.file, nil
}

// find returns a file whose bytes are there.
func (l *Library) find(ctx context.Context, p string) (stored, error) {
	image, name := nameIn(p)
	list, err := l.stored(ctx, image)
	if err != nil {
		return stored{}, err
	}
	s, ok := list[name]
	switch {
	case !ok:
		return s, fmt.Errorf("%s of item %s of content library %s: %w", name, image, l.lib.Name, fs.ErrNotExist)
	case !s.whole:
		return s, fmt.Errorf("%s of item %s was not brought to content library %s yet: synchronise the item, or let the library download all content at once", name, image, l.lib.Name)
	}
	return s, nil
}

// Open streams a file from the datastore.
func (l *Library) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	below, err := l.readable(ctx, p)
	if err != nil {
		return nil, judged(err)
	}
	return l.files.Open(ctx, below)
}

// OpenRange streams at most n bytes of a file from an offset on.
func (l *Library) OpenRange(ctx context.Context, p string, off, n int64) (io.ReadCloser, error) {
	below, err := l.readable(ctx, p)
	if err != nil {
		return nil, judged(err)
	}
	return l.files.OpenRange(ctx, below, off, n)
}

// readable returns where a file lies below the library's folder.
func (l *Library) readable(ctx context.Context, p string) (string, error) {
	if temporary(p) {
		return "", errSealed
	}
	s, err := l.find(ctx, p)
	return strings.TrimPrefix(s.at, l.files.in("")+"/"), err
}

// List returns the files of an item, or its channels, with uploads under way. Times are those of the datastore, and
// zero for what it does not show and for uploads.
func (l *Library) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	image, sub, _ := strings.Cut(strings.Trim(dir, "/"), "/")
	list, err := l.stored(ctx, image)
	if err != nil {
		return nil, judged(err)
	}
	var out []fs.FileInfo
	times := map[string]map[string]file{}
	for name, s := range list {
		if where, base := path.Split(pathOf(image, name)); path.Clean(where) == path.Join(image, sub) {
			s.changed, err = l.changed(ctx, s.at, times)
			if err != nil {
				return nil, judged(err)
			}
			s.name = base
			out = append(out, s.file)
		}
	}
	parts, err := l.underWay(ctx, image)
	if err != nil {
		return nil, judged(err)
	}
	for _, p := range parts {
		if where, base := path.Split(p); path.Clean(where) == path.Join(image, sub) {
			out = append(out, file{name: base})
		}
	}
	slices.SortFunc(out, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// changed fills in a file's time; folders that were listed are kept in seen.
func (l *Library) changed(ctx context.Context, at string, seen map[string]map[string]file) (t time.Time, err error) {
	dir, name := path.Split(at)
	if seen[dir] == nil {
		var files []file
		err := again(ctx, func() (err error) { files, err = l.files.ds.search(ctx, path.Clean(dir), "*"); return err })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		seen[dir] = map[string]file{}
		for _, f := range files {
			seen[dir][f.name] = f
		}
	}
	return seen[dir][name].changed, nil
}

// UsedFiles returns the files of the library that a VM names; see Store.UsedFiles. Their names are those they have in
// the items as well as those on the datastore, which vCenter chooses.
func (l *Library) UsedFiles(ctx context.Context) (map[string]string, error) {
	used, err := l.files.UsedFiles(ctx)
	if err != nil || len(used) == 0 {
		return used, err
	}
	all := maps.Clone(used)
	err = again(ctx, func() error {
		ids, err := l.api.ListLibraryItems(ctx, l.lib.ID)
		if err != nil {
			return fmt.Errorf("list the items of content library %s: %w", l.lib.Name, err)
		}
		for _, id := range ids {
			list, err := l.storedIn(ctx, id)
			if err != nil {
				return err
			}
			for name, s := range list {
				if vm, ok := used[strings.TrimPrefix(s.at, l.files.in("")+"/")]; ok {
					all[path.Join(id, name)] = vm
				}
			}
		}
		return nil
	})
	return all, err
}
