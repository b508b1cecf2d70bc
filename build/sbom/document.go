package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Document is the bill of materials of one ISO. Equal documents give equal bytes in either format.
type Document struct {
	Name       string      // the ISO's file name
	SHA256     string      // of the ISO, 64 hex digits
	Size       int64       // of the ISO, bytes
	Created    time.Time   // the build's epoch, never the clock
	Version    string      // of lkv; empty leaves it out
	Components []Component // in boot order
}

// Component is one use of an OCI image in the ISO.
type Component struct {
	Section  string // "kernel", "init", "onboot", "onshutdown" or "service"
	Name     string // name in the LinuxKit YAML; the reference for kernel and init
	Ref      string // reference as written
	Digest   string // "sha256:…" of the platform manifest
	Packages Packages
}

// Identifiers of the document's fixed parts.
const (
	isoID  = "ISO"
	toolID = "lkv"
)

// image is one OCI image and everywhere it is used.
type image struct {
	id, name, purl string
	uses           []string
	Component
}

// content is a document's components without repetition, ready for either format.
type content struct {
	images   []image
	systems  []OS
	packages []Package
	programs []Unclaimed
}

func (d Document) content() content {
	var c content
	at := map[string]int{}
	for _, comp := range d.Components {
		use := comp.Section + " " + comp.Name
		key := comp.Ref + "@" + comp.Digest
		if i, ok := at[key]; ok {
			c.images[i].uses = append(c.images[i].uses, use)
			continue
		}
		at[key] = len(c.images)
		repository, _ := split(comp.Ref)
		c.images = append(c.images, image{
			id: identifier("Image", key), name: repository, purl: comp.purl(), uses: []string{use}, Component: comp,
		})
		c.packages = append(c.packages, comp.Packages.Packages...)
		c.programs = append(c.programs, comp.Packages.Programs...)
		if os := comp.Packages.OS; os != nil && !slices.Contains(c.systems, *os) {
			c.systems = append(c.systems, *os)
		}
	}
	slices.SortFunc(c.systems, func(a, b OS) int { return strings.Compare(a.id(), b.id()) })
	all := Packages{Packages: c.packages, Programs: c.programs}.tidy()
	c.packages, c.programs = all.Packages, all.Programs
	return c
}

// parts returns the identifiers of what an image holds: operating system, packages, programs.
func (i image) parts() []string {
	var ids []string
	if i.Packages.OS != nil {
		ids = append(ids, i.Packages.OS.id())
	}
	for _, p := range i.Packages.Packages {
		ids = append(ids, p.id())
	}
	for _, u := range i.Packages.Programs {
		ids = append(ids, u.id())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (p Package) id() string   { return identifier("Package", p.key()) }
func (u Unclaimed) id() string { return identifier("File", u.Path, u.SHA256) }
func (o OS) id() string        { return identifier("OS", o.ID, o.VersionID, o.Name) }

// identifier names an element after what it is, so that the same thing has the same name in every document.
func identifier(kind string, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return kind + "-" + hex.EncodeToString(sum[:10])
}

// uuid is a version 5 UUID of everything the document says, in one format or another.
func (d Document) uuid(format string) (string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, append([]byte(toolID+" "+format+"\n"), text...)).String(), nil
}

func (d Document) created() string { return d.Created.UTC().Format("2006-01-02T15:04:05Z") }

// purl is the package URL of an OCI image: its name is the last part of the repository, its version the digest.
func (c Component) purl() string {
	repository, tag := split(c.Ref)
	if repository == "" {
		return ""
	}
	return purl("oci", "", strings.ToLower(path.Base(repository)), c.Digest, map[string]string{"repository_url": repository, "tag": tag})
}

// split takes a reference apart into repository and tag.
func split(ref string) (repository, tag string) {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, ""
}

var sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// hash returns the hex digits of a digest, "" when it is none.
func hash(digest string) string {
	if !sha256Digest.MatchString(digest) {
		return ""
	}
	return strings.TrimPrefix(digest, "sha256:")
}

// summary says how much of an image its package databases do not account for.
func (i image) summary() string {
	return fmt.Sprintf("used as %s; %d of %d regular files belong to no package", strings.Join(i.uses, ", "), i.Packages.Unclaimed, i.Packages.Files)
}

var (
	licenseWord = regexp.MustCompile(`^\(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*$`)
	operators   = []string{"AND", "OR", "WITH"}
)

// expression returns a licence when it has the form of an SPDX licence expression (Annex D), else "". Databases write
// lists and prose as well.
func expression(license string) string {
	words := strings.Fields(license)
	if len(words)%2 == 0 || strings.Count(license, "(") != strings.Count(license, ")") {
		return ""
	}
	for i, w := range words {
		if operator := slices.Contains(operators, w); operator != (i%2 == 1) || (!operator && !licenseWord.MatchString(w)) {
			return ""
		}
	}
	return strings.Join(words, " ")
}

// label is a name no format refuses.
func label(name string) string { return cmp.Or(strings.TrimSpace(name), "unknown") }
