package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Close writes the kernel, the end of the image and every header. The file itself stays open and is not synced.
// An image whose Close did not return nil is not usable.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err == nil && w.initrd.size == 0 {
		w.err = errors.New("close image: the initrd is empty")
	}
	if w.err == nil {
		w.err = w.finish()
	}
	return w.err
}

func (w *Writer) finish() error {
	w.settle()
	w.id = w.identity()
	l := w.layout
	if err := w.zeros(l.Initrd.Offset+l.Initrd.Size, l.Kernel.Offset); err != nil {
		return err
	}
	if err := w.writeAt(w.o.Kernel, l.Kernel.Offset, "kernel"); err != nil {
		return err
	}
	if err := w.zeros(l.Kernel.Offset+l.Kernel.Size, l.Size); err != nil {
		return err
	}
	if err := w.writeAt(w.volumeHead(), 0, "headers"); err != nil {
		return err
	}
	if w.fat == nil {
		return nil
	}
	efi := w.fat.head(l.UKI.Size, w.id.fat(), w.o.Epoch)
	efi = append(efi, w.uki.head(l.Initrd.Size, l.Kernel.Size)...)
	if err := w.writeAt(efi, l.EFI.Offset, "EFI system partition"); err != nil {
		return err
	}
	return w.writeAt(w.backup(), l.Size-gptTail*block, "backup GPT")
}

// settle computes the final layout and gives the shared extents to the tree.
func (w *Writer) settle() {
	l := &w.layout
	l.Initrd.Size = w.initrd.size
	l.Kernel.Size = int64(len(w.o.Kernel))
	l.Kernel.Offset = l.Initrd.Offset + align(l.Initrd.Size, initrdAlign)
	l.Size = align(l.Kernel.Offset+l.Kernel.Size, sector)
	if w.fat != nil {
		l.UKI.Size = w.uki.size(l.Initrd.Size, l.Kernel.Size)
		l.EFI.Size = w.fat.imageSize(l.UKI.Size)
		l.Size = align(l.EFI.Offset+l.EFI.Size+gptTail*block, sector)
		w.boot.efi.share(l.EFI)
		w.boot.uki.share(l.UKI)
	}
	w.boot.kernel.share(l.Kernel)
	w.boot.initrd.share(l.Initrd)
}

func (n *node) share(e Extent) { n.lba, n.size = uint32(e.Offset/sector), e.Size }

// volumeHead encodes everything from byte 0 to the boot catalog.
func (w *Writer) volumeHead() []byte {
	b := make([]byte, int64(w.head.end)*sector)
	put := func(lba uint32, p []byte) { copy(b[int64(lba)*sector:], p) }
	put(0, w.systemArea())
	put(16, w.primary())
	put(17, bootRecord(w.boot.catalog.lba))
	put(18, terminator())
	dirs := w.root.dirs()
	put(w.head.pathL, pathTable(dirs, binary.LittleEndian))
	put(w.head.pathM, pathTable(dirs, binary.BigEndian))
	over := overflow{lba: w.head.overflow}
	for _, d := range dirs {
		put(d.lba, over.directory(d, w.o.extent, w.o.Epoch))
	}
	put(w.head.overflow, over.data)
	put(w.boot.catalog.lba, w.catalog())
	return b
}

// zeros fills a gap, with a hole when the file can make one: an initrd far below its bound leaves up to 128 MiB
// of the FAT image unused.
func (w *Writer) zeros(from, to int64) error {
	if t, ok := w.f.(interface{ Truncate(int64) error }); ok && to-from > 1<<20 {
		for _, size := range []int64{from, to} {
			if err := t.Truncate(size); err != nil {
				return fmt.Errorf("truncate image to %d bytes: %w", size, err)
			}
		}
		return nil
	}
	const piece = 1 << 20
	for from < to {
		n := min(to-from, piece)
		if err := w.writeAt(make([]byte, n), from, "zeros"); err != nil {
			return err
		}
		from += n
	}
	return nil
}
