package squashfs

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/lkv-io/lkv/internal/golden"
	"golang.org/x/sys/unix"
)

// run starts one of squashfs-tools and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s (Debian package squashfs-tools): %v\n%s", name, err, out)
	}
	return string(out)
}

// onDisk is what the operating system sees below a directory.
func onDisk(t testing.TB, top string) map[string]seen {
	t.Helper()
	out, groups := map[string]seen{}, map[uint64][]string{}
	err := filepath.WalkDir(top, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p, top), "/")
		s := seen{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink), MTime: st.Mtim.Sec, XAttrs: attributes(t, p)}
		switch st.Mode & typeMask {
		case typeChar, typeBlk:
			s.Major, s.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		case typeLink:
			if s.Target, err = os.Readlink(p); err != nil {
				return err
			}
		case typeReg:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s.Data = string(data)
		}
		if s.Mode&typeMask != typeDir {
			groups[st.Ino] = append(groups[st.Ino], name)
		}
		out[name] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return same(out, groups)
}

func attributes(t testing.TB, p string) map[string]string {
	t.Helper()
	b := make([]byte, maxXAttr)
	n, err := unix.Llistxattr(p, b)
	if err != nil || n == 0 {
		return nil
	}
	out := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00") {
		v := make([]byte, maxXAttr)
		n, err := unix.Lgetxattr(p, name, v)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(v[:n])
	}
	return out
}

// extract unpacks an image with unsquashfs.
func extract(t testing.TB, img []byte) map[string]seen {
	t.Helper()
	top, err := os.MkdirTemp("", "unsquashfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	name := filepath.Join(top, "image")
	if err := os.WriteFile(name, img, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "unsquashfs", "-strict-errors", "-no-progress", "-d", filepath.Join(top, "root"), name)
	return onDisk(t, filepath.Join(top, "root"))
}

// mine leaves what an ordinary user can extract.
func mine(list []file) []file {
	if os.Geteuid() == 0 {
		return list
	}
	var out []file
	for _, f := range list {
		if k := f.Mode & typeMask; k == typeChar || k == typeBlk || strings.HasPrefix(f.Link, "dev/") {
			continue
		}
		f.UID, f.GID, f.XAttrs = uint32(os.Geteuid()), uint32(os.Getegid()), nil
		out = append(out, f)
	}
	return out
}

// TestUnsquashfs: somebody else's program extracts exactly what went in. As root with owners, devices and attributes.
func TestUnsquashfs(t *testing.T) {
	for _, o := range []PackOptions{small(), {Level: zstd.SpeedDefault, Workers: 3}, {Level: zstd.SpeedBestCompression, Workers: 1, BlockSize: maxBlock}} {
		list := mine(sample())
		if diff := cmp.Diff(want(list), extract(t, build(t, list, o, 1))); diff != "" {
			t.Errorf("block size %d (-want +got):\n%s", o.BlockSize, diff)
		}
	}
}

// TestListing shows what unsquashfs says of the sample.
func TestListing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, build(t, sample(), small(), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	got := run(t, "unsquashfs", "-llnumeric", name) + run(t, "unsquashfs", "-stat", name)
	golden.Check(t, "testdata/listing.txt", strings.ToValidUTF8(strings.ReplaceAll(got, name, "IMAGE"), "?"))
}

// TestMksquashfs: our reader reads what somebody else wrote, with directory indexes and attributes kept apart.
func TestMksquashfs(t *testing.T) {
	top := t.TempDir()
	src := filepath.Join(top, "src")
	if err := os.MkdirAll(filepath.Join(src, "many"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		p := filepath.Join(src, "many", strings.Repeat("long", 10)+noiseName(i))
		if err := os.WriteFile(p, []byte(text(i)), 0o600); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			if err := unix.Setxattr(p, "user.big", []byte(text(2000)), 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Setxattr(p, "user.n", []byte{byte(i / 500)}, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(src, "file"), []byte(noise(1, 300_000)+text(300_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"-b", "4K"}, {"-b", "1M", "-noI", "-noD", "-noF", "-noX"}, {"-no-fragments", "-no-exports"}} {
		img := filepath.Join(top, "image")
		run(t, "mksquashfs", append([]string{src, img, "-noappend", "-quiet", "-no-progress", "-comp", "zstd"}, args...)...)
		data, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(onDisk(t, src), read(t, data)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", args, diff)
		}
	}
}

func noiseName(i int) string { return string(bytes.Repeat([]byte{byte('a' + i%26)}, i/26+1)) }
