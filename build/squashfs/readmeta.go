package squashfs

import (
	"fmt"
)

// table is a row of metadata blocks in an image, with the last one read kept.
type table struct {
	q          *Reader
	start, end int64 // in the image
	at, next   int64 // the block kept and what follows it
	data       []byte
}

// block returns the metadata block at a place of the image, and the place of the next one. What it returns is good
// until the next call.
func (t *table) block(at int64) (data []byte, next int64, err error) {
	if t.data != nil && t.at == at {
		return t.data, t.next, nil
	}
	if at < t.start || at > t.end-2 {
		return nil, 0, fmt.Errorf("metadata block at %d lies outside of its table", at)
	}
	var head [2]byte
	if _, err := t.q.r.ReadAt(head[:], at); err != nil {
		return nil, 0, fmt.Errorf("read metadata block at %d: %w", at, err)
	}
	word := le.Uint16(head[:])
	n := int64(word &^ rawMeta)
	if n == 0 || n > metaSize || n > t.end-2-at {
		return nil, 0, fmt.Errorf("metadata block at %d has %d bytes", at, n)
	}
	if t.data == nil {
		t.data = make([]byte, 0, metaSize)
	}
	t.at, t.next = 0, at+2+n
	if t.data, err = t.q.decode(t.data[:0], at+2, int(n), word&rawMeta != 0); err != nil {
		t.data = nil
		return nil, 0, err
	}
	t.at = at
	return t.data, t.next, nil
}

// cursor is a place in the stream of a table's bytes.
type cursor struct {
	t   *table
	at  int64 // of the block in the image
	off int   // in the block
}

// cursor returns the place that a reference names.
func (t *table) cursor(ref uint64) cursor {
	return cursor{t: t, at: t.start + int64(ref>>16), off: int(ref & 0xffff)}
}

// read fills b.
func (c *cursor) read(b []byte) error {
	for len(b) > 0 {
		data, next, err := c.t.block(c.at)
		if err != nil {
			return err
		}
		switch {
		case c.off < len(data):
			n := copy(b, data[c.off:])
			b, c.off = b[n:], c.off+n
		case c.off == len(data):
			c.at, c.off = next, 0
		default:
			return fmt.Errorf("metadata block at %d has %d bytes, wanted is byte %d", c.at, len(data), c.off)
		}
	}
	return nil
}

// fields reads n numbers, whose sizes in bytes are the letters' of the layout: 2, 4 or 8.
func (c *cursor) fields(layout string) ([]uint64, error) {
	out := make([]uint64, 0, len(layout))
	var b [8]byte
	for _, size := range layout {
		n := int(size - '0')
		clear(b[:])
		if err := c.read(b[:n]); err != nil {
			return nil, err
		}
		out = append(out, le.Uint64(b[:]))
	}
	return out, nil
}
