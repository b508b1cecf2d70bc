package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sink is a console that can be read while it is written.
type sink struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestConsole(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tty0", "ttyS0"} {
		write(t, filepath.Join(dir, name), "", 0o644)
	}
	var first, log sink
	c := NewConsole(&first)
	c.Say("image %s", "x")
	c.Flush(time.Second)
	c.OpenAll("nothing here", dir) // stays where it is
	c.Say("still")
	c.Flush(time.Second)
	c.OpenAll("tty0 ttyS0\n", dir)
	c.LogTo(&log)
	c.Line("a: \x1b[2Jwiped\ttab")
	c.Flush(time.Second)
	if got := first.String(); got != "lkv: image x\nlkv: still\n" {
		t.Errorf("first console: %q", got)
	}
	const want = "a: ?[2Jwiped\ttab\n"
	for _, name := range []string{"tty0", "ttyS0"} {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if log.String() != want {
		t.Errorf("log: %q", log.String())
	}
}

// stuck is a serial port that nobody reads.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.release; return len(p), nil }

func TestConsoleNeverBlocks(t *testing.T) {
	s := stuck{make(chan struct{})}
	defer close(s.release)
	c := NewConsole(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 * queue {
			c.Say("x")
		}
		c.Flush(10 * time.Millisecond)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a stuck console stops the machine")
	}
}

func TestRotating(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	r := newRotating(path, 100)
	for i := range 30 {
		if n, err := fmt.Fprintf(r, "line %02d..\n", i); n != 10 || err != nil {
			t.Fatal(n, err)
		}
	}
	old, _ := os.ReadFile(path + ".1")
	now, _ := os.ReadFile(path)
	if len(old) != 100 || len(now) != 100 || !strings.HasPrefix(string(now), "line 20") || !strings.HasPrefix(string(old), "line 10") {
		t.Errorf("older %q, newest %q", old, now)
	}
	again := newRotating(path, 100) // a restart of the writer counts what is there
	_, _ = again.Write([]byte("x"))
	if now, _ = os.ReadFile(path); string(now) != "x" {
		t.Errorf("%q", now)
	}
	if n, err := newRotating("/nonexistent/dir/log", 1).Write([]byte("abc")); n != 3 || err != nil {
		t.Error("a log that cannot be written must not be an error:", n, err)
	}
}

func TestCapture(t *testing.T) {
	var log sink
	var lines []string
	c, err := newCapture(&log, func(s string) { lines = append(lines, s) })
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxLine+10)
	if _, err := c.W.WriteString("one\r\n\n" + long + "\nlast words\n \n"); err != nil {
		t.Fatal(err)
	}
	_ = c.W.Close()
	if got := c.Last(); got != "last words" {
		t.Errorf("last is %q", got)
	}
	if d := cmp.Diff([]string{"one", long[:maxLine], "xxxxxxxxxx", "last words"}, lines); d != "" {
		t.Error(d)
	}
	if log.String() != "one\r\n\n"+long+"\nlast words\n \n" {
		t.Error("the log is not what was written")
	}
}

// TestLastDoesNotHang: a process that the container left behind may hold the pipe open for ever.
func TestLastDoesNotHang(t *testing.T) {
	c, err := newCapture(&sink{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.W.Close() }()
	if _, err := c.W.WriteString("words\n"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if got := c.Last(); got != "words" || time.Since(began) > 10*time.Second {
		t.Errorf("%q after %s", got, time.Since(began))
	}
}
