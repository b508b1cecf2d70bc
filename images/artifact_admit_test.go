package images

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// attach puts a signature of an artifact where cosign puts it.
func (d *depot) attach(t *testing.T, subject v1.Hash, by signer) {
	t.Helper()
	h := &hub{t: t, host: d.host}
	h.attach("lkv/worker", subject, payloadFor(subject), by.sign(payloadFor(subject)))
}

// withSignature adds what lkv build --sign leaves beside an ISO.
func withSignature(files []File, by signer) []File {
	m := files[1]
	sig := raw(m.Name+".sig", []byte(base64.StdEncoding.EncodeToString(by.sign(m.Raw))+"\n"))
	return append([]File{sig}, files...)
}

// When a rule names keys, one of them must vouch for an ISO before a byte of it is asked for: by lkv's signature of
// the manifest, or by cosign's of the artifact.
func TestArtifactSignatures(t *testing.T) {
	ctx := context.Background()
	good, other := newSigner(t, "ecdsa"), newSigner(t, "ed25519")
	var artifact v1.Hash
	for name, c := range map[string]struct {
		files  []File
		attach *signer
		want   string // part of the signer; empty: refused
	}{
		"none":                {files: made(t, 1, 5000)},
		"lkv":                 {files: withSignature(made(t, 2, 5000), good), want: good.String()},
		"lkv, another key":    {files: withSignature(made(t, 3, 5000), other)},
		"cosign":              {files: made(t, 4, 5000), attach: &good, want: "cosign"},
		"cosign, another key": {files: made(t, 5, 5000), attach: &other},
		"lkv's of another":    {files: append([]File{withSignature(made(t, 6, 5000), good)[0]}, made(t, 7, 5000)...)},
	} {
		d := newDepot(t)
		s := d.shelf(t)
		if name == "lkv's of another" {
			c.files[0].Name = c.files[2].Name + ".sig"
		}
		artifact = mustPut(t, s, c.files).Digest
		if c.attach != nil {
			d.attach(t, artifact, *c.attach)
		}
		s.Source.Rules = []Rule{{Pattern: d.host + "/*", Keys: []Key{good.Key}}}
		var asked atomic.Int64
		d.set(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+isoOf(c.files).SHA256) {
				asked.Add(1)
			}
			return false
		})
		f, err := s.Fetch(ctx, isoOf(c.files).SHA256, nil)
		_, derr := s.Described(ctx, isoOf(c.files).SHA256)
		switch {
		case c.want == "" && (!errors.Is(err, ErrUnsigned) || !errors.Is(derr, ErrUnsigned) || asked.Load() > 0):
			t.Errorf("%s: errors %v and %v, %d requests for the ISO", name, err, derr, asked.Load())
		case c.want == "":
		case err != nil || derr != nil || !strings.Contains(f.Signer, c.want):
			t.Errorf("%s: %+v, %v, %v", name, f, err, derr)
		default:
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Mirrors come first, and the registry itself serves what they do not have or spoil.
func TestFetchFromMirror(t *testing.T) {
	mirror, origin := newDepot(t), newDepot(t)
	files := made(t, 1, 50<<10)
	mustPut(t, origin.shelf(t), files)
	s := origin.shelf(t)
	s.Source.Insecure = append(s.Source.Insecure, mirror.host)
	s.Source.Rules = []Rule{{Pattern: origin.host + "/*", Mirrors: []string{mirror.host + "/cache"}}}
	fetches(t, s, files) // the mirror has nothing
	m := mirror.shelf(t)
	m.Repository = mirror.host + "/cache/lkv/worker"
	mustPut(t, m, files)
	origin.reset()
	fetches(t, s, files)
	if _, sent, _ := origin.traffic(); sent > 0 {
		t.Errorf("%d bytes came from the registry although the mirror has them", sent)
	}
	mirror.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		_, _ = w.Write(make([]byte, 50<<10))
		return true
	})
	fetches(t, s, files)
}

// An ISO that grows does not take more memory, neither on its way out nor on its way in.
func TestArtifactMemory(t *testing.T) {
	peak := func(size int64) (up, down uint64) {
		path := filepath.Join(t.TempDir(), "iso")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		iso := zeros(t, path, size)
		d := newDepot(t)
		s := d.shelf(t)
		var took atomic.Bool
		d.set(func(w http.ResponseWriter, r *http.Request) bool { // the registry of the library keeps all in memory
			blob := strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+iso.SHA256)
			switch {
			case r.Method == http.MethodPatch && r.ContentLength == size:
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Location", r.URL.Path)
				w.WriteHeader(http.StatusAccepted)
			case r.Method == http.MethodPut && strings.Contains(r.URL.RawQuery, iso.SHA256):
				took.Store(true)
				w.WriteHeader(http.StatusCreated)
			case blob && took.Load():
				http.ServeFile(w, r, path)
			default:
				return false
			}
			return true
		})
		before := heap()
		files := describe(t, iso)
		mustPut(t, s, files)
		middle := heap()
		f, err := s.Fetch(context.Background(), iso.SHA256, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Done(); err != nil {
			t.Error(err)
		}
		return middle - before, heap() - middle
	}
	_, _ = peak(1 << 20) // what is made once
	up1, down1 := peak(1 << 20)
	up64, down64 := peak(64 << 20)
	if up64 > up1+4<<20 || down64 > down1+4<<20 {
		t.Errorf("1 MiB allocates %d and %d bytes, 64 MiB %d and %d", up1, down1, up64, down64)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// A fetch whose process died leaves nothing behind for long, and one that lives keeps its files.
func TestFetchedFolders(t *testing.T) {
	d := newDepot(t)
	s := d.shelf(t)
	files := made(t, 1, 5000)
	mustPut(t, s, files)
	dead := filepath.Join(s.Source.Cache.dir, "fetched", "iso-dead")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := s.Fetch(context.Background(), isoOf(files).SHA256, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); err == nil {
		t.Error("the folder of a dead process is still there")
	}
	g, err := s.Fetch(context.Background(), isoOf(files).SHA256, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.ISO); err != nil {
		t.Error("the other fetch removed ours")
	}
	if err := errors.Join(f.Close(), f.Close(), g.Done()); err != nil {
		t.Error(err)
	}
}

// Offline, nobody is asked.
func TestArtifactOffline(t *testing.T) {
	d := newDepot(t)
	s := d.shelf(t)
	s.Source.Offline = true
	iso := isoOf(made(t, 1, 10)).SHA256
	_, err1 := s.Fetch(context.Background(), iso, nil)
	_, err2 := s.Has(context.Background(), iso)
	err3 := s.Promote(context.Background(), iso, "x", time.Time{})
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ErrOffline) {
			t.Errorf("error %v", err)
		}
	}
	if _, _, calls := d.traffic(); len(calls) > 0 {
		t.Errorf("asked %v", calls)
	}
}
