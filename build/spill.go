package build

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
)

// spill is a temporary file with the contents of one image's files, one after another. It has no name on disk,
// so that nothing is left behind whatever happens.
type spill struct {
	format format // what the contents are for
	f      *os.File
	buf    *bufio.Writer
	off    int64
	limit  int64 // of off: the contents of one image
}

func newSpill(dir string, f format) (*spill, error) {
	tmp, err := nameless(dir)
	if err != nil {
		return nil, err
	}
	// The file's own ReadFrom is hidden: it would take new memory for every file of the image.
	return &spill{format: f, f: tmp, buf: bufio.NewWriterSize(struct{ io.Writer }{tmp}, 1<<18), limit: maxUnpacked}, nil
}

// nameless makes a temporary file that is gone when it is closed, or when this program ends.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "spill-*")
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("unlink temporary file: %w", err)
	}
	return f, nil
}

// take appends a file's content after looking at the size it announces: nobody waits for what is refused anyway.
func (s *spill) take(size int64, r io.Reader) (off, n int64, err error) {
	if s.format == asCpio && size > maxFile {
		return 0, 0, fmt.Errorf("%w: it has %d bytes", errTooBig, size)
	}
	if size > s.limit-s.off {
		return 0, 0, fmt.Errorf("%w (contents of more than %d MiB)", errBomb, s.limit>>20)
	}
	return s.write(r)
}

// write appends r and says where it lies.
func (s *spill) write(r io.Reader) (off, size int64, err error) {
	off = s.off
	size, err = io.Copy(s.buf, r)
	s.off += size
	if err != nil {
		return off, size, fmt.Errorf("unpack: %w", err)
	}
	return off, size, nil
}

// flush must come between the last write and the first open.
func (s *spill) flush() error {
	if err := s.buf.Flush(); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

// open returns a file's content.
func (s *spill) open(i *inode) io.Reader { return io.NewSectionReader(s.f, i.off, i.size) }

// content returns a file's content wherever it is: in memory or here.
func (s *spill) content(i *inode) io.Reader {
	if i.data != nil {
		return bytes.NewReader(i.data)
	}
	return s.open(i)
}

func (s *spill) Close() error { return s.f.Close() }
