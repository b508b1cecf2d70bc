package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/lkv-io/lkv/internal/manifest"
)

// depot is an in-process registry on loopback that counts what comes and goes, and can fail on purpose.
type depot struct {
	host     string
	inner    http.Handler
	resumes  bool // it tells how far an upload came
	mu       sync.Mutex
	received int64            // bytes of blobs, also of broken requests
	sent     int64            // bytes of answers to GET of blobs
	calls    []string         // method and path
	uploads  map[string]int64 // bytes by path of the upload
	fail     func(w http.ResponseWriter, r *http.Request) bool
}

func newDepot(t *testing.T) *depot {
	t.Helper()
	d := &depot{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0))), resumes: true, uploads: map[string]int64{}}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	d.host = strings.TrimPrefix(srv.URL, "http://")
	return d
}

func (d *depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.calls = append(d.calls, r.Method+" "+r.URL.Path)
	fail, have := d.fail, d.uploads[r.URL.Path]
	d.mu.Unlock()
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.Body, counter{func(b []byte) {
		if r.Method == http.MethodPatch {
			d.mu.Lock()
			d.received += int64(len(b))
			d.mu.Unlock()
		}
	}}), r.Body}
	if fail != nil && fail(w, r) {
		return
	}
	if upload := strings.Contains(r.URL.Path, "/blobs/uploads/"); upload && r.Method == http.MethodGet && d.resumes && have > 0 {
		w.Header().Set("Location", r.URL.Path)
		w.Header().Set("Range", fmt.Sprintf("0-%d", have-1))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		w = counting{w, d}
		if from := r.Header.Get("Range"); from != "" { // the registry of the library wants an end
			head := httptest.NewRecorder()
			d.inner.ServeHTTP(head, httptest.NewRequest(http.MethodHead, r.URL.Path, nil))
			var n int64
			_, _ = fmt.Sscan(head.Header().Get("Content-Length"), &n)
			r.Header.Set("Range", fmt.Sprintf("%s%d", from, n-1))
		}
	}
	d.inner.ServeHTTP(w, r)
}

// counting counts the bytes of an answer.
type counting struct {
	http.ResponseWriter
	d *depot
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.d.mu.Lock()
	c.d.sent += int64(n)
	c.d.mu.Unlock()
	return n, err
}

// set changes how the depot fails, nil: not at all.
func (d *depot) set(fail func(w http.ResponseWriter, r *http.Request) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// once makes a fault happen the first n times.
func once(n int, fail func(w http.ResponseWriter, r *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return false
		}
		hit := true // also when it panics to cut the connection
		defer func() {
			if hit {
				n--
			}
		}()
		hit = fail(w, r)
		return hit
	}
}

// cutUpload takes the first k bytes of a request with at least min bytes and cuts the connection.
func (d *depot) cutUpload(k, least int64) func(w http.ResponseWriter, r *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || r.ContentLength < least {
			return false
		}
		got, _ := io.ReadAll(io.LimitReader(r.Body, k))
		in := httptest.NewRequest(http.MethodPatch, r.URL.Path, bytes.NewReader(got))
		if v := r.Header.Get("Content-Range"); v != "" {
			in.Header.Set("Content-Range", v)
		}
		d.inner.ServeHTTP(httptest.NewRecorder(), in)
		d.mu.Lock()
		d.uploads[r.URL.Path] += int64(len(got))
		d.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
}

func (d *depot) shelf(t *testing.T) Shelf {
	t.Helper()
	s := &Source{Cache: newCache(t), Platform: amd64, Insecure: []string{d.host}, Keychain: authn.NewMultiKeychain(), wait: waiter(time.Millisecond)}
	return Shelf{Source: s, Image: "worker", Repository: d.host + "/lkv/worker"}
}

// traffic returns what came and went since the last reset.
func (d *depot) traffic() (received, sent int64, calls []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.received, d.sent, slices.Clone(d.calls)
}

func (d *depot) reset() { d.mu.Lock(); d.received, d.sent, d.calls = 0, 0, nil; d.mu.Unlock() }

