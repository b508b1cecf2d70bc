package squashfs

import (
	"fmt"
	"io"
)

// content reads a file block by block. It is copied for every reader of the file.
type content struct {
	q        *Reader
	words    cursor // of the size words
	at       uint64 // of the next block in the image
	blocks   int64  // still to come
	left     int64  // bytes still to come
	fragment uint32
	offset   uint64
	buf      []byte // a block's memory
	rest     []byte // of it, not yet read
}

// Open returns a regular file's content; of anything else, no bytes. A file may be of any size, whatever the
// image's: a reader sets its own limit.
func (n *Node) Open() io.Reader {
	c := n.content
	return &c
}

// Read reads the next bytes.
func (c *content) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		if err := c.fill(); err != nil {
			return 0, fmt.Errorf("read squashfs file: %w", err)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// fill gets the next block.
func (c *content) fill() error {
	want := int(min(c.left, int64(c.q.s.BlockSize)))
	if c.buf == nil {
		c.buf = make([]byte, 0, c.q.s.BlockSize)
	}
	if c.blocks == 0 {
		return c.tail(want)
	}
	f, err := c.words.fields("4")
	if err != nil {
		return err
	}
	word := uint32(f[0])
	if word>>25 != 0 {
		return fmt.Errorf("block size word %#x", word)
	}
	if word == 0 {
		c.rest = c.buf[:want]
		clear(c.rest)
	} else if c.rest, err = c.q.data(c.buf, c.at, word); err != nil {
		return err
	}
	if len(c.rest) != want {
		return fmt.Errorf("block at %d has %d bytes: want %d", c.at, len(c.rest), want)
	}
	c.at += uint64(stored(word))
	c.blocks--
	c.left -= int64(want)
	return nil
}

// tail gets what lies in a fragment.
func (c *content) tail(want int) error {
	block, err := c.q.fragmentBlock(c.fragment)
	if err != nil {
		return err
	}
	if c.offset > uint64(len(block)) || want > len(block)-int(c.offset) {
		return fmt.Errorf("fragment %d has %d bytes: want %d from %d on", c.fragment, len(block), want, c.offset)
	}
	c.rest = append(c.buf[:0], block[c.offset:int(c.offset)+want]...)
	c.left = 0
	return nil
}

// fragmentBlock returns a block of tails; it is good until the next call.
func (q *Reader) fragmentBlock(i uint32) ([]byte, error) {
	if i == q.fragment.index {
		return q.fragment.data, nil
	}
	if i >= q.s.Fragments {
		return nil, fmt.Errorf("fragment %d of %d", i, q.s.Fragments)
	}
	b, err := q.lookup(q.s.FragmentTable, i, fragmentSize)
	if err != nil {
		return nil, err
	}
	if q.fragment.data == nil {
		q.fragment.data = make([]byte, 0, q.s.BlockSize)
	}
	q.fragment.index = none
	data, err := q.data(q.fragment.data, le.Uint64(b), le.Uint32(b[8:]))
	if err != nil {
		return nil, err
	}
	q.fragment.index, q.fragment.data = i, data
	return data, nil
}
