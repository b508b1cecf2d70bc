package hardware

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// batch is how many names one modprobe gets: far below the kernel's limit for arguments, and few enough calls that
// reading the module index each time does not matter.
const batch = 400

// Modaliases are the module aliases of every device below root ("/sys/devices"), sorted, each once.
func Modaliases(root string) []string {
	found := map[string]bool{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "modalias" || !d.Type().IsRegular() {
			return nil // a device that went away while we look is no error
		}
		if data, err := os.ReadFile(path); err == nil {
			if s := strings.TrimSpace(string(data)); s != "" {
				found[s] = true
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found))
}

// Batches cuts names for one modprobe each.
func Batches(names []string) [][]string { return slices.Collect(slices.Chunk(names, batch)) }

// ParseModules reads a modules-load list: one name per line, comments begin with # or ;. What follows a name on its
// line (parameters, as /etc/modules allows) is dropped: modprobe -a takes names only.
func ParseModules(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		out = append(out, f[0])
	}
	return out
}

// Listed are the modules named in etc/modules and etc/modules-load.d/*.conf below root.
func Listed(root string) []string {
	files, _ := filepath.Glob(filepath.Join(root, "etc/modules-load.d/*.conf"))
	slices.Sort(files)
	var out []string
	for _, f := range append([]string{filepath.Join(root, "etc/modules")}, files...) {
		if data, err := os.ReadFile(f); err == nil {
			out = append(out, ParseModules(string(data))...)
		}
	}
	return out
}
