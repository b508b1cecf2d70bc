package images

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkv-io/lkv/internal/manifest"
)

// An ISO in a registry is one OCI artifact: an image manifest with an artifact type, an empty config, and one layer
// per file, uncompressed, titled with the file's name. So the ISO layer's digest is the ISO's SHA-256.
const (
	artifactType = "application/vnd.lkv.image.v1+json"
	channelType  = "application/vnd.lkv.channel.v1+json"
	emptyType    = "application/vnd.oci.empty.v1+json"

	isoType       = "application/vnd.lkv.image.iso.v1"
	manifestType  = "application/vnd.lkv.image.manifest.v1+json"
	signatureType = "application/vnd.lkv.image.signature.v1"

	titleAnnotation = "org.opencontainers.image.title"
	imageAnnotation = "io.lkv.image"
	isoAnnotation   = "io.lkv.iso"   // SHA-256 of the ISO, 64 hex digits
	sinceAnnotation = "io.lkv.since" // RFC 3339, when a channel was moved there

	digestTag    = "sha256-" // and 64 hex digits: the artifact of that ISO
	maxBeside    = 64 << 20  // bytes of a file beside an ISO
	maxArtifacts = 32        // files of one artifact
)

// mediaTypes are what layers are called, by how a file's name ends. The longest ending that fits counts.
var mediaTypes = map[string]types.MediaType{
	".iso":                  isoType,
	".manifest.json":        manifestType,
	".manifest.json.sig":    signatureType,
	".spdx.json":            "application/spdx+json",
	".cdx.json":             "application/vnd.cyclonedx+json",
	".provenance.json":      statementType,
	".provenance.dsse.json": "application/vnd.dsse.envelope.v1+json",
}

func mediaType(title string) types.MediaType {
	best, found := types.MediaType("application/octet-stream"), ""
	for ending, t := range mediaTypes {
		if strings.HasSuffix(title, ending) && len(ending) > len(found) {
			best, found = t, ending
		}
	}
	return best
}

// Shelf is the repository that holds the ISOs of one image: one artifact each, under the tag sha256-<hex of the ISO>,
// and a tag per channel. Mirrors and keys of the source's rules count as they do for images.
type Shelf struct {
	Source     *Source
	Image      string // name of the image block
	Repository string // with its registry, for example "reg.example.net/lkv/worker"
}

// File is one file of an artifact. Either Path or Raw holds its content.
type File struct {
	Name   string // file name, no directory; the layer's title
	Path   string // where the content lies; empty: in Raw
	Raw    []byte
	SHA256 string // 64 hex digits
	Size   int64  // bytes
}

func (f File) digest() v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: f.SHA256} }

func (f File) isISO() bool { return strings.HasSuffix(f.Name, ".iso") }

// artifact is a parsed and checked artifact.
type artifact struct {
	doc  document
	iso  v1.Descriptor
	main v1.Descriptor // lkv's manifest
	rest []v1.Descriptor
}

var digestRule = regexp.MustCompile(`^[0-9a-f]{64}$`)

func isoDigest(d string) error {
	if !digestRule.MatchString(d) {
		return fmt.Errorf("digest %.80q: write the 64 hex digits of the ISO", d)
	}
	return nil
}

// titleRule is what a title may be that becomes a file name.
var titleRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// artifactOf makes the manifest. It holds nothing but what follows from the files, so that equal files are one artifact.
func artifactOf(image string, files []File) (document, error) {
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType,
		Config: v1.Descriptor{MediaType: emptyType, Digest: digestOf(emptyConfig), Size: int64(len(emptyConfig)), Data: emptyConfig},
	}
	m.Annotations = map[string]string{imageAnnotation: image}
	for _, f := range files {
		m.Layers = append(m.Layers, v1.Descriptor{
			MediaType: mediaType(f.Name), Digest: f.digest(), Size: f.Size, Annotations: map[string]string{titleAnnotation: f.Name},
		})
		if f.isISO() {
			m.Annotations[isoAnnotation] = f.SHA256
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return document{}, fmt.Errorf("write artifact: %w", err)
	}
	return parseDocument(raw, types.OCIManifestSchema1)
}

var emptyConfig = []byte("{}")

