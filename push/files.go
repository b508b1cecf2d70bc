package push

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/internal/manifest"
)

// File is one file of what a push brings somewhere. Either Path or Raw holds its content.
type File struct {
	Name   string // file name beside the ISO
	Path   string // of the ISO on this machine
	Raw    []byte
	SHA256 string // 64 hex digits
	Size   int64  // bytes
}

// Files returns what Push would bring to a store, checked as it would be: what describes the ISO, the manifest after
// the rest, and the ISO as the last. It is for places that are no Store, like a registry.
func Files(in Input) ([]File, manifest.Manifest, error) {
	m, err := in.check()
	if err != nil {
		return nil, m, err
	}
	documents, err := in.documents(m)
	if err != nil {
		return nil, m, fmt.Errorf("push %s: %w", in.Image, err)
	}
	base := strings.TrimSuffix(filepath.Base(in.ISO), isoEnding)
	var list []File
	for _, d := range documents {
		name := base + d.ending
		if i := slices.IndexFunc(m.Files, func(f manifest.Named) bool { return kinds[f.Kind] == d.ending }); i >= 0 {
			name = m.Files[i].Name
		}
		sum := sha256.Sum256(d.raw)
		list = append(list, File{Name: name, Raw: d.raw, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(d.raw))})
	}
	iso := File{Name: filepath.Base(in.ISO), Path: in.ISO, SHA256: m.ISO.SHA256, Size: m.ISO.Size}
	return append(list, iso), m, nil
}

// Whole tells whether a store has the ISO of that digest complete and with its manifest, judged by its size.
func Whole(ctx context.Context, s Reader, image, digest string) (bool, error) {
	m, err := ReadManifest(ctx, s, image, digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return Present(ctx, s, image, m)
}
