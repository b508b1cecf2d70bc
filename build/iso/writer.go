package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Extent is a run of bytes of the image. Size 0 means that the image has no such part.
type Extent struct {
	Offset int64 // bytes from the image's start
	Size   int64 // bytes
}

// Layout tells where things lie in an image. Kernel, Initrd and UKI lie inside EFI when there is one.
type Layout struct {
	Kernel Extent
	Initrd Extent
	EFI    Extent // FAT16 image
	UKI    Extent // BOOTX64.EFI
	Size   int64  // the whole image, bytes
}

// Writer writes one image. Its methods must not be called at the same time.
type Writer struct {
	f        File
	o        Options
	root     *node
	isolinux *node // nil without BIOS
	boot     bootFiles
	fat      *fat // nil without EFI
	uki      *uki // nil without EFI
	head     head
	layout   Layout
	initrd   sum
	id       identity
	err      error // sticky
	closed   bool
}

// bootFiles are the nodes whose extents are known late.
type bootFiles struct {
	catalog, kernel, initrd, efi, uki *node
}

// head holds the places of the structures before the first file, in sectors, and the path table's size in bytes.
type head struct {
	pathBytes    uint32
	pathL, pathM uint32
	overflow     uint32
	end          uint32 // first sector after the boot catalog
}

// New checks the options, writes everything that does not depend on the initrd, and returns a Writer that takes
// the initrd. f is written from offset 0. Options that no image can express are errors before the first byte.
func New(f File, o Options) (*Writer, error) {
	o, err := o.checked()
	if err != nil {
		return nil, err
	}
	w := &Writer{f: f, o: o, root: newRoot()}
	if err := w.grow(); err != nil {
		return nil, err
	}
	w.placeHead()
	if err := w.placeInitrd(); err != nil {
		return nil, err
	}
	return w, w.writeFixed()
}

// grow builds the ISO 9660 tree.
func (w *Writer) grow() error {
	add := func(path string, content io.Reader, size int64) (n *node) {
		if w.err == nil {
			n, w.err = w.root.add(path, content, size)
		}
		return n
	}
	shared := func(path string) *node { return add(path, nil, 0) }
	inMemory := func(path string, b []byte) *node { return add(path, bytes.NewReader(b), int64(len(b))) }
	w.boot.catalog, w.boot.kernel, w.boot.initrd = shared(CatalogPath), shared(KernelPath), shared(InitrdPath)
	if b := w.o.BIOS; b != nil {
		w.isolinux = inMemory(isolinuxDir+"isolinux.bin", b.Isolinux)
		inMemory(isolinuxDir+"ldlinux.c32", b.Ldlinux)
		inMemory(ConfigPath, isolinuxConfig(w.o.Cmdline))
	}
	if w.o.EFI != nil {
		w.boot.efi, w.boot.uki = shared(EFIPath), shared(UKIPath)
	}
	for _, x := range w.o.Files {
		if x.Content == nil {
			inMemory(x.Path, x.Data)
		} else {
			add(x.Path, x.Content, x.Size)
		}
	}
	if w.err != nil {
		return w.err
	}
	return w.root.nameChildren()
}

// placeHead gives sectors to path tables, continuation area, directories, catalog and fixed files.
func (w *Writer) placeHead() {
	dirs := w.root.dirs()
	w.head.pathBytes = uint32(len(pathTable(dirs, binary.LittleEndian)))
	next := uint32(19)
	take := func(n int64) uint32 {
		at := next
		next += sectors(n)
		return at
	}
	w.head.pathL = take(int64(w.head.pathBytes))
	w.head.pathM = take(int64(w.head.pathBytes))
	var dry overflow // lengths do not depend on places
	for _, d := range dirs {
		d.size = int64(len(dry.directory(d, w.o.extent, w.o.Epoch)))
	}
	w.head.overflow = take(int64(len(dry.data)))
	for _, d := range dirs {
		d.lba = take(d.size)
	}
	w.boot.catalog.size = sector
	w.boot.catalog.lba = take(sector)
	w.head.end = next
	for _, n := range w.root.files() {
		n.lba = take(n.size)
	}
	w.layout.Initrd.Offset = int64(next) * sector
}

