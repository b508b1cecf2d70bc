package images

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// hub is an in-process registry on loopback that counts what it is asked.
type hub struct {
	t      *testing.T
	host   string
	calls  atomic.Int64
	answer atomic.Value // func(http.Handler) http.Handler
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.calls.Add(1)
		if f, ok := h.answer.Load().(func(http.ResponseWriter, *http.Request) bool); ok && f(w, r) {
			return
		}
		reg.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	h.host = strings.TrimPrefix(srv.URL, "http://")
	return h
}

func (h *hub) push(ref string, img remote.Taggable) string {
	h.t.Helper()
	full := h.host + "/" + ref
	r, err := name.ParseReference(full)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := remote.Push(r, img); err != nil {
		h.t.Fatal(err)
	}
	return full
}

func (h *hub) source(c *Cache) *Source {
	return &Source{Cache: c, Platform: amd64, Insecure: []string{h.host}, Keychain: authn.NewMultiKeychain(), wait: waiter(time.Millisecond)}
}

// multi is an index with an image per platform and an attestation, as BuildKit makes them.
func multi(t *testing.T) (idx v1.ImageIndex, amd, arm v1.Image) {
	t.Helper()
	amd, arm = anImage(t, 2), forPlatform(t, v1.Platform{OS: "linux", Architecture: "arm64"}, 2)
	idx = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &amd64}},
		mutate.IndexAddendum{Add: anImage(t, 1), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
		mutate.IndexAddendum{Add: anImage(t, 1)})
	return idx, amd, arm
}

func TestFetchOnceThenCache(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	idx, amd, _ := multi(t)
	ref := h.push("a/b:1", idx)
	s := h.source(newCache(t))
	var fetched []string
	s.Progress = func(e Event) {
		if e.Done == e.Total {
			fetched = append(fetched, e.Ref)
		}
	}
	for range 2 {
		img, got, err := s.Image(ctx, ref)
		if err != nil || got != digest(t, amd) {
			t.Fatalf("%s, %v, want %s", got, err, digest(t, amd))
		}
		if err := validate.Image(img); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff([]string{ref}, fetched); d != "" {
		t.Errorf("fetched: %s", d)
	}
	before := h.calls.Load()
	s.Offline = true
	if _, _, err := s.Image(ctx, ref); err != nil || h.calls.Load() != before {
		t.Errorf("offline: %v, %d calls", err, h.calls.Load()-before)
	}
	if _, _, err := s.Image(ctx, h.host+"/a/c:1"); !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), h.host+"/a/c:1") || h.calls.Load() != before {
		t.Errorf("offline and unknown: %v", err)
	}
}

func TestZstdLayers(t *testing.T) {
	data := strings.Repeat("not a tar, and nobody minds here ", 100)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil },
		tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(anImage(t, 1), l)
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t)
	got, _, err := h.source(newCache(t)).Image(context.Background(), h.push("z:1", img))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := got.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if b, err := io.ReadAll(rc); err != nil || string(b) != data {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestUnknownImages(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	s := h.source(newCache(t))
	idx, _, _ := multi(t)
	only := h.push("arm:1", forPlatform(t, v1.Platform{OS: "linux", Architecture: "arm64"}, 1))
	multiRef := h.push("multi:1", idx)
	for _, c := range []struct {
		ref      string
		platform v1.Platform
		is       error
		want     []string
	}{
		{"lkv/kernel:1", amd64, ErrUnknown, []string{"lkv/kernel:1", "lkv images build kernel"}},
		{"docker.io/lkv/tools", amd64, ErrUnknown, []string{"lkv images build tools"}},
		{h.host + "/no/such:1", amd64, ErrUnknown, []string{h.host + "/no/such:1", "check the name and the tag"}},
		{only, amd64, ErrPlatform, []string{"arm:1", "wanted linux/amd64, it is for linux/arm64"}},
		{multiRef, v1.Platform{OS: "linux", Architecture: "s390x"}, ErrPlatform, []string{"wanted linux/s390x, there is linux/amd64, linux/arm64/v8"}},
		{"Not:A:Ref", amd64, nil, []string{`"Not:A:Ref"`}},
	} {
		s.Platform = c.platform
		_, _, err := s.Image(ctx, c.ref)
		if err == nil || (c.is != nil && !errors.Is(err, c.is)) {
			t.Errorf("%s: error %v, want %v", c.ref, err, c.is)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %q lacks %q", c.ref, err, w)
			}
		}
	}
	list, err := s.Cache.List()
	if err != nil || len(list) != 0 {
		t.Errorf("the cache has %v, %v", list, err)
	}
}

