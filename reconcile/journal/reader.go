package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// longest is more than any line needs, in bytes: a VM has at most a few hundred disks.
const longest = 4 << 20

// BrokenError says that a file is no whole journal: a line was cut, edited, moved, or never was one.
type BrokenError struct {
	Line int // from 1
	Why  string
}

// Error implements error.
func (e *BrokenError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// Reader reads a journal line by line and checks that they belong together.
type Reader struct {
	in    *bufio.Reader
	n     int
	prev  string
	last  bool // the closing line was read
	calls int
}

// NewReader returns a reader.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReader(r), prev: first} }

// Next returns the next line and its bytes, which are good until the next call. At the end it is io.EOF, also where
// the closing line is missing: see Closed. What is wrong with the file is a *BrokenError.
func (r *Reader) Next() (Line, []byte, error) {
	raw, err := r.raw()
	if err != nil {
		return Line{}, nil, err
	}
	r.n++
	var l Line
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return l, nil, r.broken("it is no line of a journal: " + err.Error())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return l, nil, r.broken("something stands behind its record")
	}
	if why := r.wrong(l); why != "" {
		return l, nil, r.broken(why)
	}
	r.prev = digest(raw)
	if l.Intent != nil {
		r.calls++
	}
	return l, raw, nil
}

// wrong says why a line cannot stand here.
func (r *Reader) wrong(l Line) string {
	set := 0
	for _, is := range []bool{l.Head != nil, l.Fleet != nil, l.Look != nil, l.Intent != nil, l.Result != nil, l.Close != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return "it holds not exactly one record"
	case l.N != r.n:
		return fmt.Sprintf("it has number %d: lines are missing, or were moved", l.N)
	case l.Prev != r.prev:
		return "the line before it is not the one it was written after"
	case r.last:
		return "it stands after the closing line"
	case (l.Head != nil) != (r.n == 1):
		return "the first line must be the head, and no other"
	case l.Head != nil && (l.Head.Format < 1 || l.Head.Format > Format):
		return fmt.Sprintf("it has format %d, this lkv knows %d: use a newer lkv", l.Head.Format, Format)
	case l.Close != nil && l.Close.Calls != r.calls:
		return fmt.Sprintf("it counts %d calls, %d were read", l.Close.Calls, r.calls)
	}
	r.last = l.Close != nil
	return ""
}

// raw returns a line without its line feed. A last line without one was cut.
func (r *Reader) raw() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > longest:
			r.n++
			return nil, r.broken("it is too long for a journal")
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			r.n++
			return nil, r.broken("it is cut in the middle")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (r *Reader) broken(why string) error { return &BrokenError{Line: r.n, Why: why} }

// Closed tells whether the closing line was read: the run ended by itself and the file is whole.
func (r *Reader) Closed() bool { return r.last }

// Lines is how many lines were read.
func (r *Reader) Lines() int { return r.n }
