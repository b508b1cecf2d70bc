package iso

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// File is where an image is written, usually an empty *os.File opened without O_APPEND. When it also has
// Truncate(int64) error (as *os.File does), long runs of zeros become holes.
type File interface {
	io.WriterAt
}

// Options describes one image. At least one of BIOS and EFI is set.
//
// Cmdline reaches the kernel byte for byte, quotes, percent signs and backslashes included; isolinux puts
// "BOOT_IMAGE=/boot/vmlinuz initrd=/boot/initrd " in front. So it may have 2001 bytes with BIOS and 2047 without.
// Refused are control characters, bytes outside ASCII and, with BIOS, a lone "-" and an initrd= of its own. GRUB
// puts "BOOT_IMAGE=/boot/vmlinuz " in front, and it cannot pass every quote: with Grub, refused are backslashes,
// single quotes, and double quotes that do not enclose a whole word with a space inside ("a=b c" passes, a="b c"
// does not).
type Options struct {
	VolumeID    string    // volume label, 1 to 32 printable ASCII characters
	Epoch       time.Time // every date in the image; the zero Time stands for 1970-01-01; up to the year 2107
	BIOS        *BIOS     // nil: the image does not boot with a BIOS
	EFI         *EFI      // nil: the image does not boot with UEFI
	Cmdline     string    // kernel command line; surrounding spaces are dropped
	Kernel      []byte    // bzImage with EFI stub
	InitrdBound int64     // upper bound of the initrd's size in bytes; it decides the FAT's cluster size, and the least size of the image
	Files       []Extra   // further files of the ISO 9660 tree

	extent int64 // longest run of bytes of one directory record; 0: maxExtent; tests make it small
}

// BIOS holds the boot loader for BIOS machines, from Debian's packages isolinux and syslinux-common.
type BIOS struct {
	Isolinux []byte // isolinux.bin
	Ldlinux  []byte // ldlinux.c32 of the same version
	Isohdpfx []byte // isohdpfx.bin, the boot code of the MBR, 432 bytes
}

// EFI holds what makes a unified kernel image, the stub from Debian's package systemd-boot-efi, or Grub instead.
type EFI struct {
	Stub      []byte  // linuxx64.efi.stub; it may be unsigned only
	OSRelease string  // .osrel section, in os-release(5) format; empty: no such section
	Uname     string  // .uname section, the kernel release; empty: no such section
	Signer    *Signer // signs the unified kernel image for Secure Boot; nil: unsigned. File must be an io.ReaderAt then
	Grub      *Grub   // GRUB in place of the unified kernel image; the other fields are empty then
}

// Extra is one more file of the ISO 9660 tree, world-readable, owned by root. Its content is Data, or Size bytes
// of Content when that is set: New reads them then, and it is an error when they are fewer. With Link set it is a
// symbolic link instead.
//
// A path may have 64 levels. ECMA-119 stops at eight; Linux, xorriso and GRUB read deeper trees as they are, so
// nothing is relocated.
type Extra struct {
	Path    string // slash-separated, relative to the root, for example "lkv/manifest.json"
	Data    []byte
	Content io.Reader
	Size    int64  // bytes; with Content only
	Link    string // target of a symbolic link, a clean path of up to 1024 bytes, absolute or relative
}

// ErrTooLarge is wrapped by every error that says that something does not fit the image's formats.
var ErrTooLarge = errors.New("too large for the image")

// maxExtent is the longest run of bytes one directory record describes here: what its 32 bits hold in whole
// sectors. Longer files get several records. Kernel and initrd must do with one, for isolinux's sake.
const maxExtent = 1<<32 - sector

// firstYear and lastYear bound what all formats in the image can express: FAT ends in 2107.
const (
	firstYear = 1970
	lastYear  = 2107
)

// checked returns o with defaults filled in, or the first reason why it cannot be written.
func (o Options) checked() (Options, error) {
	if o.BIOS == nil && o.EFI == nil {
		return o, errors.New("check options: neither BIOS nor EFI boot is asked for")
	}
	if err := checkVolumeID(o.VolumeID); err != nil {
		return o, err
	}
	if o.Epoch.IsZero() {
		o.Epoch = time.Unix(0, 0)
	}
	o.Epoch = o.Epoch.UTC().Truncate(time.Second)
	if y := o.Epoch.Year(); y < firstYear || y > lastYear {
		return o, fmt.Errorf("check epoch: year %d is outside %d to %d", y, firstYear, lastYear)
	}
	if len(o.Kernel) == 0 {
		return o, errors.New("check kernel: it is empty")
	}
	if o.InitrdBound <= 0 {
		return o, fmt.Errorf("check initrd bound: %d is not a size", o.InitrdBound)
	}
	if o.InitrdBound > maxExtent {
		return o, fmt.Errorf("check initrd bound: %d bytes, isolinux reads files up to %d: %w", o.InitrdBound, int64(maxExtent), ErrTooLarge)
	}
	if o.extent == 0 {
		o.extent = maxExtent
	}
	if err := o.EFI.check(); err != nil {
		return o, err
	}
	var err error
	if o.Cmdline, err = checkCmdline(o.Cmdline, o.BIOS != nil, o.EFI != nil && o.EFI.Grub != nil); err != nil {
		return o, err
	}
	return o, o.BIOS.check()
}

// check is fine with nil: then there is nothing to boot with UEFI.
func (e *EFI) check() error {
	switch {
	case e == nil || e.Grub == nil:
		return nil
	case e.Signer != nil:
		return errors.New("check EFI: a signer signs the unified kernel image; with GRUB everything comes signed already")
	case len(e.Stub) > 0 || e.OSRelease != "" || e.Uname != "":
		return errors.New("check EFI: a unified kernel image and GRUB exclude one another")
	}
	return e.Grub.check()
}

func checkVolumeID(id string) error {
	if id == "" || len(id) > 32 {
		return fmt.Errorf("check volume label %q: it needs 1 to 32 characters", id)
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return fmt.Errorf("check volume label %q: character %d is not printable ASCII", id, i+1)
		}
	}
	return nil
}

// check is fine with nil: then there is nothing to boot with a BIOS.
func (b *BIOS) check() error {
	switch {
	case b == nil:
		return nil
	case len(b.Isolinux) < 2048:
		return fmt.Errorf("check isolinux.bin: %d bytes are too few", len(b.Isolinux))
	case len(b.Ldlinux) == 0:
		return errors.New("check ldlinux.c32: it is empty")
	case len(b.Isohdpfx) != mbrCode:
		return fmt.Errorf("check isohdpfx.bin: %d bytes instead of %d", len(b.Isohdpfx), mbrCode)
	}
	return nil
}
