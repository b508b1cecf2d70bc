package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Whiteouts: how a layer says that a name of a lower layer is gone.
const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh." // bookkeeping of old storage drivers
	whiteoutOpaque = ".wh..wh..opq"
)

// xattrPrefix begins the PAX records that carry extended attributes, as Docker and star write them.
const xattrPrefix = "SCHILY.xattr."

// fold lays one layer on the tree. Contents go to sp.
func (t *tree) fold(ctx context.Context, r io.Reader, layer int, sp *spill) error {
	tr := tar.NewReader(r)
	for {
		t.cost.entries++
		if err := t.cost.check(); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		// The holes of a sparse file come out of nothing: here is the only place to stop at them.
		if err := t.add(h, layer, reader{ctx, tr}, sp); err != nil {
			return fmt.Errorf("entry %s: %w", quoted(h.Name), err)
		}
	}
}

func (t *tree) add(h *tar.Header, layer int, content io.Reader, sp *spill) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	if skip, err := inWhiteout(dir); skip || err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteout) {
		return t.erase(dir, base, layer)
	}
	ino, err := t.inode(h, content, sp)
	if err != nil {
		return err
	}
	if name == "" {
		if !ino.is(typeDir) {
			return errors.New("the root is no directory")
		}
		t.root.ino = ino
		return nil
	}
	d, err := t.walk(dir, true, layer)
	if err != nil {
		return err
	}
	_, err = t.put(d, base, ino, layer)
	return err
}

// inWhiteout tells whether a directory belongs to an old storage driver and is to be skipped. A whiteout is no
// directory, so nothing can be in it.
func inWhiteout(dir string) (skip bool, err error) {
	for c := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(c, whiteoutMeta):
			skip = true
		case strings.HasPrefix(c, whiteout):
			return false, errors.New("it is below a whiteout")
		}
	}
	return skip, nil
}

// erase does what a whiteout says. One that names nothing below is no error.
func (t *tree) erase(dir, base string, layer int) error {
	d, err := t.walk(dir, false, layer)
	if err != nil || d == nil {
		return err
	}
	switch victim := strings.TrimPrefix(base, whiteout); {
	case base == whiteoutOpaque:
		t.hideBelow(d, layer)
	case strings.HasPrefix(base, whiteoutMeta):
	case victim == "" || victim == "." || victim == "..":
		return errors.New("whiteout without a name")
	default:
		t.hide(d, victim, layer)
	}
	return nil
}

func (t *tree) inode(h *tar.Header, content io.Reader, sp *spill) (*inode, error) {
	if h.Typeflag == tar.TypeLink {
		return t.linked(h.Linkname)
	}
	ino := &inode{mode: uint32(h.Mode) & permMask, mtime: h.ModTime.Unix()}
	var err error
	if ino.uid, ino.gid, err = t.owner(h, sp.format); err != nil {
		return nil, err
	}
	if ino.xattrs, err = xattrs(h); err != nil {
		return nil, err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		ino.mode |= typeReg
		ino.off, ino.size, err = sp.take(h.Size, content)
	case tar.TypeSymlink:
		ino.mode, ino.target = typeLink|0o777, h.Linkname
		err = checkTarget(ino.target)
	case tar.TypeDir:
		ino.mode |= typeDir
	case tar.TypeChar:
		ino.mode |= typeChar
		ino.major, ino.minor, err = device(h)
	case tar.TypeBlock:
		ino.mode |= typeBlk
		ino.major, ino.minor, err = device(h)
	case tar.TypeFifo:
		ino.mode |= typeFifo
	default:
		err = fmt.Errorf("unknown tar type %q", h.Typeflag)
	}
	return ino, err
}

// linked returns the inode a hard link shares, which may come from a lower layer.
func (t *tree) linked(target string) (*inode, error) {
	name, err := cleanName(target)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	n, err := t.find(name)
	if err != nil {
		return nil, err
	}
	if n == nil || n.ino.is(typeDir) {
		return nil, fmt.Errorf("hard link to %s, which is no file here", quoted(target))
	}
	return n.ino, nil
}

// cleanName turns a tar name into a path without "./" and trailing slash; the root becomes "".
func cleanName(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", errors.New("absolute name")
	}
	if len(name) > maxPath {
		return "", fmt.Errorf("path of %d bytes: Linux takes at most %d", len(name), maxPath)
	}
	for _, c := range strings.Split(name, "/") {
		if c == ".." {
			return "", errors.New(`name with ".."`)
		}
		if len(c) > maxName {
			return "", fmt.Errorf("name of %d bytes: Linux takes at most %d between slashes", len(c), maxName)
		}
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("name with a zero byte")
	}
	if c := path.Clean(name); c != "." {
		return c, nil
	}
	return "", nil
}