// parseArtifact checks the shape of an artifact: who sent it is not trusted.
func parseArtifact(d document, iso string) (artifact, error) {
	a := artifact{doc: d}
	switch {
	case d.image == nil || d.image.ArtifactType != artifactType:
		return a, fmt.Errorf("%w: %s is no ISO of lkv", ErrFormat, d.digest)
	case len(d.image.Layers) > maxArtifacts:
		return a, fmt.Errorf("%w: artifact %s has %d files, at most %d are read", ErrFormat, d.digest, len(d.image.Layers), maxArtifacts)
	}
	var titles []string
	for _, l := range d.image.Layers {
		title := l.Annotations[titleAnnotation]
		if !titleRule.MatchString(title) || slices.Contains(titles, title) {
			return a, fmt.Errorf("%w: artifact %s has a file named %.80q", ErrFormat, d.digest, title)
		}
		titles = append(titles, title)
		switch {
		case l.MediaType == isoType && a.iso.Size == 0:
			a.iso = l
		case l.MediaType == isoType:
			return a, fmt.Errorf("%w: artifact %s has two ISOs", ErrFormat, d.digest)
		case l.Size > maxBeside:
			return a, fmt.Errorf("%w: artifact %s: %s has %d bytes, at most %d are read", ErrFormat, d.digest, title, l.Size, maxBeside)
		case l.MediaType == manifestType:
			a.main = l
			fallthrough
		default:
			a.rest = append(a.rest, l)
		}
	}
	if a.iso.Size == 0 || a.main.Size == 0 {
		return a, fmt.Errorf("%w: artifact %s lacks its ISO or its manifest", ErrFormat, d.digest)
	}
	if iso != "" && a.iso.Digest.Hex != iso {
		return a, fmt.Errorf("%w: artifact %s holds ISO %s instead of %s", ErrDamaged, d.digest, a.iso.Digest.Hex, iso)
	}
	base := strings.TrimSuffix(a.iso.Annotations[titleAnnotation], ".iso")
	if a.main.Annotations[titleAnnotation] != base+".manifest.json" {
		return a, fmt.Errorf("%w: artifact %s: the manifest is not that of %s.iso", ErrFormat, d.digest, base)
	}
	return a, nil
}

// describes checks that a manifest of lkv is about this image and ISO.
func (a artifact) describes(raw []byte, image string) (manifest.Manifest, error) {
	m, err := manifest.Read(bytes.NewReader(raw))
	switch {
	case err != nil:
		return m, err
	case m.Image != image:
		return m, fmt.Errorf("%w: the manifest is of image %q instead of %q", ErrDamaged, m.Image, image)
	case m.ISO.SHA256 != a.iso.Digest.Hex || m.ISO.Size != a.iso.Size:
		return m, fmt.Errorf("%w: the manifest describes ISO %s with %d bytes, the artifact holds %s with %d", ErrDamaged, m.ISO.SHA256, m.ISO.Size, a.iso.Digest.Hex, a.iso.Size)
	}
	return m, nil
}

// reference returns the shelf's repository under a tag.
func (s Shelf) reference(tag string) (name.Reference, error) { return parse(s.Repository + ":" + tag) }

// origin logs in to the registry itself, for reading or for both.
func (s Shelf) origin(ctx context.Context, scope string) (*place, error) {
	if s.Source.Offline {
		return nil, fmt.Errorf("%s: %w", s.Repository, ErrOffline)
	}
	repo, err := s.Source.repository(s.Repository)
	if err != nil {
		return nil, err
	}
	return s.Source.connect(ctx, repo, scope)
}

// find returns the artifact of an ISO at a place.
func (s Shelf) find(ctx context.Context, p *place, iso string) (artifact, error) {
	doc, err := p.document(ctx, digestTag+iso)
	if err != nil {
		return artifact{}, err
	}
	return parseArtifact(doc, iso)
}

// Has tells whether the registry has the ISO of that digest (64 hex digits) and all that its artifact lists.
func (s Shelf) Has(ctx context.Context, iso string) (bool, error) {
	if err := isoDigest(iso); err != nil {
		return false, err
	}
	p, err := s.origin(ctx, "pull")
	if err != nil {
		return false, err
	}
	defer p.close()
	a, err := s.find(ctx, p, iso)
	if errors.Is(err, ErrUnknown) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for ISO %s in %s: %w", iso, s.Repository, err)
	}
	return s.whole(ctx, p, a)
}

// whole asks for every blob of an artifact.
func (s Shelf) whole(ctx context.Context, p *place, a artifact) (bool, error) {
	for _, d := range append([]v1.Descriptor{a.iso}, a.rest...) {
		size, err := p.size(ctx, d.Digest)
		if err != nil || size != d.Size {
			return false, err
		}
	}
	return true, nil
}

func hexOf(sum []byte) string { return hex.EncodeToString(sum) }
