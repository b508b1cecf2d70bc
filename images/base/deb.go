package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// debPackage is one unpacked package.
type debPackage struct {
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Arch    string     `json:"arch"`   // "amd64" or "all"
	Source  string     `json:"source"` // "name (version)" of the source package, which security notices name
	Files   []poolFile `json:"files"`
}

// upstream is the version without epoch, repacking suffix and Debian revision: "26.1.5" of "1:26.1.5+dfsg1-9+b9".
func (d debPackage) upstream() string {
	v := d.Version
	if _, after, ok := strings.Cut(v, ":"); ok {
		v = after
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v = v[:i]
	}
	v, _, _ = strings.Cut(v, "+")
	return v
}

// poolFile is one directory entry of a package. Directories are not listed.
type poolFile struct {
	Path string `json:"path"` // absolute, after the /usr merge
	Mode uint32 `json:"mode"` // permission, set-id and sticky bits
	UID  int    `json:"uid,omitempty"`
	GID  int    `json:"gid,omitempty"`
	Link string `json:"link,omitempty"` // target, when it is a symbolic link
	Copy string `json:"copy,omitempty"` // path of the file it is a hard link to
	Size int64  `json:"size,omitempty"`
	Pkg  string `json:"-"`
}

// unwanted are the parts of packages no component ever takes; they are not even unpacked.
var unwanted = []string{
	"/usr/share/locale/**", "/usr/share/man/**", "/usr/share/info/**", "/usr/share/lintian/**",
	"/usr/share/bash-completion/**", "/usr/share/i18n/**", "/usr/include/**",
}

// unpackDeb writes the files of one package below root and returns their index. Modes and owners are only in the
// index, so it works without privileges.
func unpackDeb(ctx context.Context, deb, root string) (debPackage, error) {
	tool, err := lookTool("dpkg-deb", "dpkg")
	if err != nil {
		return debPackage{}, err
	}
	out, err := exec.CommandContext(ctx, tool, "--show", "--showformat=${Package}\n${Version}\n${Architecture}\n${source:Package} (${source:Version})", deb).Output()
	if err != nil {
		return debPackage{}, fmt.Errorf("read package %s: %w", filepath.Base(deb), err)
	}
	about := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(about) != 4 {
		return debPackage{}, fmt.Errorf("read package %s: dpkg-deb says %q", filepath.Base(deb), out)
	}
	name := about[0]
	d := debPackage{Name: name, Version: about[1], Arch: about[2], Source: about[3]}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, tool, "--fsys-tarfile", deb)
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return debPackage{}, fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return debPackage{}, fmt.Errorf("unpack %s: %w", name, err)
	}
	d.Files, err = unpackTar(pipe, root)
	if err != nil {
		pipe.Close() // the program must not wait for a reader that has left
		return debPackage{}, errors.Join(fmt.Errorf("unpack %s: %w", name, err), cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return debPackage{}, fmt.Errorf("unpack %s: %w: %s", name, err, stderr.String())
	}
	return d, nil
}

// unpackTar writes the regular files of a tar stream below root and returns an index of files and links.
func unpackTar(r io.Reader, root string) ([]poolFile, error) {
	var all []poolFile
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // padding after the end mark
			return all, err
		}
		if err != nil {
			return nil, err
		}
		f := poolFile{Path: mergedUsr(h.Name), Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, Size: h.Size}
		if f.skip() {
			continue
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = writeFile(filepath.Join(root, f.Path), tr)
		case tar.TypeSymlink:
			f.Link = h.Linkname
		case tar.TypeLink:
			f.Copy = mergedUsr(h.Linkname)
		case tar.TypeDir:
			continue
		default:
			err = fmt.Errorf("%s: unexpected entry of type %q", h.Name, h.Typeflag)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
}

// skip reports whether no component can want the file. Of the documentation only the licence stays.
func (f poolFile) skip() bool {
	if match("/usr/share/doc/**", f.Path) {
		return path.Base(f.Path) != "copyright" && f.Link == ""
	}
	return matchAny(unwanted, f.Path)
}

// mergedUsr returns the absolute path, with the four directories that Debian merged into /usr resolved. A name that
// points above the root stays below it.
func mergedUsr(name string) string {
	p := path.Clean("/" + name)
	for _, d := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(p, d) {
			return "/usr" + p
		}
	}
	return p
}

// writeFile creates a file and its parents.
func writeFile(name string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
