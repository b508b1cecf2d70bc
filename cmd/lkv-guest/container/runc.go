package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/proc"
	"golang.org/x/sys/unix"
)

// Runc starts bundles. Root is runc's state directory; Procs reaps for PID 1.
type Runc struct {
	Path, Root string
	Procs      *proc.Table
}

// id is the container's name for runc, and with it the name of its cgroup below the root. The prefix keeps a service
// called "docker" out of /docker, in which an engine wants to make its own containers' groups: a group with processes
// in it cannot be divided.
func (b Bundle) id() string { return "lkv." + b.Name }

// controlTimeout bounds runc's own work (create, start, delete); it does not bound the container.
const controlTimeout = 2 * time.Minute

// Start creates and starts the bundle's container with its output going to out, and returns its first process.
// runc is gone by then: the process is PID 1's own child. A leftover container of that name is removed first.
func (r Runc) Start(ctx context.Context, b Bundle, out *os.File) (*proc.Child, error) {
	if err := os.MkdirAll(r.Root, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", b.Name, err)
	}
	r.Delete(b)
	pidFile := filepath.Join(r.Root, b.id()+".pid")
	defer r.Procs.Hold()()
	if err := r.run(ctx, out, "create", "--bundle", b.Dir, "--pid-file", pidFile, b.id()); err != nil {
		return nil, fmt.Errorf("create container %s: %w", b.Name, err)
	}
	pid, err := readPID(pidFile)
	if err != nil {
		r.Delete(b)
		return nil, fmt.Errorf("create container %s: %w", b.Name, err)
	}
	c := r.Procs.Adopt(pid)
	if err := b.connect(pid); err != nil {
		r.Delete(b)
		return nil, err
	}
	if err := r.run(ctx, out, "start", b.id()); err != nil {
		r.Delete(b)
		return nil, fmt.Errorf("start container %s: %w", b.Name, err)
	}
	return c, nil
}

func readPID(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("read pid file: %q is no process number", data)
	}
	return pid, nil
}

// Stop ends the container: SIGTERM, then after its grace SIGKILL to all that is in its cgroup.
func (r Runc) Stop(b Bundle, c *proc.Child, grace time.Duration) {
	defer r.Delete(b)
	if !c.Alive() {
		return
	}
	if deaf(c.PID) {
		return
	}
	_ = unix.Kill(c.PID, unix.SIGTERM)
	select {
	case <-c.Done():
	case <-time.After(grace):
	}
}

// deaf tells whether SIGTERM would be dropped: the first process of a PID namespace gets no signal it has no handler
// for, so waiting for it is waiting for nothing.
func deaf(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && deafStatus(string(data))
}

func deafStatus(status string) bool {
	first, caught := false, true
	for _, line := range strings.Split(status, "\n") {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case key == "NSpid":
			first = len(f) > 1 && f[len(f)-1] == "1"
		case key == "SigCgt" && len(f) == 1:
			mask, err := strconv.ParseUint(f[0], 16, 64)
			caught = err != nil || mask&(1<<(uint(unix.SIGTERM)-1)) != 0
		}
	}
	return first && !caught
}

// Delete kills and removes the container if there is one.
func (r Runc) Delete(b Bundle) {
	if _, err := os.Stat(filepath.Join(r.Root, b.id())); err != nil {
		return
	}
	_ = r.run(context.Background(), nil, "delete", "--force", b.id())
}

func (r Runc) run(ctx context.Context, out *os.File, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	cmd := proc.Command(r.Path, append([]string{"--root", r.Root}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if out != nil {
		cmd.Stdout, cmd.Stderr = out, out
	}
	return r.Procs.Run(ctx, cmd)
}
