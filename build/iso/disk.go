package iso

import (
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"
)

const (
	mbrCode   = 432  // length of isohdpfx.bin
	mbrTarget = 432  // where it expects the 512-byte block of isolinux.bin, 8 bytes
	mbrID     = 440  // disk identifier, 4 bytes
	mbrTable  = 446  // four partition entries
	gptCount  = 128  // partition entries
	gptEntry  = 128  // bytes of one entry
	gptBlocks = 32   // blocks of the entry array
	gptUsable = 34   // first block a partition may use
	gptTail   = 33   // blocks at the end: entries and header
	hidden    = 0x17 // partition type isohybrid uses for an image without GPT
	gptType   = 0xee // protective entry
)

// espType is C12A7328-F81F-11D2-BA4B-00A0C93EC93B in the GPT's mixed byte order.
var espType = [16]byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// mbr encodes the first block: isohybrid's boot code and one entry over the whole image. With a GPT it is the
// protective entry, marked active because some BIOSes boot no disk without an active one.
func (w *Writer) mbr() []byte {
	b := make([]byte, block)
	le := binary.LittleEndian
	total := uint32(w.layout.Size / block)
	e := b[mbrTable:]
	copy(e, []byte{0, 0, 2, 0, gptType, 0xfe, 0xff, 0xff})
	start := uint32(1)
	if w.fat == nil {
		start = 0
		copy(e, []byte{0, 0, 1, 0, hidden, 0xfe, 0xff, 0xff})
	}
	if w.isolinux != nil {
		e[0] = 0x80
		copy(b, w.o.BIOS.Isohdpfx)
		le.PutUint64(b[mbrTarget:], uint64(w.isolinux.lba)*(sector/block))
	}
	le.PutUint32(e[8:], start)
	le.PutUint32(e[12:], total-start)
	copy(b[mbrID:mbrID+4], w.id.mbr())
	b[510], b[511] = 0x55, 0xaa
	return b
}

// gptEntries encodes the entry array with its one partition, the EFI system partition.
func (w *Writer) gptEntries() []byte {
	b := make([]byte, gptCount*gptEntry)
	le := binary.LittleEndian
	copy(b, espType[:])
	copy(b[16:32], w.id.partition())
	le.PutUint64(b[32:], uint64(w.layout.EFI.Offset/block))
	le.PutUint64(b[40:], uint64((w.layout.EFI.Offset+w.layout.EFI.Size)/block-1))
	for i, u := range utf16.Encode([]rune("EFI system")) {
		le.PutUint16(b[56+2*i:], u)
	}
	return b
}

// gptHeader encodes the header at block self, whose twin is at block other and whose entries begin at block first.
func (w *Writer) gptHeader(entries []byte, self, other, first int64) []byte {
	b := make([]byte, block)
	le := binary.LittleEndian
	copy(b, "EFI PART\x00\x00\x01\x00")
	le.PutUint32(b[12:], 92)
	le.PutUint64(b[24:], uint64(self))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], gptUsable)
	le.PutUint64(b[48:], uint64(w.layout.Size/block-gptTail-1))
	copy(b[56:72], w.id.disk())
	le.PutUint64(b[72:], uint64(first))
	le.PutUint32(b[80:], gptCount)
	le.PutUint32(b[84:], gptEntry)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:92]))
	return b
}

// systemArea encodes the 32 KiB before the volume descriptors.
func (w *Writer) systemArea() []byte {
	b := make([]byte, 16*sector)
	copy(b, w.mbr())
	if w.fat != nil {
		last := w.layout.Size/block - 1
		entries := w.gptEntries()
		copy(b[block:], w.gptHeader(entries, 1, last, 2))
		copy(b[2*block:], entries)
	}
	return b
}

// backup encodes the last 33 blocks.
func (w *Writer) backup() []byte {
	last := w.layout.Size/block - 1
	entries := w.gptEntries()
	return append(entries, w.gptHeader(entries, last, 1, last-gptBlocks)...)
}

// guid marks 16 bytes as a random (version 4) GUID in the GPT's mixed byte order.
func guid(b []byte) []byte {
	g := append([]byte(nil), b[:16]...)
	g[7] = g[7]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}
