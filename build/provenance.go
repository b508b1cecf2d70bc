package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/build/provenance"
	"github.com/lkv-io/lkv/internal/manifest"
)

// builderID is who made an ISO. Whoever signs it vouches for that; lkv cannot know more about the machine it runs on.
const builderID = "https://github.com/lkv-io/lkv"

// statement says what the ISO and the files beside it were made from.
func (b *builder) statement(iso string, m manifest.Manifest, beside []manifest.Named) (provenance.Statement, error) {
	p := provenance.Build{
		Builder: builderID, Version: b.Version,
		Parameters: provenance.Parameters{Image: b.Name, Arch: b.Arch, Boot: b.Boot, Rootfs: b.Rootfs, Compress: b.Compress, Epoch: b.epoch().Unix()},
		Outputs:    []provenance.Resource{provenance.File("", iso, m.ISO.SHA256)},
	}
	for _, f := range beside {
		p.Outputs = append(p.Outputs, provenance.File("", f.Name, f.SHA256))
	}
	for _, c := range m.Components {
		p.Inputs = append(p.Inputs, provenance.Image(c.Section, c.Name, c.Ref, c.Digest))
	}
	for _, y := range b.YAML {
		sum := sha256.Sum256(y.Data)
		p.Inputs = append(p.Inputs, provenance.File("linuxkit", filepath.Base(y.Name), hex.EncodeToString(sum[:])))
	}
	for i, f := range b.config.Files {
		if f.Source == "" {
			continue
		}
		sum, err := b.config.sources[i].sum(f.Optional)
		if err != nil {
			return provenance.Statement{}, b.config.sources[i].at(f.Path, err)
		}
		if sum == "" {
			continue
		}
		p.Inputs = append(p.Inputs, provenance.File("source", filepath.Base(f.Source), sum))
	}
	return p.Statement(), nil
}

// What signing adds: to the manifest's name, and in place of the statement's ending.
const (
	signatureEnding = ".sig"
	statementEnding = ".provenance.json"
	envelopeEnding  = ".provenance.dsse.json"
)

// sign signs the manifest, which names the digests of everything else, and the statement. It comes last and changes no
// other file: the ISO and all that describes it are the same bytes whoever signs them.
func sign(ctx context.Context, s provenance.Signer, r Result) error {
	text, err := os.ReadFile(r.Path)
	if err != nil {
		return fmt.Errorf("sign manifest: %w", err)
	}
	sig, err := s.Detached(text)
	if err != nil {
		return fmt.Errorf("sign manifest: %w", err)
	}
	if err := replaceFile(r.Path+signatureEnding, bytesOf(sig)); err != nil {
		return err
	}
	base := strings.TrimSuffix(r.ISO, ".iso")
	text, err = os.ReadFile(base + statementEnding)
	if err != nil {
		return fmt.Errorf("sign provenance: %w", err)
	}
	st, err := provenance.Parse(text)
	if err != nil {
		return fmt.Errorf("sign provenance: %w", err)
	}
	envelope, err := s.Envelope(ctx, st)
	if err != nil {
		return fmt.Errorf("sign provenance: %w", err)
	}
	return replaceFile(base+envelopeEnding, bytesOf(envelope))
}
