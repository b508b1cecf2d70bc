package unpack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// newc writes an archive: entries as "mode links ino name body".
func newc(list ...Record) []byte {
	var b bytes.Buffer
	for _, r := range list {
		body := r.Target
		if r.Mode&TypeMask == Regular {
			body = string(r.Data)
		}
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", r.Ino, r.Mode, r.UID, r.GID, r.Links, r.Mtime, len(body),
			r.Dev[0], r.Dev[1], r.Rdev[0], r.Rdev[1], len(r.Name)+1, 0, r.Name)
		b.Write(make([]byte, (4-b.Len()%4)%4))
		b.WriteString(body)
		b.Write(make([]byte, (4-b.Len()%4)%4))
	}
	return b.Bytes()
}

func dir(name string) Record { return Record{Name: name, Mode: Dir | 0o755, Links: 2} }
func file(name, s string) Record {
	return Record{Name: name, Mode: Regular | 0o644, Links: 1, Data: []byte(s)}
}
func sym(name, to string) Record {
	return Record{Name: name, Mode: Symlink | 0o777, Links: 1, Target: to}
}
func hard(name, s string, ino uint32) Record {
	return Record{Name: name, Mode: Regular | 0o644, Links: 2, Ino: ino, Data: []byte(s)}
}

var end = Record{Name: Trailer, Links: 1}

