package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/container"
	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"github.com/lkv-io/lkv/cmd/lkv-guest/proc"
)

// environment of scripts and runc.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=linux"}

// scripts are the executable files of dir in name order. Dangling links are left out, and links to LinuxKit's
// "service": they start containers, which is this program's own work.
func scripts(dir string) []string {
	var out []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
			continue
		}
		if target, err := os.Readlink(path); err == nil && filepath.Base(target) == "service" {
			continue
		}
		out = append(out, path)
	}
	return out
}

// bundles are the directories of a section in name order.
func bundles(section string) []string {
	var out []string
	entries, _ := os.ReadDir(section)
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(section, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// output opens the log of a script or container; each line goes to the console too when show is set.
func (m *machine) output(kind, name string, show bool) (*capture, error) {
	var log io.Writer = newRotating(filepath.Join(m.logs, kind+"."+name+".log"), logSize)
	var print func(string)
	if show {
		print = func(line string) { m.console.Line(name + ": " + line) }
	}
	return newCapture(log, print)
}

// runScripts runs the files of dir; failures are said and do not stop the boot.
func (m *machine) runScripts(ctx context.Context, kind, dir string) {
	for _, path := range scripts(dir) {
		if ctx.Err() != nil {
			return
		}
		out, err := m.output(kind, filepath.Base(path), true)
		if err != nil {
			m.console.Say("%s: %v", path, err)
			continue
		}
		cmd := proc.Command(path)
		cmd.Env, cmd.Stdout, cmd.Stderr = environment, out.W, out.W
		err = m.procs.Run(ctx, cmd)
		_ = out.W.Close()
		if err != nil {
			m.console.Say("%s: %v", path, err)
		}
	}
}

// stepGrace is what an onboot container gets when the machine is asked to stop during boot: long enough for a file
// system check to end at a safe point.
const stepGrace = 10 * time.Second

// runBundle runs one container to its end and returns why it failed, with its last words.
func (m *machine) runBundle(ctx context.Context, kind, dir string) (b container.Bundle, err error) {
	if b, err = container.Load(dir); err != nil {
		return b, err
	}
	out, err := m.output(kind, b.Name, true)
	if err != nil {
		return b, err
	}
	if err = b.Prepare(); err != nil {
		_ = out.W.Close()
		return b, err
	}
	c, err := m.runc.Start(ctx, b, out.W)
	_ = out.W.Close()
	if err != nil {
		return b, fmt.Errorf("%w%s", err, words(out))
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		m.runc.Stop(b, c, stepGrace)
		<-c.Done()
		return b, ctx.Err()
	}
	err = c.Err()
	text := words(out)
	m.runc.Delete(b)
	if err != nil {
		return b, fmt.Errorf("%s: %w%s", b.Name, err, text)
	}
	return b, nil
}

func words(out *capture) string {
	if last := out.Last(); last != "" {
		return ": " + last
	}
	return ""
}

// onboot runs the onboot containers. Its error stops the boot: a required one failed, or one could not even be read,
// so that nobody knows whether it was required, or a disk that was mounted is not to be seen in the machine.
func (m *machine) onboot(ctx context.Context) error {
	section := filepath.Join(m.containers, "onboot")
	if _, err := os.ReadDir(section); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list onboot containers: %w", err)
	}
	for _, dir := range bundles(section) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b, err := m.runBundle(ctx, "onboot", dir)
		m.noteDisks()
		switch lost := m.unseen(); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && lost != nil:
			return lost
		case err == nil:
		case b.Required() || b.Spec.Version == "":
			return err
		default:
			m.console.Say("%v (not required: the boot goes on)", err)
		}
	}
	return nil
}

// unseen is an error when a disk that was reported as mounted is not on its mount point as PID 1 sees it. A container
// without a shared bind of the mount point mounts for itself alone, and takes the mount with it when it ends; services
// would then write to memory and find nothing of what is on the disk.
func (m *machine) unseen() error {
	disks := m.state.mountedDisks()
	if len(disks) == 0 {
		return nil
	}
	list, err := mountinfo.Read(m.mounts)
	if err != nil {
		return fmt.Errorf("look at mounted disks: %w", err)
	}
	for _, d := range disks {
		if at, ok := mountinfo.At(list, d.Mount); !ok || at.Major == 0 {
			return fmt.Errorf("%s was mounted on %s inside of its container only; bind that path with rshared there", d.Device, d.Mount)
		}
	}
	return nil
}

// noteDisks puts what persist steps report into the machine's report and says it.
func (m *machine) noteDisks() {
	fresh, err := m.state.mergeDisks()
	if err != nil {
		m.console.Say("%v", err)
	}
	for _, d := range fresh {
		if d.Mounted {
			m.console.Say("mounted %s %s serial=%s formatted=%t", d.Mount, d.Device, d.Serial, d.Formatted)
		}
	}
}
