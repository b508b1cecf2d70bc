package iso

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
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
)

// fatClusterSizes are tried from small to large. All were booted with OVMF; larger ones are not portable, and
// smaller ones would put files where ISO 9660 cannot point at them. The image has at least 4096 clusters.
// 4 KiB serves up to 255 MiB, 8 KiB 511 MiB, 16 KiB 1 GiB, 32 KiB 2 GiB.
var fatClusterSizes = [...]int64{2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10}

// The smallest clusters: for a unified kernel image, and for GRUB's few files, whose image then has 8 MiB.
const (
	ukiCluster  = 4 << 10
	grubCluster = 2 << 10
)

// fat is a FAT16 image whose files lie one behind the other, after one cluster for each directory.
type fat struct {
	cluster int64 // bytes
	dirs    []string
	files   []fatFile
}

// fatFile is one file; its names have the 8.3 form.
type fatFile struct {
	path string // slash-separated, from the root
	size int64  // bytes
}

// newFAT picks the smallest cluster of at least least bytes that the files fit with.
func newFAT(least int64, files ...fatFile) (*fat, error) {
	f := &fat{files: files}
	for _, x := range files {
		for i := range x.path {
			if dir := x.path[:i]; x.path[i] == '/' && !slices.Contains(f.dirs, dir) {
				f.dirs = append(f.dirs, dir)
			}
		}
	}
	for _, f.cluster = range fatClusterSizes {
		if f.cluster >= least && f.used() <= fatMaxClusters {
			return f, nil
		}
	}
	most := (fatMaxClusters - int64(len(f.dirs))) * f.cluster
	return nil, fmt.Errorf("plan EFI system partition: its files may need %d clusters of %d bytes, FAT16 ends at %d bytes: %w",
		f.used(), f.cluster, most, ErrTooLarge)
}

// used counts the clusters of all directories and files.
func (f *fat) used() int64 { return f.first(len(f.files)) - 2 }

// first is the number of the first cluster of file i.
func (f *fat) first(i int) int64 {
	n := 2 + int64(len(f.dirs))
	for _, x := range f.files[:i] {
		n += align(x.size, f.cluster) / f.cluster
	}
	return n
}

// offset is where file i begins in the image, in bytes.
func (f *fat) offset(i int) int64 { return fatData + (f.first(i)-2)*f.cluster }

// size is the whole image's size in bytes.
func (f *fat) size() int64 { return fatData + max(fatMinClusters, f.used())*f.cluster }

// head encodes everything before the first file: boot sector, tables, root directory and directories.
func (f *fat) head(serial uint32, t time.Time) []byte {
	b := make([]byte, f.offset(0))
	f.bootSector(b, serial)
	f.table(b[fatReserved*block:])
	copy(b[(fatReserved+fatBlocks)*block:], b[fatReserved*block:(fatReserved+fatBlocks)*block])
	root := b[(fatReserved+2*fatBlocks)*block:]
	fatEntry(root, "LKV EFI", 0x08, 0, 0, t)
	f.entries(root[32:], "", t)
	for i, dir := range f.dirs {
		d := b[fatData+int64(i)*f.cluster:]
		fatEntry(d, ".", 0x10, uint16(2+i), 0, t)
		fatEntry(d[32:], "..", 0x10, f.parent(dir), 0, t)
		f.entries(d[64:], dir+"/", t)
	}
	return b
}

// parent is the cluster of the directory above; the root counts as 0.
func (f *fat) parent(path string) uint16 {
	if i := slices.Index(f.dirs, strings.TrimSuffix(path[:strings.LastIndexByte(path, '/')+1], "/")); i >= 0 {
		return uint16(2 + i)
	}
	return 0
}

// entries encodes what lies right below a directory, given with its final slash: directories first.
func (f *fat) entries(b []byte, dir string, t time.Time) {
	for i, d := range f.dirs {
		if name, ok := strings.CutPrefix(d, dir); ok && !strings.Contains(name, "/") {
			fatEntry(b, fatName(name), 0x10, uint16(2+i), 0, t)
			b = b[32:]
		}
	}
	for i, x := range f.files {
		if name, ok := strings.CutPrefix(x.path, dir); ok && !strings.Contains(name, "/") {
			fatEntry(b, fatName(name), 0x20, uint16(f.first(i)), uint32(x.size), t)
			b = b[32:]
		}
	}
}

// fatName makes the padded form without a dot.
func fatName(name string) string {
	stem, ext, _ := strings.Cut(strings.ToUpper(name), ".")
	return fmt.Sprintf("%-8s%s", stem, ext)
}

func (f *fat) bootSector(b []byte, serial uint32) {
	le := binary.LittleEndian
	copy(b, "\xeb\x3c\x90LKV     ")
	le.PutUint16(b[11:], block)
	b[13] = byte(f.cluster / block)
	le.PutUint16(b[14:], fatReserved)
	b[16] = 2
	le.PutUint16(b[17:], fatRootFiles)
	if n := f.size() / block; n <= 0xffff {
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

// table encodes the allocation table: one cluster for each directory, then each file in one run.
func (f *fat) table(b []byte) {
	le := binary.LittleEndian
	le.PutUint16(b, 0xfff8)
	for i := range 1 + len(f.dirs) {
		le.PutUint16(b[2+2*i:], 0xffff)
	}
	for i := range f.files {
		last := f.first(i+1) - 1
		for c := f.first(i); c < last; c++ {
			le.PutUint16(b[2*c:], uint16(c+1))
		}
		le.PutUint16(b[2*last:], 0xffff)
	}
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
