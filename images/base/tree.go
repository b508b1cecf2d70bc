package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is the root file system of an image before it is written.
type tree struct {
	entries  map[string]entry // by absolute path
	unmerged bool
	packages map[string]bool // packages a file was taken from
	labels   map[string]string
	pool     *Pool
}

// entry is a file, symbolic link or directory of the image.
type entry struct {
	mode     uint32 // permission and set-id bits
	uid, gid int
	dir      bool
	link     string                  // target of a symbolic link
	open     func() (content, error) // of a regular file
	size     int64
	pkg      string // package it was taken from, empty when none
	data     bool   // a file that holds no program, so it is not searched for libraries
}

// content is an opened regular file.
type content interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

// readerAt opens the file.
func (e entry) readerAt() (content, error) { return e.open() }

// onDisk is the content of a file of this machine.
func onDisk(name string) func() (content, error) {
	return func() (content, error) { return os.Open(name) }
}

// memory is content that is held in memory.
type memory struct{ *bytes.Reader }

// Close does nothing.
func (memory) Close() error { return nil }

// inMemory is the content b.
func inMemory(b []byte) func() (content, error) {
	return func() (content, error) { return memory{bytes.NewReader(b)}, nil }
}

// assemble makes the tree of a component.
func assemble(ctx context.Context, c Component, p *Pool, o Options) (*tree, error) {
	t := &tree{entries: map[string]entry{}, packages: map[string]bool{}, labels: map[string]string{}, unmerged: c.def.Unmerged, pool: p}
	for _, k := range c.def.Take {
		if err := t.take(p, k); err != nil {
			return nil, err
		}
	}
	for _, b := range c.def.Bundles {
		if err := t.bundle(p, b); err != nil {
			return nil, err
		}
	}
	if err := t.own(c, o); err != nil {
		return nil, err
	}
	if c.def.Kernel != nil {
		if err := t.kernel(ctx, *c.def.Kernel, p, o); err != nil {
			return nil, err
		}
	}
	if err := t.closeOver(p, c.def.Libraries); err != nil {
		return nil, err
	}
	if err := t.database(p); err != nil {
		return nil, err
	}
	if err := t.finish(p); err != nil {
		return nil, err
	}
	return t, t.version(c, p, o)
}

// take adds the files of one package that the definition keeps. A keep that matches nothing is an error, so that a
// definition does not rot when Debian moves a file.
func (t *tree) take(p *Pool, k take) error {
	d, ok := p.packages[k.Package]
	if !ok {
		return fmt.Errorf("take from %s: no such package was fetched: list it under packages", k.Package)
	}
	for _, pattern := range k.Keep {
		hit := 0
		for _, f := range d.Files {
			if !match(string(pattern), f.Path) || matchAny(k.Drop, f.Path) {
				continue
			}
			hit++
			at := f.Path
			if k.To != "" {
				at = string(k.To)
			}
			if err := t.addPool(p, f.Path, at); err != nil {
				return err
			}
		}
		if hit == 0 {
			return fmt.Errorf("take from %s %s: no file fits %s", k.Package, d.Version, pattern)
		}
	}
	return nil
}

