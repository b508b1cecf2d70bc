package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// store copies img's layers, config and manifest into the cache. Layers already there are not read again.
func (c *Cache) store(ctx context.Context, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("read layers: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, l := range layers {
		g.Go(func() error {
			if err := c.storeLayer(ctx, l); err != nil {
				return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if err := c.blobs.putBytes(digestOf(config), config); err != nil {
		return err
	}
	return c.blobs.putBytes(digestOf(manifest), manifest)
}

func (c *Cache) storeLayer(ctx context.Context, l v1.Layer) error {
	h, err := l.Digest()
	if err != nil {
		return fmt.Errorf("read digest: %w", err)
	}
	size, err := l.Size()
	if err != nil {
		return fmt.Errorf("read size: %w", err)
	}
	if c.blobs.has(h, size) {
		return nil
	}
	rc, err := l.Compressed()
	if err != nil {
		return fmt.Errorf("read %s: %w", h, err)
	}
	defer func() { _ = rc.Close() }()
	return c.blobs.put(h, size, stopper{ctx, rc})
}

// stopper ends a copy when its context is done.
type stopper struct {
	ctx context.Context
	r   io.Reader
}

func (s stopper) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// image returns the stored image with that manifest digest. Every byte read from it is verified.
func (c *Cache) image(h v1.Hash) (v1.Image, error) {
	m, err := c.manifest(h)
	if err != nil {
		return nil, err
	}
	if _, err := c.blobs.read(m.Config.Digest); err != nil {
		return nil, fmt.Errorf("image %s: %w", h, err)
	}
	for i, l := range m.Layers {
		if !c.blobs.has(l.Digest, -1) {
			return nil, fmt.Errorf("image %s: layer %d of %d (%s) is missing from the cache: %w", h, i+1, len(m.Layers), l.Digest, ErrDamaged)
		}
	}
	return partial.CompressedToImage(&stored{blobs: c.blobs, digest: h, mediaType: m.MediaType})
}

func (c *Cache) manifest(h v1.Hash) (*v1.Manifest, error) {
	raw, err := c.blobs.read(h)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&m); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", h, err)
	}
	return &m, nil
}

// stored is an image of the cache, as go-containerregistry wants it.
type stored struct {
	blobs     blobs
	digest    v1.Hash
	mediaType types.MediaType

	once sync.Once
	raw  []byte
	err  error
}

func (s *stored) MediaType() (types.MediaType, error) {
	if s.mediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return s.mediaType, nil
}

func (s *stored) RawManifest() ([]byte, error) {
	s.once.Do(func() { s.raw, s.err = s.blobs.read(s.digest) })
	return s.raw, s.err
}

func (s *stored) Manifest() (*v1.Manifest, error) { return partial.Manifest(s) }

func (s *stored) RawConfigFile() ([]byte, error) {
	m, err := s.Manifest()
	if err != nil {
		return nil, err
	}
	return s.blobs.read(m.Config.Digest)
}

func (s *stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := s.Manifest()
	if err != nil {
		return nil, err
	}
	if h == m.Config.Digest {
		return storedLayer{s.blobs, m.Config}, nil
	}
	for _, d := range m.Layers {
		if d.Digest == h {
			return storedLayer{s.blobs, d}, nil
		}
	}
	return nil, fmt.Errorf("find layer %s in image %s: no such layer", h, s.digest)
}

type storedLayer struct {
	blobs blobs
	desc  v1.Descriptor
}

func (l storedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l storedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l storedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l storedLayer) Descriptor() (*v1.Descriptor, error) { return &l.desc, nil }
func (l storedLayer) Compressed() (io.ReadCloser, error) {
	return l.blobs.open(l.desc.Digest, l.desc.Size)
}
