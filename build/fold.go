package build

import (
	"archive/tar"
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

// Limits of the newc cpio format and of the kernel that reads it.
const (
	maxFile = 1<<32 - 1
	maxPath = 4095 // PATH_MAX without the final zero; the kernel skips longer names silently
)

// errTooBig is wrapped by the refusal of a file the initrd's format cannot hold.
var errTooBig = errors.New(`files of 4 GiB and more do not fit into an initrd (rootfs = "cd" takes them)`)

// Bounds of one image, far beyond any real one: what exceeds them is a mistake or an attack.
const (
	maxUnpacked = 64 << 30 // bytes
	maxEntries  = 4 << 20
)

// errBomb is wrapped by the refusal of an image beyond these bounds.
var errBomb = errors.New("unpacks to more than any real image: a decompression bomb?")

// xattrPrefix begins the PAX records that carry extended attributes, as Docker and star write them.
const xattrPrefix = "SCHILY.xattr."

// fold lays one layer on the tree. Contents go to sp.
func (t *tree) fold(r io.Reader, layer int, sp *spill) error {
	tr := tar.NewReader(r)
	for {
		if t.count++; t.count > maxEntries {
			return fmt.Errorf("%w (%d entries)", errBomb, t.count)
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if err := t.add(h, layer, tr, sp); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
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
	if strings.HasPrefix(base, whiteout) {
		return t.erase(dir, base, layer)
	}
	ino, err := t.inode(h, content, sp)
	if err != nil {
		return err
	}
	if name == "" {
		if ino.is(typeDir) {
			t.root.ino = ino
		}
		return nil
	}
	d, err := t.walk(dir, true, layer)
	if err != nil {
		return err
	}
	t.put(d, base, ino, layer)
	return nil
}

// erase does what a whiteout says. One that names nothing below is no error.
func (t *tree) erase(dir, base string, layer int) error {
	d, err := t.walk(dir, false, layer)
	if err != nil || d == nil {
		return err
	}
	switch victim := strings.TrimPrefix(base, whiteout); {
	case base == whiteoutOpaque:
		hideBelow(d, layer)
	case strings.HasPrefix(base, whiteoutMeta):
	case victim == "" || victim == "." || victim == "..":
		return errors.New("whiteout without a name")
	default:
		hide(d, victim, layer)
	}
	return nil
}

func (t *tree) inode(h *tar.Header, content io.Reader, sp *spill) (*inode, error) {
	ino := &inode{mode: uint32(h.Mode) & permMask, uid: uint32(h.Uid), gid: uint32(h.Gid), mtime: h.ModTime.Unix(), xattrs: xattrs(h)}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		if sp.format == asCpio && h.Size > maxFile {
			return nil, fmt.Errorf("%w: it has %d bytes", errTooBig, h.Size)
		}
		if h.Size > maxUnpacked-sp.off {
			return nil, fmt.Errorf("%w (more than %d GiB)", errBomb, maxUnpacked>>30)
		}
		ino.mode |= typeReg
		var err error
		ino.off, ino.size, err = sp.write(content)
		return ino, err
	case tar.TypeLink:
		return t.linked(h.Linkname)
	case tar.TypeSymlink:
		if len(h.Linkname) > maxPath {
			return nil, fmt.Errorf("target of %d bytes: the kernel reads at most %d", len(h.Linkname), maxPath)
		}
		ino.mode, ino.target = typeLink|0o777, h.Linkname
	case tar.TypeDir:
		ino.mode |= typeDir
	case tar.TypeChar:
		ino.mode |= typeChar
		ino.major, ino.minor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeBlock:
		ino.mode |= typeBlk
		ino.major, ino.minor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeFifo:
		ino.mode |= typeFifo
	default:
		return nil, fmt.Errorf("unknown tar type %q", h.Typeflag)
	}
	return ino, nil
}

// xattrs are the extended attributes of an entry, nil when it has none.
func xattrs(h *tar.Header) map[string]string {
	var out map[string]string
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrPrefix); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = v
		}
	}
	return out
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
		return nil, fmt.Errorf("hard link to %q, which is no file here", target)
	}
	return n.ino, nil
}

// cleanName turns a tar name into a path without "./" and trailing slash; the root becomes "".
func cleanName(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", errors.New("absolute name")
	}
	for _, c := range strings.Split(name, "/") {
		if c == ".." {
			return "", errors.New(`name with ".."`)
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
