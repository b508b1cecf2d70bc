package iso

import (
	"encoding/binary"
)

// Platforms of El Torito boot entries.
const (
	PlatformBIOS = 0x00
	PlatformEFI  = 0xef
)

// isolinuxBlocks is how many 512-byte blocks the BIOS loads; isolinux reads the rest itself.
const isolinuxBlocks = 4

// primary encodes the primary volume descriptor, ECMA-119 8.4.
func (w *Writer) primary() []byte {
	b := make([]byte, sector)
	copy(b, "\x01CD001\x01")
	putText(b[8:40], "LINUX")
	putText(b[40:72], w.o.VolumeID)
	putBoth32(b[80:], uint32(w.layout.Size/sector))
	putBoth16(b[120:], 1)
	putBoth16(b[124:], 1)
	putBoth16(b[128:], sector)
	putBoth32(b[132:], w.head.pathBytes)
	binary.LittleEndian.PutUint32(b[140:], w.head.pathL)
	binary.BigEndian.PutUint32(b[148:], w.head.pathM)
	// The root's record is the short form without Rock Ridge: the field has 34 bytes.
	copy(b[156:190], (&overflow{}).record(w.root.pieces(maxExtent)[0], "\x00", nil, w.o.Epoch))
	putText(b[190:318], w.o.VolumeID) // volume set
	putText(b[318:446], "")           // publisher
	putText(b[446:574], "")           // preparer
	putText(b[574:702], "LKV")        // application
	putText(b[702:813], "")           // copyright, abstract and bibliographic files
	putDate17(b[813:], w.o.Epoch)
	putDate17(b[830:], w.o.Epoch)
	putNoDate17(b[847:])
	putNoDate17(b[864:])
	b[881] = 1
	return b
}

// bootRecord encodes El Torito's volume descriptor, which points to the catalog.
func bootRecord(catalog uint32) []byte {
	b := make([]byte, sector)
	copy(b, "\x00CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], catalog)
	return b
}

func terminator() []byte {
	b := make([]byte, sector)
	copy(b, "\xffCD001\x01")
	return b
}

// catalog encodes the boot catalog: the default entry is isolinux, UEFI has its own section; an image without
// BIOS has UEFI as default entry.
func (w *Writer) catalog() []byte {
	b := make([]byte, sector)
	if w.isolinux == nil {
		validation(b, PlatformEFI)
		bootEntry(b[32:], efiBlocks(w.layout.EFI.Size), uint32(w.layout.EFI.Offset/sector))
		return b
	}
	validation(b, PlatformBIOS)
	bootEntry(b[32:], isolinuxBlocks, w.isolinux.lba)
	if w.fat != nil {
		b[64], b[65] = 0x91, PlatformEFI // final section header
		binary.LittleEndian.PutUint16(b[66:], 1)
		bootEntry(b[96:], efiBlocks(w.layout.EFI.Size), uint32(w.layout.EFI.Offset/sector))
	}
	return b
}

// validation encodes the catalog's first entry; the sum of its 16-bit words is zero.
func validation(b []byte, platform byte) {
	b[0], b[1] = 1, platform
	b[30], b[31] = 0x55, 0xaa
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
}

func bootEntry(b []byte, blocks uint16, lba uint32) {
	b[0] = 0x88 // bootable, no emulation
	binary.LittleEndian.PutUint16(b[6:], blocks)
	binary.LittleEndian.PutUint32(b[8:], lba)
}

// efiBlocks is the size field of the EFI entry: it has 16 bits, and firmware takes 0 as "up to the end" while
// it fails on a truncated value.
func efiBlocks(size int64) uint16 {
	if n := size / block; n <= 0xffff {
		return uint16(n)
	}
	return 0
}

// bootInfo returns isolinux.bin with its boot information table filled in: 56 bytes at offset 8.
func bootInfo(isolinux []byte, lba uint32) []byte {
	b := make([]byte, align(int64(len(isolinux)), 4))
	copy(b, isolinux)
	var sum uint32
	for i := 64; i < len(b); i += 4 {
		sum += binary.LittleEndian.Uint32(b[i:])
	}
	clear(b[8:64])
	binary.LittleEndian.PutUint32(b[8:], 16)
	binary.LittleEndian.PutUint32(b[12:], lba)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(isolinux)))
	binary.LittleEndian.PutUint32(b[20:], sum)
	return b[:len(isolinux)]
}
