package images

import (
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ErrFormat is wrapped by every error about a document or archive that is none of the formats lkv reads.
var ErrFormat = errors.New("unusable image format")

const (
	maxManifests = 1000 // in one index
	maxLayers    = 1000 // in one image; Docker allows 127
	maxNesting   = 4    // indexes in indexes
)

// document is a manifest or an index with its digest. Exactly one of index and image is set.
type document struct {
	raw       []byte
	digest    v1.Hash
	mediaType types.MediaType
	index     *v1.IndexManifest
	image     *v1.Manifest
}

// parseDocument decides by what a document holds, not by what the registry calls it: one digest must not mean an
// image to one reader and an index to another (CVE-2021-41190).
func parseDocument(raw []byte, announced types.MediaType) (document, error) {
	d := document{raw: raw, digest: digestOf(raw)}
	if len(raw) > maxDocument {
		return d, fmt.Errorf("%w: a manifest of %d bytes, at most %d are read", ErrFormat, len(raw), maxDocument)
	}
	var shape struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return d, fmt.Errorf("%w: manifest %s: %w", ErrFormat, d.digest, err)
	}
	d.mediaType = shape.MediaType
	if d.mediaType == "" {
		d.mediaType = announced
	}
	isIndex, isImage := shape.Manifests != nil, shape.Layers != nil || shape.Config != nil
	switch {
	case shape.SchemaVersion == 1 || shape.FSLayers != nil:
		return d, fmt.Errorf("%w: manifest %s has schema 1, which registries stopped making in 2017: push the image again with a current tool", ErrFormat, d.digest)
	case isIndex && isImage:
		return d, fmt.Errorf("%w: manifest %s is an index and an image at the same time", ErrFormat, d.digest)
	case isIndex:
		return d, d.asIndex()
	case isImage:
		return d, d.asImage()
	}
	return d, fmt.Errorf("%w: manifest %s lists neither layers nor manifests (%s)", ErrFormat, d.digest, d.mediaType)
}

func (d *document) asIndex() error {
	d.index = &v1.IndexManifest{}
	if err := json.Unmarshal(d.raw, d.index); err != nil {
		return fmt.Errorf("%w: index %s: %w", ErrFormat, d.digest, err)
	}
	if !d.mediaType.IsIndex() {
		d.mediaType = types.OCIImageIndex
	}
	if n := len(d.index.Manifests); n > maxManifests {
		return fmt.Errorf("%w: index %s has %d entries, at most %d are read", ErrFormat, d.digest, n, maxManifests)
	}
	for i, m := range d.index.Manifests {
		if err := checkDescriptor(m, maxDocument); err != nil {
			return fmt.Errorf("%w: index %s: entry %d: %w", ErrFormat, d.digest, i+1, err)
		}
	}
	return nil
}

func (d *document) asImage() error {
	d.image = &v1.Manifest{}
	if err := json.Unmarshal(d.raw, d.image); err != nil {
		return fmt.Errorf("%w: manifest %s: %w", ErrFormat, d.digest, err)
	}
	if !d.mediaType.IsImage() {
		d.mediaType = types.OCIManifestSchema1
	}
	if err := checkDescriptor(d.image.Config, maxConfig); err != nil {
		return fmt.Errorf("%w: manifest %s: config: %w", ErrFormat, d.digest, err)
	}
	if n := len(d.image.Layers); n > maxLayers {
		return fmt.Errorf("%w: manifest %s has %d layers, at most %d are read", ErrFormat, d.digest, n, maxLayers)
	}
	for i, l := range d.image.Layers {
		if err := checkDescriptor(l, 1<<62); err != nil {
			return fmt.Errorf("%w: manifest %s: layer %d of %d: %w", ErrFormat, d.digest, i+1, len(d.image.Layers), err)
		}
	}
	return nil
}

func checkDescriptor(d v1.Descriptor, longest int64) error {
	if d.Digest.Algorithm != "sha256" {
		return fmt.Errorf("digest %q: only sha256 is supported", d.Digest)
	}
	if d.Size < 0 || d.Size > longest {
		return fmt.Errorf("%s announces %d bytes, at most %d are read", d.Digest, d.Size, longest)
	}
	return nil
}

// stored returns a document of the cache.
func (c *Cache) document(h v1.Hash) (document, error) {
	raw, err := c.blobs.read(h)
	if err != nil {
		return document{}, err
	}
	return parseDocument(raw, "")
}
