package persist

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Serials of the disks in these tests, as vSphere writes UUIDs.
const (
	serialA = "6000c29aaaaaaaaaaaaaaaaaaaaaaaaa"
	serialB = "6000c29bbbbbbbbbbbbbbbbbbbbbbbbb"
)

// lab is a /sys and a /dev whose disks are sparse files.
type lab struct {
	t        testing.TB
	sys, dev string
}

func newLab(t testing.TB) *lab {
	t.Helper()
	for _, name := range []string{"blkid", "mke2fs", "e2fsck", "mkswap"} {
		if _, err := exec.LookPath(program(name)); err != nil {
			t.Fatalf("%v: apt-get install e2fsprogs util-linux", err)
		}
	}
	root := t.TempDir()
	l := &lab{t, filepath.Join(root, "sys"), filepath.Join(root, "dev")}
	for _, d := range []string{l.sys + "/block", l.dev} {
		l.must(os.MkdirAll(d, 0o755))
	}
	return l
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// disk adds a disk of that size and returns its file.
func (l *lab) disk(name, serial string, size int64) string {
	l.t.Helper()
	dir := filepath.Join(l.sys, "block", name)
	l.must(os.MkdirAll(filepath.Join(dir, "device"), 0o755))
	l.must(os.MkdirAll(filepath.Join(dir, "holders"), 0o755))
	l.attr(name, "size", fmt.Sprint(size/512))
	l.attr(name, "dev", fmt.Sprintf("8:%d", 16*int(name[len(name)-1]-'a')))
	l.attr(name, "ro", "0")
	l.attr(name, "removable", "0")
	page := append([]byte{0, 0x80, 0, byte(len(serial))}, serial...)
	l.must(os.WriteFile(filepath.Join(dir, "device/vpd_pg80"), page, 0o644))
	file := filepath.Join(l.dev, name)
	f, err := os.Create(file)
	l.must(err)
	l.must(f.Truncate(size))
	l.must(f.Close())
	return file
}

func (l *lab) attr(disk, name, value string) {
	l.t.Helper()
	l.must(os.WriteFile(filepath.Join(l.sys, "block", disk, name), []byte(value+"\n"), 0o644))
}

// put writes bytes into a disk's file.
func (l *lab) put(file string, at int64, data []byte) {
	l.t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	l.must(err)
	_, err = f.WriteAt(data, at)
	l.must(err)
	l.must(f.Close())
}

// tool runs a program that makes a disk's contents.
func (l *lab) tool(name string, args ...string) {
	l.t.Helper()
	if out, code, err := Exec(l.t.Context(), name, args...); err != nil || code != 0 {
		l.t.Fatalf("%s %s: status %d, %v: %s", name, strings.Join(args, " "), code, err, out)
	}
}

// persist looks for an ext4 labelled docker, without waiting.
func (l *lab) persist() Persist {
	return Persist{
		Want: Want{Label: "docker", Filesystem: "ext4"}, Mount: "/nonexistent/lkv-test", Timeout: time.Nanosecond,
		Sys: l.sys, Dev: l.dev, Reports: l.t.TempDir(), Log: io.Discard, Run: Exec,
	}
}

// sums are the contents of all disks.
func (l *lab) sums() map[string]string {
	l.t.Helper()
	out := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(l.dev, "*"))
	for _, file := range files {
		f, err := os.Open(file)
		l.must(err)
		h := crc32.New(crc32.MakeTable(crc32.Castagnoli)) // by far the fastest; nobody tries to forge
		_, err = io.Copy(h, f)
		l.must(err)
		l.must(f.Close())
		out[filepath.Base(file)] = fmt.Sprintf("%x", h.Sum(nil))
	}
	return out
}

// crashing is a Run that does what real does until stop says so, and then fails as a power cut would: whatever was
// written stays, nothing more happens.
func crashing(stop func(name string) bool) func(context.Context, string, ...string) (string, int, error) {
	return func(ctx context.Context, name string, args ...string) (string, int, error) {
		if stop(name) {
			return "", 0, fmt.Errorf("power cut before %s", name)
		}
		return Exec(ctx, name, args...)
	}
}
