package boot

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// queue is how many lines wait for one slow console before lines are dropped for it: a serial port that nobody reads
// must not stop the boot.
const queue = 2000

// Console prints lines on every console of the kernel: whoever looks at the VM's screen sees what the serial port's
// log sees. A line is one write, so that lines of the kernel do not end up in the middle.
type Console struct {
	mu   sync.Mutex
	outs []*output
	log  io.Writer // nil until /run is there
}

type output struct {
	lines chan string
	rest  sync.WaitGroup // lines not written yet
}

// NewConsole prints on w until OpenAll.
func NewConsole(w io.Writer) *Console {
	c := &Console{}
	c.add(w)
	return c
}

func (c *Console) add(w io.Writer) {
	o := &output{lines: make(chan string, queue)}
	go func() {
		for line := range o.lines {
			_, _ = io.WriteString(w, line)
			o.rest.Done()
		}
	}()
	c.outs = append(c.outs, o)
}

// OpenAll replaces the outputs by the consoles named in active ("tty0 ttyS0"), below dev. When none opens, nothing changes.
func (c *Console) OpenAll(active, dev string) {
	var files []*os.File
	for _, name := range strings.Fields(active) {
		if f, err := os.OpenFile(dev+"/"+name, os.O_WRONLY, 0); err == nil {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.outs {
		close(o.lines)
	}
	c.outs = nil
	for _, f := range files {
		c.add(f)
	}
}

// LogTo also writes every line to w.
func (c *Console) LogTo(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = w
}

// Say prints "lkv: " and the text.
func (c *Console) Say(format string, args ...any) {
	c.Line("lkv: " + fmt.Sprintf(format, args...))
}

// Line prints one line as it is, but for control characters, which become question marks: a container's output
// must not move the cursor of the machine's console.
func (c *Console) Line(text string) {
	line := strings.Map(printable, text) + "\n"
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.outs {
		o.rest.Add(1)
		select {
		case o.lines <- line:
		default:
			o.rest.Done()
		}
	}
	if c.log != nil {
		_, _ = io.WriteString(c.log, line)
	}
}

func printable(r rune) rune {
	if r < ' ' && r != '\t' || r == 0x7f {
		return '?'
	}
	return r
}

// Flush waits until everything is written, at most for the given time.
func (c *Console) Flush(limit time.Duration) {
	c.mu.Lock()
	outs := c.outs
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, o := range outs {
			o.rest.Wait()
		}
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