// placeInitrd decides where the initrd begins and checks that the largest possible image fits its formats.
func (w *Writer) placeInitrd() error {
	if w.o.EFI == nil {
		w.layout.Initrd.Offset = align(w.layout.Initrd.Offset, initrdAlign)
		return w.checkSize()
	}
	var err error
	if w.uki, err = newUKI(w.o.EFI, w.o.Cmdline); err != nil {
		return err
	}
	if w.fat, err = fatFor(w.uki.size(w.o.InitrdBound, int64(len(w.o.Kernel)))); err != nil {
		return err
	}
	w.layout.EFI.Offset = align(w.layout.Initrd.Offset, 1<<20)
	w.layout.UKI.Offset = w.layout.EFI.Offset + w.fat.fileOffset()
	w.layout.Initrd.Offset = w.layout.UKI.Offset + int64(len(w.uki.stub))
	return w.checkSize()
}

// checkSize keeps every block number of the MBR within its 32 bits.
func (w *Writer) checkSize() error {
	most := w.layout.Initrd.Offset + w.o.InitrdBound + int64(len(w.o.Kernel)) + 64<<20
	if most/block > 1<<32-1 {
		return fmt.Errorf("plan image: up to %d bytes: %w", most, ErrTooLarge)
	}
	return nil
}

// writeFixed writes the fixed files and zeros around them, up to the initrd.
func (w *Writer) writeFixed() error {
	at := int64(0)
	for _, n := range w.root.files() {
		if n == w.isolinux {
			n.content = bytes.NewReader(bootInfo(w.o.BIOS.Isolinux, n.lba))
		}
		if err := w.zeros(at, int64(n.lba)*sector); err != nil {
			return err
		}
		if err := w.copyFile(n); err != nil {
			return fmt.Errorf("write %s: %w", n.path(), err)
		}
		at = int64(n.lba)*sector + n.size
	}
	return w.zeros(at, w.layout.Initrd.Offset)
}

// copyFile writes one file's content to its place.
func (w *Writer) copyFile(n *node) error {
	buf := make([]byte, min(n.size, 1<<20))
	for n.sum.size < n.size {
		p := buf[:min(n.size-n.sum.size, int64(len(buf)))]
		if _, err := io.ReadFull(n.content, p); err != nil {
			return fmt.Errorf("read byte %d of %d: %w", n.sum.size, n.size, err)
		}
		if _, err := w.f.WriteAt(p, int64(n.lba)*sector+n.sum.size); err != nil {
			return err
		}
		n.sum.add(p)
	}
	return nil
}

func (w *Writer) writeAt(p []byte, at int64, what string) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := w.f.WriteAt(p, at); err != nil {
		return fmt.Errorf("write %s at byte %d: %w", what, at, err)
	}
	return nil
}

// Write appends to the initrd. It fails when the initrd outgrows Options.InitrdBound; errors are sticky.
func (w *Writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, errors.New("write initrd: the image is closed")
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.initrd.size+int64(len(p)) > w.o.InitrdBound {
		w.err = fmt.Errorf("write initrd: it is larger than its bound of %d bytes: %w", w.o.InitrdBound, ErrTooLarge)
		return 0, w.err
	}
	if w.err = w.writeAt(p, w.layout.Initrd.Offset+w.initrd.size, "initrd"); w.err != nil {
		return 0, w.err
	}
	w.initrd.add(p)
	return len(p), nil
}

// Layout returns where things lie. Before Close it has the final Initrd.Offset, EFI.Offset and UKI.Offset only.
func (w *Writer) Layout() Layout { return w.layout }
