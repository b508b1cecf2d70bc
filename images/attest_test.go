package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// attest is an index as BuildKit makes it: an image and a manifest with its SBOM and its provenance.
func attest(t *testing.T, img v1.Image, about v1.Hash, sbom string) v1.ImageIndex {
	t.Helper()
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],"predicate":%s}`,
		spdxPredicate, about.Hex, sbom)
	add := func(text, kind string) mutate.Addendum {
		return mutate.Addendum{Layer: static.NewLayer([]byte(text), statementType), Annotations: map[string]string{predicateType: kind}}
	}
	at, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		add(`{"provenance":1}`, "https://slsa.dev/provenance/v0.2"), add(statement, spdxPredicate))
	if err != nil {
		t.Fatal(err)
	}
	return index(t, entry(img, &amd64), mutate.IndexAddendum{Add: at, Descriptor: v1.Descriptor{
		Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{referenceType: attestation, referenceDigest: digest(t, img).String()},
	}})
}

func TestAttestations(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	img := anImage(t, 1)
	ref := h.push("a:1", attest(t, img, digest(t, img), `{"spdxVersion":"SPDX-2.3"}`))
	plain := h.push("plain:1", anImage(t, 1))
	s := h.source(newCache(t))
	lock, _, err := s.Update(ctx, []string{ref, plain}, always)
	if err != nil {
		t.Fatal(err)
	}
	pinned := h.source(newCache(t)) // another machine, that has the lock file only
	pinned.Lock, pinned.Locked = lock, true
	for _, s := range []*Source{s, pinned} {
		_, got, err := s.Image(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		s.Offline, s.Transport = true, refuse{t}
		if _, err := s.Cache.Prune(ctx, func(e Entry) bool { return e.Digest == got }, false); err != nil {
			t.Fatal(err)
		}
		docs, err := s.Attestations(ctx, ref, got)
		if err != nil || len(docs) != 1 || string(docs[0]) != `{"spdxVersion":"SPDX-2.3"}` {
			t.Errorf("%q, %v", docs, err)
		}
	}
	if docs, err := s.Attestations(ctx, plain, digest(t, img)); err != nil || len(docs) != 1 {
		t.Errorf("what counts is the digest: %q, %v", docs, err)
	}
}

func TestOddAttestations(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	img := anImage(t, 1)
	s := h.source(newCache(t))
	ref := h.push("other:1", attest(t, img, digest(t, anImage(t, 1)), `{}`))
	if _, _, err := s.Image(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if docs, err := s.Attestations(ctx, ref, digest(t, img)); !errors.Is(err, ErrDamaged) {
		t.Errorf("an SBOM of another image: %q, %v", docs, err)
	}
	idx := attest(t, anImage(t, 1), digest(t, img), `{}`)
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	lost := m.Manifests[1].Digest.String()
	ref = h.push("lost:1", idx)
	h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, lost) {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	_, got, err := s.Image(ctx, ref)
	if err != nil {
		t.Fatalf("a mirror without attestations: %v", err)
	}
	if docs, err := s.Attestations(ctx, ref, got); err != nil || len(docs) != 0 {
		t.Errorf("%q, %v", docs, err)
	}
}