func squash(t testing.TB, data []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(data, nil)
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listing is what lies in the root, one line per name.
func listing(r *Root) string {
	var out []string
	for p, i := range r.Files() {
		what := i.Target
		if i.Is(Regular) {
			what = string(i.Data)
		}
		out = append(out, fmt.Sprintf("%s %o %s", p, i.Mode, what))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestKernelRules(t *testing.T) {
	for name, c := range map[string]struct {
		in   []Record
		want string
		lost string
	}{
		"plain":                 {[]Record{dir("a"), file("a/b", "x"), end}, "a 40755 ; a/b 100644 x", ""},
		"last file wins":        {[]Record{file("a", "1"), file("a", "2")}, "a 100644 2", ""},
		"directory keeps":       {[]Record{dir("a"), file("a/b", "x"), {Name: "a", Mode: Dir | 0o700}}, "a 40700 ; a/b 100644 x", ""},
		"no parent":             {[]Record{file("a/b", "x")}, "", "a/b"},
		"file over directory":   {[]Record{dir("a"), file("a", "x")}, "a 100644 x", ""},
		"file over full one":    {[]Record{dir("a"), file("a/b", "x"), file("a", "y")}, "a 40755 ; a/b 100644 x", "a"},
		"directory over link":   {[]Record{dir("a"), sym("l", "a"), dir("l")}, "a 40755 ; l 40755 ", ""},
		"through a link":        {[]Record{dir("a"), sym("l", "a"), file("l/f", "x")}, "a 40755 ; a/f 100644 x; l 120777 a", ""},
		"through absolute":      {[]Record{dir("a"), dir("b"), sym("b/l", "/a"), file("b/l/f", "x")}, "a 40755 ; a/f 100644 x; b 40755 ; b/l 120777 /a", ""},
		"through up":            {[]Record{dir("a"), dir("b"), sym("b/l", "../a"), file("b/l/f", "x")}, "a 40755 ; a/f 100644 x; b 40755 ; b/l 120777 ../a", ""},
		"link to itself":        {[]Record{sym("l", "l"), file("l/f", "x")}, "l 120777 l", "l/f"},
		"through a file":        {[]Record{file("a", "x"), file("a/b", "y")}, "a 100644 x", "a/b"},
		"hard link":             {[]Record{hard("a", "x", 7), hard("b", "", 7)}, "a 100644 x; b 100644 x", ""},
		"written through":       {[]Record{hard("a", "x", 7), hard("b", "", 7), file("a", "new")}, "a 100644 new; b 100644 new", ""},
		"other number":          {[]Record{hard("a", "x", 7), hard("b", "", 8)}, "a 100644 x; b 100644 ", ""},
		"trailer forgets":       {[]Record{hard("a", "x", 7), end, hard("b", "", 7)}, "a 100644 x; b 100644 ", ""},
		"one link is no link":   {[]Record{{Name: "a", Mode: Regular, Links: 1, Ino: 7, Data: []byte("x")}, {Name: "b", Mode: Regular, Links: 1, Ino: 7}}, "a 100000 x; b 100000 ", ""},
		"the root is no file":   {[]Record{dir("."), dir("/"), file("./a", "x")}, "a 100644 x", ""},
		"link replaced by link": {[]Record{sym("l", "a"), sym("l", "b")}, "l 120777 b", ""},
	} {
		r := NewRoot()
		if err := Initrd(newc(append(c.in, end)...), r.Add); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := listing(r); got != c.want || strings.Join(r.Lost, " ") != c.lost {
			t.Errorf("%s:\n got %s, lost %q\nwant %s, lost %q", name, got, r.Lost, c.want, c.lost)
		}
	}
}

func TestInitrdOfPieces(t *testing.T) {
	a, b, c := newc(dir("a")), newc(file("a/b", "x")), newc(file("a/c", strings.Repeat("y", 1<<20)), end)
	pad := make([]byte, 512)
	for name, data := range map[string][]byte{
		"zstd":            slices.Concat(squash(t, a), squash(t, b), squash(t, c)),
		"padded":          slices.Concat(squash(t, a), pad[:(4-len(squash(t, a))%4)%4+8], squash(t, b), pad[:(4-len(squash(t, b))%4)%4], squash(t, c), pad),
		"gzip":            slices.Concat(zip(t, a), zip(t, b), zip(t, c)),
		"plain first":     slices.Concat(newc(dir("x"), end), pad, squash(t, slices.Concat(a, b)), zip(t, c)),
		"padding inside":  squash(t, slices.Concat(a, pad, b, c, pad)),
		"plain and plain": slices.Concat(newc(dir("x"), end), newc(dir("a"), file("a/b", "x"), end), zip(t, c)),
	} {
		r := NewRoot()
		if err := Initrd(data, r.Add); err != nil {
			if name == "padded" && strings.Contains(err.Error(), "multiple of 4") {
				t.Errorf("%s: the test pads wrongly: %v", name, err)
			}
			t.Errorf("%s: %v", name, err)
			continue
		}
		if i := r.Find("a/c"); i == nil || i.Size != 1<<20 || i.Sum != sha256.Sum256(bytes.Repeat([]byte("y"), 1<<20)) || r.Find("a/b") == nil {
			t.Errorf("%s: %s", name, listing(r)[:60])
		}
	}
}

func TestInitrdRefuses(t *testing.T) {
	whole := newc(file("a", "xyz"), end)
	odd := bytes.Clone(whole)
	odd[len(newc(file("a", "xyz")))-1] = 1 // padding
	for name, data := range map[string][]byte{
		"nothing known":    []byte("hello world"),
		"cut header":       whole[:50],
		"cut content":      squash(t, whole[:113]),
		"cut frame":        squash(t, whole)[:20],
		"across frames":    slices.Concat(squash(t, whole[:60]), squash(t, whole[60:])),
		"padding":          odd,
		"eight digits":     bytes.Replace(whole, []byte("070701"), []byte("070702"), 1),
		"reserved block":   {0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 7, 0, 0},
		"no final zero":    bytes.Replace(whole, []byte("a\x00"), []byte("aa"), 1),
		"name of no bytes": bytes.Replace(whole, []byte("0000000200000000a"), []byte("0000000000000000a"), 1),
	} {
		if err := Initrd(data, NewRoot().Add); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestGNUCpio reads what GNU cpio writes.
func TestGNUCpio(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Fatal("cpio is missing: install the Debian package cpio")
	}
	d := t.TempDir()
	for _, s := range []string{"mkdir -p " + d + "/sub/deep", "echo hi > " + d + "/sub/f", "ln " + d + "/sub/f " + d + "/g", "ln -s ../g " + d + "/sub/l",
		"mkfifo -m 600 " + d + "/p", "chmod 4711 " + d + "/g", "head -c 100000 /dev/zero > " + d + "/zeros"} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", s).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", s, err, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "find . | "+cpio+" -o -H newc --quiet")
	cmd.Dir = d
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r := NewRoot()
	if err := Initrd(data, r.Add); err != nil {
		t.Fatal(err)
	}
	if len(r.Lost) > 0 || len(r.Files()) != 7 || r.Find("g") != r.Find("sub/f") {
		t.Errorf("%s, lost %q", listing(r), r.Lost)
	}
	for p, i := range r.Files() {
		st, err := os.Lstat(filepath.Join(d, p))
		if err != nil {
			t.Fatal(err)
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok || sys.Mode != i.Mode || sys.Uid != i.UID || int64(i.Mtime) != st.ModTime().Unix() {
			t.Errorf("%s: %o %d, on disk %o %d", p, i.Mode, i.UID, sys.Mode, sys.Uid)
		}
	}
}

// FuzzInitrd: nothing panics, and what is read is below the root.
func FuzzInitrd(f *testing.F) {
	whole := newc(dir("a"), hard("a/b", "x", 3), hard("c", "", 3), sym("l", "../.."), file("l/x", "y"), end)
	f.Add(whole)
	f.Add(squash(f, whole))
	f.Add(zip(f, whole))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		r := NewRoot()
		if err := Initrd(data, r.Add); err != nil {
			return
		}
		for p := range r.Files() {
			if strings.HasPrefix(p, "/") || strings.HasPrefix(p, "..") {
				t.Errorf("a name outside of the root: %q", p)
			}
		}
	})
}
