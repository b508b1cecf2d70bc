package iso

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sparse is a file that leaves out zeros: five gigabytes then need a few blocks only.
type sparse struct{ *os.File }

var nothing = make([]byte, 1<<20)

func (s sparse) WriteAt(p []byte, at int64) (int, error) {
	if len(p) <= len(nothing) && bytes.Equal(p, nothing[:len(p)]) {
		return len(p), nil
	}
	return s.File.WriteAt(p, at)
}

// marked is an endless run of zeros with the offset as text at every 512 MiB.
type marked struct{ at int64 }

func (m *marked) Read(p []byte) (int, error) {
	const step = 512 << 20
	clear(p)
	if next := align(m.at, step); next < m.at+int64(len(p)) {
		copy(p[next-m.at:], mark(next))
	}
	m.at += int64(len(p))
	return len(p), nil
}

func mark(at int64) string { return fmt.Sprintf("mark %12d", at) }

// TestXorrisoReadsLargeFile: a file of five gigabytes has two directory records, and xorriso reads it as one.
func TestXorrisoReadsLargeFile(t *testing.T) {
	const size = 5<<30 + 3
	f, err := os.Create(filepath.Join(t.TempDir(), "large.iso"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	o := sample()
	o.Files = []Extra{{Path: "root/large", Content: &marked{}, Size: size}, {Path: "root/next", Data: []byte("behind it")}}
	w, err := New(sparse{f}, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(7, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "xorriso", "xorriso", "-indev", f.Name(), "-lsl", "/root"); !strings.Contains(out, fmt.Sprint(int64(size))) {
		t.Errorf("xorriso sees another size:\n%s", out)
	}
	for _, at := range []int64{0, 4<<30 - 512<<20, 4 << 30, 5 << 30} {
		part := filepath.Join(t.TempDir(), "part")
		run(t, "xorriso", "xorriso", "-osirrox", "on", "-indev", f.Name(), "-extract_cut", "/root/large", fmt.Sprint(at), "3", part)
		if got, err := os.ReadFile(part); err != nil || string(got) != mark(at)[:3] {
			t.Errorf("byte %d: xorriso read %q, %v", at, got, err)
		}
	}
	m, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Open("root/large")
	if err != nil || r.Size() != size {
		t.Fatalf("%v, %v", r, err)
	}
	got := make([]byte, 17)
	if _, err := r.ReadAt(got, 4<<30); err != nil || string(got) != mark(4<<30) {
		t.Errorf("read back %q, %v", got, err)
	}
	if b := readFile(t, m, "root/next"); string(b) != "behind it" {
		t.Errorf("the file behind it has %q", b)
	}
	if _, err := io.ReadAll(io.NewSectionReader(r, size-1, 10)); err != nil {
		t.Error(err)
	}
}
