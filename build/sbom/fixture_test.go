package sbom

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes a fixture into a directory and returns it with its files. Content that begins with ELF becomes a
// file with the magic number of one, and like everything in a bin directory it is executable.
func unpack(t testing.TB, name string) (dir string, files []File) {
	t.Helper()
	a, err := txtar.ParseFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, f := range a.Files {
		path, mode := filepath.Join(dir, f.Name), fs.FileMode(0o644)
		if filepath.Base(filepath.Dir(path)) == "bin" {
			mode = 0o755
		}
		if bytes.HasPrefix(f.Data, []byte("ELF")) {
			f.Data = append([]byte{0x7f}, f.Data...)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir, under(t, dir, ".")
}

// under returns the regular files below a directory of a tree.
func under(t testing.TB, root, dir string) (files []File) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		files = append(files, File{
			Path: path, Mode: uint32(info.Mode().Perm()), Size: info.Size(),
			Open: func() (io.ReaderAt, error) { return os.Open(filepath.Join(root, path)) },
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// text is a file that has a content and nothing else.
func text(path string, mode uint32, content string) File {
	return File{Path: path, Mode: mode, Size: int64(len(content)), Open: func() (io.ReaderAt, error) {
		return bytes.NewReader([]byte(content)), nil
	}}
}

func scanned(t testing.TB, fixture string) Packages {
	t.Helper()
	_, files := unpack(t, fixture)
	p, err := Scan(files)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
