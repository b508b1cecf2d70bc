package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Pruned is what Prune took away, or would take away.
type Pruned struct {
	Images []Entry // dropped
	Blobs  int     // removed, also downloads that were cut off
	Bytes  int64   // freed
}

// Prune drops the images keep does not want, then every blob and signature nothing refers to any more. With dry it
// only says what it would do. It waits until nobody stores images.
func (c *Cache) Prune(ctx context.Context, keep func(Entry) bool, dry bool) (Pruned, error) {
	unlock, err := c.lock(ctx, blobsLock, exclusive)
	if err != nil {
		return Pruned{}, err
	}
	defer unlock()
	list, err := c.List()
	if err != nil {
		return Pruned{}, err
	}
	var out Pruned
	drop := map[string]bool{}
	used := map[v1.Hash]bool{}
	for _, e := range list {
		if keep(e) {
			c.mark(e, used)
		} else {
			drop[e.key()] = true
			out.Images = append(out.Images, e)
		}
	}
	if !dry {
		err = c.update(ctx, func(m *v1.IndexManifest) {
			m.Manifests = slices.DeleteFunc(m.Manifests, func(d v1.Descriptor) bool {
				return drop[entryOf(d).key()]
			})
		})
	}
	if err == nil {
		err = c.sweep(used, dry, &out)
	}
	if err == nil && !dry {
		err = c.sweepSignatures(used)
	}
	return out, err
}

// mark notes every blob that an image needs, or that says something about it: its indexes and attestations.
func (c *Cache) mark(e Entry, used map[v1.Hash]bool) {
	used[e.Digest] = true
	m, err := c.manifest(e.Digest)
	if err != nil {
		return // a damaged manifest keeps nothing else alive
	}
	used[m.Config.Digest] = true
	for _, l := range m.Layers {
		used[l.Digest] = true
	}
	for _, h := range c.path(e.Index, e.Digest, 0) {
		used[h] = true
		index, err := c.document(h)
		if err != nil {
			continue
		}
		for _, d := range attested(index, e.Digest) {
			used[d.Digest] = true
		}
		for _, d := range c.statements(index, e.Digest) {
			used[d.Digest] = true
		}
	}
}

func (c *Cache) sweep(used map[v1.Hash]bool, dry bool, out *Pruned) error {
	return c.blobs.each(func(h v1.Hash, size int64) error {
		if used[h] {
			return nil
		}
		if !dry {
			if err := os.Remove(c.blobs.path(h)); err != nil {
				return fmt.Errorf("prune image cache: %w", err)
			}
		}
		out.Blobs++
		out.Bytes += size
		return nil
	})
}

// sweepSignatures removes what was remembered about images that are gone.
func (c *Cache) sweepSignatures(used map[v1.Hash]bool) error {
	list, err := os.ReadDir(filepath.Join(c.dir, "signatures"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if used[v1.Hash{Algorithm: "sha256", Hex: strings.TrimSuffix(e.Name(), ".json")}] {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, "signatures", e.Name())); err != nil {
			return fmt.Errorf("prune image cache: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("prune image cache: %w", err)
	}
	return nil
}
