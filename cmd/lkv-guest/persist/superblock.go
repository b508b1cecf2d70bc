package persist

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// Super is what a file system says about itself. Only ext2/3/4 and xfs are known here; everything else is blkid's.
type Super struct {
	Type  string // "ext2", "ext3", "ext4" or "xfs"
	Label string
	UUID  string // lower case, with dashes
	Size  int64  // bytes the file system spans
	Block int64  // block size in bytes
	Fresh bool   // never mounted (ext), or mkfs has not ended (xfs)
}

// superEnd is how far into a device the superblocks reach.
const superEnd = 4096

// ReadSuper returns the file system at the beginning of r and whether there is one. A device too short for a
// superblock has none; other read errors are returned.
func ReadSuper(r io.ReaderAt) (Super, bool, error) {
	head := make([]byte, superEnd)
	if _, err := r.ReadAt(head, 0); err != nil {
		if err == io.EOF {
			return Super{}, false, nil
		}
		return Super{}, false, fmt.Errorf("read superblock: %w", err)
	}
	if s, ok := parseXFS(head); ok {
		return s, true, nil
	}
	s, ok := parseExt(head)
	return s, ok, nil
}

// parseExt reads fields of struct ext4_super_block at byte 1024; offsets are from the kernel's documentation of ext4.
func parseExt(head []byte) (Super, bool) {
	b := head[1024:2048]
	le := binary.LittleEndian
	shift := le.Uint32(b[0x18:])
	if le.Uint16(b[0x38:]) != 0xEF53 || shift > 6 {
		return Super{}, false
	}
	s := Super{Type: "ext2", Label: text(b[0x78:0x88]), UUID: uuid(b[0x68:0x78]), Block: 1024 << shift}
	compat, incompat, blocks := le.Uint32(b[0x5C:]), le.Uint32(b[0x60:]), uint64(le.Uint32(b[0x04:]))
	if incompat&0x80 != 0 { // 64bit
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	if compat&0x4 != 0 { // has_journal
		s.Type = "ext3"
	}
	if incompat&0x2C0 != 0 { // extents, 64bit, flex_bg
		s.Type = "ext4"
	}
	s.Size = clampBytes(blocks, uint64(s.Block))
	s.Fresh = le.Uint32(b[0x2C:]) == 0 && b[0x274] == 0 // time of the last mount, and its high byte
	return s, true
}

// parseXFS reads fields of struct xfs_dsb at byte 0.
func parseXFS(b []byte) (Super, bool) {
	be := binary.BigEndian
	block := be.Uint32(b[4:])
	if !bytes.Equal(b[:4], []byte("XFSB")) || block < 512 || block > 65536 {
		return Super{}, false
	}
	return Super{
		Type: "xfs", Label: text(b[108:120]), UUID: uuid(b[32:48]), Block: int64(block),
		Size: clampBytes(be.Uint64(b[8:]), uint64(block)), Fresh: b[126] != 0,
	}, true
}

// clampBytes multiplies without overflow; an absurd size is larger than any disk, which is what callers check.
func clampBytes(blocks, size uint64) int64 {
	const most = 1<<63 - 1
	if size != 0 && blocks > most/size {
		return most
	}
	return int64(blocks * size)
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