// made is an ISO of n bytes as lkv build leaves it.
func made(t *testing.T, seed uint64, n int) []File {
	t.Helper()
	data := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	sum := sha256.Sum256(data)
	iso := File{Name: "worker-" + hexOf(sum[:6]) + ".iso", SHA256: hexOf(sum[:]), Size: int64(n), Path: filepath.Join(t.TempDir(), "iso")}
	if err := os.WriteFile(iso.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return describe(t, iso)
}

// zeros is a file as an ISO.
func zeros(t *testing.T, path string, size int64) File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return File{Name: "worker-0.iso", Path: path, Size: size, SHA256: hexOf(sum.Sum(nil))}
}

// describe adds an SBOM and a manifest to an ISO.
func describe(t *testing.T, iso File) []File {
	t.Helper()
	base := strings.TrimSuffix(iso.Name, ".iso")
	sbom := raw(base+".spdx.json", []byte(`{"about":"`+iso.SHA256+`"}`))
	m := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:" + iso.SHA256, ISO: manifest.File{SHA256: iso.SHA256, Size: iso.Size},
		Files: []manifest.Named{{Kind: "spdx", Name: sbom.Name, File: manifest.File{SHA256: sbom.SHA256, Size: sbom.Size}}}}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		t.Fatal(err)
	}
	return []File{sbom, raw(base+".manifest.json", text.Bytes()), iso}
}

func raw(name string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{Name: name, Raw: data, SHA256: hexOf(sum[:]), Size: int64(len(data))}
}

func isoOf(files []File) File { return files[len(files)-1] }

