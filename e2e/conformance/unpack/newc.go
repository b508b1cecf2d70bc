// Package unpack reads an initrd as the Linux kernel does (init/initramfs.c), written from the kernel's
// documentation and behaviour and independently of both builders it judges: archives of any compression one after
// another, zeros between them, and entries that replace, follow and link each other by the kernel's rules.
package unpack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Parts of st_mode.
const (
	TypeMask = 0o170000
	FIFO     = 0o010000
	Char     = 0o020000
	Dir      = 0o040000
	Block    = 0o060000
	Regular  = 0o100000
	Symlink  = 0o120000
	PermMask = 0o007777
)

// maxName is the longest name the kernel reads, with its final zero.
const maxName = 4096

// smallFile is the largest content a Record keeps, in bytes.
const smallFile = 64 << 10

// Trailer is the name of the entry that ends an archive and the kernel's memory of hard links.
const Trailer = "TRAILER!!!"

// Record is one entry of a newc cpio archive.
type Record struct {
	Name     string
	Mode     uint32 // st_mode
	UID, GID uint32
	Ino      uint32
	Links    uint32
	Mtime    uint32
	Dev      [2]uint32 // of the file system it came from
	Rdev     [2]uint32 // of a device node
	Size     int64
	Sum      [32]byte // SHA-256 of the content
	Data     []byte   // the content itself of small files
	Target   string   // of a symbolic link
}

var errOdd = errors.New("no newc archive")

// archive reads entries until the end of the stream, which must come between two entries. Padding that
// is not zero is refused although the kernel would not look at it.
func archive(r io.Reader, each func(Record) error) error {
	a := &reader{r: bufio.NewReaderSize(r, 1<<20)}
	for {
		if err := a.zeros(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		rec, err := a.next()
		if err != nil {
			return fmt.Errorf("entry at %d: %w", a.at, err)
		}
		if err := each(rec); err != nil {
			return err
		}
	}
}

type reader struct {
	r  *bufio.Reader
	at int64
}

// zeros skips padding between archives.
func (a *reader) zeros() error {
	for {
		b, err := a.r.Peek(1)
		if err != nil {
			return err
		}
		if b[0] != 0 {
			if a.at%4 != 0 {
				return fmt.Errorf("%w: an entry begins at %d, which is no multiple of 4", errOdd, a.at)
			}
			return nil
		}
		if _, err := a.r.Discard(1); err != nil {
			return err
		}
		a.at++
	}
}

func (a *reader) read(n int64) ([]byte, error) {
	b := make([]byte, n)
	m, err := io.ReadFull(a.r, b)
	a.at += int64(m)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// align reads the zeros that fill up to the next multiple of 4.
func (a *reader) align() error {
	b, err := a.read((4 - a.at%4) % 4)
	for _, c := range b {
		if c != 0 {
			return fmt.Errorf("%w: padding that is not zero before %d", errOdd, a.at)
		}
	}
	return err
}

func (a *reader) next() (Record, error) {
	head, err := a.read(110)
	if err != nil {
		return Record{}, err
	}
	if string(head[:6]) != "070701" {
		return Record{}, fmt.Errorf("%w: magic %q", errOdd, head[:6])
	}
	var v [13]uint32
	for i := range v {
		n, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return Record{}, fmt.Errorf("%w: field %d: %w", errOdd, i, err)
		}
		v[i] = uint32(n)
	}
	rec := Record{Ino: v[0], Mode: v[1], UID: v[2], GID: v[3], Links: v[4], Mtime: v[5], Size: int64(v[6]),
		Dev: [2]uint32{v[7], v[8]}, Rdev: [2]uint32{v[9], v[10]}}
	if v[11] < 2 || v[11] > maxName {
		return Record{}, fmt.Errorf("%w: a name of %d bytes", errOdd, v[11])
	}
	name, err := a.read(int64(v[11]))
	if err != nil {
		return Record{}, err
	}
	if name[len(name)-1] != 0 {
		return Record{}, fmt.Errorf("%w: a name without its final zero", errOdd)
	}
	rec.Name = string(name[:len(name)-1])
	if err := a.align(); err != nil {
		return Record{}, err
	}
	return a.body(rec)
}

func (a *reader) body(rec Record) (Record, error) {
	if rec.Mode&TypeMask == Symlink {
		if rec.Size > maxName {
			return rec, fmt.Errorf("%w: %s: a link target of %d bytes", errOdd, rec.Name, rec.Size)
		}
		b, err := a.read(rec.Size)
		if err != nil {
			return rec, err
		}
		rec.Target = string(b)
		return rec, a.align()
	}
	h := sha256.New()
	var small bytes.Buffer
	var w io.Writer = h
	if rec.Size <= smallFile {
		w = io.MultiWriter(h, &small)
	}
	n, err := io.Copy(w, io.LimitReader(a.r, rec.Size))
	a.at += n
	if err == nil && n < rec.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return rec, err
	}
	h.Sum(rec.Sum[:0])
	rec.Data = small.Bytes()
	return rec, a.align()
}
