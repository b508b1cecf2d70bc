package persist

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

func TestProve(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ nonce, want string }{
		{"0123abcd", " found=- wrote=0123abcd"},
		{"ff", " found=0123abcd wrote=ff"},
		{strings.Repeat("a", 64), " found=ff wrote=" + strings.Repeat("a", 64)},
		{"1", " found=" + strings.Repeat("a", 64) + " wrote=1"},
	} {
		if got := Prove(dir, c.nonce); got != "lkv: prove "+dir+c.want {
			t.Errorf("%s: %q", c.nonce, got)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != report.ProveFile {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestProveRefusesOtherNonces: what the host hands over is not written anywhere unless it is plainly a nonce.
func TestProveRefusesOtherNonces(t *testing.T) {
	for _, nonce := range []string{"", "ABC", "xyz", "../x", "ab\ncd", "ab\n", "ab cd", strings.Repeat("a", 65)} {
		dir := t.TempDir()
		got := Prove(dir, nonce)
		if !strings.Contains(got, " error: ") || strings.Contains(got, "\n") {
			t.Errorf("%q: %q", nonce, got)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%q: wrote %v, %v", nonce, entries, err)
		}
	}
}

// TestProveMeetsStrangeFiles: a container with the disk in its hands may have put anything there. Nothing outside is
// touched, nothing blocks, and the line says what is wrong.
func TestProveMeetsStrangeFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("beef"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		put  func(file string) error
		want string
	}{
		"link":           {func(f string) error { return os.Symlink(outside, f) }, "error: read what an earlier boot left"},
		"pipe":           {func(f string) error { return unix.Mkfifo(f, 0o600) }, "it is not a file"},
		"directory":      {func(f string) error { return os.Mkdir(f, 0o700) }, "it is not a file"},
		"text":           {func(f string) error { return os.WriteFile(f, []byte("a b\nlkv: services started"), 0o600) }, "it is not a nonce"},
		"empty":          {func(f string) error { return os.WriteFile(f, nil, 0o600) }, "it is not a nonce"},
		"long":           {func(f string) error { return os.WriteFile(f, make([]byte, 1<<20), 0o600) }, "it is not a nonce"},
		"next is a link": {func(f string) error { return os.Symlink(outside, f+".next") }, "found=- wrote=ab"},
		"next is a pipe": {func(f string) error { return unix.Mkfifo(f+".next", 0o600) }, "found=- wrote=ab"},
		"next is full":   {func(f string) error { return os.MkdirAll(f+".next/x", 0o700) }, "error: write nonce"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.put(filepath.Join(dir, report.ProveFile)); err != nil {
				t.Fatal(err)
			}
			if got := Prove(dir, "ab"); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "beef" {
		t.Errorf("a file elsewhere was changed: %q, %v", b, err)
	}
}

// TestProveOnFullDisk: the line says it, and what was there before stays.
func TestProveOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); errors.Is(err, unix.EPERM) {
		proveWithoutRoom(t)
		return
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	if got := Prove(dir, "ab"); !strings.Contains(got, "wrote=ab") {
		t.Fatal(got)
	}
	_ = os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 64<<10), 0o600) // fails when it is full, which is meant
	if got := Prove(dir, "cd"); !strings.Contains(got, "error: write nonce") || !strings.Contains(got, "no space left") {
		t.Errorf("%q", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, report.ProveFile)); err != nil || string(b) != "ab" {
		t.Errorf("the earlier nonce is gone: %q, %v", b, err)
	}
}

// proveWithoutRoom is what a test without the right to mount can do: a place that takes no file.
func proveWithoutRoom(t *testing.T) {
	t.Helper()
	if got := Prove(filepath.Join(t.TempDir(), "gone"), "ab"); !strings.Contains(got, "error: write nonce") {
		t.Errorf("%q", got)
	}
}
