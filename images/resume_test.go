package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// bigImage has one uncompressed layer of n random bytes.
func bigImage(t *testing.T, n int) (img v1.Image, layer v1.Hash, data []byte) {
	t.Helper()
	data = make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	img, err := mutate.AppendLayers(forPlatform(t, amd64, 0), static.NewLayer(data, types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	return img, digestOf(data), data
}

// holds checks that the one, uncompressed layer of an image is data.
func holds(t *testing.T, img v1.Image, data []byte) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(data))
	}
}

// onBlob answers requests for one blob.
func (h *hub) onBlob(blob v1.Hash, answer func(w http.ResponseWriter, r *http.Request) bool) {
	h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+blob.String()) && answer(w, r)
	})
}

// serveRange sends a blob from where the request wants it, but at most limit bytes: then the connection breaks.
func serveRange(t *testing.T, w http.ResponseWriter, r *http.Request, data []byte, limit int) (sent int) {
	from := 0
	if v, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		n, err := strconv.Atoi(strings.TrimSuffix(v, "-"))
		if err != nil || n >= len(data) {
			t.Errorf("range %q", v)
		}
		from = n
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	end := min(len(data), from+limit)
	w.Write(data[from:end])
	if end < len(data) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return end - from
}

// TestResume: a line that breaks again and again brings every byte once, and the progress ends at the total.
func TestResume(t *testing.T) {
	h := newHub(t)
	img, blob, data := bigImage(t, 4<<20)
	ref := h.push("a:1", img)
	var sent, calls atomic.Int64
	h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
		calls.Add(1)
		from := sent.Load()
		sent.Add(int64(min(500<<10, len(data)-int(from)))) // before the panic
		serveRange(t, w, r, data, 500<<10)
		return true
	})
	s := h.source(newCache(t))
	var events []Event
	s.Progress = func(e Event) { events = append(events, e) }
	got, _, err := s.Image(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, got, data)
	if sent.Load() != int64(len(data)) || calls.Load() != 9 {
		t.Errorf("%d bytes in %d requests, want %d in 9", sent.Load(), calls.Load(), len(data))
	}
	last := events[len(events)-1]
	if len(events) < 10 || last.Done != last.Total || last.Total < int64(len(data)) {
		t.Errorf("%d events, last %+v", len(events), last)
	}
	noParts(t, s.Cache)
}

func noParts(t *testing.T, c *Cache) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(c.blobs.dir, "sha256", ".*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestResumeInTheNextRun: what an ended process fetched is not fetched again, unless it is bad.
func TestResumeInTheNextRun(t *testing.T) {
	for name, damaged := range map[string]bool{"good": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			img, blob, data := bigImage(t, 1<<20)
			ref := h.push("a:1", img)
			c := newCache(t)
			ctx, cancel := context.WithCancel(context.Background())
			h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
				serveRange(t, w, r, data, 300<<10)
				return true
			})
			ended := h.source(c)
			ended.Progress = func(e Event) {
				if e.Done > 200<<10 {
					cancel()
				}
			}
			if _, _, err := ended.Image(ctx, ref); err == nil {
				t.Fatal("no error")
			}
			part := filepath.Join(c.blobs.dir, "sha256", ".part-"+blob.Hex)
			if st, err := os.Stat(part); err != nil || st.Size() == 0 {
				t.Fatalf("no part file: %v, %v", st, err)
			}
			if damaged {
				spoil(t, part)
			}
			var ranges []string
			h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
				ranges = append(ranges, r.Header.Get("Range"))
				serveRange(t, w, r, data, len(data))
				return true
			})
			got, _, err := h.source(c).Image(context.Background(), ref)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, got, data)
			if len(ranges) == 0 || ranges[0] == "" || damaged != (len(ranges) == 2 && ranges[len(ranges)-1] == "") {
				t.Errorf("ranges %q", ranges)
			}
			noParts(t, c)
		})
	}
}

// TestServersWithoutRanges: a registry that ignores ranges, or refuses them, sends all of it again.
func TestServersWithoutRanges(t *testing.T) {
	for name, refuse := range map[string]bool{"ignores": false, "refuses": true} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			img, blob, data := bigImage(t, 1<<20)
			ref := h.push("a:1", img)
			n := 0
			h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
				n++
				if refuse && r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return true
				}
				r.Header.Del("Range")
				limit := len(data)
				if n == 1 {
					limit = 300 << 10
				}
				serveRange(t, w, r, data, limit)
				return true
			})
			if _, _, err := h.source(newCache(t)).Image(context.Background(), ref); err != nil {
				t.Fatal(err)
			}
			if n < 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestRetriesAreBounded: a registry that is unwell is asked again a few times; one that says no is not.
func TestRetriesAreBounded(t *testing.T) {
	for code, want := range map[int]int{500: tries, 503: tries, 429: tries, 404: 1, 403: 1} {
		h := newHub(t)
		img, blob, data := bigImage(t, 1000)
		ref := h.push("a:1", img)
		n, recover := 0, 0
		h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
			if n++; n == recover {
				serveRange(t, w, r, data, len(data))
				return true
			}
			w.WriteHeader(code)
			return true
		})
		s := h.source(newCache(t))
		if _, _, err := s.Image(context.Background(), ref); err == nil || n != want {
			t.Errorf("%d: %d requests, %v, want %d", code, n, err, want)
		}
		if want > 1 {
			n, recover = 0, 3
			if _, _, err := s.Image(context.Background(), ref); err != nil {
				t.Errorf("%d: recovered, but %v", code, err)
			}
		}
	}
}

// TestTwoWantOneBlob: the second waits for the first and fetches nothing.
func TestTwoWantOneBlob(t *testing.T) {
	h := newHub(t)
	img, blob, data := bigImage(t, 1<<20)
	ref := h.push("a:1", img)
	var n atomic.Int64
	h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
		n.Add(1)
		serveRange(t, w, r, data, len(data))
		return true
	})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		c, err := OpenCache(dir)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if _, _, err := h.source(c).Image(context.Background(), ref); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n.Load() != 1 {
		t.Errorf("fetched %d times", n.Load())
	}
}
