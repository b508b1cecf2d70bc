package build

import (
	"bytes"
	"fmt"
	"io"
)

// trailer is the name that ends a cpio archive. The kernel forgets its hard links there, so only the last
// segment has one.
const trailer = "TRAILER!!!"

// record is one cpio entry ready to be written.
type record struct {
	name  string
	ino   *inode
	num   uint32 // inode number
	links uint32
	size  int64 // of what follows the name: content, link target or nothing
}

// number gives every entry its inode number and link count, in order from 1. Only the first name of a file
// carries the content.
func number(list []entry) []record {
	links := map[*inode]uint32{}
	for _, e := range list {
		links[e.ino]++
	}
	nums := map[*inode]uint32{}
	out := make([]record, len(list))
	for i, e := range list {
		r := record{name: e.name, ino: e.ino, links: links[e.ino]}
		num, again := nums[e.ino]
		shared := !e.ino.is(typeDir) && !e.ino.is(typeLink)
		if !again || !shared {
			num = uint32(i + 1)
			nums[e.ino] = num
		}
		r.num = num
		switch {
		case e.ino.is(typeLink):
			r.links, r.size = 1, int64(len(e.ino.target))
		case e.ino.is(typeDir):
			r.links = 2
		case e.ino.is(typeReg) && !again:
			r.size = e.ino.size
		}
		out[i] = r
	}
	return out
}

// header writes everything before the content. dev is unique to a segment: the kernel joins hard links by
// device and inode number, and segments number their inodes independently.
func (r record) header(w *bytes.Buffer, dev [2]uint32, clamp int64) {
	mtime := min(max(r.ino.mtime, 0), clamp, 1<<32-1)
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		r.num, r.ino.mode, r.ino.uid, r.ino.gid, r.links, mtime, r.size,
		dev[0], dev[1], r.ino.major, r.ino.minor, len(r.name)+1, 0)
	w.WriteString(r.name)
	w.WriteByte(0)
	pad(w, 110+int64(len(r.name))+1)
}

// length is the size of the whole record in the archive.
func (r record) length() int64 {
	return align(110+int64(len(r.name))+1, 4) + align(r.size, 4)
}

// write writes header and content. The content passes through buf, or through new memory when that is nil.
func (r record) write(w io.Writer, sp *spill, dev [2]uint32, clamp int64, buf []byte) error {
	return r.around(w, dev, clamp, func(w io.Writer) error {
		_, err := io.CopyBuffer(w, r.content(sp), buf)
		return err
	})
}

// around writes the header, what content writes, and the padding. A content of another size than announced is an
// error, never a shifted archive.
func (r record) around(w io.Writer, dev [2]uint32, clamp int64, content func(io.Writer) error) error {
	var b bytes.Buffer
	r.header(&b, dev, clamp)
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	if r.size == 0 {
		return nil
	}
	n := &counter{}
	if err := content(io.MultiWriter(w, n)); err != nil {
		return fmt.Errorf("read %s: %w", r.name, err)
	}
	if n.n != r.size {
		return fmt.Errorf("read %s: %d bytes instead of %d", r.name, n.n, r.size)
	}
	b.Reset()
	pad(&b, r.size)
	_, err := w.Write(b.Bytes())
	return err
}

func (r record) content(sp *spill) io.Reader {
	if r.ino.is(typeLink) {
		return bytes.NewReader([]byte(r.ino.target))
	}
	return sp.content(r.ino)
}

// trailerBytes is the end of the archive.
func trailerBytes() []byte {
	var b bytes.Buffer
	record{name: trailer, ino: &inode{}, links: 1}.header(&b, [2]uint32{}, 0)
	return b.Bytes()
}

func pad(w *bytes.Buffer, n int64) {
	for range align(n, 4) - n {
		w.WriteByte(0)
	}
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }
