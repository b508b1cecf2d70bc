package base

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// makeELF returns a shared object whose dynamic section asks for the given libraries, with an optional interpreter
// and search path. It holds only what a reader of the dynamic section looks at.
func makeELF(t *testing.T, interp, runpath string, needed ...string) []byte {
	t.Helper()
	str := []byte{0}
	add := func(s string) uint64 {
		at := len(str)
		str = append(append(str, s...), 0)
		return uint64(at)
	}
	var dyn []elf.Dyn64
	for _, n := range needed {
		dyn = append(dyn, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: add(n)})
	}
	if runpath != "" {
		dyn = append(dyn, elf.Dyn64{Tag: int64(elf.DT_RUNPATH), Val: add(runpath)})
	}
	dyn = append(dyn, elf.Dyn64{})
	shstr := []byte("\x00.dynstr\x00.dynamic\x00.shstrtab\x00")
	inter := append([]byte(interp), 0)
	const head = 64 + 56
	dynAt := uint64(head + len(inter) + len(str))
	shstrAt := dynAt + uint64(16*len(dyn))
	shAt := shstrAt + uint64(len(shstr))
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1,
		Phoff: 64, Shoff: shAt, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64, Shnum: 4, Shstrndx: 3,
	}
	p := elf.Prog64{Type: uint32(elf.PT_NULL), Off: head, Filesz: uint64(len(inter))}
	if interp != "" {
		p.Type = uint32(elf.PT_INTERP)
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: head + uint64(len(inter)), Size: uint64(len(str))},
		{Name: 9, Type: uint32(elf.SHT_DYNAMIC), Off: dynAt, Size: uint64(16 * len(dyn)), Link: 1, Entsize: 16},
		{Name: 18, Type: uint32(elf.SHT_STRTAB), Off: shstrAt, Size: uint64(len(shstr))},
	}
	var b bytes.Buffer
	for _, v := range []any{h, p, inter, str, dyn, shstr, sections} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// makePool writes one package "p" with the given files; a value that begins with "->" is a symbolic link.
func makePool(t *testing.T, files map[string]string) *Pool {
	t.Helper()
	dir := t.TempDir()
	d := debPackage{Name: "p", Version: "1:2.0+ds-3"}
	for at, text := range files {
		f := poolFile{Path: at, Mode: 0o755, Size: int64(len(text))}
		if link, ok := strings.CutPrefix(text, "->"); ok {
			f.Link = link
		} else if err := writeFile(filepath.Join(dir, "root", at), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		d.Files = append(d.Files, f)
	}
	return openPool(dir, poolIndex{Include: []string{"p"}, Packages: []debPackage{d}})
}

// newTree is an empty tree.
func newTree(unmerged bool) *tree {
	return &tree{entries: map[string]entry{}, packages: map[string]bool{}, labels: map[string]string{}, unmerged: unmerged}
}

func TestReadNeeds(t *testing.T) {
	b := makeELF(t, "/lib64/ld.so", "$ORIGIN/../plugins:/opt/x", "liba.so.1", "libc.so.6")
	got, err := readNeeds("/usr/bin/prog", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := needs{interp: "/lib64/ld.so", libs: []string{"liba.so.1", "libc.so.6"}, search: []string{"/usr/plugins", "/opt/x"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(needs{})); d != "" {
		t.Error(d)
	}
	for _, text := range []string{"", "#!/bin/sh\n", "\x7fEL"} {
		if n, err := readNeeds("/x", strings.NewReader(text)); err != nil || n.interp != "" || n.libs != nil {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	}
	if _, err := readNeeds("/x", strings.NewReader("\x7fELF broken")); err == nil {
		t.Error("a broken ELF file was accepted")
	}
}

// The test program itself is a real ELF file made by somebody else's linker.
func TestReadNeedsOfRealProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := readNeeds("/self", f); err != nil {
		t.Error(err)
	}
}

func TestCloseOver(t *testing.T) {
	const lib = "/usr/lib/x86_64-linux-gnu/"
	p := makePool(t, map[string]string{
		"/usr/bin/prog":                   string(makeELF(t, "/lib64/ld-linux-x86-64.so.2", "", "liba.so.1")),
		lib + "liba.so.1":                 "->liba.so.1.2",
		lib + "liba.so.1.2":               string(makeELF(t, "", "", "libc.so.6", "liba.so.1")), // needs itself: a cycle
		lib + "libc.so.6":                 string(makeELF(t, "", "")),
		lib + "libplug.so.3":              string(makeELF(t, "", "/usr/lib/own", "libown.so")),
		"/usr/lib/own/libown.so":          string(makeELF(t, "", "")),
		lib + "ld.so":                     "loader",
		"/usr/lib64/ld-linux-x86-64.so.2": "->../lib/x86_64-linux-gnu/ld.so",
		lib + "libunused.so":              "nobody",
	})
	for _, tc := range []struct {
		unmerged bool
		loader   string
	}{{true, "/lib64/ld-linux-x86-64.so.2"}, {false, "/usr/lib64/ld-linux-x86-64.so.2"}} {
		tr := newTree(tc.unmerged)
		if err := tr.take(p, take{Package: "p", Keep: []absPath{"/usr/bin/prog"}}); err != nil {
			t.Fatal(err)
		}
		if err := tr.closeOver(p, []string{"libplug.so.3"}); err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{
			"/usr/bin/prog": true, lib + "liba.so.1": true, lib + "liba.so.1.2": true, lib + "libc.so.6": true,
			lib + "libplug.so.3": true, "/usr/lib/own/libown.so": true, tc.loader: true,
		}
		got := map[string]bool{}
		for at := range tr.entries {
			got[at] = true
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if e := tr.entries[tc.loader]; e.link != "" || e.open == nil {
			t.Error("the loader must be a file, not a link")
		}
	}
}

func TestCloseOverNamesTheMissing(t *testing.T) {
	p := makePool(t, map[string]string{"/usr/bin/prog": string(makeELF(t, "", "", "libgone.so.1"))})
	tr := newTree(true)
	if err := tr.take(p, take{Package: "p", Keep: []absPath{"/usr/bin/*"}}); err != nil {
		t.Fatal(err)
	}
	err := tr.closeOver(p, nil)
	if err == nil || !strings.Contains(err.Error(), "/usr/bin/prog needs the shared library libgone.so.1") {
		t.Errorf("got %v", err)
	}
}
