package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/lkv-io/lkv/internal/manifest"
)

// The peak of the heap during a push to a registry, which does not grow with the ISO; and the bytes that a second push
// of it sends. The registry of the library keeps blobs in memory, so the ISO's are counted and thrown away in front of it.
func BenchmarkArtifactHeap(b *testing.B) {
	peaks := map[int64]float64{}
	for _, size := range []int64{64 << 20, 512 << 20} {
		b.Run(fmt.Sprintf("%dMiB", size>>20), func(b *testing.B) {
			files := zeroISO(b, size)
			var peak uint64
			var sent, again int64
			for b.Loop() {
				s := discarding(b, files[len(files)-1].SHA256, size)
				var placed, second Placed
				peak = max(peak, peakHeap(func() { placed = put(b, s, files) }))
				second = put(b, s, files)
				sent, again = sent+placed.Sent, again+second.Sent
			}
			if peaks[size] = float64(peak) / (1 << 20); again != 0 {
				b.Errorf("the second push sent %d bytes", again)
			}
			b.ReportMetric(peaks[size], "MiB-heap")
			b.ReportMetric(float64(sent)/float64(size)/float64(b.N), "ISOs-once")
			b.ReportMetric(float64(again)/float64(b.N), "B-again")
		})
	}
	if small, large := peaks[64<<20], peaks[512<<20]; small > 0 && large > small+16 {
		b.Errorf("the heap peaks at %.0f MiB with 64 MiB and at %.0f MiB with 512 MiB", small, large)
	}
}

func put(b *testing.B, s Shelf, files []File) Placed {
	b.Helper()
	p, err := s.Put(context.Background(), files, nil)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// zeroISO is an ISO of zeros with its manifest.
func zeroISO(b *testing.B, size int64) []File {
	b.Helper()
	path, sum := filepath.Join(b.TempDir(), "iso"), sha256.New()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(sum, f); err != nil {
		b.Fatal(err)
	}
	iso := File{Name: "worker-0.iso", Path: path, Size: size, SHA256: hexOf(sum.Sum(nil))}
	m := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:x", ISO: manifest.File{SHA256: iso.SHA256, Size: size}}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		b.Fatal(err)
	}
	return []File{raw("worker-0.manifest.json", text.Bytes()), iso}
}

// discarding is a place in a registry that takes one blob without keeping it.
func discarding(b *testing.B, blob string, size int64) Shelf {
	b.Helper()
	inner, took := registry.New(registry.Logger(log.New(io.Discard, "", 0))), &atomic.Bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPatch && r.ContentLength == size:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut && strings.Contains(r.URL.RawQuery, blob):
			took.Store(true)
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodHead && took.Load() && strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+blob):
			w.Header().Set("Content-Length", fmt.Sprint(size))
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	b.Cleanup(srv.Close)
	cache, err := OpenCache(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	host := strings.TrimPrefix(srv.URL, "http://")
	s := &Source{Cache: cache, Platform: amd64, Insecure: []string{host}, Keychain: authn.NewMultiKeychain(), wait: waiter(time.Millisecond)}
	return Shelf{Source: s, Image: "worker", Repository: host + "/lkv/worker"}
}

// peakHeap returns the most bytes of the heap that were in use while do ran, looked at every few milliseconds.
func peakHeap(do func()) (peak uint64) {
	runtime.GC()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	<-done
	return peak
}
