package squashfs

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// TestPackerErrors: whatever goes wrong is said, by Add or at the latest by Close, and no worker stays behind.
func TestPackerErrors(t *testing.T) {
	before := runtime.NumGoroutine()
	for name, c := range map[string]struct {
		size int64
		r    io.Reader
		w    io.Writer
		want string
	}{
		"short":     {100, strings.NewReader(text(99)), io.Discard, "ends after 99 of 100"},
		"shorter":   {3 * minBlock, strings.NewReader(text(2 * minBlock)), io.Discard, "ends after 8192 of 12288"},
		"long":      {100, strings.NewReader(text(101)), io.Discard, "longer than 100"},
		"not empty": {0, strings.NewReader("x"), io.Discard, "longer than 0"},
		"negative":  {-1, strings.NewReader(""), io.Discard, "-1 bytes"},
		"no open":   {1, nil, io.Discard, "open content to pack: test"},
		"read":      {1, iotest.ErrReader(errTest), io.Discard, "test"},
		"read end":  {1, io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errTest)), io.Discard, "test"},
		"write":     {30 * minBlock, strings.NewReader(noise(1, 30*minBlock)), &failing{after: 10}, "write pack: test"},
		"write end": {1, strings.NewReader("x"), &failing{}, "write pack: test"},
	} {
		p, err := NewPacker(c.w, small())
		if err != nil {
			t.Fatal(err)
		}
		_, add := p.Add(c.size, func() (io.Reader, error) {
			if c.r == nil {
				return nil, errTest
			}
			return c.r, nil
		})
		_, again := p.Add(0, func() (io.Reader, error) { return strings.NewReader(""), nil })
		if add != nil && !errors.Is(again, add) {
			t.Errorf("%s: after %v comes %v", name, add, again)
		}
		_, err = p.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if _, err := p.Close(); err == nil {
			t.Errorf("%s: closed twice", name)
		}
	}
	for runtime.NumGoroutine() > before {
		runtime.Gosched() // the workers have been told to end
	}
}

func TestPackOptions(t *testing.T) {
	for name, o := range map[string]PackOptions{
		"no level":   {Workers: 1},
		"no worker":  {Level: zstd.SpeedFastest},
		"odd size":   {Level: zstd.SpeedFastest, Workers: 1, BlockSize: 100_000},
		"small size": {Level: zstd.SpeedFastest, Workers: 1, BlockSize: minBlock / 2},
		"big size":   {Level: zstd.SpeedFastest, Workers: 1, BlockSize: maxBlock * 2},
	} {
		if _, err := NewPacker(io.Discard, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestPack looks at a description: zeros take no room, tails share a block, what does not shrink is stored as it is.
func TestPack(t *testing.T) {
	_, list, data := packs(t, []file{
		reg("zeros", string(make([]byte, 2*minBlock))), reg("a", noise(1, 3000)), reg("b", text(1000)), reg("c", text(1000)),
		reg("raw", noise(2, minBlock)), reg("empty", ""),
	}, small(), 1)
	p := list[0]
	if f := p.Files[0]; f.sparse(minBlock) != 2*minBlock || f.Start != 0 || f.Fragment != -1 {
		t.Errorf("zeros: %+v", f)
	}
	if a, b, c := p.Files[1], p.Files[2], p.Files[3]; a.Fragment != 0 || b.Fragment != 0 || b.FragmentOffset != 3000 || c.Fragment != 1 || c.FragmentOffset != 0 {
		t.Errorf("tails: %+v %+v %+v", a, b, c)
	}
	if f := p.Files[4]; f.Blocks[0] != minBlock|rawBlock || !bytes.Equal(data[0][f.Start:f.Start+minBlock], []byte(noise(2, minBlock))) {
		t.Errorf("raw: %+v", f)
	}
	if f := p.Files[5]; len(f.Blocks) != 0 || f.Fragment != -1 {
		t.Errorf("empty: %+v", f)
	}
	if int(p.Size) != len(data[0]) || len(p.Fragments) != 2 {
		t.Errorf("%d fragments, %d of %d bytes", len(p.Fragments), p.Size, len(data[0]))
	}
}
