package sbom

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // SPDX 2.3 wants it beside SHA-256
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// File is one regular file of an image.
type File struct {
	Path string                      // inside the image, with or without a leading slash
	Mode uint32                      // permission bits
	Size int64                       // bytes
	Open func() (io.ReaderAt, error) // content; closed afterwards when it is an io.Closer
}

// Scan returns what one image's regular files say about the software in it. It opens only package databases,
// executables and shared libraries. An error names the file; the usual one is a database that is none.
func Scan(files []File) (Packages, error) {
	files = slices.Clone(files)
	for i := range files {
		files[i].Path = strings.TrimPrefix(path.Clean("/"+files[i].Path), "/")
	}
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	s := scan{claimed: map[string]bool{}}
	var rest []File
	for _, f := range files {
		read := s.database(f.Path)
		if read == nil {
			rest = append(rest, f)
			continue
		}
		if err := f.lines(read); err != nil {
			return Packages{}, err
		}
	}
	s.addURLs()
	for _, f := range rest {
		if err := s.file(f); err != nil {
			return Packages{}, err
		}
	}
	return s.found.tidy(), nil
}

// scan is what was found so far.
type scan struct {
	found   Packages
	claimed map[string]bool // place of every file that a package database names
	system  []systemPackage
}

// database returns what reads a file's lines, nil when the file is no package database and nothing like it.
func (s *scan) database(name string) func(lines) error {
	dir, base := path.Split(name)
	switch {
	case name == "var/lib/dpkg/status":
		return func(l lines) error { return s.dpkg(l, name, false) }
	case dir == "var/lib/dpkg/status.d/" && strings.HasSuffix(base, ".md5sums"):
		return s.md5sums
	case dir == "var/lib/dpkg/status.d/":
		return func(l lines) error { return s.dpkg(l, name, true) }
	case dir == "var/lib/dpkg/info/" && strings.HasSuffix(base, ".list"):
		return s.list
	case strings.HasPrefix(name, "var/lib/dpkg/"):
		return func(lines) error { return nil }
	case name == "lib/apk/db/installed" || name == "usr/lib/apk/db/installed":
		return func(l lines) error { return s.apk(l, name) }
	case name == "etc/os-release":
		return func(l lines) error { return s.osRelease(l, true) }
	case name == "usr/lib/os-release":
		return func(l lines) error { return s.osRelease(l, false) }
	}
	return nil
}

// file accounts for a file that is no database.
func (s *scan) file(f File) error {
	s.found.Files++
	claimed := s.claimed[place(f.Path)]
	if !claimed {
		s.found.Unclaimed++
	}
	if f.Mode&0o111 == 0 && !strings.Contains(path.Base(f.Path), ".so") {
		return nil
	}
	return f.read(func(r *io.SectionReader) error {
		magic := make([]byte, 4)
		if _, err := io.ReadFull(r, magic); err != nil {
			return endOf(err)
		}
		if !bytes.Equal(magic, []byte("\x7fELF")) {
			return nil
		}
		s.found.Packages = append(s.found.Packages, goModules(f.Path, r)...)
		if claimed {
			return nil
		}
		u, err := digests(f.Path, r)
		s.found.Programs = append(s.found.Programs, u)
		return err
	})
}

// endOf returns nil for a file that is too short to be a program.
func endOf(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func digests(name string, r *io.SectionReader) (Unclaimed, error) {
	a, b := sha256.New(), sha1.New() //nolint:gosec // see the import
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return Unclaimed{}, err
	}
	n, err := io.CopyBuffer(io.MultiWriter(a, b), struct{ io.Reader }{r}, make([]byte, 256<<10))
	return Unclaimed{Path: name, Size: n, SHA256: hex.EncodeToString(a.Sum(nil)), SHA1: hex.EncodeToString(b.Sum(nil))}, err
}

// read gives the file's content to do and closes it.
func (f File) read(do func(*io.SectionReader) error) error {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("open /%s: %w", f.Path, err)
	}
	err = do(io.NewSectionReader(r, 0, f.Size))
	if c, ok := r.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		return fmt.Errorf("read /%s: %w", f.Path, err)
	}
	return nil
}

// place is where a path lies on a system with merged /usr: databases and layers name /bin/sh and /usr/bin/sh alike.
func place(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		return "usr/" + name
	}
	return name
}
