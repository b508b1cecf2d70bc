package build

import (
	"context"
	"fmt"
	"io"

	"github.com/lkv-io/lkv/internal/manifest"
)

// format is how the files of a component are stored in the cache.
type format string

const (
	asCpio format = "cpio" // compressed cpio entries, ready to be a part of an initrd
	asPack format = "pack" // compressed blocks, ready to be a part of a squashfs, and the metadata beside it
)

// segmentAlign is what segments are padded to with zeros, which the kernel skips.
const segmentAlign = 4096

// pageSize is what a file in the root tmpfs is rounded up to.
const pageSize = 4096

// cpio writes a component as frames of an initrd.
func (s *store) cpio(ctx context.Context, w io.Writer, c content, sp *spill, seg *segment) error {
	records := number(c.entries)
	for _, r := range records {
		if len(r.name) > maxPath {
			return fmt.Errorf("name %s: the kernel reads at most %d bytes", quoted(r.name), maxPath)
		}
		if r.name == trailer {
			return fmt.Errorf("the name %s ends a cpio archive", trailer)
		}
		seg.Unpacked += align(r.size, pageSize)
		for _, x := range sortedKeys(r.ino.xattrs) {
			seg.Dropped = append(seg.Dropped, manifest.Dropped{Path: r.name, XAttr: x})
		}
	}
	n := &counter{}
	w = io.MultiWriter(w, n)
	a := archive{records: records, sp: sp, dev: deviceOf(seg.key), clamp: c.clamp, end: c.end}
	if err := s.c.compress(ctx, w, a); err != nil {
		return err
	}
	if _, err := w.Write(make([]byte, align(n.n, segmentAlign)-n.n)); err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	return nil
}

// capabilities counts the files that lose what setcap(8) gave them.
func capabilities(list []manifest.Dropped) int {
	n := 0
	for _, d := range list {
		if d.XAttr == "security.capability" {
			n++
		}
	}
	return n
}
