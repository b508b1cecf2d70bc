package iso

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The FAT16 image has tables of full length, so that the first cluster lies at a fixed place whatever the
// initrd's size will be; eight reserved blocks put that place on a 4 KiB boundary.
const (
	fatReserved  = 8   // blocks
	fatBlocks    = 256 // blocks of one of the two tables: 65536 entries of 2 bytes
	fatRootFiles = 512
	fatData      = (fatReserved + 2*fatBlocks + fatRootFiles*32/block) * block // byte offset of cluster 2

	fatMinClusters = 4096  // FAT16 begins at 4085; some drivers are off by a few
	fatMaxClusters = 65524 // FAT16 ends here

	fatDirs = 2 // clusters before the file: /EFI and /EFI/BOOT
)

// fatClusterSizes are tried from small to large. All were booted with OVMF; larger ones are not portable.
// 4 KiB serves up to 255 MiB, 8 KiB 511 MiB, 16 KiB 1 GiB, 32 KiB 2 GiB. The image has at least 4096 clusters.
var fatClusterSizes = [...]int64{4 << 10, 8 << 10, 16 << 10, 32 << 10}

// fat is the geometry of the FAT16 image that holds one file.
type fat struct {
	cluster int64 // bytes
}

// fatFor picks the smallest cluster that a file of the given size fits with.
func fatFor(file int64) (*fat, error) {
	for _, c := range fatClusterSizes {
		if fatDirs+align(file, c)/c <= fatMaxClusters {
			return &fat{cluster: c}, nil
		}
	}
	most := (fatMaxClusters - fatDirs) * fatClusterSizes[len(fatClusterSizes)-1]
	return nil, fmt.Errorf("plan EFI system partition: kernel and initrd may need %d bytes, FAT16 ends at %d: %w", file, most, ErrTooLarge)
}

// fileOffset is where the file begins in the image, in bytes.
func (f *fat) fileOffset() int64 { return fatData + fatDirs*f.cluster }

// clusters is the image's cluster count when the file has the given size.
func (f *fat) clusters(file int64) int64 {
	return max(fatMinClusters, fatDirs+align(file, f.cluster)/f.cluster)
}

// imageSize is the whole image's size in bytes.
func (f *fat) imageSize(file int64) int64 { return fatData + f.clusters(file)*f.cluster }

// head encodes everything before the file: boot sector, tables, root directory, /EFI and /EFI/BOOT.
func (f *fat) head(file int64, serial uint32, t time.Time) []byte {
	b := make([]byte, f.fileOffset())
	f.bootSector(b, file, serial)
	f.table(b[fatReserved*block:], file)
	copy(b[(fatReserved+fatBlocks)*block:], b[fatReserved*block:(fatReserved+fatBlocks)*block])
	root := b[(fatReserved+2*fatBlocks)*block:]
	fatEntry(root, "LKV EFI", 0x08, 0, 0, t)
	fatEntry(root[32:], "EFI", 0x10, 2, 0, t)
	efi := b[fatData:]
	fatEntry(efi, ".", 0x10, 2, 0, t)
	fatEntry(efi[32:], "..", 0x10, 0, 0, t)
	fatEntry(efi[64:], "BOOT", 0x10, 3, 0, t)
	boot := b[fatData+f.cluster:]
	fatEntry(boot, ".", 0x10, 3, 0, t)
	fatEntry(boot[32:], "..", 0x10, 2, 0, t)
	fatEntry(boot[64:], "BOOTX64 EFI", 0x20, 2+fatDirs, uint32(file), t)
	return b
}

func (f *fat) bootSector(b []byte, file int64, serial uint32) {
	le := binary.LittleEndian
	copy(b, "\xeb\x3c\x90LKV     ")
	le.PutUint16(b[11:], block)
	b[13] = byte(f.cluster / block)
	le.PutUint16(b[14:], fatReserved)
	b[16] = 2
	le.PutUint16(b[17:], fatRootFiles)
	if n := f.imageSize(file) / block; n <= 0xffff {
		le.PutUint16(b[19:], uint16(n))
	} else {
		le.PutUint32(b[32:], uint32(n))
	}
	b[21] = 0xf8
	le.PutUint16(b[22:], fatBlocks)
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	b[36], b[38] = 0x80, 0x29
	le.PutUint32(b[39:], serial)
	copy(b[43:], "LKV EFI    FAT16   ")
	b[510], b[511] = 0x55, 0xaa
}

// table encodes the allocation table: one cluster for each directory, then the file in one run.
func (f *fat) table(b []byte, file int64) {
	le := binary.LittleEndian
	for i, v := range []uint16{0xfff8, 0xffff, 0xffff, 0xffff} {
		le.PutUint16(b[2*i:], v)
	}
	first := int64(2 + fatDirs)
	last := first + align(file, f.cluster)/f.cluster - 1
	for c := first; c < last; c++ {
		le.PutUint16(b[2*c:], uint16(c+1))
	}
	le.PutUint16(b[2*last:], 0xffff)
}

// fatEntry encodes one 32-byte directory entry; name is the padded 8.3 form without the dot.
func fatEntry(b []byte, name string, attr byte, cluster uint16, size uint32, t time.Time) {
	le := binary.LittleEndian
	putText(b[:11], name)
	b[11] = attr
	date, clock := fatTime(t)
	le.PutUint16(b[14:], clock)
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date)
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], cluster)
	le.PutUint32(b[28:], size)
}

// fatTime converts to FAT's date and two-second clock; what is before 1980 becomes 1980-01-01.
func fatTime(t time.Time) (date, clock uint16) {
	if t.Year() < 1980 {
		return 1<<5 | 1, 0
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}
