package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// How BuildKit attaches statements to an image: an index entry of its own, that names the image it is about.
const (
	referenceType   = "vnd.docker.reference.type"
	referenceDigest = "vnd.docker.reference.digest"
	attestation     = "attestation-manifest"
	statementType   = "application/vnd.in-toto+json"
	predicateType   = "in-toto.io/predicate-type"
	spdxPredicate   = "https://spdx.dev/Document"

	maxStatement    = 64 << 20 // bytes; the SBOM of a 1 GB image has about 5 MB
	maxStatements   = 16       // of one image
	maxAttestations = 16       // manifests of one image
)

// Attestations returns the SPDX documents that BuildKit attached to an image, as JSON, in the order of the index.
// Ref and digest are those of Image. It reads the cache only: what a registry had was fetched with the image. It
// fails with ErrDamaged when the cache is, and when a statement is about another image. No attestation is no error.
func (s *Source) Attestations(ctx context.Context, ref string, digest v1.Hash) ([][]byte, error) {
	w, err := s.want(ref)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	done := map[v1.Hash]bool{}
	for _, holder := range s.Cache.holders(w, digest) {
		index, err := s.Cache.document(holder)
		if err != nil {
			return nil, fmt.Errorf("attestations of %s: %w", ref, err)
		}
		for _, l := range s.Cache.statements(index, digest) {
			if done[l.Digest] || !s.Cache.blobs.has(l.Digest, l.Size) {
				continue // a mirror need not have what is beside an image
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			done[l.Digest] = true
			raw, err := s.Cache.blobs.read(l.Digest)
			if err != nil {
				return nil, fmt.Errorf("attestations of %s: %w", ref, err)
			}
			doc, err := predicate(raw, digest)
			if err != nil {
				return nil, fmt.Errorf("attestations of %s: %s: %w", ref, l.Digest, err)
			}
			out = append(out, doc)
		}
	}
	return out, nil
}

// predicate takes the SPDX document out of an in-toto statement about an image.
func predicate(raw []byte, about v1.Hash) ([]byte, error) {
	var st struct {
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		Predicate json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, fmt.Errorf("%w: statement: %w", ErrFormat, err)
	}
	if st.PredicateType != spdxPredicate || len(st.Predicate) == 0 {
		return nil, fmt.Errorf("%w: a statement of type %q instead of %q", ErrFormat, st.PredicateType, spdxPredicate)
	}
	for _, sub := range st.Subject {
		if sub.Digest[about.Algorithm] == about.Hex {
			return st.Predicate, nil
		}
	}
	return nil, fmt.Errorf("%w: the statement is not about %s", ErrDamaged, about)
}

// attested returns the entries of an index that hold statements about an image.
func attested(index document, image v1.Hash) []v1.Descriptor {
	var out []v1.Descriptor
	for _, d := range index.index.Manifests {
		a := d.Annotations
		if a[referenceType] == attestation && a[referenceDigest] == image.String() && len(out) < maxAttestations {
			out = append(out, d)
		}
	}
	return out
}

// statements returns the blobs in the cache's attestation manifests that hold SPDX statements about an image.
func (c *Cache) statements(index document, image v1.Hash) []v1.Descriptor {
	var out []v1.Descriptor
	for _, d := range attested(index, image) {
		if doc, err := c.document(d.Digest); err == nil && doc.image != nil {
			out = append(out, spdx(doc)...)
		}
	}
	return out
}

func spdx(doc document) []v1.Descriptor {
	layers := slices.DeleteFunc(slices.Clone(doc.image.Layers), func(l v1.Descriptor) bool {
		return string(l.MediaType) != statementType || l.Annotations[predicateType] != spdxPredicate || l.Size > maxStatement
	})
	return layers[:min(len(layers), maxStatements)]
}

// fetchAttestations stores what BuildKit attached to the image. A registry that lost it is no reason to stop.
func (s *Source) fetchAttestations(ctx context.Context, p *place, f found) error {
	for _, index := range f.indexes {
		for _, d := range attested(index, f.image.digest) {
			doc, err := p.document(ctx, d.Digest.String())
			if errors.Is(err, ErrUnknown) {
				continue
			}
			if err == nil && doc.image == nil {
				err = fmt.Errorf("%w: attestation %s is an index", ErrFormat, d.Digest)
			}
			if err != nil {
				return err
			}
			for _, l := range spdx(doc) {
				if err := s.blob(ctx, p, l, func(int64) {}); err != nil && !errors.Is(err, ErrUnknown) {
					return fmt.Errorf("attestation: %w", err)
				}
			}
			if err := s.Cache.blobs.putBytes(doc.digest, doc.raw); err != nil {
				return err
			}
		}
	}
	return nil
}
