package squashfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// TestSample: our reader shows what went in, from one pack or several.
func TestSample(t *testing.T) {
	for n := 1; n <= 3; n++ {
		list := sample()
		for i := range list {
			list[i].Pack = i % n
		}
		list = append(list, file{Entry: Entry{Path: "dev/big", Mode: typeBlk, Major: 0xfff, Minor: 0xfffff}})
		if diff := cmp.Diff(want(list), read(t, build(t, list, small(), n))); diff != "" {
			t.Errorf("%d packs (-want +got):\n%s", n, diff)
		}
	}
}

// TestTimes: times that the format cannot hold become the nearest.
func TestTimes(t *testing.T) {
	for in, out := range map[int64]int64{-1: 0, 0: 0, 1<<32 - 1: 1<<32 - 1, 1 << 32: 1<<32 - 1} {
		list := []file{dir("")}
		list[0].MTime = in
		if got := read(t, build(t, list, small(), 1))[""].MTime; got != out {
			t.Errorf("time %d became %d, want %d", in, got, out)
		}
	}
}

// TestSameBytes: neither workers, nor cores, nor the order of entries, nor a description that was JSON change a byte.
func TestSameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBestCompression} {
		list := append(sample(), reg("long", text(100*minBlock)+noise(9, 50*minBlock)+text(99)))
		o := PackOptions{Level: level, Workers: 1, BlockSize: minBlock}
		want := build(t, list, o, 1)
		for _, cores := range []int{1, 4} {
			runtime.GOMAXPROCS(cores)
			for _, o.Workers = range []int{1, 2, 7} {
				if !bytes.Equal(want, build(t, list, o, 1)) {
					t.Errorf("%v: other bytes with %d workers on %d cores", level, o.Workers, cores)
				}
			}
		}
	}
	entries, packs, data := packs(t, sample(), small(), 1)
	first, err := Plan(entries, packs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(20, func(i, j int) { entries[i], entries[j] = entries[j], entries[i] }) // links stay last
		other, err := Plan(entries, packs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.tables, other.tables) || !bytes.Equal(first.super, other.super) {
			t.Fatal("another order of entries gave other bytes")
		}
	}
	if len(data[0]) != int(packs[0].Size) {
		t.Errorf("pack of %d bytes says %d", len(data[0]), packs[0].Size)
	}
}

// TestBigDirectories: listings over 64 KiB, over many metadata blocks, with inode numbers further apart than 16 bits.
func TestBigDirectories(t *testing.T) {
	list := []file{dir(""), dir("far"), dir("many"), dir("wide")}
	for i := range 40000 {
		list = append(list, file{Entry: Entry{Path: fmt.Sprintf("many/%05d", i), Mode: typeFifo}})
	}
	for i := range 1000 {
		list = append(list, dir(fmt.Sprintf("wide/%s%04d", strings.Repeat("n", 251), i)))
	}
	list = append(list, file{Entry: Entry{Path: "far/a", Link: "many/00000"}}, file{Entry: Entry{Path: "far/b", Link: "many/39999"}}, file{Entry: Entry{Path: "far/c", Link: "many/00001"}})
	img := build(t, list, small(), 1)
	wanted := want(list)
	if diff := cmp.Diff(wanted, read(t, img)); diff != "" {
		t.Errorf("reader (-want +got):\n%s", diff)
	}
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, img, 0o600); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(run(t, "unsquashfs", "-lln", name), "\n"); lines != len(wanted) {
		t.Errorf("unsquashfs lists %d names, want %d", lines, len(wanted))
	}
}

var errTest = errors.New("test")

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errTest
	}
	return len(p), nil
}

// TestWriteTo: a pack that is not what it was, and whatever else goes wrong, ends the writing with an error.
func TestWriteTo(t *testing.T) {
	entries, packs, data := packs(t, sample(), small(), 1)
	img, err := Plan(entries, packs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole := data[0]
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		w    io.Writer
		open func(int) (io.ReadCloser, error)
		want string
	}{
		"short":    {open: from([][]byte{whole[1:]}), want: "pack 0: copy byte"},
		"long":     {open: from([][]byte{append(whole, 0)}), want: "longer than"},
		"open":     {open: func(int) (io.ReadCloser, error) { return nil, errTest }, want: "pack 0: test"},
		"canceled": {ctx: done, open: from(data), want: "context canceled"},
		"super":    {w: &failing{after: 95}, open: from(data), want: "test"},
		"copy":     {w: &failing{after: 96}, open: from(data), want: "pack 0: copy"},
		"tables":   {w: &failing{after: int(img.Size()) - 1}, open: from(data), want: "write squashfs: test"},
	} {
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		if c.w == nil {
			c.w = io.Discard
		}
		n, err := img.WriteTo(c.ctx, c.w, c.open)
		if err == nil || !strings.Contains(err.Error(), c.want) || n >= img.Size() {
			t.Errorf("%s: wrote %d of %d, error %v, want %q", name, n, img.Size(), err, c.want)
		}
	}
}
