package squashfs

import "fmt"

// Pack describes the compressed contents of one component's files: what lies where in the bytes that a Packer
// wrote. It keeps its meaning as JSON.
type Pack struct {
	BlockSize int          `json:"blockSize"` // bytes
	Size      int64        `json:"size"`      // bytes in all
	Files     []PackedFile `json:"files"`     // in the order of Packer.Add
	Fragments []Fragment   `json:"fragments"`
}

// PackedFile says where a file's content is.
type PackedFile struct {
	Size           int64    `json:"size"`           // bytes before compression
	Start          int64    `json:"start"`          // of the first stored block in the pack; 0 without one
	Blocks         []uint32 `json:"blocks"`         // size words: bytes stored, bit 24 set when not compressed, 0 a block of zeros
	Fragment       int      `json:"fragment"`       // index in Pack.Fragments of the block with the tail; -1 none
	FragmentOffset uint32   `json:"fragmentOffset"` // of the tail in that block before compression
}

// Fragment is a block of the tails of several files.
type Fragment struct {
	Start int64  `json:"start"` // in the pack
	Word  uint32 `json:"word"`  // as in PackedFile.Blocks, never 0
}

// stored returns the bytes that a size word says are on disk.
func stored(word uint32) int64 { return int64(word &^ rawBlock) }

// tail returns the bytes of the file that are in a fragment.
func (f PackedFile) tail(block int) int64 {
	if f.Fragment < 0 {
		return 0
	}
	return f.Size - int64(len(f.Blocks))*int64(block)
}

// sparse returns how many bytes of the file are in blocks of zeros.
func (f PackedFile) sparse(block int) int64 {
	var n int64
	for i, w := range f.Blocks {
		if w == 0 {
			n += min(int64(block), f.Size-int64(i)*int64(block))
		}
	}
	return n
}

// check returns an error when the pack cannot be what a Packer made. A pack comes from a cache, and a wrong one
// would give an image whose files fail to read long after it was built.
func (p Pack) check() error {
	if err := checkBlockSize(p.BlockSize); err != nil {
		return err
	}
	for i, f := range p.Fragments {
		if f.Word == 0 || !p.holds(f.Start, f.Word) {
			return fmt.Errorf("fragment %d lies outside of the pack's %d bytes", i, p.Size)
		}
	}
	for i, f := range p.Files {
		if err := p.checkFile(f); err != nil {
			return fmt.Errorf("file %d: %w", i, err)
		}
	}
	return nil
}

func (p Pack) checkFile(f PackedFile) error {
	if f.Size < 0 || f.Fragment >= len(p.Fragments) || f.Fragment < -1 {
		return fmt.Errorf("size %d, fragment %d of %d", f.Size, f.Fragment, len(p.Fragments))
	}
	block := int64(p.BlockSize)
	want := f.Size / block
	if f.Fragment < 0 && f.Size%block != 0 {
		want++
	}
	if int64(len(f.Blocks)) != want || f.tail(p.BlockSize)+int64(f.FragmentOffset) > block {
		return fmt.Errorf("%d blocks do not make %d bytes", len(f.Blocks), f.Size)
	}
	at := f.Start
	for i, w := range f.Blocks {
		if !p.holds(at, w) {
			return fmt.Errorf("block %d lies outside of the pack's %d bytes", i, p.Size)
		}
		at += stored(w)
	}
	return nil
}

// holds tells whether a block of that size word fits at that place.
func (p Pack) holds(start int64, word uint32) bool {
	return stored(word) <= int64(p.BlockSize) && start >= 0 && start <= p.Size-stored(word)
}
