package images

import (
	"context"
	"fmt"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Prune drops the images keep does not want, then every blob nothing refers to any more, and returns the bytes
// it freed. It waits until nobody stores images.
func (c *Cache) Prune(ctx context.Context, keep func(Entry) bool) (freed int64, err error) {
	unlock, err := c.lock(ctx, blobsLock, exclusive)
	if err != nil {
		return 0, err
	}
	defer unlock()
	list, err := c.List()
	if err != nil {
		return 0, err
	}
	drop := map[string]bool{}
	used := map[v1.Hash]bool{}
	for _, e := range list {
		if keep(e) {
			c.mark(e.Digest, used)
		} else {
			drop[e.key()] = true
		}
	}
	err = c.update(ctx, func(m *v1.IndexManifest) {
		m.Manifests = slices.DeleteFunc(m.Manifests, func(d v1.Descriptor) bool {
			return drop[entryOf(d).key()]
		})
	})
	if err != nil {
		return 0, err
	}
	return c.sweep(used)
}

func (c *Cache) mark(digest v1.Hash, used map[v1.Hash]bool) {
	used[digest] = true
	m, err := c.manifest(digest)
	if err != nil {
		return // a damaged manifest keeps nothing else alive
	}
	used[m.Config.Digest] = true
	for _, l := range m.Layers {
		used[l.Digest] = true
	}
}

func (c *Cache) sweep(used map[v1.Hash]bool) (freed int64, err error) {
	err = c.blobs.each(func(h v1.Hash, size int64) error {
		if used[h] {
			return nil
		}
		if err := os.Remove(c.blobs.path(h)); err != nil {
			return fmt.Errorf("prune image cache: %w", err)
		}
		freed += size
		return nil
	})
	return freed, err
}
