package sbom

import (
	"fmt"
	"io"
	"strings"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

const noAssertion = "NOASSERTION"

// WriteSPDX writes the document as SPDX 2.3 JSON with a final newline.
func (d Document) WriteSPDX(w io.Writer) error {
	id, err := d.uuid("spdx")
	if err != nil {
		return fmt.Errorf("write SPDX: %w", err)
	}
	doc := spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: label(d.Name), DocumentNamespace: "urn:uuid:" + id,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: strings.TrimSuffix(toolID+"-"+d.Version, "-")}},
			Created:  d.created(),
		},
	}
	c := d.content()
	doc.Packages = append(doc.Packages, d.spdxISO())
	doc.Relationships = append(doc.Relationships, related("DOCUMENT", common.TypeRelationshipDescribe, isoID))
	for _, i := range c.images {
		doc.Packages = append(doc.Packages, i.spdx())
		doc.Relationships = append(doc.Relationships, related(isoID, common.TypeRelationshipContains, i.id))
		for _, part := range i.parts() {
			doc.Relationships = append(doc.Relationships, related(i.id, common.TypeRelationshipContains, part))
		}
	}
	for _, o := range c.systems {
		p := spdxPackageOf(o.id(), o.ID, o.VersionID, "OPERATING-SYSTEM")
		p.PackageDescription = o.Name
		doc.Packages = append(doc.Packages, p)
	}
	for _, p := range c.packages {
		doc.Packages = append(doc.Packages, p.spdx())
	}
	for _, u := range c.programs {
		doc.Files = append(doc.Files, u.spdx())
	}
	if err := spdxjson.Write(doc, w, spdxjson.Indent("  ")); err != nil {
		return fmt.Errorf("write SPDX: %w", err)
	}
	return nil
}

func spdxPackageOf(id, name, version, purpose string) *spdx.Package {
	return &spdx.Package{
		PackageSPDXIdentifier: common.ElementID(id), PackageName: label(name), PackageVersion: version, PrimaryPackagePurpose: purpose,
		PackageDownloadLocation: noAssertion, PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion,
		PackageCopyrightText: noAssertion, PackageSupplier: &common.Supplier{Supplier: noAssertion},
	}
}

func related(a, how, b string) *spdx.Relationship {
	return &spdx.Relationship{RefA: common.MakeDocElementID("", a), Relationship: how, RefB: common.MakeDocElementID("", b)}
}

func (d Document) spdxISO() *spdx.Package {
	p := spdxPackageOf(isoID, d.Name, "", "INSTALL")
	p.PackageFileName = d.Name
	p.PackageDescription = fmt.Sprintf("bootable ISO image, %d bytes", d.Size)
	p.PackageChecksums = sums(common.SHA256, d.SHA256)
	return p
}

func (i image) spdx() *spdx.Package {
	p := spdxPackageOf(i.id, i.name, i.Digest, "CONTAINER")
	p.PackageComment = i.summary()
	p.PackageChecksums = sums(common.SHA256, hash(i.Digest))
	p.PackageExternalReferences = located(i.purl)
	return p
}

func (p Package) spdx() *spdx.Package {
	q := spdxPackageOf(p.id(), p.Name, p.Version, "LIBRARY")
	q.PackageSourceInfo = "found in " + strings.Join(p.FoundIn, ", ")
	q.PackageExternalReferences = located(p.PURL)
	if e := expression(p.License); e != "" {
		q.PackageLicenseDeclared = e
	} else if p.License != "" {
		q.PackageLicenseComments = "the package database says: " + p.License
	}
	return q
}

func (u Unclaimed) spdx() *spdx.File {
	return &spdx.File{
		FileName: "./" + u.Path, FileSPDXIdentifier: common.ElementID(u.id()), FileTypes: []string{"BINARY"},
		Checksums:        append(sums(common.SHA1, u.SHA1), sums(common.SHA256, u.SHA256)...),
		LicenseConcluded: noAssertion, LicenseInfoInFiles: []string{noAssertion}, FileCopyrightText: noAssertion,
		FileComment: "no package database claims it",
	}
}

func sums(algorithm common.ChecksumAlgorithm, hex string) []common.Checksum {
	if hex == "" {
		return nil
	}
	return []common.Checksum{{Algorithm: algorithm, Value: hex}}
}

func located(purl string) []*spdx.PackageExternalReference {
	if purl == "" {
		return nil
	}
	return []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl}}
}
