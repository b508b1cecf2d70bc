package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// first is what the first line has in place of a digest.
var first = strings.Repeat("0", 2*sha256.Size)

// File is where a journal is written: an *os.File.
type File interface {
	io.WriteCloser
	Sync() error
}

// Writer writes one journal. It may be used from several goroutines.
type Writer struct {
	f    File
	path string
	now  func() time.Time

	mu    sync.Mutex
	n     int
	prev  string
	calls int
	err   error // the first one; nothing is written after it
}

// ErrClosed is what writing to a closed journal ends in.
var ErrClosed = errors.New("the journal is closed")

// Create makes a journal at a path that does not exist yet, readable by its owner only, and writes its first line.
func Create(path string, h Head, now func() time.Time) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	w, err := NewWriter(f, h, now)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make journal %s: %w", path, err), f.Close())
	}
	w.path = path
	return w, nil
}

// NewWriter begins a journal in an empty file. Format is filled in.
func NewWriter(f File, h Head, now func() time.Time) (*Writer, error) {
	w := &Writer{f: f, now: now, prev: first}
	h.Format = Format
	_, err := w.Append(Line{Head: &h})
	return w, err
}

// syncDir makes a new name in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Append writes one line and returns its number. Number, digest and time are filled in. All lines but looks are on the
// disk when it returns; looks are when the next other line is. After an error nothing is written any more, and every
// call returns it: what is missing in the middle could not be told from what was cut out.
func (w *Writer) Append(l Line) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if err := w.write(l); err != nil {
		w.err = fmt.Errorf("write journal: %w", err)
		return 0, w.err
	}
	return w.n, nil
}

func (w *Writer) write(l Line) error {
	l.N, l.Prev, l.Time = w.n+1, w.prev, w.now().UTC()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return err
	}
	if _, err := w.f.Write(b.Bytes()); err != nil {
		return err
	}
	if l.Look == nil {
		if err := w.f.Sync(); err != nil {
			return err
		}
	}
	w.n++
	w.prev = digest(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	if l.Intent != nil {
		w.calls++
	}
	return nil
}

func digest(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Path is where the journal lies.
func (w *Writer) Path() string { return w.path }

// Calls is how many intents were written.
func (w *Writer) Calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// Close writes the last line. Its error is also that of any line before it. Close again does nothing.
func (w *Writer) Close() error {
	_, err := w.Append(Line{Close: &Close{Calls: w.Calls()}})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = ErrClosed
	return errors.Join(err, w.f.Close())
}
