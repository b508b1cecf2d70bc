package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/build/provenance"
	"github.com/lkv-io/lkv/internal/manifest"
)

// file checks size and digest of a file of any length.
func (v *verification) file(ctx context.Context, path, by string, want manifest.File) {
	got, err := digestOf(ctx, path)
	v.add(path, "digest", "as the "+by+" says", errors.Join(err, differ(got, want, err == nil)))
}

// named checks a file that the manifest lists. A statement may be in its envelope only.
func (v *verification) named(ctx context.Context, f manifest.Named) {
	if f.Name == "" || filepath.Base(f.Name) != f.Name || f.Name == ".." || f.Name == "." {
		v.add(f.Name, "digest", "", fmt.Errorf("the manifest names %.80q, which is no file beside the ISO", f.Name))
		return
	}
	path := filepath.Join(filepath.Dir(v.ISO), f.Name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(path, statementEnding) {
		v.enveloped(strings.TrimSuffix(path, statementEnding)+envelopeEnding, path, f.File)
		return
	}
	v.file(ctx, path, "manifest", f.File)
}

// enveloped checks the statement inside an envelope, where it is the same bytes as beside it.
func (v *verification) enveloped(envelope, path string, want manifest.File) {
	text, err := sidecar(envelope)
	if err != nil {
		v.add(path, "digest", "", err)
		return
	}
	payload, err := provenance.Payload(text)
	sum := sha256.Sum256(payload)
	got := manifest.File{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(payload))}
	v.add(envelope, "digest", "of the statement inside, as the manifest says", errors.Join(err, differ(got, want, err == nil)))
}

// differ says in which way a file is not what it should be; nil when it is, or when it could not be read.
func differ(got, want manifest.File, readable bool) error {
	switch {
	case !readable || got == want:
		return nil
	case got.Size != want.Size:
		return fmt.Errorf("%d bytes instead of %d", got.Size, want.Size)
	}
	return fmt.Errorf("sha256 %.12s instead of %.12s", got.SHA256, want.SHA256)
}

// sidecar reads a small file whole.
func sidecar(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxSidecar+1))
	if err == nil && len(text) > maxSidecar {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), maxSidecar)
	}
	return text, err
}

// digestOf reads a file of any length until the context ends.
func digestOf(ctx context.Context, path string) (manifest.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest.File{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	n, err := io.CopyBuffer(h, until{ctx, f}, make([]byte, 1<<20))
	return manifest.File{SHA256: hex.EncodeToString(h.Sum(nil)), Size: n}, err
}

// until is a reader that ends with its context.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