func mustPut(t *testing.T, s Shelf, files []File) Placed {
	t.Helper()
	got, err := s.Put(context.Background(), files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// fetches checks that a fetch gives exactly the files.
func fetches(t *testing.T, s Shelf, files []File) {
	t.Helper()
	f, err := s.Fetch(context.Background(), isoOf(files).SHA256, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range files {
		got, err := os.ReadFile(filepath.Join(filepath.Dir(f.ISO), want.Name))
		if sum := sha256.Sum256(got); err != nil || hexOf(sum[:]) != want.SHA256 {
			t.Errorf("%s: %d bytes, %v", want.Name, len(got), err)
		}
	}
	dir := filepath.Dir(f.ISO)
	if err := f.Done(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the fetched files are still there")
	}
	if s.Source.Cache.blobs.has(isoOf(files).digest(), -1) {
		t.Error("the ISO is still in the cache")
	}
}

// The round trip: one artifact whose ISO layer is the ISO, sent once, read back, fetched with all that lies beside.
func TestArtifactRoundTrip(t *testing.T) {
	ctx := context.Background()
	d := newDepot(t)
	s := d.shelf(t)
	files := made(t, 1, 300<<10)
	var last int64
	got, err := s.Put(ctx, files, func(done, total int64) {
		if total != isoOf(files).Size {
			t.Errorf("total %d", total)
		}
		last = done
	})
	if err != nil || got.Present || got.Sent != isoOf(files).Size || last != got.Sent || got.Reference != s.Repository+":sha256-"+isoOf(files).SHA256 {
		t.Fatalf("%+v, %v, told %d", got, err, last)
	}
	p, err := s.origin(ctx, "pull")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	doc, err := p.document(ctx, digestTag+isoOf(files).SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var shape struct {
		MediaType, ArtifactType string
		Config                  struct{ MediaType string }
		Layers                  []struct {
			MediaType, Digest string
			Annotations       map[string]string
		}
	}
	if err := json.Unmarshal(doc.raw, &shape); err != nil {
		t.Fatal(err)
	}
	iso := shape.Layers[2]
	if shape.MediaType != "application/vnd.oci.image.manifest.v1+json" || shape.ArtifactType != artifactType || shape.Config.MediaType != emptyType ||
		iso.Digest != "sha256:"+isoOf(files).SHA256 || iso.Annotations[titleAnnotation] != isoOf(files).Name || iso.MediaType != isoType {
		t.Errorf("artifact %s", doc.raw)
	}
	if err := s.ReadBack(ctx, isoOf(files).SHA256, nil); err != nil {
		t.Error(err)
	}
	d.reset()
	again := mustPut(t, s, files)
	if d := cmp.Diff(Placed{Reference: got.Reference, Digest: got.Digest, Present: true}, again); d != "" {
		t.Errorf("again: %s", d)
	}
	received, _, calls := d.traffic()
	for _, c := range calls {
		if strings.HasPrefix(c, "P") || received != 0 {
			t.Errorf("%s, %d bytes although it was there", c, received)
		}
	}
	fetches(t, s, files)
	if has, err := s.Has(ctx, isoOf(made(t, 9, 10)).SHA256); has || err != nil {
		t.Errorf("unknown: %v, %v", has, err)
	}
	if m, err := s.Described(ctx, isoOf(files).SHA256); err != nil || m.ISO.SHA256 != isoOf(files).SHA256 {
		t.Errorf("described: %v, %v", m.ISO, err)
	}
}

// An upload that is cut anywhere ends well. Where the registry says how far it came, no byte is sent twice.
func TestUploadCutAtEveryTenth(t *testing.T) {
	const size = 3 << 20
	for _, resumes := range []bool{true, false} {
		for tenth := int64(0); tenth <= 10; tenth++ {
			d := newDepot(t)
			d.resumes = resumes
			s := d.shelf(t)
			files := made(t, 2, size)
			d.set(once(1, d.cutUpload(size*tenth/10, size)))
			got := mustPut(t, s, files)
			received, _, _ := d.traffic()
			if want := size * (10 + tenth) / 10; !resumes && received < want {
				t.Errorf("at %d0 %%: %d bytes received, want %d", tenth, received, want)
			}
			if resumes && tenth > 0 && received > size+64<<10 {
				t.Errorf("at %d0 %%: %d bytes received for %d", tenth, received, size)
			}
			if got.Sent < size {
				t.Errorf("at %d0 %%: %d bytes sent", tenth, got.Sent)
			}
			fetches(t, s, files)
		}
	}
}

// A download that is cut anywhere, with the process dying there, goes on where it stopped.
func TestFetchCutAtEveryTenth(t *testing.T) {
	const size = 1 << 20
	d := newDepot(t)
	files := made(t, 3, size)
	mustPut(t, d.shelf(t), files)
	for tenth := int64(0); tenth < 10; tenth++ {
		s := d.shelf(t)
		d.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+isoOf(files).SHA256) {
				return false
			}
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusForbidden) // not temporary: as if the process had died
				return true
			}
			data, _ := os.ReadFile(isoOf(files).Path)
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = w.Write(data[:size*tenth/10])
			panic(http.ErrAbortHandler)
		})
		if f, err := s.Fetch(context.Background(), isoOf(files).SHA256, nil); err == nil {
			t.Fatalf("at %d0 %%: fetched %s", tenth, f.ISO)
		}
		d.set(nil)
		d.reset()
		fetches(t, s, files)
		_, sent, _ := d.traffic()
		if want := size * (10 - tenth) / 10; sent > want+64<<10 {
			t.Errorf("at %d0 %%: %d bytes fetched, want %d", tenth, sent, want)
		}
	}
}

// Errors that pass are tried again, at every kind of request; those that do not pass are told with what to do.
func TestRegistryFaults(t *testing.T) {
	ctx := context.Background()
	for _, code := range []int{500, 503, 429, 401} {
		for _, kind := range []string{"GET /v2/", "HEAD /blobs/", "POST /uploads/", "PATCH /uploads/", "PUT /uploads/", "PUT /manifests/", "GET /manifests/", "GET /blobs/"} {
			d := newDepot(t)
			s := d.shelf(t)
			files := made(t, 4, 64<<10)
			d.set(once(2, func(w http.ResponseWriter, r *http.Request) bool {
				method, part, _ := strings.Cut(kind, " ")
				if r.Method != method || !strings.Contains(r.URL.Path, part) || kind == "GET /v2/" && r.URL.Path != "/v2/" {
					return false
				}
				w.WriteHeader(code)
				return true
			}))
			_, err := s.Put(ctx, files, nil)
			if err == nil {
				err = s.Promote(ctx, isoOf(files).SHA256, "latest", time.Unix(0, 0))
			}
			var f *Fetched
			if err == nil {
				if f, err = s.Fetch(ctx, isoOf(files).SHA256, nil); err == nil {
					err = f.Done()
				}
			}
			switch {
			case code == 401 && kind == "GET /v2/": // how a registry asks for a login; none is needed further on
			case code != 401 && err != nil:
				t.Errorf("%d at %s: %v", code, kind, err)
			case code == 401 && (err == nil || !strings.Contains(err.Error(), "docker login "+d.host)):
				t.Errorf("%d at %s: error %v", code, kind, err)
			}
		}
	}
}