// bundle adds one file with the content of many.
func (t *tree) bundle(p *Pool, b bundle) error {
	var names []string
	for _, f := range p.packages[b.Package].Files {
		if f.Link == "" && match(string(b.Keep), f.Path) {
			names = append(names, f.Path)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("bundle %s: package %s has no file that fits %s", b.Path, b.Package, b.Keep)
	}
	slices.Sort(names)
	var all []byte
	for _, n := range names {
		src, err := p.content(p.files[n])
		if err != nil {
			return err
		}
		text, err := os.ReadFile(src)
		if err != nil {
			return fmt.Errorf("bundle %s: %w", b.Path, err)
		}
		all = append(all, text...)
	}
	t.packages[b.Package] = true
	t.entries[string(b.Path)] = entry{mode: 0o644, open: inMemory(all), size: int64(len(all)), data: true}
	return nil
}

// own adds what the component's directory holds, and lkv-guest.
func (t *tree) own(c Component, o Options) error {
	for _, d := range c.def.Dirs {
		t.entries[string(d.Path)] = entry{dir: true, mode: d.Mode.or(0o755)}
	}
	for _, f := range c.def.Files {
		b, err := fs.ReadFile(c.src, "files/"+f.Source)
		if err != nil {
			return fmt.Errorf("read file of component %s: %w", c.Name, err)
		}
		t.entries[string(f.Path)] = entry{mode: f.Mode.or(0o644), open: inMemory(b), size: int64(len(b))}
	}
	for at, target := range c.def.Links {
		t.entries[string(at)] = entry{mode: 0o777, link: target}
	}
	if c.def.Guest == "" {
		return nil
	}
	if o.Guest == "" {
		return errors.New("the component contains lkv-guest, but no path to the compiled program was given")
	}
	info, err := os.Stat(o.Guest)
	if err != nil {
		return fmt.Errorf("read lkv-guest: %w", err)
	}
	t.entries[string(c.def.Guest)] = entry{mode: 0o755, open: onDisk(o.Guest), size: info.Size()}
	return nil
}

// addPool adds the pool's file from under the name at; links to where they point are added as links.
func (t *tree) addPool(p *Pool, from, at string) error {
	f, ok := p.files[from]
	if !ok {
		return fmt.Errorf("no fetched package has %s", from)
	}
	t.packages[f.Pkg] = true
	e := entry{mode: f.Mode, uid: f.UID, gid: f.GID, link: f.Link, size: f.Size, pkg: f.Pkg}
	if f.Link == "" {
		src, err := p.content(f)
		if err != nil {
			return err
		}
		info, err := os.Stat(src)
		if err != nil {
			return fmt.Errorf("read package file: %w", err)
		}
		e.open, e.size = onDisk(src), info.Size()
	}
	t.entries[at] = e
	return nil
}

// addChain adds the file at and, when it is a link, every link up to the real file.
func (t *tree) addChain(p *Pool, at string) error {
	for range 10 {
		if err := t.addPool(p, at, at); err != nil {
			return err
		}
		link := p.files[at].Link
		if link == "" {
			return nil
		}
		at = target(at, link)
	}
	return fmt.Errorf("%s: too many symbolic links", at)
}

// target is the absolute path that a link at path at points to, after the /usr merge.
func target(at, link string) string {
	if path.IsAbs(link) {
		return mergedUsr(link)
	}
	return mergedUsr(path.Join(path.Dir(at), link))
}

// resolve follows the links of the pool to a regular file.
func (p *Pool) resolve(at string) (string, error) {
	for range 10 {
		f, ok := p.files[at]
		if !ok {
			return "", fmt.Errorf("no fetched package has %s", at)
		}
		if f.Link == "" {
			return at, nil
		}
		at = target(at, f.Link)
	}
	return "", fmt.Errorf("%s: too many symbolic links", at)
}

// content returns where the bytes of a regular file lie on disk.
func (p *Pool) content(f poolFile) (string, error) {
	for range 10 {
		if f.Copy == "" {
			return filepath.Join(p.dir, "root", f.Path), nil
		}
		g, ok := p.files[f.Copy]
		if !ok {
			return "", fmt.Errorf("%s: hard link to %s, which the package does not have", f.Path, f.Copy)
		}
		f = g
	}
	return "", fmt.Errorf("%s: too many hard links", f.Path)
}

// finish adds licences, the links of the /usr merge and every parent directory.
func (t *tree) finish(p *Pool) error {
	for pkg := range t.packages {
		c := "/usr/share/doc/" + pkg + "/copyright"
		if f, ok := p.files[c]; ok && f.Link == "" {
			if err := t.addPool(p, c, c); err != nil {
				return err
			}
		}
	}
	if !t.unmerged {
		for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
			t.entries["/"+d] = entry{mode: 0o777, link: "usr/" + d}
			if _, ok := t.entries["/usr/"+d]; !ok {
				t.entries["/usr/"+d] = entry{dir: true, mode: 0o755}
			}
		}
	}
	for _, at := range t.paths() {
		for d := path.Dir(at); d != "/"; d = path.Dir(d) {
			if e, ok := t.entries[d]; !ok {
				t.entries[d] = entry{dir: true, mode: 0o755}
			} else if !e.dir {
				return fmt.Errorf("%s lies below %s, which is no directory in the image", at, d)
			}
		}
	}
	return nil
}

// paths returns every path of the tree, sorted; a directory comes before what is in it.
func (t *tree) paths() []string {
	all := make([]string, 0, len(t.entries))
	for at := range t.entries {
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	return all
}

// version writes the labels that name package versions.
func (t *tree) version(c Component, p *Pool, o Options) error {
	var list []string
	for pkg := range t.packages {
		list = append(list, pkg+"="+p.packages[pkg].Version)
	}
	slices.Sort(list)
	t.labels[PackagesLabel] = strings.Join(list, " ")
	t.labels[SuiteLabel] = o.suite()
	for label, pkg := range c.def.Versions {
		d, ok := p.packages[pkg]
		if !ok {
			return fmt.Errorf("label %s names package %s, which was not fetched", label, pkg)
		}
		t.labels[label] = d.upstream()
	}
	return nil
}
