package base

import (
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// libraryDirs is where Debian's dynamic loader looks on amd64, as paths after the /usr merge.
var libraryDirs = []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64"}

// needs are what a dynamically linked file asks the loader for.
type needs struct {
	interp string   // absolute path of the loader; empty for libraries and static programs
	libs   []string // file names
	search []string // directories the file itself names, $ORIGIN resolved
}

// readNeeds reads the dynamic section of the file at path p in the image. A file that is no ELF needs nothing.
func readNeeds(p string, r io.ReaderAt) (needs, error) {
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return needs{}, nil
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return needs{}, fmt.Errorf("read ELF file %s: %w", p, err)
	}
	var n needs
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			b, err := io.ReadAll(s.Open())
			if err != nil {
				return needs{}, fmt.Errorf("read ELF file %s: %w", p, err)
			}
			n.interp = strings.TrimRight(string(b), "\x00")
		}
	}
	if n.libs, err = f.DynString(elf.DT_NEEDED); err != nil {
		return needs{}, fmt.Errorf("read ELF file %s: %w", p, err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, err := f.DynString(tag)
		if err != nil {
			return needs{}, fmt.Errorf("read ELF file %s: %w", p, err)
		}
		for _, d := range strings.Split(strings.Join(paths, ":"), ":") {
			if d != "" {
				n.search = append(n.search, mergedUsr(strings.ReplaceAll(d, "$ORIGIN", path.Dir(p))))
			}
		}
	}
	return n, nil
}

// closeOver adds the loader and every shared library that the programs and libraries in the tree need, and those
// the definition names because they are opened at run time.
func (t *tree) closeOver(p *Pool, dlopen []string) error {
	for _, name := range dlopen {
		if err := t.addLibrary(p, name, nil, "libraries of the definition"); err != nil {
			return err
		}
	}
	done := map[string]bool{}
	for {
		todo := slices.DeleteFunc(t.paths(), func(s string) bool { return done[s] })
		if len(todo) == 0 {
			return nil
		}
		for _, at := range todo {
			done[at] = true
			if err := t.closeFile(p, at); err != nil {
				return err
			}
		}
	}
}

// closeFile adds what one file of the tree needs.
func (t *tree) closeFile(p *Pool, at string) error {
	e := t.entries[at]
	if e.open == nil || e.data {
		return nil
	}
	r, err := e.readerAt()
	if err != nil {
		return fmt.Errorf("open %s: %w", at, err)
	}
	defer r.Close()
	n, err := readNeeds(mergedUsr(at), r)
	if err != nil {
		return err
	}
	if n.interp != "" {
		if err := t.addLoader(p, n.interp, at); err != nil {
			return err
		}
	}
	for _, lib := range n.libs {
		if err := t.addLibrary(p, lib, n.search, at); err != nil {
			return err
		}
	}
	return nil
}

// addLoader puts the dynamic loader where the programs look for it. In an image that is unpacked at / that is a
// real file, because such an image must not bring links for /lib64.
func (t *tree) addLoader(p *Pool, interp, by string) error {
	real, err := p.resolve(mergedUsr(interp))
	if err != nil {
		return fmt.Errorf("find loader of %s: %w", by, err)
	}
	if t.unmerged {
		return t.addPool(p, real, interp)
	}
	return t.addPool(p, real, mergedUsr(interp))
}

// addLibrary finds a library by file name and adds it with the links that lead to it.
func (t *tree) addLibrary(p *Pool, name string, search []string, by string) error {
	for _, d := range append(slices.Clone(search), libraryDirs...) {
		at := path.Join(d, name)
		if _, ok := p.files[at]; ok {
			return t.addChain(p, at)
		}
		if _, ok := t.entries[at]; ok {
			return nil // the definition brings it by itself
		}
	}
	return fmt.Errorf("%s needs the shared library %s, which no fetched package has: add its package to the definition", by, name)
}
