package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// loadLayout takes images out of a layout whose blobs lie in from.
func (c *Cache) loadLayout(ctx context.Context, in Import, raw []byte, from blobs) ([]Entry, error) {
	top, err := readLayoutIndex(raw)
	if err != nil {
		return nil, err
	}
	var out []Entry
	var skipped []string
	for i, d := range top.Manifests {
		name, err := layoutName(d, in, len(top.Manifests))
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("%s (%s)", d.Digest, tagOf(d)))
			continue
		}
		e, err := c.loadImage(ctx, in, d, from)
		if err != nil {
			return nil, fmt.Errorf("image %d of %d (%s): %w", i+1, len(top.Manifests), name, err)
		}
		e.Ref = name
		out = append(out, e)
	}
	return chosen(out, skipped, in)
}

// readLayoutIndex reads the index.json of a layout.
func readLayoutIndex(raw []byte) (*v1.IndexManifest, error) {
	var shape struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return nil, fmt.Errorf("%w: index.json: %w", ErrFormat, err)
	}
	if shape.Manifests == nil {
		return nil, fmt.Errorf("%w: index.json lists no manifests", ErrFormat)
	}
	doc, err := parseDocument(raw, "")
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if len(doc.index.Manifests) == 0 {
		return nil, fmt.Errorf("%w: index.json lists no manifests", ErrFormat)
	}
	return doc.index, nil
}

// chosen checks what was found against what was asked for.
func chosen(out []Entry, skipped []string, in Import) ([]Entry, error) {
	switch {
	case len(out) == 0 && in.Pick != "":
		return nil, fmt.Errorf("there is no %q, there is %s", in.Pick, strings.Join(skipped, ", "))
	case len(out) == 0:
		return nil, fmt.Errorf("the images in it have no full names, give one with --ref: there is %s", strings.Join(skipped, ", "))
	case in.Ref != "" && len(out) > 1:
		return nil, fmt.Errorf("--ref names one image and there are %d: choose with --pick", len(out))
	}
	return out, nil
}

func tagOf(d v1.Descriptor) string {
	for _, a := range []string{containerdName, refName} {
		if v := d.Annotations[a]; v != "" {
			return v
		}
	}
	return "no name"
}

var errOther = errors.New("not asked for")

// layoutName returns the canonical reference an entry of a layout is stored under.
func layoutName(d v1.Descriptor, in Import, of int) (string, error) {
	tag := tagOf(d)
	if in.Pick != "" && !slices.Contains([]string{tag, d.Annotations[refName], d.Digest.String()}, in.Pick) {
		return "", errOther
	}
	if d.Annotations[referenceType] != "" {
		return "", errOther
	}
	if in.Ref != "" {
		return Canonical(in.Ref)
	}
	if !strings.ContainsAny(tag, "/:") {
		return "", errOther // a tag alone, as most tools write it
	}
	return Canonical(tag)
}

// loadImage copies one image of a layout, with the index that it is in.
func (c *Cache) loadImage(ctx context.Context, in Import, d v1.Descriptor, from blobs) (Entry, error) {
	get := func(_ context.Context, h v1.Hash) (document, error) { return c.copyDocument(from, h) }
	first, err := get(ctx, d.Digest)
	if err != nil {
		return Entry{}, err
	}
	f, err := choice{platform: in.Platform, get: get, fits: func(ctx context.Context, d document) error {
		if d.image == nil {
			return fmt.Errorf("%w: %s should be an image and is an index", ErrFormat, d.digest)
		}
		if err := c.copyBlob(ctx, from, d.image.Config); err != nil {
			return fmt.Errorf("config: %w", err)
		}
		return c.fits(d, in.Platform)
	}}.from(ctx, first)
	if err != nil {
		return Entry{}, err
	}
	m := f.image.image
	if err := c.copyBlob(ctx, from, m.Config); err != nil {
		return Entry{}, fmt.Errorf("config: %w", err)
	}
	for i, l := range m.Layers {
		if err := c.copyBlob(ctx, from, l); err != nil {
			return Entry{}, fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), err)
		}
	}
	for _, index := range f.indexes {
		for _, a := range attested(index, f.image.digest) {
			if doc, err := c.copyDocument(from, a.Digest); err == nil && doc.image != nil {
				for _, l := range spdx(doc) {
					if err := c.copyBlob(ctx, from, l); err != nil {
						return Entry{}, fmt.Errorf("attestation: %w", err)
					}
				}
			}
		}
	}
	return Entry{Digest: f.image.digest, Index: f.top(), Platform: in.Platform}, nil
}

func (c *Cache) copyDocument(from blobs, h v1.Hash) (document, error) {
	raw, err := from.read(h)
	if err != nil {
		return document{}, err
	}
	d, err := parseDocument(raw, "")
	if err != nil {
		return document{}, err
	}
	return d, c.blobs.putBytes(h, raw)
}

// copyBlob copies a blob unless it is there. Both copies are verified.
func (c *Cache) copyBlob(ctx context.Context, from blobs, d v1.Descriptor) error {
	if c.blobs.has(d.Digest, d.Size) {
		return nil
	}
	f, err := os.Open(from.path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: blob %s is missing", ErrDamaged, d.Digest)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return c.blobs.put(d.Digest, d.Size, stopper{ctx, f})
}
