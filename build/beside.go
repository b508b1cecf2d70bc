package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/internal/manifest"
)

// Further outputs a build can write.
const (
	alsoPair = "kernel+initrd" // for a boot loader of one's own: .vmlinuz, .initrd and .cmdline
	alsoUKI  = "uki"           // the unified kernel image: .efi
)

// side is one file beside the ISO.
type side struct {
	kind  string // of manifest.Named
	ext   string
	write func(io.Writer) error
}

// beside writes everything that lies beside the ISO and returns what the manifest says about it.
func (b *builder) beside(ctx context.Context, base, isoPath string, l iso.Layout, m manifest.Manifest) ([]manifest.Named, error) {
	f, err := os.Open(isoPath)
	if err != nil {
		return nil, fmt.Errorf("read ISO: %w", err)
	}
	defer func() { _ = f.Close() }()
	part := func(e iso.Extent) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.Copy(w, io.NewSectionReader(f, e.Offset, e.Size))
			return err
		}
	}
	doc := b.document(ctx, filepath.Base(isoPath), m)
	list := []side{{"spdx", ".spdx.json", doc.WriteSPDX}, {"cyclonedx", ".cdx.json", doc.WriteCycloneDX}}
	if slices.Contains(b.Also, alsoPair) {
		list = append(list, side{"kernel", ".vmlinuz", part(l.Kernel)}, side{"initrd", ".initrd", part(l.Initrd)},
			side{"cmdline", ".cmdline", bytesOf([]byte(m.Cmdline + "\n"))})
	}
	if slices.Contains(b.Also, alsoUKI) {
		list = append(list, side{"uki", ".efi", part(l.UKI)})
	}
	var out []manifest.Named
	for _, s := range list {
		n, err := s.file(base)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	st, err := b.statement(filepath.Base(isoPath), m, out)
	if err != nil {
		return nil, err
	}
	n, err := side{"provenance", statementEnding, st.Write}.file(base)
	return append(out, n), err
}

// file writes one of them and hashes it on the way.
func (s side) file(base string) (manifest.Named, error) {
	n, sum := &counter{}, sha256.New()
	err := replaceFile(base+s.ext, func(w io.Writer) error { return s.write(io.MultiWriter(w, sum, n)) })
	return manifest.Named{Kind: s.kind, Name: filepath.Base(base + s.ext),
		File: manifest.File{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n.n}}, err
}
