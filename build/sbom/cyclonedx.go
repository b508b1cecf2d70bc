package sbom

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// WriteCycloneDX writes the document as CycloneDX 1.6 JSON with a final newline.
func (d Document) WriteCycloneDX(w io.Writer) error {
	id, err := d.uuid("cyclonedx")
	if err != nil {
		return fmt.Errorf("write CycloneDX: %w", err)
	}
	c := d.content()
	var components []cdx.Component
	var depends []cdx.Dependency
	var ids []string
	for _, i := range c.images {
		components = append(components, i.cyclonedx())
		ids = append(ids, i.id)
		parts := i.parts()
		depends = append(depends, cdx.Dependency{Ref: i.id, Dependencies: &parts})
	}
	for _, o := range c.systems {
		components = append(components, cdx.Component{BOMRef: o.id(), Type: cdx.ComponentTypeOS, Name: o.ID, Version: o.VersionID, Description: o.Name})
	}
	for _, p := range c.packages {
		components = append(components, p.cyclonedx())
	}
	for _, u := range c.programs {
		components = append(components, u.cyclonedx())
	}
	depends = append([]cdx.Dependency{{Ref: isoID, Dependencies: &ids}}, depends...)
	bom := cdx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + id
	bom.Components, bom.Dependencies = &components, &depends
	bom.Metadata = &cdx.Metadata{
		Timestamp: d.created(),
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: toolID, Version: d.Version}}},
		Component: &cdx.Component{
			BOMRef: isoID, Type: cdx.ComponentTypeFile, Name: label(d.Name), Hashes: hashes(cdx.HashAlgoSHA256, d.SHA256),
			Properties: &[]cdx.Property{{Name: "lkv:size", Value: strconv.FormatInt(d.Size, 10)}},
		},
	}
	if err := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("write CycloneDX: %w", err)
	}
	return nil
}

func (i image) cyclonedx() cdx.Component {
	return cdx.Component{
		BOMRef: i.id, Type: cdx.ComponentTypeContainer, Name: label(i.name), Version: i.Digest, PackageURL: i.purl,
		Hashes: hashes(cdx.HashAlgoSHA256, hash(i.Digest)),
		Properties: &[]cdx.Property{
			{Name: "lkv:files", Value: strconv.Itoa(i.Packages.Files)},
			{Name: "lkv:unclaimed", Value: strconv.Itoa(i.Packages.Unclaimed)},
			{Name: "lkv:used", Value: strings.Join(i.uses, ", ")},
		},
	}
}

func (p Package) cyclonedx() cdx.Component {
	c := cdx.Component{BOMRef: p.id(), Type: cdx.ComponentTypeLibrary, Name: label(p.Name), Version: p.Version, PackageURL: p.PURL}
	if e := expression(p.License); e != "" {
		c.Licenses = &cdx.Licenses{{Expression: e}}
	} else if p.License != "" {
		c.Licenses = &cdx.Licenses{{License: &cdx.License{Name: p.License}}}
	}
	var found []cdx.Property
	for _, f := range p.FoundIn {
		found = append(found, cdx.Property{Name: "lkv:found_in", Value: f})
	}
	c.Properties = &found
	return c
}

func (u Unclaimed) cyclonedx() cdx.Component {
	return cdx.Component{
		BOMRef: u.id(), Type: cdx.ComponentTypeFile, Name: label(u.Path), Hashes: hashes(cdx.HashAlgoSHA256, u.SHA256),
		Properties: &[]cdx.Property{{Name: "lkv:size", Value: strconv.FormatInt(u.Size, 10)}},
	}
}

func hashes(algorithm cdx.HashAlgorithm, hex string) *[]cdx.Hash {
	if hex == "" {
		return nil
	}
	return &[]cdx.Hash{{Algorithm: algorithm, Value: hex}}
}
