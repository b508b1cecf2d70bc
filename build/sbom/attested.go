package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// maxAttestation bounds one SPDX document, in bytes. BuildKit's for a full Debian desktop has 20 MB, most of it files.
const maxAttestation = 64 << 20

// spdxDocument is the part of SPDX 2.x (clause 6 and 7) that names packages. The library's own reader wants every
// other part to be right as well; this one shall take what builders really attach.
type spdxDocument struct {
	Version       string        `json:"spdxVersion"`
	Packages      []spdxPackage `json:"packages"`
	Describes     []string      `json:"documentDescribes"`
	Relationships []struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	} `json:"relationships"`
}

type spdxPackage struct {
	ID      string `json:"SPDXID"`
	Name    string `json:"name"`
	Version string `json:"versionInfo"`
	License string `json:"licenseDeclared"`
	Refs    []struct {
		Type    string `json:"referenceType"`
		Locator string `json:"referenceLocator"`
	} `json:"externalRefs"`
}

// FromSPDX returns the packages of an SPDX 2.x JSON document: bare, or the predicate of an in-toto statement as
// BuildKit attaches it to images. What the document describes as a whole is no package and left out.
func FromSPDX(r io.Reader) (Packages, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxAttestation+1))
	if err != nil {
		return Packages{}, fmt.Errorf("read SPDX: %w", err)
	}
	if len(text) > maxAttestation {
		return Packages{}, fmt.Errorf("read SPDX: more than %d bytes", maxAttestation)
	}
	doc, err := parseSPDX(text)
	if err != nil {
		return Packages{}, fmt.Errorf("read SPDX: %w", err)
	}
	whole := slices.Clone(doc.Describes)
	for _, rel := range doc.Relationships {
		if rel.From == "SPDXRef-DOCUMENT" && rel.Type == "DESCRIBES" {
			whole = append(whole, rel.To)
		}
	}
	var found Packages
	for _, p := range doc.Packages {
		q := p.plain()
		if q.Name == "" || (q.PURL == "" && slices.Contains(whole, p.ID)) {
			continue
		}
		found.Packages = append(found.Packages, q)
	}
	return found.tidy(), nil
}

func parseSPDX(text []byte) (spdxDocument, error) {
	var statement struct {
		Type      string       `json:"predicateType"`
		Predicate spdxDocument `json:"predicate"`
	}
	var bare spdxDocument
	if err := errors.Join(json.Unmarshal(text, &statement), json.Unmarshal(text, &bare)); err != nil {
		return bare, err
	}
	doc := bare
	if statement.Type != "" {
		doc = statement.Predicate
	}
	if !strings.HasPrefix(doc.Version, "SPDX-2.") {
		return doc, fmt.Errorf("version %.20q, predicate type %.60q: only SPDX 2.x is known", doc.Version, statement.Type)
	}
	return doc, nil
}

func (p spdxPackage) plain() Package {
	q := Package{Name: p.Name, Version: p.Version, License: p.License, FoundIn: []string{"attestation"}}
	if q.License == "NOASSERTION" || q.License == "NONE" {
		q.License = ""
	}
	for _, ref := range p.Refs {
		u, err := packageurl.FromString(ref.Locator)
		if ref.Type == "purl" && err == nil && q.PURL == "" {
			q.PURL = u.String()
		}
	}
	return q
}
