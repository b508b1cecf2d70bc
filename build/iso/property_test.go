package iso

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestSameBytes: how the initrd is cut into writes does not matter, and the same options give the same bytes.
func TestSameBytes(t *testing.T) {
	initrd := noise(7, 300_001)
	want, _ := build(t, sample(), initrd, len(initrd))
	for _, step := range []int{1, 511, 4096, 4097, 65536, 262143, len(initrd)} {
		if got, _ := build(t, sample(), initrd, step); !bytes.Equal(got.b, want.b) {
			t.Errorf("images differ with pieces of %d bytes", step)
		}
	}
	got := &memory{}
	if buildInto(t, plain{got}, sample(), initrd, len(initrd)); !bytes.Equal(got.b, want.b) {
		t.Error("images differ when the file makes no holes")
	}
}

// TestIdentifiers: another label, command line, kernel or initrd gives another identity; nothing is left zero.
func TestIdentifiers(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Options){
		"base": func(*Options) {}, "label": func(o *Options) { o.VolumeID = "x" }, "cmdline": func(o *Options) { o.Cmdline = "x" },
		"kernel": func(o *Options) { o.Kernel[0]++ }, "epoch": func(o *Options) { o.Epoch = o.Epoch.Add(1e9) },
		"stub": func(o *Options) { o.EFI.Stub[0x400]++ }, "file": func(o *Options) { o.Files[0].Data[0]++ },
		"isolinux": func(o *Options) { o.BIOS.Isolinux[100]++ }, "initrd": nil,
	} {
		o, initrd := sample(), noise(7, 1000)
		if change == nil {
			initrd[999]++
		} else {
			change(&o)
		}
		f, l := build(t, o, initrd, 1000)
		for what, id := range map[string][]byte{
			"MBR": f.b[mbrID : mbrID+4], "disk": f.b[block+56 : block+72],
			"partition": f.b[2*block+16 : 2*block+32], "FAT": f.b[l.EFI.Offset+39 : l.EFI.Offset+43],
		} {
			if other, ok := seen[string(id)]; ok {
				t.Errorf("%s of %q is that of %q", what, name, other)
			}
			seen[string(id)] = what + " of " + name
		}
	}
}

// anyFiles draws a tree of files with odd names.
func anyFiles(r *rapid.T) []Extra {
	part := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9._ -]{1,12}`),
		rapid.StringMatching(`longname[a-c.]{1,5}`),
		rapid.StringMatching(`[xü]{120,127}`),
		rapid.StringMatching(`n{240,255}`),
	).Filter(func(s string) bool { return s != "." && s != ".." })
	paths := rapid.SliceOfNDistinct(rapid.SliceOfN(part, 1, 7), 0, 40, func(p []string) string { return strings.Join(p, "/") }).Draw(r, "paths")
	var list []Extra
	for i, p := range paths {
		list = append(list, Extra{Path: strings.Join(p, "/"), Data: noise(uint64(i), rapid.IntRange(0, 5000).Draw(r, "size"))})
	}
	return list
}

// TestAnyTree: every file comes back under its name, no two extents overlap unless shared on purpose, and each
// directory is sorted and its identifiers unique.
func TestAnyTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o, f := sample(), &memory{}
		o.Files = anyFiles(r)
		if rapid.Bool().Draw(r, "bios only") {
			o.EFI = nil
		}
		o.extent = rapid.SampledFrom([]int64{0, sector, 2 * sector}).Draw(r, "extent")
		w, err := New(f, o)
		if err != nil {
			if strings.Contains(err.Error(), "already a file") {
				r.Skip("one path is a directory of another")
			}
			r.Fatal(err)
		}
		if _, err := w.Write(noise(1, rapid.IntRange(1, 20000).Draw(r, "initrd"))); err != nil {
			r.Fatal(err)
		}
		if err := w.Close(); err != nil {
			r.Fatal(err)
		}
		m, err := Open(f)
		if err != nil {
			r.Fatal(err)
		}
		for _, x := range o.Files {
			if got, err := m.ReadFile(x.Path); err != nil || !bytes.Equal(got, x.Data) {
				r.Fatalf("%q: %d bytes, %v", x.Path, len(got), err)
			}
		}
		checkExtents(r, m, w.Layout())
		checkIdents(r, m)
	})
}

func checkExtents(r *rapid.T, m *Image, l Layout) {
	var list []Entry
	for _, e := range m.Files() {
		inside := e.Extent.Offset >= l.EFI.Offset && e.Extent.Offset+e.Extent.Size <= l.EFI.Offset+l.EFI.Size
		if e.Extent.Size > 0 && (!inside || e.Path == EFIPath) {
			list = append(list, e)
		}
		if e.Extent.Offset+e.Extent.Size > l.Size {
			r.Fatalf("%q reaches beyond the image", e.Path)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Extent.Offset, b.Extent.Offset) })
	for i := 1; i < len(list); i++ {
		if a, b := list[i-1], list[i]; a.Extent.Offset+a.Extent.Size > b.Extent.Offset {
			r.Fatalf("%q and %q overlap", a.Path, b.Path)
		}
	}
}

func checkIdents(r *rapid.T, m *Image) {
	last := map[string]string{}
	for _, e := range m.Files() {
		dir := e.Path[:strings.LastIndex(e.Path, "/")+1]
		if key := sortKey(e.Ident); last[dir] != "" && key <= last[dir] {
			r.Fatalf("%q does not come after %q in %q", key, last[dir], dir)
		} else {
			last[dir] = key
		}
	}
}
