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

// Layout tells where things lie in an image. Kernel, Initrd and UKI lie inside EFI when there is a UKI; with GRUB,
// kernel and initrd lie behind EFI.
type Layout struct {
	Kernel Extent
	Initrd Extent
	EFI    Extent // FAT16 image
	UKI    Extent // BOOTX64.EFI, with its signature; none with GRUB
	Size   int64  // the whole image, bytes
}

// Writer writes one image. Its methods must not be called at the same time.
type Writer struct {
	f        target
	o        Options
	root     *node
	isolinux *node // nil without BIOS
	boot     bootFiles
	fat      *fat // nil without EFI
	uki      *uki // nil without EFI, and with GRUB
	grub     []grubFile
	head     head
	layout   Layout
	initrd   sum
	id       identity
	err      error // sticky
	closed   bool
}

// bootFiles are the nodes whose extents are known late.
type bootFiles struct {
	catalog, kernel, initrd, efi *node
	inEFI                        []*node // the files of the EFI system partition
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
	if _, ok := f.(io.ReaderAt); !ok && o.EFI != nil && o.EFI.Signer != nil {
		return nil, errors.New("check file: signing reads the image back, and it is no io.ReaderAt")
	}
	w := &Writer{f: target{f}, o: o, root: newRoot()}
	if err := w.planEFI(); err != nil {
		return nil, err
	}
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
	if w.fat != nil {
		w.boot.efi = shared(EFIPath)
		for _, x := range w.fat.files {
			w.boot.inEFI = append(w.boot.inEFI, shared(x.path))
		}
	}
	for _, x := range w.o.Files {
		switch {
		case x.Link != "":
			if n := shared(x.Path); n != nil {
				n.link, w.err = checkLink(x)
			}
		case x.Content != nil:
			add(x.Path, x.Content, x.Size)
		default:
			inMemory(x.Path, x.Data)
		}
	}
	if w.err != nil {
		return w.err
	}
	if n := len(w.root.dirs()); n > maxDirs {
		return fmt.Errorf("plan image: %d directories, ISO 9660 can number %d: %w", n, maxDirs, ErrTooLarge)
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

// planEFI decides what the EFI system partition holds and checks that it can hold the largest initrd.
func (w *Writer) planEFI() (err error) {
	switch e := w.o.EFI; {
	case e == nil:
	case e.Grub != nil:
		words, err := grubWords(w.o.Cmdline)
		if err != nil {
			return err
		}
		w.grub = e.Grub.files(grubConfig(w.o.VolumeID, words))
		files := make([]fatFile, len(w.grub))
		for i, x := range w.grub {
			files[i] = fatFile{x.path, int64(len(x.content))}
		}
		w.fat, err = newFAT(grubCluster, files...)
		return err
	default:
		if w.uki, err = newUKI(e, w.o.Cmdline); err != nil {
			return err
		}
		most := w.uki.size(w.o.InitrdBound, int64(len(w.o.Kernel))) + e.Signer.room()
		w.fat, err = newFAT(ukiCluster, fatFile{UKIPath, most})
	}
	return err
}

// placeInitrd decides where the initrd begins and checks that the largest possible image fits its formats.
func (w *Writer) placeInitrd() error {
	l := &w.layout
	if w.fat != nil {
		l.EFI.Offset = align(l.Initrd.Offset, 1<<20)
		l.Initrd.Offset = l.EFI.Offset + w.fat.size()
	}
	if w.uki != nil {
		l.UKI.Offset = l.EFI.Offset + w.fat.offset(0)
		l.Initrd.Offset = l.UKI.Offset + int64(len(w.uki.stub))
	}
	l.Initrd.Offset = align(l.Initrd.Offset, initrdAlign)
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
		if err := w.f.zeros(at, int64(n.lba)*sector); err != nil {
			return err
		}
		if err := w.copyFile(n); err != nil {
			return fmt.Errorf("write %s: %w", n.path(), err)
		}
		at = int64(n.lba)*sector + n.size
	}
	for i, x := range w.grub {
		to := w.layout.EFI.Offset + w.fat.offset(i)
		if err := w.f.zeros(at, to); err != nil {
			return err
		}
		if err := w.f.put(x.content, to, x.path); err != nil {
			return err
		}
		at = to + int64(len(x.content))
	}
	return w.f.zeros(at, w.layout.Initrd.Offset)
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
	if w.err = w.f.put(p, w.layout.Initrd.Offset+w.initrd.size, "initrd"); w.err != nil {
		return 0, w.err
	}
	w.initrd.add(p)
	return len(p), nil
}

// Layout returns where things lie. Before Close it has the final Initrd.Offset, EFI.Offset and UKI.Offset only.
func (w *Writer) Layout() Layout { return w.layout }
