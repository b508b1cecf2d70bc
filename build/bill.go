package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/lkv-io/lkv/build/sbom"
	"github.com/lkv-io/lkv/internal/manifest"
)

// bill is what is known about the software in one component.
type bill struct {
	Packages sbom.Packages `json:"packages"`
	Fault    string        `json:"fault,omitempty"` // why Packages is not all there is to know
}

// bill looks through the files of an unpacked image. A package database that is none is no reason not to build.
func (t *tree) bill(sp *spill) *bill {
	var files []sbom.File
	seen := map[*inode]bool{}
	for _, e := range t.entries("") {
		if !e.ino.is(typeReg) || seen[e.ino] {
			continue
		}
		seen[e.ino] = true
		files = append(files, sbom.File{Path: e.name, Mode: e.ino.mode & permMask, Size: e.ino.size,
			Open: func() (io.ReaderAt, error) {
				if e.ino.data != nil {
					return bytes.NewReader(e.ino.data), nil
				}
				return io.NewSectionReader(sp.f, e.ino.off, e.ino.size), nil
			}})
	}
	found, err := sbom.Scan(files)
	if err != nil {
		return &bill{Packages: found, Fault: err.Error()}
	}
	return &bill{Packages: found}
}

// bills are what each image of this build holds, by digest.
func (b *builder) bills(ctx context.Context) map[string]sbom.Packages {
	found := map[string]bill{}
	for _, s := range slices.Concat([]segment{b.kernel, b.boot}, b.parts) {
		if s.Bill != nil {
			found[s.Image] = *s.Bill
		}
	}
	out := map[string]sbom.Packages{}
	for _, ref := range sortedKeys(b.images) {
		r := b.images[ref]
		x := found[r.digest.String()]
		if x.Fault != "" {
			b.say(Event{Step: "warning", Name: fmt.Sprintf("image %s: the SBOM may be incomplete: %s", ref, x.Fault)})
		}
		for _, doc := range b.attached(ctx, r) {
			more, err := sbom.FromSPDX(bytes.NewReader(doc))
			if err != nil {
				b.say(Event{Step: "warning", Name: fmt.Sprintf("image %s: attached SBOM: %v", ref, err)})
				continue
			}
			x.Packages = sbom.Merge(x.Packages, more)
		}
		out[r.digest.String()] = x.Packages
	}
	return out
}

// attached are the SBOMs that came with an image; that they cannot be read is only a warning.
func (b *builder) attached(ctx context.Context, r resolved) [][]byte {
	docs, err := b.Images.Attestations(ctx, r.ref, r.digest)
	if err != nil {
		b.say(Event{Step: "warning", Name: fmt.Sprintf("image %s: attached SBOM: %v", r.ref, err)})
	}
	return docs
}

// document is the bill of materials of the whole ISO.
func (b *builder) document(ctx context.Context, isoName string, m manifest.Manifest) sbom.Document {
	d := sbom.Document{Name: isoName, SHA256: m.ISO.SHA256, Size: m.ISO.Size, Created: b.epoch(), Version: b.Version}
	packages := b.bills(ctx)
	for _, c := range m.Components {
		d.Components = append(d.Components, sbom.Component{Section: c.Section, Name: c.Name, Ref: c.Ref, Digest: c.Digest, Packages: packages[c.Digest]})
	}
	return d
}
