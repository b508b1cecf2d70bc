package base

import (
	"crypto/md5" //nolint:gosec // the format of dpkg, not a protection
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// statusDir is where images without dpkg keep one file a package, so that scanners and the SBOM know what is in them.
const statusDir = "/var/lib/dpkg/status.d/"

// database adds what dpkg would know about the packages whose files are in the tree: name, version, and which files
// came from where.
func (t *tree) database(p *Pool) error {
	sums := map[string][]string{}
	for _, at := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[at]
		if e.pkg == "" || e.open == nil {
			continue
		}
		sum, err := e.md5()
		if err != nil {
			return fmt.Errorf("describe package %s: %w", e.pkg, err)
		}
		sums[e.pkg] = append(sums[e.pkg], sum+"  "+at[1:]+"\n")
	}
	for _, pkg := range slices.Sorted(maps.Keys(t.packages)) {
		d := p.packages[pkg]
		text := fmt.Sprintf("Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: %s\nSource: %s\n", pkg, d.Version, d.Arch, d.Source)
		t.text(statusDir+pkg, text)
		t.text(statusDir+pkg+".md5sums", strings.Join(sums[pkg], ""))
	}
	return nil
}

// text adds a file that anybody may read.
func (t *tree) text(at, text string) {
	t.entries[at] = entry{mode: 0o644, open: inMemory([]byte(text)), size: int64(len(text)), data: true}
}

func (e entry) md5() (string, error) {
	f, err := e.open()
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := md5.New() //nolint:gosec // see the import
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
