package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lkv-io/lkv/internal/manifest"
)

// thin is a center that keeps no ISO: it counts what comes and serves the file on this disk instead.
type thin struct {
	*center
	iso  string
	size int64
	wire *atomic.Int64
}

func (s *thin) CanCopyFrom(any) bool { return true }

func (s *thin) CopyFrom(_ context.Context, _ any, _, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[to], s.times[to] = []byte{}, now
	return nil
}

func (s *thin) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	if !strings.Contains(p, ".iso.") {
		return s.center.Put(ctx, p, r, size)
	}
	n, err := io.Copy(io.Discard, r)
	s.wire.Add(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[p], s.times[p] = []byte{}, now
	return err
}

func (s *thin) Stat(ctx context.Context, p string) (fs.FileInfo, error) {
	i, err := s.center.Stat(ctx, p)
	if err != nil || !strings.Contains(p, ".iso") {
		return i, err
	}
	return info{i.Name(), s.size, i.ModTime()}, nil
}

func (s *thin) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	if !strings.Contains(p, ".iso") {
		return s.center.Open(ctx, p)
	}
	return os.Open(s.iso)
}

func (s *thin) OpenRange(_ context.Context, _ string, off, n int64) (io.ReadCloser, error) {
	f, err := os.Open(s.iso)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// big makes an ISO of that many bytes and a push of it to n thin stores.
func big(t testing.TB, size int64, n int) (Input, *atomic.Int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "big.iso")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	m := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:x", ISO: manifest.File{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size}}
	if err := m.Write(&raw); err != nil {
		t.Fatal(err)
	}
	in, wire := Input{Image: "worker", ISO: path, Manifest: raw.Bytes(), Channel: "latest", Owner: "ci", Nonce: "1", Now: now}, &atomic.Int64{}
	for i := range n {
		in.Stores = append(in.Stores, &thin{behind("a", fmt.Sprint("s", i))[0], path, size, wire})
	}
	return in, wire
}

// The bytes on the wire are the ISO once per vCenter, whatever the number of stores; a second push sends none.
func TestBytesOnTheWire(t *testing.T) {
	for _, n := range []int{1, 3, 6} {
		in, wire := big(t, 4<<20, n)
		for run := range 2 {
			in.Nonce = fmt.Sprint(run)
			if _, err := Push(t.Context(), in); err != nil || wire.Load() != 4<<20 {
				t.Errorf("%d stores, run %d: %v, %d bytes", n, run, err, wire.Load())
			}
		}
	}
}

// What a push allocates does not grow with the ISO.
func TestMemoryDoesNotGrowWithTheISO(t *testing.T) {
	used := func(size int64, level string) int64 {
		in, _ := big(t, size, 3)
		in.Verify = level
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Push(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	for _, level := range []string{Full, Sample, Size} {
		small, large := used(2<<20, level), used(128<<20, level)
		if large > small+1<<20 {
			t.Errorf("%s: %d bytes for 2 MiB, %d for 128 MiB", level, small, large)
		}
	}
}
