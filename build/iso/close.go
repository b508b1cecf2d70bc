package iso

import (
	"encoding/binary"
	"errors"
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
	if err := w.writeKernel(); err != nil {
		return err
	}
	w.settle()
	w.id = w.identity()
	l := w.layout
	if err := w.f.zeros(max(l.Kernel.Offset+l.Kernel.Size, l.UKI.Offset+l.UKI.Size), l.Size); err != nil {
		return err
	}
	if err := w.f.put(w.volumeHead(), 0, "headers"); err != nil {
		return err
	}
	if w.fat == nil {
		return nil
	}
	if err := w.f.put(w.fat.head(w.id.fat(), w.o.Epoch), l.EFI.Offset, "EFI system partition"); err != nil {
		return err
	}
	return w.f.put(w.backup(), l.Size-gptTail*block, "backup GPT")
}

// writeKernel writes the kernel behind the initrd, and with it the rest of the unified kernel image.
func (w *Writer) writeKernel() (err error) {
	l := &w.layout
	l.Initrd.Size = w.initrd.size
	l.Kernel.Size = int64(len(w.o.Kernel))
	l.Kernel.Offset = l.Initrd.Offset + align(l.Initrd.Size, initrdAlign)
	if w.uki != nil {
		l.UKI.Size, err = w.uki.finish(w.f, l.UKI.Offset, l.Initrd.Size, w.o.Kernel)
		return err
	}
	if err := w.f.zeros(l.Initrd.Offset+l.Initrd.Size, l.Kernel.Offset); err != nil {
		return err
	}
	return w.f.put(w.o.Kernel, l.Kernel.Offset, "kernel")
}

// settle computes the final layout and gives the shared extents to the tree.
func (w *Writer) settle() {
	l := &w.layout
	l.Size = align(l.Kernel.Offset+l.Kernel.Size, sector)
	if w.uki != nil {
		w.fat.files[0].size = l.UKI.Size
	}
	if w.fat != nil {
		l.EFI.Size = w.fat.size()
		l.Size = align(max(l.Size, l.EFI.Offset+l.EFI.Size)+gptTail*block, sector)
		w.boot.efi.share(l.EFI)
	}
	for i, n := range w.boot.inEFI {
		n.share(Extent{l.EFI.Offset + w.fat.offset(i), w.fat.files[i].size})
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
