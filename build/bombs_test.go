package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// zstdOf is a zstd stream: head as it is, then that many MiB of one byte in 32 bytes each, then tail.
func zstdOf(head []byte, mib int, fill byte, tail []byte) []byte {
	out := rawFrame(head)
	for mib > 0 {
		n := min(mib, 1024)
		mib -= n
		out = append(out, 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38) // window of 128 KiB, no size, no checksum
		for i := range n * 8 {
			last := 0
			if i == n*8-1 {
				last = 1
			}
			h := binary.LittleEndian.AppendUint32(nil, uint32(128<<10<<3|1<<1|last)) // a block of 128 KiB, one byte repeated
			out = append(out, h[0], h[1], h[2], fill)
		}
	}
	return append(out, rawFrame(tail)...)
}

// rawFrame is a zstd frame with up to 64 KiB as they are.
func rawFrame(b []byte) []byte {
	h := binary.LittleEndian.AppendUint32(nil, uint32(len(b)<<3|1))
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38, h[0], h[1], h[2]}, b...)
}

func sized(t testing.TB, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// peak samples the heap while f runs and returns the most it saw, bytes.
func peak(f func()) uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	done, most := make(chan struct{}), make(chan uint64)
	go func() {
		var high uint64
		for {
			metrics.Read(s)
			high = max(high, s[0].Value.Uint64())
			select {
			case <-done:
				most <- high
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	f()
	close(done)
	return <-most
}

// TestBigLayerInLittleMemory: 2 GiB out of 64 KiB are built like any other file, in a fraction of that memory.
func TestBigLayerInLittleMemory(t *testing.T) {
	s := rootShelf(t)
	s[victim] = blobs(t, types.OCILayerZStd, zstdOf(sized(t, "app", 2<<30), 2<<10, 0, make([]byte, 1024)))
	for _, mode := range []string{rootInitrd, rootSquashfs} {
		in := smallInput(t, s)
		in.Rootfs, in.Compress = mode, "fastest"
		if got := peak(func() { mustBuild(t, in) }); got > 384<<20 {
			t.Errorf("%s: %d MiB of memory", mode, got>>20)
		}
	}
}

// TestLayerBombs are layers of a few bytes that unpack to more than any real image. They are refused before they fill disk
// or memory.
func TestLayerBombs(t *testing.T) {
	var maze []file
	for i := range 40 {
		maze = append(maze, file{name: fmt.Sprintf("l%d->%sl%d", i, strings.Repeat("./", 2000), i+1)})
	}
	for range 2000 {
		maze = append(maze, file{name: "l0/x/", mode: 0o755})
	}
	deep := strings.Repeat(strings.Repeat("d", 250)+"/", 16)
	texts := []file{{name: deep}, {name: "l->" + deep}}
	for i := range 70_000 {
		texts = append(texts, file{name: fmt.Sprintf("l/%d", i)})
	}
	var dirs []file // 2000 directories each that nobody described
	for i := range 1100 {
		dirs = append(dirs, file{name: fmt.Sprintf("%d/%sx", i, strings.Repeat("/d", 1990))})
	}
	whiteouts := []file{{name: "d/"}}
	for i := range 20_000 {
		whiteouts = append(whiteouts, file{name: fmt.Sprintf("d/%d", i)})
	}
	for range 10_000 {
		whiteouts = append(whiteouts, file{name: "d/.wh..wh..opq"})
	}
	for name, layer := range map[string][]byte{
		"one file of 5 GiB":   zstdOf(sized(t, "a", 5<<30), 0, 0, nil),
		"a hole of 5 GiB":     ended(pax("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,0", "GNU.sparse.size", "5368709120"), block("a", '0', nil)),
		"zeros after the end": zstdOf(make([]byte, 1024), 7<<10, 0, nil),
		"links":               tarOf(t, maze...),
		"names":               tarOf(t, texts...),
		"directories":         tarOf(t, dirs...),
		"whiteouts":           tarOf(t, whiteouts...),
	} {
		t.Run(name, func(t *testing.T) {
			s := rootShelf(t)
			s[victim] = blobs(t, types.OCILayer, layer)
			got := peak(func() {
				refused(t, s, rootSquashfs, "image "+victim+": layer 1 of 1 (sha256:", errBomb.Error())
			})
			if got > 768<<20 {
				t.Errorf("%d MiB of memory", got>>20)
			}
		})
	}
}

// TestLimitIsTheSum: what counts is all an image unpacks to, and how much of it was downloaded.
func TestLimitIsTheSum(t *testing.T) {
	sp, err := newSpill(t.TempDir(), asPack)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	sp.limit = 10
	if _, _, err := sp.take(6, strings.NewReader("123456")); err != nil {
		t.Error(err)
	}
	if _, _, err := sp.take(5, strings.NewReader("12345")); !errors.Is(err, errBomb) {
		t.Errorf("error %v", err)
	}
	if _, _, err := sp.take(4, strings.NewReader("1234")); err != nil {
		t.Error(err)
	}
	for compressed, want := range map[int64]int64{-1: 4 << 30, 0: 4 << 30, 1 << 20: 4<<30 + 200<<20, 1 << 30: maxUnpacked, 1 << 62: maxUnpacked} {
		if got := unpackedLimit(compressed); got != want {
			t.Errorf("%d compressed: %d, want %d", compressed, got, want)
		}
	}
}

// TestManyEntries counts the entries of all layers.
func TestManyEntries(t *testing.T) {
	sp, err := newSpill(t.TempDir(), asPack)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	tr := newTree(0)
	tr.cost.entries = maxEntries - 10
	err = tr.fold(t.Context(), &endless{b: block("d", tar.TypeDir, nil)}, 1, sp)
	if !errors.Is(err, errBomb) || !strings.Contains(err.Error(), "entries") {
		t.Errorf("error %v", err)
	}
}

// endless repeats b.
type endless struct {
	b  []byte
	at int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[e.at:])
	e.at = (e.at + n) % len(e.b)
	return n, nil
}

// TestInterruptInHole: a hole of a sparse file reads nothing from the layer, and still a build can be stopped in it.
func TestInterruptInHole(t *testing.T) {
	hole := ended(pax("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,0", "GNU.sparse.size", "4294967295"), block("a", '0', nil))
	ctx, cancel := context.WithCancel(t.Context())
	sp, err := newSpill(t.TempDir(), asPack)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	r := &stopping{Reader: bytes.NewReader(hole), after: 3, stop: cancel}
	if err := newTree(0).fold(ctx, r, 1, sp); !errors.Is(err, context.Canceled) || sp.off > 1<<20 {
		t.Errorf("error %v after %d bytes", err, sp.off)
	}
}

// stopping calls stop once it was read that many blocks of.
type stopping struct {
	*bytes.Reader
	after int
	stop  func()
}

func (s *stopping) Read(p []byte) (int, error) {
	if s.after--; s.after == 0 {
		s.stop()
	}
	return s.Reader.Read(p)
}
