package conformance

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Tar is what LinuxKit's tar says beyond its initrd.
type Tar struct {
	names map[string]bool
	hard  map[string]string // hard link -> target
	attrs map[string]string // extended attribute of a name, as "name attribute" -> value
}

func (t Tar) has(name string) bool { return name == "." || t.names[name] }

// ReadTar reads the headers of LinuxKit's tar.
func ReadTar(name string) (Tar, error) {
	f, err := os.Open(name)
	if err != nil {
		return Tar{}, fmt.Errorf("read LinuxKit's tar: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	t := Tar{names: map[string]bool{}, hard: map[string]string{}, attrs: map[string]string{}}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return Tar{}, fmt.Errorf("read LinuxKit's tar: %w", err)
		}
		p := path.Clean(h.Name)
		t.names[p] = true
		for k, v := range h.PAXRecords {
			if k, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
				t.attrs[p+" "+k] = v
			}
		}
		if h.Typeflag == tar.TypeLink {
			t.hard[p] = path.Clean(h.Linkname)
		}
	}
}
