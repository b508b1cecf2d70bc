package images

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestHostileBlobs: too long, too short for good, another content: refused, and nothing is left under the digest.
func TestHostileBlobs(t *testing.T) {
	for name, c := range map[string]struct {
		send func(data []byte) []byte
		is   error
	}{
		"longer":  {func(d []byte) []byte { return append(d, "more"...) }, ErrDamaged},
		"other":   {func(d []byte) []byte { return bytes.ToUpper(d) }, ErrDamaged},
		"shorter": {func(d []byte) []byte { return d[:len(d)/2] }, nil},
		"endless": {func(d []byte) []byte { return bytes.Repeat(d, 50) }, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			img, blob, data := bigImage(t, 100<<10)
			ref := h.push("a:1", img)
			h.onBlob(blob, func(w http.ResponseWriter, r *http.Request) bool {
				w.Write(c.send(bytes.Clone(data)))
				return true
			})
			s := h.source(newCache(t))
			_, _, err := s.Image(context.Background(), ref)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), ref) || !strings.Contains(err.Error(), "layer 1 of 1") {
				t.Errorf("error %v", err)
			}
			if s.Cache.blobs.has(blob, -1) {
				t.Error("stored under the digest")
			}
		})
	}
}

// TestHostileRegistry: manifests without end and redirects without end.
func TestHostileRegistry(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		want   string
	}{
		"manifest": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Write(bytes.Repeat([]byte(" "), maxDocument+1))
			return true
		}, "larger than"},
		"manifest loop": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
			return true
		}, "redirects more than"},
		"blob loop": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}, "redirects more than"},
		"plain HTTP elsewhere": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			http.Redirect(w, r, "http://blobs.example.net/x?signature=hunter2", http.StatusTemporaryRedirect)
			return true
		}, "no plain HTTP to blobs.example.net"},
		"other content": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/sha256:") {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Write([]byte(`{"schemaVersion":2,"config":{},"layers":[]}`))
			return true
		}, "does not match requested digest"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			idx, _, _ := multi(t)
			ref := h.push("a:1", idx)
			h.answer.Store(c.answer)
			_, _, err := h.source(newCache(t)).Image(context.Background(), ref)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if n := h.calls.Load(); n > 200 {
				t.Errorf("%d requests", n)
			}
		})
	}
}
