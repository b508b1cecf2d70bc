package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// DefaultBlockSize is how much of a file is compressed at once, in bytes.
const DefaultBlockSize = 256 << 10

// PackOptions say how contents are compressed. Workers changes the speed, never the bytes.
type PackOptions struct {
	Level     zstd.EncoderLevel
	Workers   int // blocks compressed at the same time, at least 1
	BlockSize int // power of two from 4 KiB to 1 MiB; 0 means DefaultBlockSize
}

// Packer compresses file contents into a pack. It is for one goroutine, and holds 2*Workers+2 blocks in memory.
type Packer struct {
	w        io.Writer
	pack     Pack
	limit    int       // jobs there may be
	made     int       // jobs there are
	free     []*job    // ready for use
	ring     []*job    // being compressed, in the order they are to be written
	todo     chan *job // to the workers
	fragment *job      // tails waiting for their block to fill, nil when there are none
	look     [1]byte   // for the byte that must not be there
	err      error
	closed   bool
}

// job is a block on its way.
type job struct {
	in, out []byte
	word    uint32
	file    int // index, -1 for a fragment
	block   int // of the file, or index of the fragment
	done    chan struct{}
}

// NewPacker starts a pack that is written to w. Close must be called, also after an error.
func NewPacker(w io.Writer, o PackOptions) (*Packer, error) {
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if err := checkBlockSize(o.BlockSize); err != nil {
		return nil, err
	}
	if o.Workers < 1 {
		return nil, fmt.Errorf("%d workers: want at least 1", o.Workers)
	}
	limit := 2*o.Workers + 2
	p := &Packer{w: w, limit: limit, todo: make(chan *job, limit)}
	p.pack = Pack{BlockSize: o.BlockSize, Files: []PackedFile{}, Fragments: []Fragment{}}
	encoders := make([]*zstd.Encoder, o.Workers)
	for i := range encoders {
		enc, err := newEncoder(o.Level, o.BlockSize)
		if err != nil {
			return nil, err
		}
		encoders[i] = enc
	}
	for _, enc := range encoders {
		go compress(enc, p.todo)
	}
	return p, nil
}

// newEncoder makes frames that the kernel can read: it gives the decompressor a window of one block, no more.
func newEncoder(level zstd.EncoderLevel, window int) (*zstd.Encoder, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(window), zstd.WithSingleSegment(true),
		zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("start compressor: %w", err)
	}
	return enc, nil
}

// compress is a worker: it ends when todo is closed.
func compress(enc *zstd.Encoder, todo <-chan *job) {
	for j := range todo {
		j.out = enc.EncodeAll(j.in, j.out[:0])
		j.word = uint32(len(j.out))
		if len(j.out) >= len(j.in) {
			j.out = append(j.out[:0], j.in...)
			j.word = uint32(len(j.in)) | rawBlock
		}
		j.done <- struct{}{}
	}
}

// Add compresses one file's content, which must be size bytes long, and returns its index in Pack.Files. After
// an error the pack is of no use.
func (p *Packer) Add(size int64, open func() (io.Reader, error)) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	index := len(p.pack.Files)
	p.pack.Files = append(p.pack.Files, PackedFile{Size: size, Start: -1, Blocks: []uint32{}, Fragment: -1})
	if p.err = p.add(index, size, open); p.err != nil {
		return 0, p.err
	}
	return index, nil
}

func (p *Packer) add(index int, size int64, open func() (io.Reader, error)) error {
	if size < 0 {
		return fmt.Errorf("pack a file of %d bytes", size)
	}
	r, err := open()
	if err != nil {
		return fmt.Errorf("open content to pack: %w", err)
	}
	for at := int64(0); at < size; {
		j, err := p.job()
		if err != nil {
			return err
		}
		j.in = j.in[:min(size-at, int64(p.pack.BlockSize))]
		if n, err := io.ReadFull(r, j.in); err != nil {
			return fmt.Errorf("pack: content ends after %d of %d bytes: %w", at+int64(n), size, err)
		}
		at += int64(len(j.in))
		if err := p.block(index, j, size); err != nil {
			return err
		}
	}
	switch _, err := io.ReadFull(r, p.look[:]); {
	case err == nil:
		return fmt.Errorf("pack: content is longer than %d bytes", size)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// block sends a block of a file where it belongs: nowhere, to the fragments or to the workers.
func (p *Packer) block(index int, j *job, size int64) error {
	f := &p.pack.Files[index]
	switch {
	case len(j.in) == p.pack.BlockSize && zero(j.in):
		f.Blocks = append(f.Blocks, 0)
		p.free = append(p.free, j)
	case len(j.in) < p.pack.BlockSize:
		return p.tail(f, j)
	default:
		f.Blocks = append(f.Blocks, 0)
		p.submit(j, index, len(f.Blocks)-1)
	}
	return nil
}

// tail puts the end of a file behind the ends of others.
func (p *Packer) tail(f *PackedFile, j *job) error {
	if p.fragment != nil && len(p.fragment.in)+len(j.in) > p.pack.BlockSize {
		p.flush()
	}
	f.Fragment = len(p.pack.Fragments)
	if p.fragment == nil {
		p.fragment = j
		return nil
	}
	f.FragmentOffset = uint32(len(p.fragment.in))
	p.fragment.in = append(p.fragment.in, j.in...)
	p.free = append(p.free, j)
	return nil
}

// flush sends the open fragment to the workers.
func (p *Packer) flush() {
	if p.fragment != nil {
		p.pack.Fragments = append(p.pack.Fragments, Fragment{})
		p.submit(p.fragment, -1, len(p.pack.Fragments)-1)
		p.fragment = nil
	}
}

func (p *Packer) submit(j *job, file, block int) {
	j.file, j.block = file, block
	p.ring = append(p.ring, j)
	p.todo <- j // has room for every job there is
}

// job returns a block to fill. When all are in use it writes the oldest first.
func (p *Packer) job() (*job, error) {
	if len(p.free) == 0 && p.made < p.limit {
		p.made++
		return &job{in: make([]byte, 0, p.pack.BlockSize), done: make(chan struct{}, 1)}, nil
	}
	if len(p.free) == 0 {
		if err := p.write(); err != nil {
			return nil, err
		}
	}
	j := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return j, nil
}

// write waits for the oldest block, writes it and notes where it is.
func (p *Packer) write() error {
	j := p.ring[0]
	p.ring = p.ring[1:]
	<-j.done
	p.free = append(p.free, j)
	if _, err := p.w.Write(j.out); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	if j.file < 0 {
		p.pack.Fragments[j.block] = Fragment{Start: p.pack.Size, Word: j.word}
	} else {
		f := &p.pack.Files[j.file]
		f.Blocks[j.block] = j.word
		if f.Start < 0 {
			f.Start = p.pack.Size
		}
	}
	p.pack.Size += int64(len(j.out))
	return nil
}

// Close writes what is left and returns the description of the pack. It ends the workers whatever happens.
func (p *Packer) Close() (Pack, error) {
	if p.closed {
		return Pack{}, errors.New("close pack: already closed")
	}
	p.closed = true
	defer close(p.todo)
	if p.err == nil {
		p.flush()
	}
	for p.err == nil && len(p.ring) > 0 {
		p.err = p.write()
	}
	if p.err != nil {
		return Pack{}, p.err
	}
	for i := range p.pack.Files {
		p.pack.Files[i].Start = max(p.pack.Files[i].Start, 0) // nothing of it was stored
	}
	return p.pack, nil
}

// zero tells whether all bytes are zero.
func zero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
