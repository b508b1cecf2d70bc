package squashfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nodes returns the names of an image.
func nodes(t testing.TB, img []byte) map[string]*Node {
	t.Helper()
	r, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*Node{}
	if err := r.Walk(func(n *Node) error { out[n.Path] = n; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// readLimit is how much of all files a test reads of a damaged image, in bytes.
const readLimit = 1 << 20

// readAll reads an image as one that must not be trusted.
func readAll(img []byte) error {
	r, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		return err
	}
	left := int64(readLimit)
	return r.Walk(func(n *Node) error {
		got, err := io.Copy(io.Discard, io.LimitReader(n.Open(), left))
		if left -= got; err != nil {
			return err
		}
		if left == 0 {
			return errors.New("enough")
		}
		return nil
	})
}

// raw is an image without compression, so that a changed byte is a changed field.
func raw(t testing.TB) []byte {
	t.Helper()
	src := t.TempDir()
	for name, data := range map[string]string{"a": "content", "sub/b": text(9000), "sub/c": "x", "d": noise(1, 5000)} {
		p := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("sub/b", filepath.Join(src, "l")), os.Link(filepath.Join(src, "a"), filepath.Join(src, "sub/a"))); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(t.TempDir(), "image")
	run(t, "mksquashfs", src, img, "-quiet", "-no-progress", "-comp", "zstd", "-b", "4K", "-noI", "-noD", "-noF", "-noX",
		"-p", "sub/n c 666 0 0 5 1", "-xattrs")
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDamage: every byte of the superblock and the tables is changed in turn, and the image is cut at every place.
// Nothing panics, nothing takes long, and what is read stays below the limit.
func TestDamage(t *testing.T) {
	for name, img := range map[string][]byte{"raw": raw(t), "ours": build(t, sample(), small(), 2)} {
		if err := readAll(img); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tables := int(le.Uint64(img[64:])) // where the inodes are
		used := int(le.Uint64(img[40:]))
		refused := 0
		for i := range used {
			if i == superSize {
				continue
			}
			if i > superSize && i < tables && i%97 != 0 {
				continue // contents: a few are enough
			}
			for _, change := range []byte{0xff, 0x80, 1} {
				bad := slices.Clone(img)
				bad[i] ^= change
				if readAll(bad) != nil {
					refused++
				}
			}
		}
		if refused < (used-tables)/2 {
			t.Errorf("%s: only %d changes of %d bytes noticed", name, refused, used-tables)
		}
		for i := 0; i < used; i += 13 {
			if readAll(img[:i]) == nil {
				t.Errorf("%s: cut to %d of %d bytes and not noticed", name, i, used)
			}
		}
	}
}

// TestOpenErrors: a superblock that no image of ours has.
func TestOpenErrors(t *testing.T) {
	img := build(t, sample(), small(), 1)
	for name, c := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"magic":      {func(b []byte) { b[0] = 'x' }, "not a squashfs image"},
		"version":    {func(b []byte) { b[28] = 3 }, "squashfs 3.0"},
		"compressor": {func(b []byte) { b[20] = 1 }, "compressor 1: want zstd"},
		"block size": {func(b []byte) { le.PutUint32(b[12:], 5000) }, "block size 5000"},
		"block log":  {func(b []byte) { b[22]++ }, "does not fit"},
		"owners":     {func(b []byte) { b[26] = 0 }, "no owners"},
		"length":     {func(b []byte) { le.PutUint64(b[40:], 1<<40) }, "image says"},
		"tables":     {func(b []byte) { le.PutUint64(b[64:], le.Uint64(b[72:])) }, "inode table at"},
		"owners far": {func(b []byte) { le.PutUint64(b[48:], noTable-4) }, "outside of the image"},
		"attributes": {func(b []byte) { le.PutUint64(b[56:], noTable-4) }, "read extended attributes"},
	} {
		bad := slices.Clone(img)
		c.change(bad)
		if _, err := Open(bytes.NewReader(bad), int64(len(bad))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// TestCycle: a directory that is below itself is refused, whoever it says its parent is.
func TestCycle(t *testing.T) {
	img := raw(t)
	r, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.inode(r.s.Root)
	if err != nil {
		t.Fatal(err)
	}
	listing := int(r.s.DirectoryTable) + 2 + int(root.list&0xffff)
	sub := listing + bytes.Index(img[listing:], []byte("sub")) - 8
	le.PutUint16(img[sub:], uint16(r.s.Root))
	le.PutUint16(img[sub+2:], uint16(root.Number-le.Uint32(img[listing+8:])))
	if err := readAll(img); err == nil || !strings.Contains(err.Error(), `"sub" says that its parent is inode`) {
		t.Errorf("error %v", err)
	}
	le.PutUint32(img[int(r.s.InodeTable)+2+int(r.s.Root&0xffff)+28:], root.Number)
	if err := readAll(img); err == nil || !strings.Contains(err.Error(), `directory "sub" is in the tree twice`) {
		t.Errorf("error %v", err)
	}
}

// FuzzReader: any bytes are read to an end, without panic, and to the same end once more.
func FuzzReader(f *testing.F) {
	f.Add(raw(f))
	f.Add(build(f, sample(), small(), 1))
	f.Add(build(f, []file{dir("")}, small(), 0))
	f.Fuzz(func(t *testing.T, img []byte) {
		if a, b := readAll(img), readAll(img); (a == nil) != (b == nil) || a != nil && a.Error() != b.Error() {
			t.Errorf("%v, then %v", a, b)
		}
	})
}
