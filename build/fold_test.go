package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// unpackTree folds layers and returns the tree and its spill file.
func unpackTree(t testing.TB, layers ...[]file) (*tree, *spill, error) {
	t.Helper()
	sp, err := newSpill(t.TempDir(), asCpio)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sp.Close() })
	tr := newTree(0)
	for i, l := range layers {
		if err := tr.fold(t.Context(), bytes.NewReader(tarOf(t, l...)), i+1, sp); err != nil {
			return nil, nil, err
		}
	}
	return tr, sp, sp.flush()
}

// show prints a tree: "dir/", "link->target" or "file=content".
func show(t testing.TB, tr *tree, sp *spill) []string {
	t.Helper()
	out := []string{}
	for _, e := range tr.entries("") {
		switch {
		case e.ino.is(typeDir):
			out = append(out, e.name+"/")
		case e.ino.is(typeLink):
			out = append(out, e.name+"->"+e.ino.target)
		default:
			data, err := sp.all(e.ino)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e.name+"="+string(data))
		}
	}
	return out
}

func f(names ...string) []file {
	var out []file
	for _, n := range names {
		name, body, _ := strings.Cut(n, "=")
		if strings.Contains(n, "=>") {
			name, body = n, ""
		}
		out = append(out, file{name: name, body: body})
	}
	return out
}

