package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// cgroupRoot is where cgroup v2 is mounted.
const cgroupRoot = "/sys/fs/cgroup"

// call is one mount(2).
type call struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// flagOptions are mount options that are bits; false clears the bit.
var flagOptions = map[string]struct {
	bit uintptr
	set bool
}{
	"ro": {unix.MS_RDONLY, true}, "rw": {unix.MS_RDONLY, false},
	"nosuid": {unix.MS_NOSUID, true}, "suid": {unix.MS_NOSUID, false},
	"nodev": {unix.MS_NODEV, true}, "dev": {unix.MS_NODEV, false},
	"noexec": {unix.MS_NOEXEC, true}, "exec": {unix.MS_NOEXEC, false},
	"sync": {unix.MS_SYNCHRONOUS, true}, "async": {unix.MS_SYNCHRONOUS, false},
	"dirsync": {unix.MS_DIRSYNC, true}, "mand": {unix.MS_MANDLOCK, true}, "nomand": {unix.MS_MANDLOCK, false},
	"noatime": {unix.MS_NOATIME, true}, "atime": {unix.MS_NOATIME, false},
	"nodiratime": {unix.MS_NODIRATIME, true}, "diratime": {unix.MS_NODIRATIME, false},
	"relatime": {unix.MS_RELATIME, true}, "norelatime": {unix.MS_RELATIME, false},
	"strictatime": {unix.MS_STRICTATIME, true}, "nostrictatime": {unix.MS_STRICTATIME, false},
	"lazytime": {unix.MS_LAZYTIME, true}, "nolazytime": {unix.MS_LAZYTIME, false},
	"bind": {unix.MS_BIND, true}, "rbind": {unix.MS_BIND | unix.MS_REC, true},
	"remount": {unix.MS_REMOUNT, true}, "defaults": {0, true},
}

// propagations are mount options that need a mount(2) of their own.
var propagations = map[string]uintptr{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// Options splits mount options into bits, propagation changes and the text for the file system.
func Options(options []string) (flags uintptr, propagation []uintptr, data string) {
	var rest []string
	for _, o := range options {
		if f, ok := flagOptions[o]; ok {
			if f.set {
				flags |= f.bit
			} else {
				flags &^= f.bit
			}
			continue
		}
		if p, ok := propagations[o]; ok {
			propagation = append(propagation, p)
			continue
		}
		if o != "" {
			rest = append(rest, o)
		}
	}
	return flags, propagation, strings.Join(rest, ",")
}

// calls are the mount(2) calls for one entry. The kernel takes one kind of change per call: a remount that also
// asks for a propagation would only remount, and a read-only bind would be writable.
func calls(m specs.Mount) []call {
	flags, propagation, data := Options(m.Options)
	const bindOnly = unix.MS_BIND | unix.MS_REC
	var out []call
	switch {
	case flags&unix.MS_BIND != 0 && flags&unix.MS_REMOUNT == 0:
		out = append(out, call{m.Source, m.Destination, "", flags & bindOnly, ""})
		if rest := flags &^ bindOnly; rest != 0 {
			out = append(out, call{"", m.Destination, "", unix.MS_REMOUNT | unix.MS_BIND | rest, ""})
		}
	case flags == unix.MS_REMOUNT && data == "" && len(propagation) > 0:
		// Only the propagation changes.
	default:
		out = append(out, call{m.Source, m.Destination, m.Type, flags, data})
	}
	for _, p := range propagation {
		out = append(out, call{"", m.Destination, "", p, ""})
	}
	return out
}

// Prepare makes the bundle's mounts, directories and cgroups in the machine. Call it once per boot.
func (b Bundle) Prepare() error {
	for _, m := range b.Runtime.Mounts {
		if err := mount(m); err != nil {
			return fmt.Errorf("prepare %s: %w", b.Name, err)
		}
	}
	for _, d := range b.Runtime.Mkdir {
		if err := os.MkdirAll(filepath.Join("/", d), 0o755); err != nil {
			return fmt.Errorf("prepare %s: %w", b.Name, err)
		}
	}
	for _, c := range b.Runtime.Cgroups {
		if err := os.MkdirAll(filepath.Join(cgroupRoot, filepath.Join("/", c)), 0o755); err != nil {
			return fmt.Errorf("prepare %s: make cgroup: %w", b.Name, err)
		}
	}
	return nil
}

func mount(m specs.Mount) error {
	for _, dir := range directories(m) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	for _, c := range calls(m) {
		if err := unix.Mount(c.source, c.target, c.fstype, c.flags, c.data); err != nil {
			return fmt.Errorf("mount %s (%s, %s): %w", m.Destination, m.Type, strings.Join(m.Options, ","), err)
		}
	}
	return nil
}

// directories must exist before the mount: the mount point, unless a file is bound onto a file, and an overlay's
// upper and work directories, which LinuxKit expects the init to make on the tmpfs below them.
func directories(m specs.Mount) []string {
	var out []string
	if _, err := os.Lstat(m.Destination); err != nil {
		out = append(out, m.Destination)
	}
	if m.Type != "overlay" {
		return out
	}
	for _, o := range m.Options {
		for _, key := range []string{"upperdir=", "workdir="} {
			if dir, ok := strings.CutPrefix(o, key); ok {
				out = append(out, dir)
			}
		}
	}
	return out
}
