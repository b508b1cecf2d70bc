// Package proc starts and reaps processes for PID 1. As PID 1 adopts every orphan of the machine, it has to wait
// for any child, and that would take exit statuses away from os/exec; so all children of PID 1 go through a Table.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Table knows the children somebody waits for. Its methods may be called from several goroutines.
type Table struct {
	mu       sync.Mutex
	waiting  map[int]*Child
	holds    int                     // while > 0, statuses of unknown children are kept for Adopt
	orphaned map[int]unix.WaitStatus // kept statuses
}

// Child is one process whose end the table reports.
type Child struct {
	PID    int
	done   chan struct{}
	status unix.WaitStatus
}

// New returns an empty table. Nothing is reaped until Watch runs.
func New() *Table {
	return &Table{waiting: map[int]*Child{}, orphaned: map[int]unix.WaitStatus{}}
}

// Watch reaps until ctx ends. It returns at once; reaping goes on in a goroutine.
func (t *Table) Watch(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		defer signal.Stop(ended)
		for {
			t.reap()
			select {
			case <-ctx.Done():
				return
			case <-ended:
			}
		}
	}()
}

// reap collects everything that has ended. The lock is held so that Start can register a child before its end is
// seen, and so that os/exec's own wait after a failed exec is not robbed.
func (t *Table) reap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		var s unix.WaitStatus
		pid, err := unix.Wait4(-1, &s, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		switch c := t.waiting[pid]; {
		case c != nil:
			delete(t.waiting, pid)
			c.finish(s)
		case t.holds > 0:
			t.orphaned[pid] = s
		}
	}
}

func (c *Child) finish(s unix.WaitStatus) {
	c.status = s
	close(c.done)
}

// Command is a program by its path, not searched for. It is not tied to a context, as that would need cmd.Wait.
func Command(path string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: path, Args: append([]string{path}, args...)}
}

// Start starts cmd, whose Stdin, Stdout and Stderr must be nil or *os.File: nothing may need cmd.Wait, which must
// not be called. cmd must not come from exec.CommandContext for the same reason.
func (t *Table) Start(cmd *exec.Cmd) (*Child, error) {
	for _, s := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if _, file := s.(*os.File); s != nil && !file {
			return nil, fmt.Errorf("start %s: standard streams of PID 1's children must be files", cmd.Path)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	c := &Child{PID: cmd.Process.Pid, done: make(chan struct{})}
	t.waiting[c.PID] = c
	if err := cmd.Process.Release(); err != nil {
		return c, fmt.Errorf("release handle of %s: %w", cmd.Path, err)
	}
	return c, nil
}

// Hold keeps the statuses of unknown children until release is called, so that a process whose number is learnt
// from somebody else (runc's pid file) can be adopted even if it has ended meanwhile.
func (t *Table) Hold() (release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds++
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.holds--; t.holds == 0 {
			clear(t.orphaned)
		}
	})
}

// Adopt waits for an orphan by its number. Call it between Hold and release.
func (t *Table) Adopt(pid int) *Child {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &Child{PID: pid, done: make(chan struct{})}
	if s, ok := t.orphaned[pid]; ok {
		delete(t.orphaned, pid)
		c.finish(s)
		return c
	}
	t.waiting[pid] = c
	return c
}

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the process ended: nil for exit status 0. Call it after Done.
func (c *Child) Err() error {
	switch s := c.status; {
	case s.Exited() && s.ExitStatus() == 0:
		return nil
	case s.Exited():
		return fmt.Errorf("exit status %d", s.ExitStatus())
	default:
		return fmt.Errorf("killed by %s", unix.SignalName(s.Signal()))
	}
}

// Alive tells whether the process has not been reaped yet.
func (c *Child) Alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// Run starts cmd and waits for its end. When ctx ends first the process is killed, and ctx's error returned.
func (t *Table) Run(ctx context.Context, cmd *exec.Cmd) error {
	c, err := t.Start(cmd)
	if err != nil {
		return err
	}
	select {
	case <-c.Done():
		return c.Err()
	case <-ctx.Done():
		// The number is not reused before the table has reaped it, so this hits our child or nobody.
		_ = unix.Kill(c.PID, unix.SIGKILL)
		<-c.Done()
		return ctx.Err()
	}
}
