package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// getter returns the document with that digest.
type getter func(ctx context.Context, h v1.Hash) (document, error)

// found is an image and the indexes it was found in, outermost first.
type found struct {
	image   document
	indexes []document
}

// top is the digest of the outermost index, zero when there is none.
func (f found) top() v1.Hash {
	if len(f.indexes) == 0 {
		return v1.Hash{}
	}
	return f.indexes[0].digest
}

// choice picks images of one platform, or the one image with a digest when pin is set.
type choice struct {
	platform v1.Platform
	pin      v1.Hash
	get      getter
	fits     func(ctx context.Context, d document) error // checks the platform in an image's config
}

// from finds the image that doc is or leads to.
func (c choice) from(ctx context.Context, doc document) (found, error) {
	if doc.image != nil {
		if c.pin != (v1.Hash{}) && doc.digest != c.pin {
			return found{}, fmt.Errorf("%w: pinned %s, got %s", ErrLocked, c.pin, doc.digest)
		}
		return found{image: doc}, c.fits(ctx, doc)
	}
	var have []string
	f, err := c.in(ctx, doc, nil, &have)
	if errors.Is(err, errNone) {
		if c.pin != (v1.Hash{}) {
			return found{}, fmt.Errorf("%w: index %s does not hold the pinned %s", ErrLocked, doc.digest, c.pin)
		}
		slices.Sort(have)
		return found{}, fmt.Errorf("%w: wanted %s, there is %s", ErrPlatform, c.platform, strings.Join(slices.Compact(have), ", "))
	}
	return f, err
}

// errNone says that an index holds nothing that is wanted.
var errNone = errors.New("nothing here")

// in searches one index: the best platform first, then nested indexes, then entries that name no platform.
func (c choice) in(ctx context.Context, doc document, above []document, have *[]string) (found, error) {
	if len(above) >= maxNesting {
		return found{}, fmt.Errorf("%w: indexes are nested more than %d deep", ErrFormat, maxNesting)
	}
	path := append(slices.Clone(above), doc)
	at, ok, rest := c.best(doc.index, have)
	if ok {
		img, err := c.get(ctx, at.Digest)
		if err == nil && img.image == nil {
			err = fmt.Errorf("%w: %s should be an image and is an index", ErrFormat, at.Digest)
		}
		return found{img, path}, err
	}
	for _, d := range rest {
		next, err := c.get(ctx, d.Digest)
		if err != nil {
			return found{}, err
		}
		f := found{next, path}
		if next.index != nil {
			f, err = c.in(ctx, next, path, have)
		} else if err = c.fits(ctx, next); errors.Is(err, ErrPlatform) {
			err = errNone
		}
		if !errors.Is(err, errNone) {
			return f, err
		}
	}
	return found{}, errNone
}

// best returns the entry to take, and those to look into when there is none: nested indexes, then images without a
// platform. Attestations and what is for an unknown platform are no images.
func (c choice) best(index *v1.IndexManifest, have *[]string) (at v1.Descriptor, ok bool, rest []v1.Descriptor) {
	lowest := -1
	var unnamed []v1.Descriptor
	for _, d := range index.Manifests {
		switch {
		case d.Annotations[referenceType] != "" || d.MediaType == types.DockerManifestSchema1 || d.MediaType == types.DockerManifestSchema1Signed:
		case d.MediaType.IsIndex():
			rest = append(rest, d)
		case c.pin != (v1.Hash{}):
			if d.Digest == c.pin {
				lowest, at = 0, d
			}
		case d.Platform == nil:
			unnamed = append(unnamed, d)
		case d.Platform.OS != "unknown":
			*have = append(*have, d.Platform.String())
			if r := rank(*d.Platform, c.platform); r >= 0 && (lowest < 0 || r < lowest) {
				lowest, at = r, d
			}
		}
	}
	return at, lowest >= 0, append(rest, unnamed...)
}

// rank says how well an image for have runs on want: 0 is best, negative is not at all. A 32-bit ARM runs what
// was made for its predecessors; an image for a later x86-64 level than asked for may crash.
func rank(have, want v1.Platform) int {
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return -1
	}
	level := map[string]map[string]int{
		"arm":   {"v5": 5, "v6": 6, "": 7, "v7": 7},
		"arm64": {"": 8, "v8": 8, "v9": 9},
		"amd64": {"": 1, "v1": 1, "v2": 2, "v3": 3, "v4": 4},
	}[want.Architecture]
	h, known := level[have.Variant]
	w, wanted := level[want.Variant]
	switch {
	case have.Variant == want.Variant:
		return 0
	case known && wanted && h <= w:
		return w - h + 1
	}
	return -1
}
