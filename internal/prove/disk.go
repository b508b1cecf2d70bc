package prove

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
)

// foreignMost bounds a foreign disk, in bytes: large enough for any file system lkv makes, so that its size is no reason
// to refuse it, and read twice in seconds.
const foreignMost = 512 << 20

// write makes a sparse disk and puts pieces on it, by their place in bytes.
func write(path string, size int64, pieces map[int64][]byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	err = f.Truncate(size)
	for at, piece := range pieces {
		_, werr := f.WriteAt(piece, at)
		err = errors.Join(err, werr)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return nil
}

// serial is what the guest finds a disk by: the UUID that the image asks for, else any.
func serial(n int, d manifest.Persist) string {
	if d.UUID != "" {
		return strings.ToLower(strings.ReplaceAll(d.UUID, "-", ""))
	}
	return fmt.Sprintf("lkvprove%d", n)
}

// blanks makes one blank disk per data disk of the image.
func (p Proof) blanks() ([]qemu.Disk, error) {
	var list []qemu.Disk
	for n, d := range p.Manifest.Persist {
		disk := qemu.Disk{Path: filepath.Join(p.Work, fmt.Sprintf("disk%d.raw", n)), Serial: serial(n, d)}
		if err := write(disk.Path, p.DiskSize, nil); err != nil {
			return nil, err
		}
		list = append(list, disk)
	}
	return list, nil
}

// foreigners makes disks that hold something of somebody else: one with an ext4 superblock in the place of each data
// disk, and one with a partition table.
func (p Proof) foreigners() ([]qemu.Disk, error) {
	var list []qemu.Disk
	size := min(p.DiskSize, foreignMost)
	for n, d := range p.Manifest.Persist {
		disk := qemu.Disk{Path: filepath.Join(p.Work, fmt.Sprintf("foreign%d.raw", n)), Serial: serial(n, d)}
		if err := write(disk.Path, size, map[int64][]byte{1024: superblock(size)}); err != nil {
			return nil, err
		}
		list = append(list, disk)
	}
	disk := qemu.Disk{Path: filepath.Join(p.Work, "foreign-gpt.raw"), Serial: "lkvproveforeign"}
	return append(list, disk), write(disk.Path, size, partitions(size))
}

// superblock is the superblock of an ext4 with 4 KiB blocks, a journal and extents, labelled "somebody" (offsets: the
// kernel's documentation of struct ext4_super_block).
func superblock(size int64) []byte {
	b := make([]byte, 1024)
	le := binary.LittleEndian
	le.PutUint32(b[0x00:], uint32(size/16384)) // inodes
	le.PutUint32(b[0x04:], uint32(size/4096))  // blocks
	le.PutUint32(b[0x18:], 2)                  // block size: 1024 << 2
	le.PutUint32(b[0x1C:], 2)
	le.PutUint32(b[0x20:], 32768) // blocks per group
	le.PutUint32(b[0x24:], 32768)
	le.PutUint32(b[0x28:], 8192)     // inodes per group
	le.PutUint32(b[0x2C:], 1<<30)    // last mount: it was in use
	le.PutUint16(b[0x38:], 0xEF53)   // magic
	le.PutUint16(b[0x3A:], 1)        // clean
	le.PutUint32(b[0x4C:], 1)        // dynamic revision
	le.PutUint32(b[0x54:], 11)       // first inode
	le.PutUint16(b[0x58:], 256)      // inode size
	le.PutUint32(b[0x5C:], 0x4)      // has_journal
	le.PutUint32(b[0x60:], 0x40|0x2) // extents, filetype
	copy(b[0x68:], "somebody's uuid!")
	copy(b[0x78:], "somebody")
	return b
}

// partitions is a GUID partition table with one Linux partition, and its protective MBR (UEFI specification, chapter 5).
func partitions(size int64) map[int64][]byte {
	const first = 2048
	sectors := uint64(size / 512)
	le := binary.LittleEndian
	entries := make([]byte, 128*128)
	copy(entries, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4somebody's part.")
	le.PutUint64(entries[32:], first)
	le.PutUint64(entries[40:], sectors-first)
	header := func(self, other, table uint64) []byte {
		b := make([]byte, 512)
		copy(b, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
		for i, v := range []uint64{self, other, 34, sectors - 34} {
			le.PutUint64(b[24+8*i:], v)
		}
		copy(b[56:], "somebody's disk!")
		le.PutUint64(b[72:], table)
		le.PutUint32(b[80:], 128)
		le.PutUint32(b[84:], 128)
		le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:92]))
		return b
	}
	mbr := make([]byte, 512)
	mbr[446+4] = 0xee
	le.PutUint32(mbr[446+8:], 1)
	le.PutUint32(mbr[446+12:], uint32(sectors-1))
	mbr[510], mbr[511] = 0x55, 0xaa
	return map[int64][]byte{
		0: mbr, 512: header(1, sectors-1, 2), 1024: entries,
		size - 33*512: entries, size - 512: header(sectors-1, 1, sectors-33),
	}
}

// digests are the SHA-256 of every disk, in order.
func digests(disks []qemu.Disk) ([][32]byte, error) {
	var list [][32]byte
	for _, d := range disks {
		f, err := os.Open(d.Path)
		if err != nil {
			return nil, fmt.Errorf("read disk: %w", err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read disk: %w", err)
		}
		list = append(list, [32]byte(h.Sum(nil)))
	}
	return list, nil
}