func TestFold(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]file
		want   []string
	}{
		"upper layer wins":             {[][]file{f("a=1", "b=2"), f("a=3")}, []string{"a=3", "b=2"}},
		"last duplicate wins":          {[][]file{f("a=1", "a=2")}, []string{"a=2"}},
		"duplicate directories merge":  {[][]file{f("d/", "d/x=1", "d/", "d/y=2")}, []string{"d/", "d/x=1", "d/y=2"}},
		"whiteout":                     {[][]file{f("a=1", "b=2"), f(".wh.a")}, []string{"b=2"}},
		"whiteout of a directory":      {[][]file{f("d/", "d/x=1", "e=2"), f(".wh.d")}, []string{"e=2"}},
		"whiteout and new, any order":  {[][]file{f("d/", "d/x=1"), f("d/", "d/y=2", ".wh.d")}, []string{"d/", "d/y=2"}},
		"whiteout before new":          {[][]file{f("a=1"), f(".wh.a", "a=2")}, []string{"a=2"}},
		"new before whiteout":          {[][]file{f("a=1"), f("a=2", ".wh.a")}, []string{"a=2"}},
		"whiteout of nothing":          {[][]file{f("a=1"), f("x/.wh.b", ".wh.c")}, []string{"a=1"}},
		"opaque":                       {[][]file{f("d/", "d/x=1"), f("d/", "d/.wh..wh..opq", "d/y=2")}, []string{"d/", "d/y=2"}},
		"opaque after its siblings":    {[][]file{f("d/", "d/x=1"), f("d/", "d/y=2", "d/.wh..wh..opq")}, []string{"d/", "d/y=2"}},
		"opaque keeps new below old":   {[][]file{f("d/", "d/s/", "d/s/x=1"), f("d/s/y=2", "d/.wh..wh..opq")}, []string{"d/", "d/s/", "d/s/y=2"}},
		"opaque root":                  {[][]file{f("a=1"), f(".wh..wh..opq", "b=2")}, []string{"b=2"}},
		"old storage driver's notes":   {[][]file{f("a=1", ".wh..wh.plnk", ".wh..wh.aufs")}, []string{"a=1"}},
		"missing parents":              {[][]file{f("x/y/z=1")}, []string{"x/", "x/y/", "x/y/z=1"}},
		"parent after child":           {[][]file{f("x/y=1", "x/")}, []string{"x/", "x/y=1"}},
		"file over directory":          {[][]file{f("d/", "d/x=1"), f("d=2")}, []string{"d=2"}},
		"directory over file":          {[][]file{f("d=1"), f("d/", "d/x=2")}, []string{"d/", "d/x=2"}},
		"child of a file":              {[][]file{f("d=1"), f("d/x=2")}, []string{"d/", "d/x=2"}},
		"dot slash":                    {[][]file{f("./", "./a=1", "./d/", "./d/b=2")}, []string{"a=1", "d/", "d/b=2"}},
		"hard link":                    {[][]file{f("a=1", "b=>a")}, []string{"a=1", "b=1"}},
		"hard link into a lower layer": {[][]file{f("a=1"), f("b=>a")}, []string{"a=1", "b=1"}},
		"hard link outlives its name":  {[][]file{f("a=1", "b=>a"), f(".wh.a")}, []string{"b=1"}},
		"hard link keeps old content":  {[][]file{f("a=1", "b=>a"), f("a=2")}, []string{"a=2", "b=1"}},
		"through a link":               {[][]file{f("usr/", "usr/lib/", "lib->usr/lib"), f("lib/x=1")}, []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/x=1"}},
		"through an absolute link":     {[][]file{f("run/", "var/", "var/run->/run"), f("var/run/x=1")}, []string{"run/", "run/x=1", "var/", "var/run->/run"}},
		"through a link upwards":       {[][]file{f("a/", "b/", "a/up->../../../b"), f("a/up/x=1")}, []string{"a/", "a/up->../../../b", "b/", "b/x=1"}},
		"directory replaces a link":    {[][]file{f("usr/", "lib->usr"), f("lib/", "lib/x=1")}, []string{"lib/", "lib/x=1", "usr/"}},
		"whiteout through a link":      {[][]file{f("usr/", "usr/x=1", "lib->usr"), f("lib/.wh.x")}, []string{"lib->usr", "usr/"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr, sp, err := unpackTree(t, c.layers...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, show(t, tr, sp)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFoldRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		layer []file
		want  string
	}{
		"absolute":             {f("/etc/passwd=x"), `entry "/etc/passwd": absolute name`},
		"dot dot":              {f("a/../../b=x"), `name with ".."`},
		"hard link to nothing": {f("a=>b"), `hard link to "b", which is no file here`},
		"hard link to dir":     {f("d/", "a=>d"), "which is no file here"},
		"hard link outside":    {f("a=>../x"), `hard link: name with ".."`},
		"loop":                 {f("a->b", "b->a", "a/x=1"), "too many symbolic links"},
		"nameless whiteout":    {f(".wh."), "whiteout without a name"},
		"long link":            {f("a->" + strings.Repeat("x", 4096)), "the kernel reads at most 4095"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpackTree(t, c.layer)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestRefusesFourGiB announces the file without providing it: the refusal comes before its content.
func TestRefusesFourGiB(t *testing.T) {
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	if err := w.WriteHeader(&tar.Header{Name: "huge", Size: 1 << 32, Typeflag: tar.TypeReg, Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	l := layerOf(t, head.Bytes())
	s := aShelf(t)
	r := resolved{ref: "x/huge:1", img: oneLayer{s["lkv/runc:1"], l}}
	sp, err := newSpill(t.TempDir(), asCpio)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	_, err = r.unpack(context.Background(), sp)
	if !errors.Is(err, errTooBig) || !strings.Contains(err.Error(), "image x/huge:1: layer 1 of 1 (sha256:") || !strings.Contains(err.Error(), `entry "huge"`) {
		t.Errorf("error %v", err)
	}
}

// oneLayer is an image with its layers replaced.
type oneLayer struct {
	v1.Image
	l v1.Layer
}

func (o oneLayer) Layers() ([]v1.Layer, error) { return []v1.Layer{o.l}, nil }

func TestDevices(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "sda", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 8, Devminor: 0},
		{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	sp, err := newSpill(t.TempDir(), asCpio)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	tr := newTree(0)
	if err := tr.fold(t.Context(), &b, 1, sp); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, r := range number(tr.entries("")) {
		if err := r.write(&out, sp, [2]uint32{7, 9}, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	out.Write(trailerBytes())
	want := "020666 0:0 x1 null 1,3\n010600 0:0 x1 pipe\n060660 0:6 x1 sda 8,0\n"
	list := readNewc(t, out.Bytes())
	if d := cmp.Diff(want, listing(list)); d != "" {
		t.Error(d)
	}
	if list[0].dev != [2]uint64{7, 9} {
		t.Errorf("device %v", list[0].dev)
	}
}

// TestFoldProperty: whatever the layers, the tree lists each name once, directories first, and nothing a
// whiteout of a higher layer names survives without being written again.
func TestFoldProperty(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/e", "d/e/f", "g"})
	rapid.Check(t, func(rt *rapid.T) {
		var layers [][]file
		for i := range rapid.IntRange(1, 4).Draw(rt, "layers") {
			var l []file
			for _, n := range rapid.SliceOfN(name, 0, 6).Draw(rt, "names") {
				switch rapid.IntRange(0, 3).Draw(rt, "what") {
				case 0:
					l = append(l, file{name: n, body: fmt.Sprint(i)})
				case 1:
					l = append(l, file{name: n + "/"})
				case 2:
					j := strings.LastIndexByte(n, '/') + 1
					l = append(l, file{name: n[:j] + ".wh." + n[j:]})
				case 3:
					l = append(l, file{name: n + "/.wh..wh..opq"})
				}
			}
			layers = append(layers, l)
		}
		tr, sp, err := unpackTree(t, layers...)
		if err != nil {
			rt.Fatal(err)
		}
		seen := map[string]bool{"": true}
		for _, e := range tr.entries("") {
			dir, _ := split(e.name)
			if seen[e.name] || !seen[dir] {
				rt.Fatalf("%s is there twice or before its directory: %v", e.name, show(t, tr, sp))
			}
			seen[e.name] = true
			if e.ino.is(typeReg) {
				seen[e.name] = true
				data, err := sp.all(e.ino)
				if err != nil {
					rt.Fatal(err)
				}
				layer := int(data[0] - '0')
				for _, higher := range layers[layer+1:] {
					for _, f := range higher {
						if hides(f.name, e.name) {
							rt.Fatalf("%s of layer %d survived %s: %v", e.name, layer, f.name, show(t, tr, sp))
						}
					}
				}
			}
		}
	})
}

// hides says whether a whiteout entry covers a path.
func hides(entry, name string) bool {
	dir, base := split(entry)
	if base == ".wh..wh..opq" {
		return strings.HasPrefix(name, dir+"/")
	}
	if !strings.HasPrefix(base, ".wh.") {
		return false
	}
	victim := strings.TrimPrefix(dir+"/"+strings.TrimPrefix(base, ".wh."), "/")
	return name == victim || strings.HasPrefix(name, victim+"/")
}

// withXattr is a layer with one file that carries a capability.
func withXattr(t testing.TB) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "ping", Typeflag: tar.TypeReg, Mode: 0o755, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}},
		{Name: "plain", Typeflag: tar.TypeReg, Mode: 0o755, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layerOf(t, b.Bytes())
}

// Copying through new memory for every file made 1 GB of garbage in a build of 564 MB.
func TestContentsShareMemory(t *testing.T) {
	const files = 2000
	sp, err := newSpill(t.TempDir(), asCpio)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	c, err := newCompressor(zstd.SpeedFastest, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), 1000)
	var list []entry
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range files {
		ino := &inode{mode: typeReg | 0o644}
		if ino.off, ino.size, err = sp.take(1000, struct{ io.Reader }{bytes.NewReader(data)}); err != nil {
			t.Fatal(err)
		}
		list = append(list, entry{fmt.Sprintf("f%04d", i), ino})
	}
	if err := sp.flush(); err != nil {
		t.Fatal(err)
	}
	if err := c.compress(t.Context(), io.Discard, archive{records: number(list), sp: sp}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / files; per > 16<<10 {
		t.Errorf("%d bytes of new memory per file of 1000 bytes", per)
	} else {
		t.Logf("%d bytes of new memory per file", per)
	}
}
