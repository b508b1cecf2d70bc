// Package early says what the small initrd of an image holds whose root file system is a squashfs: the program that
// mounts it (cmd/lkv-guest/early), the kernel modules it needs for that, and internal/rootdesc's description.
// It reads no files and writes no archive; the builder does both.
package early

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
)

// GuestPath is where the boot image has the program that becomes /init, without a leading slash.
const GuestPath = "early/init"

// Source says where the content of an Entry comes from.
type Source int

// Sources of content.
const (
	Made     Source = iota // Entry.Data
	Guest                  // GuestPath of the boot image
	Module                 // the file of the kernel image with the same path
	Squashfs               // the finished squashfs, byte for byte
)

// Entry is one entry of the early initrd: owner root, no leading slash. Directories come before what is in them.
type Entry struct {
	Path   string
	Mode   fs.FileMode // with fs.ModeDir for directories
	Source Source
	Data   []byte
}

// Front lists the entries that are the same for every image with this kernel, in the order to write them: the program
// and the modules, absolute paths as Modules returns them.
func Front(modules []string) []Entry {
	l := list{seen: map[string]bool{}}
	l.add(Entry{Path: "init", Mode: 0o755, Source: Guest})
	for _, m := range modules {
		l.add(Entry{Path: m, Mode: 0o644, Source: Module})
	}
	return l.entries
}

// Back lists the entries behind those of Front, in the order of need: what the guest must know to name itself and to
// load its modules comes before the squashfs, which may be too large for the memory. The squashfs of
// rootdesc.ModeSquashfs is the last but one, to be stored uncompressed; report.MarkerPath is the last, so that it is
// missing when memory ran out anywhere before. image is report.Image as JSON.
func Back(root rootdesc.Root, image []byte) ([]Entry, error) {
	text, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("describe root file system: %w", err)
	}
	if _, err := rootdesc.Parse(text); err != nil {
		return nil, err
	}
	l := list{seen: map[string]bool{}}
	l.add(Entry{Path: report.ImagePath, Mode: 0o644, Data: image})
	l.add(Entry{Path: rootdesc.Path, Mode: 0o644, Data: append(text, '\n')})
	if root.Mode == rootdesc.ModeSquashfs {
		l.add(Entry{Path: rootdesc.Squashfs, Mode: 0o644, Source: Squashfs})
	}
	l.add(Entry{Path: report.MarkerPath, Mode: 0o644, Data: []byte("complete\n")})
	return l.entries, nil
}

// list collects entries, each after its directories.
type list struct {
	entries []Entry
	seen    map[string]bool
}

func (l *list) add(e Entry) {
	e.Path = strings.TrimPrefix(e.Path, "/")
	var dirs []string
	for d := path.Dir(e.Path); d != "." && !l.seen[d]; d = path.Dir(d) {
		l.seen[d] = true
		dirs = append(dirs, d)
	}
	for _, d := range slices.Backward(dirs) {
		l.entries = append(l.entries, Entry{Path: d, Mode: fs.ModeDir | 0o755})
	}
	l.entries = append(l.entries, e)
}
