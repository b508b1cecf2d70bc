// Package sbom finds out which software an OCI image holds and writes it down as SPDX 2.3 and CycloneDX 1.6.
//
// What it believes are the package databases of Debian and Alpine, the build information in Go programs and SPDX
// attestations. Executables that none of them claims are listed by digest, so that software outside every database
// does not vanish. It does not look into archives, at languages other than Go, and knows no vulnerabilities.
package sbom

import (
	"cmp"
	"slices"
	"strings"
)

// Packages is what one image holds. It is kept as JSON beside the image's segment; equal images give equal values.
type Packages struct {
	OS        *OS         `json:"os,omitempty"`       // nil when the image has no os-release(5)
	Packages  []Package   `json:"packages,omitempty"` // sorted, none twice
	Programs  []Unclaimed `json:"programs,omitempty"` // ELF files that no package database claims, sorted by path
	Files     int         `json:"files"`              // regular files, package databases not counted
	Unclaimed int         `json:"unclaimed"`          // those of Files that no package database claims
}

// OS is the operating system an image says it is, in the words of os-release(5).
type OS struct {
	ID        string `json:"id"`         // "debian"
	VersionID string `json:"version_id"` // "13"; empty for rolling releases
	Name      string `json:"name"`       // PRETTY_NAME, else the ID
}

// Package is one package, Go module or anything else with a name and a version.
type Package struct {
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"` // empty when unknown, for example a Go main module built from a work tree
	License string   `json:"license,omitempty"` // as its database writes it; empty when that says nothing
	PURL    string   `json:"purl,omitempty"`    // package URL in canonical form; empty when there is none
	FoundIn []string `json:"found_in"`          // database or program paths, or "attestation"; sorted
}

// Unclaimed is an ELF executable or shared library that no package database claims.
type Unclaimed struct {
	Path   string `json:"path"` // no leading slash
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
	SHA1   string `json:"sha1"` // only because SPDX 2.3 (8.4) asks for it
}

// Merge returns what a and b hold together. Of a package that both have, a's words win.
func Merge(a, b Packages) Packages {
	m := Packages{
		OS: a.OS, Packages: slices.Concat(a.Packages, b.Packages), Programs: slices.Concat(a.Programs, b.Programs),
		Files: a.Files + b.Files, Unclaimed: a.Unclaimed + b.Unclaimed,
	}
	if m.OS == nil {
		m.OS = b.OS
	}
	return m.tidy()
}

// tidy sorts, drops what is there twice, and makes every text valid UTF-8 so that JSON gives back what was put in.
func (p Packages) tidy() Packages {
	for i := range p.Packages {
		p.Packages[i] = p.Packages[i].valid()
	}
	for i := range p.Programs {
		p.Programs[i].Path = valid(p.Programs[i].Path)
	}
	if p.OS != nil {
		p.OS = &OS{ID: valid(p.OS.ID), VersionID: valid(p.OS.VersionID), Name: valid(p.OS.Name)}
	}
	p.Packages = united(p.Packages)
	slices.SortFunc(p.Programs, func(a, b Unclaimed) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.SHA256, b.SHA256))
	})
	p.Programs = slices.Compact(p.Programs)
	return p
}

// united sorts packages by key and joins those with the same.
func united(list []Package) []Package {
	slices.SortStableFunc(list, func(a, b Package) int { return strings.Compare(a.key(), b.key()) })
	var out []Package
	for _, p := range list {
		last := len(out) - 1
		if last < 0 || out[last].key() != p.key() {
			out = append(out, p)
			continue
		}
		out[last].License = cmp.Or(out[last].License, p.License)
		out[last].FoundIn = slices.Concat(out[last].FoundIn, p.FoundIn)
	}
	for i := range out {
		slices.Sort(out[i].FoundIn)
		out[i].FoundIn = slices.Compact(out[i].FoundIn)
	}
	return out
}

// key is the same for two descriptions of one package: its package URL with no qualifier but the architecture, for
// scanners disagree about the others.
func (p Package) key() string {
	if p.PURL == "" {
		return p.Name + "@" + p.Version
	}
	rest, sub, _ := strings.Cut(p.PURL, "#")
	base, query, _ := strings.Cut(rest, "?")
	for q := range strings.SplitSeq(query, "&") {
		if strings.HasPrefix(q, "arch=") {
			base += "?" + q
		}
	}
	return base + "#" + sub
}

func (p Package) valid() Package {
	p.Name, p.Version, p.License, p.PURL = valid(p.Name), valid(p.Version), valid(p.License), valid(p.PURL)
	p.FoundIn = slices.Clone(p.FoundIn)
	for i := range p.FoundIn {
		p.FoundIn[i] = valid(p.FoundIn[i])
	}
	return p
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
