package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// Reader reads an image. It trusts nothing in it: a damaged or hostile image gives errors, and memory is bounded by
// a few blocks and some bytes per directory, of which it reads four million names and no more. It is for one
// goroutine.
type Reader struct {
	r         io.ReaderAt
	s         super
	dec       *zstd.Decoder
	ids       []uint32
	in        []byte // what is being decompressed
	inodes    table
	listings  table
	records   table // blocks of lookup tables
	xattrs    table
	xattrSets uint32
	fragment  struct {
		index uint32
		data  []byte
	}
}

// Facts are what an image says about itself.
type Facts struct {
	Inodes    int
	Epoch     int64 // when it was made, seconds since 1970
	BlockSize int   // bytes
	Fragments int
	Owners    int   // different user and group numbers
	Used      int64 // bytes without padding
	XAttrs    bool  // there are extended attributes
}

// Open reads an image's superblock and owners. Images must be squashfs 4.0, compressed with zstd or not at all.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	q := &Reader{r: r}
	var head [superSize]byte
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), head[:]); err != nil {
		return nil, fmt.Errorf("open squashfs: read superblock: %w", err)
	}
	if err := binary.Read(bytes.NewReader(head[:]), le, &q.s); err != nil {
		return nil, fmt.Errorf("open squashfs: read superblock: %w", err)
	}
	if err := q.check(size); err != nil {
		return nil, fmt.Errorf("open squashfs: %w", err)
	}
	var err error
	window := uint64(max(q.s.BlockSize, metaSize)) // as much as the kernel gives the decompressor
	q.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("open squashfs: start decompressor: %w", err)
	}
	q.inodes = table{q: q, start: int64(q.s.InodeTable), end: int64(q.s.DirectoryTable)}
	q.listings = table{q: q, start: int64(q.s.DirectoryTable), end: int64(q.s.BytesUsed)}
	q.records = table{q: q, end: int64(q.s.BytesUsed)}
	q.fragment.index = none
	if err := q.readIDs(); err != nil {
		return nil, fmt.Errorf("open squashfs: read owners: %w", err)
	}
	if err := q.openXAttrs(); err != nil {
		return nil, fmt.Errorf("open squashfs: read extended attributes: %w", err)
	}
	return q, nil
}

func (q *Reader) check(size int64) error {
	s := q.s
	switch {
	case s.Magic != magic:
		return errors.New("not a squashfs image: wrong magic number")
	case s.Major != 4 || s.Minor != 0:
		return fmt.Errorf("squashfs %d.%d: want 4.0", s.Major, s.Minor)
	case s.Compressor != zstdID:
		return fmt.Errorf("compressor %d: want zstd, %d", s.Compressor, zstdID)
	case s.BytesUsed > uint64(size):
		return fmt.Errorf("image says %d bytes, there are %d", s.BytesUsed, size)
	case s.InodeTable < superSize || s.DirectoryTable <= s.InodeTable || s.DirectoryTable > s.BytesUsed:
		return fmt.Errorf("inode table at %d, directory table at %d of %d bytes", s.InodeTable, s.DirectoryTable, s.BytesUsed)
	case s.IDs == 0:
		return errors.New("no owners")
	}
	if err := checkBlockSize(int(s.BlockSize)); err != nil {
		return err
	}
	if int(s.BlockLog) != bits.Len32(s.BlockSize)-1 {
		return fmt.Errorf("block size %d does not fit its logarithm %d", s.BlockSize, s.BlockLog)
	}
	return nil
}

// Facts returns what the superblock says.
func (q *Reader) Facts() Facts {
	return Facts{
		Inodes: int(q.s.Inodes), Epoch: int64(q.s.ModTime), BlockSize: int(q.s.BlockSize), Fragments: int(q.s.Fragments),
		Owners: int(q.s.IDs), Used: int64(q.s.BytesUsed), XAttrs: q.s.XAttrTable != noTable,
	}
}

func (q *Reader) readIDs() error {
	for i := range uint32(q.s.IDs) {
		b, err := q.lookup(q.s.IDTable, i, 4)
		if err != nil {
			return err
		}
		q.ids = append(q.ids, le.Uint32(b))
	}
	return nil
}

// lookup returns record i of the table whose list of places is at list. The result is good until the next call.
func (q *Reader) lookup(list uint64, i uint32, size int) ([]byte, error) {
	at := int64(i) * int64(size)
	place := list + uint64(at/metaSize*8)
	if list > q.s.BytesUsed || place+8 > q.s.BytesUsed {
		return nil, fmt.Errorf("record %d of the table at %d lies outside of the image", i, list)
	}
	var b [8]byte
	if _, err := q.r.ReadAt(b[:], int64(place)); err != nil {
		return nil, fmt.Errorf("read table at %d: %w", list, err)
	}
	block, _, err := q.records.block(int64(min(le.Uint64(b[:]), q.s.BytesUsed)))
	if err != nil {
		return nil, err
	}
	if off := int(at % metaSize); off+size <= len(block) {
		return block[off : off+size], nil
	}
	return nil, fmt.Errorf("record %d of the table at %d is cut off", i, list)
}

// data returns a data or fragment block of that size word. It fills dst, whose capacity is its limit.
func (q *Reader) data(dst []byte, at uint64, word uint32) ([]byte, error) {
	n := stored(word)
	if n > int64(q.s.BlockSize) || at > q.s.BytesUsed || int64(at) > int64(q.s.BytesUsed)-n {
		return nil, fmt.Errorf("block of %d bytes at %d lies outside of the image", n, at)
	}
	return q.decode(dst, int64(at), int(n), word&rawBlock != 0)
}

// decode reads n bytes of the image and decompresses them unless they are raw.
func (q *Reader) decode(dst []byte, at int64, n int, raw bool) ([]byte, error) {
	if cap(q.in) < n {
		q.in = make([]byte, max(n, metaSize))
	}
	in := q.in[:n]
	if _, err := q.r.ReadAt(in, at); err != nil {
		return nil, fmt.Errorf("read block at %d: %w", at, err)
	}
	if raw {
		if n > cap(dst) {
			return nil, fmt.Errorf("block at %d has %d bytes: at most %d", at, n, cap(dst))
		}
		return append(dst[:0], in...), nil
	}
	out, err := q.dec.DecodeAll(in, dst[:0])
	if err != nil {
		return nil, fmt.Errorf("decompress block at %d: %w", at, err)
	}
	return out, nil
}
