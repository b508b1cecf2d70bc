package build

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of the newc cpio format, of squashfs and of the kernel that reads them. Beyond them the kernel leaves a name
// out without a word.
const (
	maxFile   = 1<<32 - 1 // bytes of a file in cpio
	maxPath   = 4095      // PATH_MAX without the final zero
	maxName   = 255       // NAME_MAX
	maxMajor  = 1<<12 - 1
	maxMinor  = 1<<20 - 1
	maxOwner  = 1<<32 - 2 // -1 tells chown(2) to change nothing
	maxOwners = 1<<16 - 1 // different ones in a squashfs
	maxXAttr  = 1 << 16   // bytes of an extended attribute's value, and of a file's list of names
)

// Bounds of one image, far beyond any real one: what exceeds them is a mistake or an attack. A distribution's root has
// 100 000 entries with 8 MB of paths.
const (
	maxUnpacked = 64 << 30  // bytes of all contents
	maxUnasked  = 4 << 30   // bytes of contents that need no explanation by what was downloaded
	maxRatio    = 200       // contents beyond that against the compressed layers: only zeros compress better
	maxHeaders  = 2 << 30   // bytes of tar streams beside contents
	maxEntries  = 2 << 20   // entries of all layers, and directories nobody described
	maxText     = 256 << 20 // bytes of paths, link targets and extended attributes
	maxSteps    = 1 << 25   // names looked at to find and erase others: a few seconds
	maxWhole    = 256 << 20 // bytes of a file that is read into memory: kernel, boot loader, "source:"
	maxWindow   = 128 << 20 // bytes zstd may look back; what zstd -22 needs and the zstd program takes unasked
)

// errBomb is wrapped by the refusal of an image beyond these bounds.
var errBomb = errors.New("unpacks to more than any real image: a decompression bomb?")

// errTooBig is wrapped by the refusal of a file the initrd's format cannot hold.
var errTooBig = errors.New(`files of 4 GiB and more do not fit into an initrd (rootfs = "cd" takes them)`)

// cost is what a tree has taken so far.
type cost struct {
	entries, text, steps int
	owners               map[uint32]bool
}

func (c *cost) check() error {
	switch {
	case c.entries > maxEntries:
		return fmt.Errorf("%w (more than %d entries)", errBomb, maxEntries)
	case c.text > maxText:
		return fmt.Errorf("%w (names of more than %d MiB)", errBomb, maxText>>20)
	case c.steps > maxSteps:
		return fmt.Errorf("%w (its paths, links and whiteouts are a maze)", errBomb)
	}
	return nil
}

// unpackedLimit is how many bytes an image may unpack to whose layers have that many.
func unpackedLimit(compressed int64) int64 {
	if compressed > maxUnpacked/maxRatio {
		return maxUnpacked
	}
	return min(maxUnpacked, maxUnasked+maxRatio*max(compressed, 0))
}

// limited fails, rather than ends, when more than left bytes come.
type limited struct {
	r    io.Reader
	left *int64
}

func (l limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		return 0, fmt.Errorf("%w (a tar stream without end)", errBomb)
	}
	return n, err
}

// owner returns the numbers of user and group.
func (t *tree) owner(h *tar.Header, f format) (uid, gid uint32, err error) {
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || int64(id) > maxOwner {
			return 0, 0, fmt.Errorf("owner %d: Linux knows 0 to %d", id, int64(maxOwner))
		}
		t.cost.owners[uint32(id)] = true
	}
	if f == asPack && len(t.cost.owners) > maxOwners {
		return 0, 0, fmt.Errorf(`more than %d different owners do not fit into a squashfs (rootfs = "initrd" takes them)`, maxOwners)
	}
	return uint32(h.Uid), uint32(h.Gid), nil
}

// device returns the numbers of a device node.
func device(h *tar.Header) (major, minor uint32, err error) {
	if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
		return 0, 0, fmt.Errorf("device %d:%d: Linux knows 0:0 to %d:%d", h.Devmajor, h.Devminor, maxMajor, maxMinor)
	}
	return uint32(h.Devmajor), uint32(h.Devminor), nil
}

// xattrs are the extended attributes of an entry, nil when it has none.
func xattrs(h *tar.Header) (map[string]string, error) {
	var out map[string]string
	list := 0
	for _, k := range sortedKeys(h.PAXRecords) {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		v := h.PAXRecords[k]
		if name == "" || len(name) > maxName || len(v) > maxXAttr {
			return nil, fmt.Errorf("extended attribute %s of %d bytes: Linux takes names of 1 to %d and values up to %d", quoted(name), len(v), maxName, maxXAttr)
		}
		if list += len(name) + 1; list > maxXAttr {
			return nil, fmt.Errorf("extended attributes with names of more than %d bytes together: Linux lists no more", maxXAttr)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = v
	}
	return out, nil
}

// checkTarget refuses what no symbolic link can point to.
func checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("symbolic link without a target")
	case len(target) > maxPath:
		return fmt.Errorf("target of %d bytes: the kernel reads at most %d", len(target), maxPath)
	case strings.ContainsRune(target, 0):
		return errors.New("target with a zero byte")
	}
	return nil
}

// quoted is a name as messages show it: on one line, without what a terminal obeys, and not a megabyte long.
func quoted(name string) string {
	const most = 120
	if len(name) <= most {
		return strconv.Quote(name)
	}
	return fmt.Sprintf("%q… (%d bytes)", name[:most], len(name))
}
