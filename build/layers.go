package build

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// resolved is one image as this build uses it.
type resolved struct {
	ref    string // as written in the YAML
	img    v1.Image
	digest v1.Hash
	config v1.ConfigFile
}

// unpack lays all layers of an image on top of one another. Contents go to sp.
func (r resolved) unpack(ctx context.Context, sp *spill) (*tree, error) {
	layers, err := r.img.Layers()
	if err != nil {
		return nil, fmt.Errorf("image %s: read layers: %w", r.ref, err)
	}
	t := newTree(r.config.Created.Unix())
	if sp.limit, err = contentLimit(layers); err != nil {
		return nil, fmt.Errorf("image %s: %w", r.ref, err)
	}
	left := sp.limit + maxHeaders
	for i, l := range layers {
		if err := r.layer(ctx, t, l, i+1, sp, &left); err != nil {
			h, _ := l.Digest() // only names the layer in the error
			return nil, fmt.Errorf("image %s: layer %d of %d (%s): %w", r.ref, i+1, len(layers), h, err)
		}
	}
	return t, sp.flush()
}

// contentLimit is how much an image may unpack to.
func contentLimit(layers []v1.Layer) (int64, error) {
	var sum int64
	for i, l := range layers {
		n, err := l.Size()
		if err != nil {
			return 0, fmt.Errorf("layer %d of %d: read size: %w", i+1, len(layers), err)
		}
		sum += min(max(n, 0), maxUnpacked)
	}
	return unpackedLimit(sum), nil
}

// checkType refuses what a registry may hold as a layer but no root file system is made of. Types differ between
// tools, so that the name of the archive format is all that is asked for.
func checkType(l v1.Layer) error {
	t, err := l.MediaType()
	if err != nil {
		return fmt.Errorf("read media type: %w", err)
	}
	switch {
	case strings.HasSuffix(string(t), "+encrypted"):
		return fmt.Errorf("it is encrypted (%s): decrypt the image first", quoted(string(t)))
	case t != "" && !strings.Contains(string(t), "tar"):
		return fmt.Errorf("its media type %s is no tar archive: is this an image?", quoted(string(t)))
	}
	return nil
}

// layer lays one layer on the tree. left is how long all tar streams together may still be.
func (r resolved) layer(ctx context.Context, t *tree, l v1.Layer, n int, sp *spill, left *int64) error {
	if err := checkType(l); err != nil {
		return err
	}
	rc, err := l.Compressed()
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }()
	raw := bufio.NewReaderSize(reader{ctx, rc}, 1<<18)
	plain, err := decompress(raw)
	if err == nil {
		bounded := limited{plain, left}
		err = t.fold(ctx, bounded, n, sp)
		if err == nil {
			_, err = io.Copy(io.Discard, bounded)
		}
		plain.Close()
	}
	// The digest is checked at the end of the layer. It is the better message when both fail: garbage that
	// looks like a broken archive is a damaged blob first.
	if _, derr := io.Copy(io.Discard, raw); derr != nil {
		return derr
	}
	return err
}

// decompress recognises gzip and zstd by their first bytes; anything else is taken as a plain tar.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	magic, err := r.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w", err)
		}
		return z, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("read zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// reader ends a copy when its context is done.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
