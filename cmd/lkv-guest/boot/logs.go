package boot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Where logs are, and how large one file grows before it replaces the older one. /run is a tmpfs: n containers use at
// most 2n MiB of it.
const (
	logDir  = "/run/log/lkv"
	logSize = 1 << 20
)

// rotating is a file that starts anew when it is full; the full one is kept as <path>.1.
type rotating struct {
	mu   sync.Mutex
	path string
	max  int64
	f    *os.File
	size int64
}

func newRotating(path string, limit int64) *rotating { return &rotating{path: path, max: limit} }

// Write never fails: a log that cannot be written must not stop what it is about.
func (r *rotating) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open()
	if r.f != nil && r.size > 0 && r.size+int64(len(p)) > r.max {
		_ = r.f.Close()
		_ = os.Rename(r.path, r.path+".1")
		r.f = nil
		r.open()
	}
	if r.f != nil {
		n, _ := r.f.Write(p)
		r.size += int64(n)
	}
	return len(p), nil
}

// open leaves f nil when the file cannot be opened; the next write tries again.
func (r *rotating) open() {
	if r.f != nil {
		return
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return
	}
	r.f, r.size = f, 0
	if st, err := f.Stat(); err == nil {
		r.size = st.Size()
	}
}

// maxLine is where an endless line is cut.
const maxLine = 4096

// capture is the output of one container or script: into a log, and line by line to print (when not nil).
type capture struct {
	W    *os.File // for the child; close it after starting
	done chan struct{}
	mu   sync.Mutex
	last string
}

// newCapture reads until every process has closed its end of the pipe.
func newCapture(log io.Writer, print func(line string)) (*capture, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe for output: %w", err)
	}
	c := &capture{W: w, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer func() { _ = r.Close() }()
		c.read(r, log, print)
	}()
	return c, nil
}

func (c *capture) read(r io.Reader, log io.Writer, print func(string)) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		part, err := in.ReadSlice('\n')
		if len(part) > 0 {
			_, _ = log.Write(part)
			if line := string(bytes.TrimRight(part, "\r\n")); strings.TrimSpace(line) != "" {
				c.mu.Lock()
				c.last = line
				c.mu.Unlock()
				if print != nil {
					print(line)
				}
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Last is the last line that was not blank, after waiting shortly for what is still in the pipe.
func (c *capture) Last() string {
	select {
	case <-c.done:
	case <-time.After(time.Second): // something the container left behind holds the pipe open
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
