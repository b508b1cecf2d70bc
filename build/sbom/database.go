package sbom

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// What a package database may hold. The largest seen, a Debian desktop, has 8 MB, 4000 packages and lines of 10 kB.
const (
	maxDatabase = 64 << 20 // bytes
	maxLine     = 1 << 20  // bytes
	maxPackages = 100_000  // in one image, all databases together
)

// lines are the lines of one file, without their ends.
type lines = iter.Seq[string]

// lines gives the file's lines to read; it refuses what is too large to be a database.
func (f File) lines(read func(lines) error) error {
	return f.read(func(r *io.SectionReader) error {
		if f.Size > maxDatabase {
			return fmt.Errorf("%d bytes are too many for a package database (%d)", f.Size, maxDatabase)
		}
		sc := bufio.NewScanner(r)
		sc.Buffer(make([]byte, 0, 64<<10), maxLine)
		err := read(func(yield func(string) bool) {
			for sc.Scan() && yield(sc.Text()) {
			}
		})
		if errors.Is(sc.Err(), bufio.ErrTooLong) {
			return fmt.Errorf("a line is longer than %d bytes: this is no package database", maxLine)
		}
		return cmp.Or(err, sc.Err())
	})
}

// systemPackage is a package of Debian or Alpine as its database describes it.
type systemPackage struct {
	kind                                        string // package URL type
	name, version, arch, source, license, found string
}

func (s *scan) add(p systemPackage) error {
	if p.name == "" || p.version == "" {
		return fmt.Errorf("a package has no name or no version (%q, %q)", p.name, p.version)
	}
	if len(s.system) >= maxPackages {
		return fmt.Errorf("more than %d packages", maxPackages)
	}
	s.system = append(s.system, p)
	return nil
}

// families are the distributions whose vulnerability databases know their packages by their own name, for each type of
// package URL. Packages of any other system are taken for those of the first, from which it is derived.
var families = map[string][]string{"deb": {"debian", "ubuntu"}, "apk": {"alpine", "chainguard", "wolfi"}}

// addURLs turns system packages into packages. It waits for os-release, which the package URLs name.
func (s *scan) addURLs() {
	var os OS
	if s.found.OS != nil {
		os = *s.found.OS
	}
	for _, p := range s.system {
		family := families[p.kind][0]
		if slices.Contains(families[p.kind], os.ID) {
			family = os.ID
		}
		distro := strings.Trim(os.ID+"-"+os.VersionID, "-")
		s.found.Packages = append(s.found.Packages, Package{
			Name: p.name, Version: p.version, License: p.license, FoundIn: []string{p.found},
			PURL: purl(p.kind, family, p.name, p.version, map[string]string{"arch": p.arch, "distro": distro, "upstream": p.source}),
		})
	}
}

// purl returns a package URL in canonical form; empty qualifiers are left out.
func purl(kind, namespace, name, version string, qualifiers map[string]string) string {
	maps.DeleteFunc(qualifiers, func(_, v string) bool { return v == "" })
	u := packageurl.NewPackageURL(kind, namespace, name, version, packageurl.QualifiersFromMap(qualifiers), "")
	if err := u.Normalize(); err != nil {
		return ""
	}
	return u.String()
}

// dpkg reads a status file: paragraphs of "Field: value", one for each package, continued lines indented. A file of
// status.d describes one package and, having no state, an installed one.
func (s *scan) dpkg(text lines, name string, always bool) error {
	want := []string{"Package", "Version", "Architecture", "Source", "Status"}
	for p, err := range paragraphs(text, want) {
		if err != nil {
			return err
		}
		state := strings.Fields(p["Status"])
		if !always && (len(state) != 3 || state[2] != "installed") {
			continue
		}
		source, version, ok := strings.Cut(p["Source"], " (")
		if ok {
			source += "@" + strings.TrimSuffix(version, ")")
		}
		if err := s.add(systemPackage{kind: "deb", name: p["Package"], version: p["Version"], arch: p["Architecture"], source: source, found: name}); err != nil {
			return err
		}
	}
	return nil
}

// paragraphs returns the wanted fields of each paragraph of a deb822(5) text.
func paragraphs(text lines, want []string) iter.Seq2[map[string]string, error] {
	return func(yield func(map[string]string, error) bool) {
		p := map[string]string{}
		for line := range text {
			if strings.TrimSpace(line) == "" {
				if len(p) > 0 && !yield(p, nil) {
					return
				}
				p = map[string]string{}
				continue
			}
			if line[0] == ' ' || line[0] == '\t' || line[0] == '#' {
				continue
			}
			field, value, ok := strings.Cut(line, ":")
			if !ok {
				yield(nil, fmt.Errorf("%.40q is no field of a Debian package database", line))
				return
			}
			i := slices.IndexFunc(want, func(w string) bool { return strings.EqualFold(w, field) })
			if i >= 0 {
				p[want[i]] = strings.TrimSpace(value)
			}
		}
		if len(p) > 0 {
			yield(p, nil)
		}
	}
}

// list reads the names of one Debian package's files, one a line.
func (s *scan) list(text lines) error {
	for line := range text {
		s.claimed[place(line)] = true
	}
	return nil
}

// md5sums reads the names of one distroless package's files: "digest  path" a line.
func (s *scan) md5sums(text lines) error {
	for line := range text {
		if _, name, ok := strings.Cut(line, "  "); ok {
			s.claimed[place(name)] = true
		}
	}
	return nil
}

// apk reads Alpine's database: lines of a letter, a colon and a value; an empty line ends a package. F is a directory,
// R a file in it.
func (s *scan) apk(text lines, name string) error {
	p := systemPackage{}
	dir := ""
	end := func() error {
		last := p
		p, dir = systemPackage{}, ""
		if last == (systemPackage{}) {
			return nil
		}
		last.kind, last.found = "apk", name
		if last.source == last.name {
			last.source = ""
		}
		return s.add(last)
	}
	for line := range text {
		if line == "" {
			if err := end(); err != nil {
				return err
			}
			continue
		}
		field, value, ok := strings.Cut(line, ":")
		if !ok || len(field) != 1 {
			return fmt.Errorf("%.40q is no line of an Alpine package database", line)
		}
		switch field {
		case "P":
			p.name = value
		case "V":
			p.version = value
		case "A":
			p.arch = value
		case "L":
			p.license = value
		case "o":
			p.source = value
		case "F":
			dir = value
		case "R":
			s.claimed[place(path.Join(dir, value))] = true
		}
	}
	return end()
}

// osRelease reads os-release(5); the file in /etc wins over the one in /usr/lib.
func (s *scan) osRelease(text lines, wins bool) error {
	values := map[string]string{}
	for line := range text {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = unquote(value)
		}
	}
	if s.found.OS == nil || wins {
		if id := values["ID"]; id != "" {
			s.found.OS = &OS{ID: id, VersionID: values["VERSION_ID"], Name: cmp.Or(values["PRETTY_NAME"], id)}
		}
	}
	return nil
}

// unquote reads a value as a shell would, as far as os-release(5) allows it to need one.
func unquote(v string) string {
	if len(v) < 2 || v[0] != v[len(v)-1] || (v[0] != '"' && v[0] != '\'') {
		return v
	}
	if v[0] == '\'' {
		return v[1 : len(v)-1]
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\$`, `$`, "\\`", "`").Replace(v[1 : len(v)-1])
}
