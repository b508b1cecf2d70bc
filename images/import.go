package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Annotations that give the images of a layout their names, besides refName.
const containerdName = "io.containerd.image.name" // docker save writes the full reference there

// Import says what to take out of a layout or archive.
type Import struct {
	Path     string      // directory of an OCI layout, or a tar (also gzipped) of a layout or from docker save
	Platform v1.Platform // of the images to take
	Ref      string      // reference to store the image under; empty: the names in the archive
	Pick     string      // take only the image with this name, tag or digest; empty: all
}

// Import stores the images of an OCI layout or a docker save archive and returns what it stored. Every blob is
// verified on its way. The index names an image only when all of it is there. It fails with ErrFormat, ErrDamaged
// or ErrPlatform where they apply; errors name the image and what is wrong with it.
func (c *Cache) Import(ctx context.Context, in Import) ([]Entry, error) {
	unlock, err := c.lock(ctx, blobsLock, shared)
	if err != nil {
		return nil, err
	}
	defer unlock()
	out, err := c.importFrom(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", in.Path, err)
	}
	for i, e := range out {
		if err := c.record(ctx, e); err != nil {
			return nil, fmt.Errorf("import %s: %w", in.Path, err)
		}
		out[i].Size = c.weigh(e.Digest)
	}
	return out, nil
}

func (c *Cache) importFrom(ctx context.Context, in Import) ([]Entry, error) {
	st, err := os.Stat(in.Path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		raw, err := os.ReadFile(filepath.Join(in.Path, "index.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: the directory is no OCI layout: it has no index.json", ErrFormat)
		}
		if err != nil {
			return nil, err
		}
		return c.loadLayout(ctx, in, raw, blobs{filepath.Join(in.Path, "blobs")})
	}
	kind, raw, err := sniff(in.Path)
	switch {
	case err != nil:
		return nil, err
	case kind == "index.json":
		if err := c.unpack(ctx, in.Path); err != nil {
			return nil, err
		}
		return c.loadLayout(ctx, in, raw, c.blobs)
	}
	return c.loadArchive(ctx, in)
}

// openTar opens an archive, gzipped or not.
func openTar(archive string) (io.ReadCloser, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	var magic [2]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: it is empty", ErrFormat), f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !bytes.Equal(magic[:], []byte{0x1f, 0x8b}) {
		return f, nil
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// eachFile calls do for every file and link of an archive, with a clean name.
func eachFile(archive string, do func(name string, h *tar.Header, r io.Reader) error) error {
	f, err := openTar(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := tar.NewReader(f)
	for first := true; ; first = false {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && first {
			return fmt.Errorf("%w: it is neither a tar archive nor a directory: %w", ErrFormat, err)
		}
		if err != nil {
			return fmt.Errorf("read archive (is it complete?): %w", err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeSymlink && h.Typeflag != tar.TypeLink {
			continue
		}
		if err := do(path.Clean(h.Name), h, r); err != nil {
			return err
		}
	}
}

// sniff finds out what an archive is. Archives of new dockers are both; the layout says more.
func sniff(archive string) (kind string, index []byte, err error) {
	err = eachFile(archive, func(name string, h *tar.Header, r io.Reader) error {
		switch {
		case h.Size > maxDocument && (name == "index.json" || name == "manifest.json"):
			return fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrFormat, name, h.Size, maxDocument)
		case name == "index.json":
			kind = name
			index, err = io.ReadAll(r)
			return err
		case name == "manifest.json" && kind == "":
			kind = name
		}
		return nil
	})
	if err == nil && kind == "" {
		err = fmt.Errorf("%w: the archive has neither index.json (OCI layout) nor manifest.json (docker save)", ErrFormat)
	}
	return kind, index, err
}

// unpack stores the blobs of an archived layout, each verified.
func (c *Cache) unpack(ctx context.Context, archive string) error {
	return eachFile(archive, func(name string, h *tar.Header, r io.Reader) error {
		hex, ok := strings.CutPrefix(name, "blobs/sha256/")
		if !ok {
			return nil
		}
		digest, err := v1.NewHash("sha256:" + hex)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrFormat, name, err)
		}
		if c.blobs.has(digest, h.Size) {
			return nil
		}
		return c.blobs.put(digest, h.Size, stopper{ctx, r})
	})
}
