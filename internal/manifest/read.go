package manifest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxManifest is what Read reads, in bytes. The manifest of 100 components has 50 KB.
const maxManifest = 16 << 20

// Read decodes one manifest and nothing behind it. It refuses a format newer than Format, a manifest without digests,
// and sizes below 0.
func Read(r io.Reader) (Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if len(text) > maxManifest {
		return Manifest{}, fmt.Errorf("read manifest: more than %d MiB: this is none", maxManifest>>20)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if m.Format < 1 || m.Format > Format {
		return Manifest{}, fmt.Errorf("read manifest: format %d, this lkv knows %d: use a newer lkv or build the image again", m.Format, Format)
	}
	if m.ISO.SHA256 == "" || m.ID == "" {
		return Manifest{}, errors.New("read manifest: no ISO digest or image ID: build the image again")
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

// check refuses what no lkv writes and what a reader would stumble over. Files are left to whoever opens them: lkv
// verify-image says of each what is wrong with it.
func (m Manifest) check() error {
	if err := m.ISO.check(); err != nil {
		return fmt.Errorf("iso: %w", err)
	}
	if m.Root != nil {
		if err := m.Root.check(); err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	if m.RAM.Minimum < 0 || m.RAM.Initrd < 0 || m.RAM.Unpacked < 0 {
		return fmt.Errorf("memory of %d, %d, %d bytes", m.RAM.Minimum, m.RAM.Initrd, m.RAM.Unpacked)
	}
	return nil
}

func (f File) check() error {
	if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != 32 || strings.ToLower(f.SHA256) != f.SHA256 {
		return fmt.Errorf("%.80q is no SHA-256 in lower-case hex digits", f.SHA256)
	}
	if f.Size < 0 {
		return fmt.Errorf("size %d", f.Size)
	}
	return nil
}
