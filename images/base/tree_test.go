package base

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTakeKeepAndDrop(t *testing.T) {
	p := makePool(t, map[string]string{
		"/usr/bin/a": "1", "/usr/bin/b": "2", "/usr/lib/x/one.so": "3", "/usr/lib/x/two.so": "4", "/etc/c": "5",
		"/usr/share/doc/p/copyright": "licence",
	})
	tr := newTree(false)
	for _, k := range []take{
		{Package: "p", Keep: []absPath{"/usr/bin/*", "/usr/lib/**"}, Drop: []absPath{"/usr/bin/b", "/usr/**/two.so"}},
		{Package: "p", Keep: []absPath{"/etc/c"}, To: "/opt/renamed"},
	} {
		if err := tr.take(p, k); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.finish(p); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, at := range tr.paths() {
		if tr.entries[at].open != nil {
			files = append(files, at)
		}
	}
	want := []string{"/opt/renamed", "/usr/bin/a", "/usr/lib/x/one.so", "/usr/share/doc/p/copyright"}
	if d := cmp.Diff(want, files); d != "" {
		t.Error(d)
	}
	if e := tr.entries["/lib64"]; e.link != "usr/lib64" {
		t.Errorf("/lib64 is %+v", e)
	}
}

func TestTakeErrors(t *testing.T) {
	p := makePool(t, map[string]string{"/usr/bin/a": "1"})
	for _, tc := range []struct {
		k    take
		want string
	}{
		{take{Package: "q", Keep: []absPath{"/a"}}, "take from q: no such package"},
		{take{Package: "p", Keep: []absPath{"/usr/bin/moved"}}, "no file fits /usr/bin/moved"},
	} {
		if err := newTree(true).take(p, tc.k); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
}

func TestFileBelowFileIsRefused(t *testing.T) {
	tr := newTree(true)
	tr.entries["/a"] = entry{open: inMemory(nil)}
	tr.entries["/a/b"] = entry{open: inMemory(nil)}
	if err := tr.finish(&Pool{}); err == nil || !strings.Contains(err.Error(), "/a/b lies below /a") {
		t.Errorf("got %v", err)
	}
}

func TestUpstreamVersion(t *testing.T) {
	for in, want := range map[string]string{
		"26.1.5+dfsg1-9+deb13u1": "26.1.5", "1:2.0-3": "2.0", "2:12.5.0-2": "12.5.0", "1.0": "1.0", "1:10.0p1-7+deb13u4": "10.0p1",
	} {
		if got := (debPackage{Version: in}).upstream(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// The bytes of a layer depend on the files alone: not on the order they were added in, nor on the clock.
func TestTarIsReproducible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}(/[a-z.-]{1,4}){0,3}`), 1, 12, rapid.ID[string]).Draw(t, "names")
		order := rapid.Permutation(names).Draw(t, "order")
		a, errA := tarOf(names)
		b, errB := tarOf(order)
		if (errA == nil) != (errB == nil) {
			t.Fatalf("%v, other order %v", errA, errB)
		}
		if !bytes.Equal(a, b) {
			t.Fatal("another order gave other bytes")
		}
	})
}

// tarOf writes a tree of files, each holding its own name.
func tarOf(names []string) ([]byte, error) {
	tr := newTree(true)
	for _, n := range names {
		if n = filepath.Clean("/" + n); n != "/" {
			tr.entries[n] = entry{mode: 0o644, open: inMemory([]byte(n)), size: int64(len(n))}
		}
	}
	if err := tr.finish(&Pool{}); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := tr.writeTar(&b)
	return b.Bytes(), err
}

func TestTarEntries(t *testing.T) {
	tr := newTree(true)
	tr.entries["/b/run"] = entry{mode: 0o4755, uid: 3, gid: 4, open: inMemory([]byte("hi")), size: 2}
	tr.entries["/a"] = entry{mode: 0o777, link: "b/run"}
	tr.entries["/b"] = entry{dir: true, mode: 0o700}
	var b bytes.Buffer
	if err := tr.writeTar(&b); err != nil {
		t.Fatal(err)
	}
	rd := tar.NewReader(&b)
	var got []string
	for {
		h, err := rd.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name)
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uname != "" || h.Gname != "" || len(h.PAXRecords) != 0 {
			t.Errorf("%s: %+v", h.Name, h)
		}
		if h.Name == "b/run" && (h.Mode != 0o4755 || h.Uid != 3 || h.Gid != 4) {
			t.Errorf("mode or owner lost: %+v", h)
		}
	}
	if want := []string{"a", "b/", "b/run"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// guestOnly is a component without packages, so that it builds without a network.
func guestOnly(t *testing.T) (Component, Options) {
	t.Helper()
	src := fstest.MapFS{
		"g/component.yml": {Data: []byte("description: d\nguest: /init\nunmerged: true\nfiles:\n  - {path: /etc/x, source: x, mode: 0600}\nlinuxkit: {pid: host, capabilities: [all]}\nentrypoint: [/init]\n")},
		"g/files/x":       {Data: []byte("text")},
	}
	cs, err := load(src)
	if err != nil {
		t.Fatal(err)
	}
	guest := filepath.Join(t.TempDir(), "lkv-guest")
	if err := os.WriteFile(guest, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	return cs[0], Options{Guest: guest, WorkDir: t.TempDir(), Epoch: time.Unix(1e9, 0)}
}

func TestBuildWithoutPackages(t *testing.T) {
	c, o := guestOnly(t)
	img, err := Build(context.Background(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Config.Labels[LinuxKitLabel], `{"capabilities":["all"],"pid":"host"}`; got != want {
		t.Errorf("label %s, want %s", got, want)
	}
	if !cfg.Created.Equal(o.Epoch) || cfg.OS != "linux" || cfg.Architecture != "amd64" {
		t.Errorf("configuration %+v", cfg)
	}
	first, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	o.WorkDir = t.TempDir()
	if again, err := Build(context.Background(), c, o); err != nil {
		t.Fatal(err)
	} else if second, err := again.Digest(); err != nil || first != second {
		t.Errorf("built again: %s and %s, %v", first, second, err)
	}
	if err := os.WriteFile(o.Guest, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	if other, err := Build(context.Background(), c, o); err != nil {
		t.Fatal(err)
	} else if third, _ := other.Digest(); third == first {
		t.Error("another lkv-guest gave the same image")
	}
}

func TestBuildErrors(t *testing.T) {
	c, o := guestOnly(t)
	o.Guest = ""
	if _, err := Build(context.Background(), c, o); err == nil || !strings.Contains(err.Error(), "build g: the component contains lkv-guest") {
		t.Errorf("got %v", err)
	}
	o.Guest = filepath.Join(t.TempDir(), "gone")
	if _, err := Build(context.Background(), c, o); err == nil || !strings.Contains(err.Error(), "read lkv-guest") {
		t.Errorf("got %v", err)
	}
}

func TestUnpackTarStaysBelowRoot(t *testing.T) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, n := range []string{"../../escape", "/abs", "./lib/x.so", "./usr/share/man/man1/x.gz", "./usr/share/doc/p/changelog", "./usr/share/doc/p/copyright"} {
		if err := tw.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "a", "b")
	files, err := unpackTar(&b, root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Path)
		if !exists(filepath.Join(root, f.Path)) {
			t.Errorf("%s was not written below the root", f.Path)
		}
	}
	want := []string{"/escape", "/abs", "/usr/lib/x.so", "/usr/share/doc/p/copyright"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
