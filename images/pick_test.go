package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestRank(t *testing.T) {
	p := func(s string) v1.Platform {
		got, err := v1.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		return *got
	}
	for want, order := range map[string][]string{ // best first; what comes after "-" does not run there
		"linux/amd64":    {"linux/amd64", "linux/amd64/v1", "-", "linux/amd64/v2", "linux/amd64/v3", "linux/arm64", "windows/amd64"},
		"linux/amd64/v3": {"linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "-", "linux/amd64/v4"},
		"linux/arm/v7":   {"linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "-", "linux/arm64", "linux/arm/v8"},
		"linux/arm/v6":   {"linux/arm/v6", "linux/arm/v5", "-", "linux/arm/v7", "linux/arm"},
		"linux/arm64":    {"linux/arm64", "linux/arm64/v8", "-", "linux/arm64/v9", "linux/arm/v7"},
		"linux/s390x":    {"linux/s390x", "-", "linux/s390x/odd"},
	} {
		last, runs := -1, true
		for _, have := range order {
			if have == "-" {
				runs = false
				continue
			}
			r := rank(p(have), p(want))
			if runs != (r >= 0) || runs && r <= last {
				t.Errorf("%s on %s: rank %d after %d", have, want, r, last)
			}
			last = r
		}
	}
}

// index makes an index of images for platforms; "" is an entry without a platform.
func index(t *testing.T, adds ...mutate.IndexAddendum) v1.ImageIndex {
	t.Helper()
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), adds...)
}

func entry(img mutate.Appendable, p *v1.Platform) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}}
}

func TestPickFromIndexes(t *testing.T) {
	arm := func(variant string) *v1.Platform {
		return &v1.Platform{OS: "linux", Architecture: "arm", Variant: variant}
	}
	right, other := anImage(t, 1), forPlatform(t, v1.Platform{OS: "linux", Architecture: "arm64"}, 1)
	five, six := forPlatform(t, *arm(""), 1), forPlatform(t, *arm(""), 1)
	unknown := &v1.Platform{OS: "unknown", Architecture: "unknown"}
	deep := index(t, entry(right, &amd64))
	for range maxNesting {
		deep = index(t, entry(deep, nil))
	}
	for name, c := range map[string]struct {
		idx  v1.ImageIndex
		p    v1.Platform
		want v1.Image
		is   error
	}{
		"nested":            {index(t, entry(index(t, entry(other, nil)), nil), entry(index(t, entry(right, &amd64)), nil)), amd64, right, nil},
		"too deep":          {deep, amd64, nil, ErrFormat},
		"no platform":       {index(t, entry(other, nil), entry(right, nil)), amd64, right, nil},
		"unknown platform":  {index(t, entry(right, unknown)), amd64, nil, ErrPlatform},
		"named first":       {index(t, entry(anImage(t, 1), nil), entry(right, &amd64)), amd64, right, nil},
		"nearest variant":   {index(t, entry(five, arm("v5")), entry(six, arm("v6"))), *arm("v7"), six, nil},
		"no later variant":  {index(t, entry(six, arm("v7"))), *arm("v6"), nil, ErrPlatform},
		"nothing in there":  {index(t), amd64, nil, ErrPlatform},
		"only another":      {index(t, entry(other, nil)), amd64, nil, ErrPlatform},
		"same twice":        {index(t, entry(right, &amd64), entry(anImage(t, 1), &amd64)), amd64, right, nil},
		"later x86 skipped": {index(t, entry(anImage(t, 1), &v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}), entry(right, &amd64)), amd64, right, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			ref := h.push("a:1", c.idx)
			s := h.source(newCache(t))
			s.Platform = c.p
			_, got, err := s.Image(context.Background(), ref)
			if c.want == nil {
				if !errors.Is(err, c.is) {
					t.Errorf("error %v, want %v", err, c.is)
				}
				return
			}
			if err != nil || got != digest(t, c.want) {
				t.Fatalf("%s, %v, want %s", got, err, digest(t, c.want))
			}
			s.Offline = true
			if _, again, err := s.Image(context.Background(), ref); err != nil || again != got {
				t.Errorf("from the cache: %s, %v", again, err)
			}
		})
	}
}

// TestDocumentsAreRefused: schema 1, documents that are two things at once, sizes and digests that cannot be.
func TestDocumentsAreRefused(t *testing.T) {
	hex := strings.Repeat("a", 64)
	blob := func(size int) string { return fmt.Sprintf(`{"digest":"sha256:%s","size":%d}`, hex, size) }
	for doc, want := range map[string]string{
		`{"schemaVersion":1,"fsLayers":[{"blobSum":"x"}]}`:                        "schema 1",
		`{"schemaVersion":2,"config":` + blob(1) + `,"layers":[],"manifests":[]}`: "an index and an image at the same time",
		`{"schemaVersion":2}`: "neither layers nor manifests",
		`<html>`:              "invalid character",
		`{"schemaVersion":2,"config":` + blob(maxConfig+1) + `,"layers":[]}`:                                          "config: sha256:",
		`{"schemaVersion":2,"config":` + blob(1) + `,"layers":[` + blob(-1) + `]}`:                                    "layer 1 of 1",
		`{"schemaVersion":2,"config":` + blob(1) + `,"layers":[{"digest":"sha512:` + hex + hex + `","size":1}]}`:      "only sha256",
		`{"schemaVersion":2,"config":` + blob(1) + `,"layers":[` + strings.Repeat(blob(1)+",", 1000) + blob(1) + `]}`: "1001 layers",
		`{"schemaVersion":2,"manifests":[` + strings.Repeat(blob(1)+",", 1000) + blob(1) + `]}`:                       "1001 entries",
		`{"schemaVersion":2,"manifests":[` + blob(maxDocument+1) + `]}`:                                               "announces",
		`{"schemaVersion":2,"config":{"digest":"sha256:../../etc/passwd","size":1},"layers":[]}`:                      "manifest",
	} {
		h := newHub(t)
		h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
				w.Write([]byte(doc))
				return true
			}
			return false
		})
		_, _, err := h.source(newCache(t)).Image(context.Background(), h.host+"/a:1")
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), h.host+"/a:1") {
			t.Errorf("%.80s: error %v, want %q", doc, err, want)
		}
	}
}

// FuzzDocument: whatever a registry sends, the result is an index or an image with usable descriptors, or an error.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1,"platform":{"os":"linux"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parseDocument(raw, "")
		if err != nil {
			return
		}
		if (d.index == nil) == (d.image == nil) || !json.Valid(raw) {
			t.Fatalf("%+v", d)
		}
		if d.image != nil {
			for _, l := range append(d.image.Layers, d.image.Config) {
				if l.Size < 0 || len(l.Digest.Hex) != 64 || strings.ContainsAny(l.Digest.Hex, "./") {
					t.Fatalf("descriptor %+v", l)
				}
			}
		}
	})
}

// FuzzLayoutIndex is for the index.json of layouts that people import.
func FuzzLayoutIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1,"annotations":{"org.opencontainers.image.ref.name":"x/y:1"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := readLayoutIndex(raw)
		if err != nil {
			return
		}
		for _, d := range m.Manifests {
			name, err := layoutName(d, Import{}, len(m.Manifests))
			if err != nil {
				continue
			}
			if again, err := Canonical(name); err != nil || again != name {
				t.Errorf("stored as %q, which reads as %q, %v", name, again, err)
			}
		}
	})
}