// TestLocalNeverFetched: an image under our name on a public registry must not end up in an ISO.
func TestLocalNeverFetched(t *testing.T) {
	h := newHub(t)
	s := h.source(newCache(t))
	s.Transport = refuse{t}
	if _, _, err := s.Image(context.Background(), "lkv/kernel:1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v", err)
	}
}

type refuse struct{ t *testing.T }

func (r refuse) RoundTrip(q *http.Request) (*http.Response, error) {
	r.t.Errorf("asked %s", q.URL)
	return nil, errors.New("refused")
}

func TestRegistryAnswers(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	ref := h.push("a:1", anImage(t, 1))
	for code, want := range map[int]string{401: "docker login " + h.host, 403: "docker login " + h.host, 429: "limits the rate of pulls"} {
		h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(code)
				return true
			}
			return false
		})
		s := h.source(newCache(t))
		_, _, err := s.Image(ctx, ref)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ref) {
			t.Errorf("%d: error %v, want %q", code, err, want)
		}
	}
}

// TestDamagedTransfer: bytes that change on the way are refused, and never stored under the digest.
func TestDamagedTransfer(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	img := anImage(t, 1)
	ref := h.push("a:1", img)
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	bad := m.Layers[0].Digest
	h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, bad.String()) {
			w.Write(make([]byte, m.Layers[0].Size))
			return true
		}
		return false
	})
	s := h.source(newCache(t))
	if _, _, err := s.Image(ctx, ref); err == nil || !strings.Contains(err.Error(), "layer 1 of 1") {
		t.Errorf("error %v", err)
	}
	if s.Cache.blobs.has(bad, -1) {
		t.Error("the damaged blob was stored")
	}
	if list, err := s.Cache.List(); err != nil || len(list) != 0 {
		t.Errorf("the index names %v, %v", list, err)
	}
	h.answer.Store(func(http.ResponseWriter, *http.Request) bool { return false })
	if _, _, err := s.Image(ctx, ref); err != nil {
		t.Errorf("second try: %v", err)
	}
}

// TestDamagedCache: reading a stored layer to its end fails when the file was changed; a damaged manifest is
// fetched again when there is a registry to fetch it from.
func TestDamagedCache(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	img := anImage(t, 1)
	ref := h.push("a:1", img)
	s := h.source(newCache(t))
	got, hash, err := s.Image(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := got.Layers()
	if err != nil {
		t.Fatal(err)
	}
	lh, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, s.Cache.blobs.path(lh))
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if _, err := io.Copy(io.Discard, rc); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), lh.String()) {
		t.Errorf("error %v", err)
	}
	again, _, err := s.Image(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(again); err != nil {
		t.Errorf("the layer was not fetched again: %v", err)
	}
	spoil(t, s.Cache.blobs.path(hash))
	s.Offline = true
	if _, _, err := s.Image(ctx, ref); !errors.Is(err, ErrDamaged) {
		t.Errorf("offline with a damaged manifest: %v", err)
	}
	s.Offline = false
	if _, again, err := s.Image(ctx, ref); err != nil || again != hash {
		t.Errorf("fetch again: %s, %v", again, err)
	}
}

func spoil(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
