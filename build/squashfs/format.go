package squashfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Numbers of the on-disk format, squashfs 4.0.
const (
	magic          = 0x73717368 // "hsqs"
	superSize      = 96
	metaSize       = 8192 // bytes in a metadata block before compression
	zstdID         = 6
	minBlock       = 4 << 10
	maxBlock       = 1 << 20
	deviceBlock    = 4096       // images are padded to this, the larger of the two sizes kernels are built for
	rawBlock       = 1 << 24    // in a block's size word: stored as it is
	rawMeta        = 1 << 15    // the same in a metadata block's header
	none           = 0xFFFFFFFF // no fragment, no attributes
	noTable        = 1<<64 - 1
	flagNoFragment = 0x0010
	flagDuplicates = 0x0040 // equal contents may share blocks
	flagExport     = 0x0080
	flagNoXAttrs   = 0x0200
	fragmentSize   = 16  // bytes of a fragment table entry
	xattrIDSize    = 16  // bytes of an attribute set's entry
	headerEntries  = 256 // names one directory header may count
)

// Inode types; an extended one is the basic one plus extended.
const (
	inodeDir = iota + 1
	inodeFile
	inodeLink
	inodeBlock
	inodeChar
	inodeFifo
	inodeSocket
	extended = 7
)

// File types and permission bits of st_mode.
const (
	typeMask = 0o170000
	typeFifo = 0o010000
	typeChar = 0o020000
	typeDir  = 0o040000
	typeBlk  = 0o060000
	typeReg  = 0o100000
	typeLink = 0o120000
	typeSock = 0o140000
	permMask = 0o007777
)

// Limits of the kernel that this package keeps when it writes and insists on when it reads.
const (
	maxName      = 256     // bytes of one name, as squashfs knows them
	maxPath      = 4095    // bytes of a path or of a symbolic link's target
	maxXAttrName = 255     // bytes with the prefix
	maxXAttr     = 1 << 16 // bytes of one value
	maxXAttrs    = 1 << 20 // bytes of all attributes of one inode, our own limit
	maxIDs       = 1<<16 - 1
)

// inodeTypes maps file types to basic inode types.
var inodeTypes = map[uint32]uint16{
	typeDir: inodeDir, typeReg: inodeFile, typeLink: inodeLink, typeBlk: inodeBlock,
	typeChar: inodeChar, typeFifo: inodeFifo, typeSock: inodeSocket,
}

var le = binary.LittleEndian

// super is the superblock as it lies on disk.
type super struct {
	Magic, Inodes, ModTime, BlockSize, Fragments    uint32
	Compressor, BlockLog, Flags, IDs, Major, Minor  uint16
	Root, BytesUsed                                 uint64
	IDTable, XAttrTable, InodeTable, DirectoryTable uint64
	FragmentTable, ExportTable                      uint64
}

// checkBlockSize returns an error unless n is a block size of the format.
func checkBlockSize(n int) error {
	if n < minBlock || n > maxBlock || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("block size %d: want a power of two from %d to %d", n, minBlock, maxBlock)
	}
	return nil
}

// device packs a device number the way Linux does: 12 bits of major, 20 of minor.
func device(major, minor uint32) uint32 { return minor&0xff | major<<8 | minor&^0xff<<12 }

func majorMinor(dev uint32) (major, minor uint32) {
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}
