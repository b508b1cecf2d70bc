package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// LockFormat is the version of the lock file. A reader refuses a newer one.
const LockFormat = 1

// Lock pins references to digests. The zero value pins nothing.
type Lock struct {
	Format int            `json:"format"`
	Images map[string]Pin `json:"images"` // by canonical reference
}

// Pin is what one reference means until the lock file is updated.
type Pin struct {
	Index     string            `json:"index,omitempty"` // digest of the image index; empty for a plain image
	Platforms map[string]string `json:"platforms"`       // digest of the image manifest by "os/arch[/variant]"
}

// Change is one line of what an update did to a lock.
type Change struct {
	Ref string `json:"ref"`
	Old string `json:"old"` // platform digest before; empty when it was not locked
	New string `json:"new"` // platform digest now; empty when it was dropped
}

// ReadLock reads a lock file. A file that does not exist is an empty lock and no error.
func ReadLock(path string) (Lock, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Lock{Format: LockFormat, Images: map[string]Pin{}}, nil
	}
	if err != nil {
		return Lock{}, fmt.Errorf("read lock file: %w", err)
	}
	defer func() { _ = f.Close() }()
	l, err := DecodeLock(f)
	if err != nil {
		return Lock{}, fmt.Errorf("read lock file %s: %w", path, err)
	}
	return l, nil
}

// DecodeLock decodes a lock and checks every reference and digest in it.
func DecodeLock(r io.Reader) (Lock, error) {
	var l Lock
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Lock{}, err
	}
	if l.Format < 1 || l.Format > LockFormat {
		return Lock{}, fmt.Errorf("format %d, this lkv knows %d", l.Format, LockFormat)
	}
	for ref, pin := range l.Images {
		if c, err := Canonical(ref); err != nil || c != ref {
			return Lock{}, fmt.Errorf("%q is not a full image reference", ref)
		}
		if _, err := v1.NewHash(pin.Index); pin.Index != "" && err != nil {
			return Lock{}, fmt.Errorf("%s: index %q: %w", ref, pin.Index, err)
		}
		for p, d := range pin.Platforms {
			if _, err := v1.NewHash(d); err != nil {
				return Lock{}, fmt.Errorf("%s for %s: digest %q: %w", ref, p, d, err)
			}
		}
	}
	if l.Images == nil {
		l.Images = map[string]Pin{}
	}
	return l, nil
}

// Write writes the lock to path, complete or not at all; equal locks give equal bytes.
func (l Lock) Write(path string) error {
	l.Format = LockFormat
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return replaceFile(path, append(data, '\n'))
}

// Digest returns the pinned manifest digest of a reference for a platform and whether there is one.
func (l Lock) Digest(ref string, p v1.Platform) (v1.Hash, bool) {
	c, err := Canonical(ref)
	if err != nil {
		return v1.Hash{}, false
	}
	h, err := v1.NewHash(l.Images[c].Platforms[platformKey(p)])
	return h, err == nil
}

// platformKey is "linux/amd64" or, where a variant is asked for, "linux/arm/v7".
func platformKey(p v1.Platform) string {
	if p.Variant != "" {
		return p.OS + "/" + p.Architecture + "/" + p.Variant
	}
	return p.OS + "/" + p.Architecture
}
