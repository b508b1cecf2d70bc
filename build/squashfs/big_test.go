package squashfs

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// zeros reads as zeros for ever.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// holes is a file in which zeros take no room.
type holes struct{ f *os.File }

func (h holes) Write(p []byte) (int, error) {
	if !zero(p) {
		return h.f.Write(p)
	}
	at, err := h.f.Seek(int64(len(p)), io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return len(p), h.f.Truncate(at)
}

// TestBig: a file over 4 GiB, and one that lies beyond 4 GiB of the image.
func TestBig(t *testing.T) {
	const size = 4<<30 + 5*maxBlock + 3
	end := noise(1, 2*maxBlock+3)
	first, last := &bytes.Buffer{}, &bytes.Buffer{}
	content := io.MultiReader(io.LimitReader(zeros{}, size-int64(len(end))), bytes.NewReader([]byte(end)))
	pack := func(w io.Writer, size int64, r io.Reader) Pack {
		p, err := NewPacker(w, PackOptions{Level: zstd.SpeedFastest, Workers: 2, BlockSize: maxBlock})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Add(size, func() (io.Reader, error) { return r, nil }); err != nil {
			t.Fatal(err)
		}
		out, err := p.Close()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	const gap = 4<<30 + 1
	packs := []Pack{pack(first, size, content), {BlockSize: maxBlock, Size: gap}, pack(last, int64(len(end)), bytes.NewReader([]byte(end)))}
	img, err := Plan([]Entry{{Mode: typeDir}, {Path: "long", Mode: typeReg}, {Path: "far", Mode: typeReg, Pack: 2}}, packs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	open := func(i int) (io.ReadCloser, error) {
		return io.NopCloser([]io.Reader{first, io.LimitReader(zeros{}, gap), last}[i]), nil
	}
	if n, err := img.WriteTo(context.Background(), holes{f}, open); err != nil || n != img.Size() || n < math.MaxUint32 {
		t.Fatalf("wrote %d of %d: %v", n, img.Size(), err)
	}
	r, err := Open(f, img.Size())
	if err != nil {
		t.Fatal(err)
	}
	err = r.Walk(func(n *Node) error {
		c := n.Open()
		if n.Path == "long" {
			if n, err := io.CopyN(io.Discard, c, size-int64(len(end))); err != nil || n != size-int64(len(end)) {
				return err
			}
		}
		if got, err := io.ReadAll(c); err != nil || n.Path != "" && string(got) != end {
			t.Errorf("%q of %d bytes ends with %d bytes (%v)", n.Path, n.Size, len(got), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, "unsquashfs", "-cat", name, "far"); got != end {
		t.Errorf("unsquashfs: %d bytes of the file beyond 4 GiB, want %d", len(got), len(end))
	}
	run(t, "unsquashfs", "-no-progress", "-d", filepath.Join(t.TempDir(), "out"), name, "long")
}

// TestMemory: the heap does not grow with a file.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := NewPacker(io.Discard, PackOptions{Level: zstd.SpeedFastest, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	piece := []byte(noise(1, 1<<20))
	const n = 200
	for range 3 {
		r := io.MultiReader(slicesOf(piece, n)...)
		if _, err := p.Add(n<<20, func() (io.Reader, error) { return r, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 40<<20 {
		t.Errorf("packing %d MiB took %d MiB of memory in all", 3*n, got>>20)
	}
}

func slicesOf(b []byte, n int) []io.Reader {
	var out []io.Reader
	for range n {
		out = append(out, bytes.NewReader(b))
	}
	return out
}
