package qemu

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Machine is a running QEMU process.
type Machine struct {
	cfg  Config
	sock string // directory of the sockets: short, because a unix socket's path has at most 107 bytes
	pid  int
	done chan struct{}
	err  error // valid after done

	agentMu sync.Mutex
}

// Start starts a machine and returns when QEMU's control socket answers. The machine runs until the guest powers it
// off, Kill is called, or this process dies; ctx only bounds the start.
func Start(ctx context.Context, c Config) (*Machine, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	if err := prepare(c); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	sock, err := os.MkdirTemp("", "lkv-qemu-")
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	m := &Machine{cfg: c, sock: sock, done: make(chan struct{})}
	if err := m.spawn(args(c, sock, KVM())); err != nil {
		_ = os.RemoveAll(sock)
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	if err := m.awaitControl(ctx); err != nil {
		m.Kill()
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	return m, nil
}

// spawn starts the process from a goroutine that owns its thread for the process's life: Linux sends the parent-death
// signal when the starting thread ends, not when the process does.
func (m *Machine) spawn(args []string) error {
	cmd := exec.Command(Binary, args...) //nolint:noctx // the machine outlives the context of its start
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Stdin, cmd.Stdout = m.cfg.Stdin, m.cfg.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if m.cfg.Stdin != nil { // a background process group may not read the terminal
		cmd.SysProcAttr.Setpgid = false
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			m.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); err != nil {
			m.err = fmt.Errorf("QEMU: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
		}
		_ = os.RemoveAll(m.sock)
		close(m.done)
	}()
	return <-started
}

func (m *Machine) awaitControl(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := m.qmp(ctx, "query-status", nil); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the control socket: %w", ctx.Err())
		case <-m.done:
			return cmp.Or(m.err, errors.New("it ended at once"))
		case <-tick.C:
		}
	}
}

// Done is closed when the QEMU process has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Err returns why QEMU ended with an error, nil when the guest powered off. Valid after Done.
func (m *Machine) Err() error { return m.err }

// Serial is the path of the serial console's log. Boots of the same Dir append to it.
func (m *Machine) Serial() string { return serialPath(m.cfg) }

// Powerdown presses the ACPI power button and returns at once.
func (m *Machine) Powerdown(ctx context.Context) error {
	_, err := m.qmp(ctx, "system_powerdown", nil)
	return err
}

// Reset presses the reset button.
func (m *Machine) Reset(ctx context.Context) error {
	_, err := m.qmp(ctx, "system_reset", nil)
	return err
}

// Screenshot writes the screen as a PNG file.
func (m *Machine) Screenshot(ctx context.Context, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("take a screenshot: %w", err)
	}
	_, err = m.qmp(ctx, "screendump", map[string]any{"filename": abs, "format": "png"})
	return err
}

// Kill cuts the power: the process dies at once and what the guest had not written is lost. It waits until it is gone.
func (m *Machine) Kill() {
	select {
	case <-m.done:
		return
	default:
	}
	_ = syscall.Kill(m.pid, syscall.SIGKILL) // it may have ended by itself meanwhile
	<-m.done
}

// WaitSerial waits until the serial console shows something that matches re, searching from byte offset from of the
// log, and returns the match and the offset behind it. It fails when the machine ends or ctx does; the error then
// carries the end of the log.
func (m *Machine) WaitSerial(ctx context.Context, re *regexp.Regexp, from int) (string, int, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ended := false; ; {
		log, err := os.ReadFile(m.Serial())
		if err != nil && !os.IsNotExist(err) {
			return "", 0, fmt.Errorf("read serial log: %w", err)
		}
		if len(log) >= from {
			if loc := re.FindIndex(log[from:]); loc != nil {
				return string(log[from+loc[0] : from+loc[1]]), from + loc[1], nil
			}
		}
		if ended {
			return "", 0, fmt.Errorf("wait for %q on the console: machine ended: %w\n%s", re, cmp.Or(m.err, errors.New("powered off")), tail(log))
		}
		select {
		case <-ctx.Done():
			return "", 0, fmt.Errorf("wait for %q on the console: %w\n%s", re, ctx.Err(), tail(log))
		case <-m.done:
			ended = true // look once more: the last line may have come with the end
		case <-tick.C:
		}
	}
}

// tail is the end of a log: enough to see what happened.
func tail(log []byte) []byte { return log[max(0, len(log)-3000):] }
