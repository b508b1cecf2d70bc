package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// loadArchive takes images out of a docker save archive. Its layers are stored as they were before compression, so
// that an image has the same digest whoever packed it, and the config's diff IDs verify every one of them.
func (c *Cache) loadArchive(ctx context.Context, in Import) ([]Entry, error) {
	open := func() (io.ReadCloser, error) { return openTar(in.Path) }
	list, err := tarball.LoadManifest(open)
	if err != nil {
		return nil, fmt.Errorf("%w: manifest.json: %w", ErrFormat, err)
	}
	if len(list) > maxManifests {
		return nil, fmt.Errorf("%w: manifest.json lists %d images, at most %d are read", ErrFormat, len(list), maxManifests)
	}
	var out []Entry
	var skipped []string
	for i, d := range list {
		refs, all, err := archiveNames(d, in)
		if err != nil {
			return nil, err
		}
		if len(refs) == 0 {
			skipped = append(skipped, all)
			continue
		}
		e, err := c.loadArchived(ctx, in, d)
		if err != nil {
			return nil, fmt.Errorf("image %d of %d (%s): %w", i+1, len(list), all, err)
		}
		for _, ref := range refs {
			e.Ref = ref
			out = append(out, e)
		}
	}
	return chosen(out, skipped, in)
}

// archiveNames returns the references one image is stored under, and all it has, for messages.
func archiveNames(d tarball.Descriptor, in Import) (refs []string, all string, err error) {
	all = strings.Join(d.RepoTags, ", ")
	if all == "" {
		all = d.Config + " without a name"
	}
	tags := d.RepoTags
	if in.Pick != "" {
		tags = nil
		for _, t := range append(d.RepoTags, d.Config) {
			if t == in.Pick {
				tags = append(tags, t)
			}
		}
		if len(tags) == 0 {
			return nil, all, nil
		}
	}
	if in.Ref != "" {
		tags = []string{in.Ref}
	}
	for _, t := range tags {
		c, err := Canonical(t)
		if err != nil {
			return nil, all, err
		}
		refs = append(refs, c)
	}
	return refs, all, nil
}

// loadArchived stores one image of an archive.
func (c *Cache) loadArchived(ctx context.Context, in Import, d tarball.Descriptor) (Entry, error) {
	raw, cf, err := archivedConfig(in.Path, d)
	if err != nil {
		return Entry{}, err
	}
	platform := platformOf(cf)
	if rank(platform, in.Platform) < 0 {
		return Entry{}, fmt.Errorf("%w: wanted %s, it is for %s", ErrPlatform, in.Platform, platform)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(raw)), Digest: digestOf(raw)}}
	if err := c.archivedLayers(ctx, in.Path, d.Layers, cf.RootFS.DiffIDs); err != nil {
		return Entry{}, err
	}
	for _, id := range cf.RootFS.DiffIDs {
		size, err := c.blobs.size(id)
		if err != nil {
			return Entry{}, err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: size, Digest: id})
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return Entry{}, err
	}
	h := digestOf(manifest)
	err = errors.Join(c.blobs.putBytes(m.Config.Digest, raw), c.blobs.putBytes(h, manifest))
	return Entry{Digest: h, Platform: in.Platform}, err
}

// archivedConfig reads an image's config and checks it with its name, where the name is a digest.
func archivedConfig(archive string, d tarball.Descriptor) ([]byte, *v1.ConfigFile, error) {
	var raw []byte
	err := eachFile(archive, func(name string, h *tar.Header, r io.Reader) error {
		if name != path.Clean(d.Config) {
			return nil
		}
		if h.Size > maxConfig {
			return fmt.Errorf("%w: config of %d bytes, at most %d are read", ErrFormat, h.Size, maxConfig)
		}
		var err error
		raw, err = io.ReadAll(r)
		return err
	})
	if err == nil && raw == nil {
		err = fmt.Errorf("%w: config %s is missing", ErrDamaged, d.Config)
	}
	if err != nil {
		return nil, nil, err
	}
	hex := strings.TrimPrefix(strings.TrimSuffix(path.Base(d.Config), ".json"), "sha256:")
	if want, bad := v1.NewHash("sha256:" + hex); bad == nil && digestOf(raw) != want {
		return nil, nil, fmt.Errorf("config: %w: it is %s", ErrDamaged, digestOf(raw))
	}
	cf, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: config: %w", ErrFormat, err)
	}
	if len(cf.RootFS.DiffIDs) != len(d.Layers) {
		return nil, nil, fmt.Errorf("%w: the config has %d layers and manifest.json %d", ErrDamaged, len(cf.RootFS.DiffIDs), len(d.Layers))
	}
	return raw, cf, nil
}

// archivedLayers stores layers uncompressed under their diff IDs, in one pass, and one more for those that are links:
// docker made links of layers that two images share.
func (c *Cache) archivedLayers(ctx context.Context, archive string, names []string, ids []v1.Hash) error {
	pending := map[string]v1.Hash{}
	for i, n := range names {
		if old, twice := pending[path.Clean(n)]; twice && old != ids[i] {
			return fmt.Errorf("%w: layer %d of %d: %s is also another layer", ErrDamaged, i+1, len(names), n)
		}
		pending[path.Clean(n)] = ids[i]
	}
	for hops := 0; len(pending) > 0; hops++ {
		if hops > 2 {
			return fmt.Errorf("%w: links to links to links", ErrFormat)
		}
		next := map[string]v1.Hash{}
		err := eachFile(archive, func(name string, h *tar.Header, r io.Reader) error {
			id, ok := pending[name]
			if !ok {
				return nil
			}
			delete(pending, name)
			switch h.Typeflag {
			case tar.TypeSymlink:
				next[path.Join(path.Dir(name), h.Linkname)] = id
			case tar.TypeLink:
				next[path.Clean(h.Linkname)] = id
			default:
				if err := c.archivedLayer(ctx, id, r); err != nil {
					return fmt.Errorf("layer %s: %w", name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, n := range names {
			if id, missing := pending[path.Clean(n)]; missing {
				return fmt.Errorf("%w: layer %d of %d is missing: %s (%s)", ErrDamaged, i+1, len(names), n, id)
			}
		}
		if len(pending) > 0 {
			return fmt.Errorf("%w: a layer is a link to a file that is missing", ErrDamaged)
		}
		pending = next
	}
	return nil
}

// archivedLayer stores one layer, unpacked when it is compressed.
func (c *Cache) archivedLayer(ctx context.Context, id v1.Hash, r io.Reader) error {
	if c.blobs.has(id, -1) {
		return nil
	}
	b := bufio.NewReader(stopper{ctx, r})
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var plain io.Reader = b
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		if plain, err = gzip.NewReader(b); err != nil {
			return err
		}
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b)
		if err != nil {
			return err
		}
		defer z.Close()
		plain = z
	}
	return c.blobs.put(id, -1, plain)
}
