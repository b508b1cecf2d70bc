package unpack

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var (
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	gzipMagic = []byte{0x1f, 0x8b}
	newcMagic = []byte("070701")
)

// Initrd reads all entries of an initrd in order: zstd frames, gzip members and plain archives one after another,
// with zeros between them. An entry across the border of two frames is an error, as it is for the kernel.
func Initrd(data []byte, each func(Record) error) error {
	all := data
	for len(data) > 0 {
		at := len(all) - len(data)
		var err error
		switch {
		case data[0] == 0:
			n := 0
			for n < len(data) && data[n] == 0 {
				n++
			}
			if data = data[n:]; len(data) > 0 && (at+n)%4 != 0 {
				err = fmt.Errorf("%w: an archive begins at no multiple of 4", errOdd)
			}
		case bytes.HasPrefix(data, zstdMagic):
			data, err = unzstd(data, each)
		case bytes.HasPrefix(data, gzipMagic):
			data, err = gunzip(data, each)
		case bytes.HasPrefix(data, newcMagic):
			data, err = plain(data, each)
		default:
			err = fmt.Errorf("%w: begins with %x", errOdd, data[:min(6, len(data))])
		}
		if err != nil {
			return fmt.Errorf("initrd at %d: %w", at, err)
		}
	}
	return nil
}

func unzstd(data []byte, each func(Record) error) ([]byte, error) {
	n, err := frameLength(data)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(bytes.NewReader(data[:n]), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("read zstd: %w", err)
	}
	defer d.Close()
	return data[n:], archive(d, each)
}

// gunzip reads one gzip member.
func gunzip(data []byte, each func(Record) error) ([]byte, error) {
	r := bytes.NewReader(data)
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	z.Multistream(false)
	if err := archive(z, each); err != nil {
		return nil, err
	}
	return data[len(data)-r.Len():], nil
}

// plain reads an archive without compression up to its trailer, and what fills the rest of its block.
func plain(data []byte, each func(Record) error) ([]byte, error) {
	a := &reader{r: bufio.NewReaderSize(bytes.NewReader(data), 1<<20)}
	for {
		rec, err := a.next()
		if err != nil {
			return nil, err
		}
		if err := each(rec); err != nil {
			return nil, err
		}
		if rec.Name == Trailer {
			return data[a.at:], nil
		}
	}
}

// frameLength is the size of the zstd frame data begins with (RFC 8878, 3.1.1).
func frameLength(data []byte) (int, error) {
	short := errors.New("a zstd frame ends early")
	if len(data) < 6 {
		return 0, short
	}
	desc := data[4]
	n := 5
	if desc&0x20 == 0 { // a window descriptor unless the content is one segment
		n++
	}
	n += []int{0, 1, 2, 4}[desc&3] // dictionary
	size := []int{0, 2, 4, 8}[desc>>6]
	if desc>>6 == 0 && desc&0x20 != 0 {
		size = 1
	}
	n += size
	for last := false; !last; {
		if n+3 > len(data) {
			return 0, short
		}
		head := binary.LittleEndian.Uint32(append(bytes.Clone(data[n:n+3]), 0))
		last = head&1 == 1
		length := int(head >> 3)
		switch head >> 1 & 3 {
		case 1: // one byte, repeated
			length = 1
		case 3:
			return 0, errors.New("a zstd block of the reserved type")
		}
		n += 3 + length
	}
	if desc&4 != 0 { // checksum
		n += 4
	}
	if n > len(data) {
		return 0, short
	}
	return n, nil
}
