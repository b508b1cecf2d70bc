package build

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/lkv-io/lkv/internal/manifest"
)

// pointer is <out>/<image>.json: which ISO is the newest, and what it was made from.
type pointer struct {
	Format   int    `json:"format"`
	Image    string `json:"image"`
	ID       string `json:"id"`
	ISO      string `json:"iso"`      // file name beside this file
	Manifest string `json:"manifest"` // file name beside this file
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"`
	Key      string `json:"key"` // of the input
}

// newest returns the last ISO when it was made from the same input and is still there.
func newest(out, name, key string) (Result, bool) {
	data, err := os.ReadFile(filepath.Join(out, name+".json"))
	if err != nil {
		return Result{}, false
	}
	var p pointer
	if json.Unmarshal(data, &p) != nil || p.Key != key || filepath.Base(p.ISO) != p.ISO || filepath.Base(p.Manifest) != p.Manifest {
		return Result{}, false
	}
	r := Result{ISO: filepath.Join(out, p.ISO), Path: filepath.Join(out, p.Manifest), Cached: true}
	st, err := os.Stat(r.ISO)
	if err != nil || st.Size() != p.Size {
		return Result{}, false
	}
	f, err := os.Open(r.Path)
	if err != nil {
		return Result{}, false
	}
	defer func() { _ = f.Close() }()
	r.Manifest, err = manifest.Read(f)
	return r, err == nil && r.Manifest.ISO.SHA256 == p.SHA256 && complete(out, r.Manifest)
}

// complete tells whether everything that lies beside the ISO is there.
func complete(out string, m manifest.Manifest) bool {
	for _, f := range m.Files {
		if st, err := os.Stat(filepath.Join(out, f.Name)); err != nil || st.Size() != f.Size {
			return false
		}
	}
	return true
}

// writePointer makes r the newest ISO of its image.
func writePointer(out string, r Result, key string) error {
	m := r.Manifest
	p := pointer{Format: 1, Image: m.Image, ID: m.ID, ISO: filepath.Base(r.ISO), Manifest: filepath.Base(r.Path),
		SHA256: m.ISO.SHA256, Size: m.ISO.Size, Key: key}
	return replaceFile(filepath.Join(out, m.Image+".json"), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	})
}