// Nothing that a registry serves instead of the artifact is believed.
func TestWrongArtifacts(t *testing.T) {
	ctx := context.Background()
	good, other := made(t, 5, 100<<10), made(t, 6, 100<<10)
	want := isoOf(good).SHA256
	for name, files := range map[string][]File{
		"another ISO under the tag":     other,
		"another ISO's manifest":        {other[1], renamed(isoOf(good), other[1].Name)},
		"no manifest":                   {isoOf(good)},
		"two ISOs":                      append([]File{isoOf(other)}, good...),
		"a name that leaves the folder": append([]File{raw("../x.spdx.json", []byte("x"))}, good...),
		"a name twice":                  append([]File{good[0]}, good...),
		"a manifest of another image":   foreign(t, good),
	} {
		d := newDepot(t)
		s := d.shelf(t)
		for _, f := range append(append(good[:len(good):len(good)], other...), files...) {
			p, err := s.origin(ctx, "push,pull")
			if err != nil {
				t.Fatal(err)
			}
			if err := send(ctx, p, f, nil, &Placed{}); err != nil {
				t.Fatal(err)
			}
		}
		doc, err := artifactOf("worker", files)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.origin(ctx, "push,pull")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.put(ctx, doc, digestTag+want); err != nil {
			t.Fatal(err)
		}
		if f, err := s.Fetch(ctx, want, nil); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: fetched %v, %v", name, f, err)
		}
		if s.Source.Cache.blobs.has(isoOf(good).digest(), -1) {
			t.Errorf("%s: the ISO was fetched", name)
		}
	}
}

func renamed(f File, like string) File {
	f.Name = strings.TrimSuffix(like, ".manifest.json") + ".iso"
	return f
}

// foreign gives the ISO a manifest that is right but for the image's name.
func foreign(t *testing.T, files []File) []File {
	t.Helper()
	text := bytes.Replace(files[1].Raw, []byte(`"worker"`), []byte(`"gate"`), 1)
	return []File{raw(files[1].Name, text), isoOf(files)}
}

// A blob that is not what its digest says is refused, neither kept nor given a name.
func TestWrongBlob(t *testing.T) {
	d := newDepot(t)
	s := d.shelf(t)
	files := made(t, 7, 100<<10)
	mustPut(t, s, files)
	d.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, isoOf(files).SHA256) || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		_, _ = w.Write(make([]byte, isoOf(files).Size))
		return true
	})
	if _, err := s.Fetch(context.Background(), isoOf(files).SHA256, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	if err := s.ReadBack(context.Background(), isoOf(files).SHA256, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("read back: error %v", err)
	}
	if s.Source.Cache.blobs.has(isoOf(files).digest(), -1) {
		t.Error("the wrong blob is in the cache")
	}
	d.set(nil)
	fetches(t, s, files)
}

// An ISO that changed since the build does not reach the tag, and one that spoilt in the cache is fetched again.
func TestChangedFiles(t *testing.T) {
	d := newDepot(t)
	s := d.shelf(t)
	files := made(t, 8, 100<<10)
	spoil(t, isoOf(files).Path)
	if _, err := s.Put(context.Background(), files, nil); !errors.Is(err, errChanged) {
		t.Errorf("error %v", err)
	}
	if has, err := s.Has(context.Background(), isoOf(files).SHA256); has || err != nil {
		t.Errorf("it has it: %v, %v", has, err)
	}
	files = made(t, 8, 100<<10)
	mustPut(t, s, files)
	f, err := s.Fetch(context.Background(), isoOf(files).SHA256, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	spoil(t, s.Source.Cache.blobs.path(isoOf(files).digest()))
	fetches(t, s, files)
}
