package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// Sizes of the machine's own tmpfs, as shares of all memory. They are limits, not reservations; together with the
// root (at most half of memory, by the kernel's rule) they may exceed 100 %. A writable container has its own.
const (
	runSize = "20%"
	tmpSize = "20%"
	varSize = "50%"
)

// point is one mount of the machine. An optional one may be unknown to the kernel.
type point struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
	optional               bool
}

const guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// early are the mounts that everything else needs, in order.
var early = []point{
	{"proc", "/proc", "proc", guarded, "", false},
	{"sysfs", "/sys", "sysfs", guarded, "", false},
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755", false},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755,size=" + runSize, false},
}

// late are the rest. /var has neither nosuid nor nodev: container images are unpacked there.
var late = []point{
	{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=" + tmpSize, false},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666", false},
	{"shm", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", false},
	{"mqueue", "/dev/mqueue", "mqueue", guarded, "", true},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", guarded, "", false},
	{"securityfs", "/sys/kernel/security", "securityfs", guarded, "", true},
	{"debugfs", "/sys/kernel/debug", "debugfs", guarded, "", true},
	{"tracefs", "/sys/kernel/tracing", "tracefs", guarded, "", true},
	{"configfs", "/sys/kernel/config", "configfs", guarded, "", true},
	{"fusectl", "/sys/fs/fuse/connections", "fusectl", guarded, "", true},
	{"pstore", "/sys/fs/pstore", "pstore", guarded, "", true},
	{"bpf", "/sys/fs/bpf", "bpf", guarded, "mode=0700", true},
	{"efivarfs", "/sys/firmware/efi/efivars", "efivarfs", guarded, "", true},
	{"binfmt_misc", "/proc/sys/fs/binfmt_misc", "binfmt_misc", guarded, "", true},
}

func (p point) mount() error {
	// On /proc and /sys directories cannot be made; on a read-only root they exist.
	_ = os.MkdirAll(p.target, 0o755)
	err := unix.Mount(p.source, p.target, p.fstype, p.flags, p.data)
	if err == nil || errors.Is(err, unix.EBUSY) || p.optional {
		return nil
	}
	return fmt.Errorf("mount %s: %w", p.target, err)
}

// mountAll makes the list and returns what went wrong; it does not stop at an error, as half a machine that says
// what is missing is better than none.
func mountAll(list []point) error {
	var errs []error
	for _, p := range list {
		errs = append(errs, p.mount())
	}
	return errors.Join(errs...)
}

// links of /dev that programs expect.
var devLinks = map[string]string{
	"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
	"/dev/stderr": "/proc/self/fd/2", "/dev/core": "/proc/kcore",
}

// layout makes what programs expect on the fresh mounts. The whole tree is shared, so that a disk that a container
// mounts below a bind of /var appears in the machine.
func layout() error {
	errs := []error{mountVar()}
	for name, target := range devLinks {
		_ = os.Symlink(target, name)
	}
	for _, dir := range []string{
		"/run/lock", "/run/resolvconf", report.DisksDir, logDir,
		"/var/lib", "/var/log", "/var/cache", "/var/spool", "/var/tmp",
	} {
		errs = append(errs, os.MkdirAll(dir, 0o755))
	}
	errs = append(errs, os.Chmod("/var/tmp", 0o1777))
	_ = os.Symlink("/run", "/var/run")
	// Containers bind /etc/resolv.conf, which links here; before DHCP has an answer it must exist all the same.
	if f, err := os.OpenFile("/run/resolvconf/resolv.conf", os.O_CREATE|os.O_RDONLY, 0o644); err == nil {
		_ = f.Close()
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		errs = append(errs, fmt.Errorf("share mounts: %w", err))
	}
	return errors.Join(append(errs, controllers("/sys/fs/cgroup"))...)
}

// mountVar covers /var with a tmpfs and copies what the image had there.
func mountVar() error {
	image, err := os.Open("/var")
	if err == nil {
		defer func() { _ = image.Close() }()
	}
	p := point{"tmpfs", "/var", "tmpfs", 0, "mode=0755,size=" + varSize, false}
	if err := p.mount(); err != nil || image == nil {
		return err
	}
	if err := copyTree(fmt.Sprintf("/proc/self/fd/%d/.", image.Fd()), "/var"); err != nil {
		return fmt.Errorf("copy the image's /var: %w", err)
	}
	return nil
}

// copyTree copies directories, files and links with owner and mode. Device nodes and pipes are left out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return copyOne(path, filepath.Join(to, rel), info)
	})
}

func copyOne(from, to string, info fs.FileInfo) error {
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	case fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	case 0:
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			return err
		}
	default:
		return nil
	}
	return own(to, info)
}

// own gives the copy the original's owner and mode, in this order: a change of owner clears set-user-ID bits.
func own(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return os.Chmod(path, info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

// controllers passes every cgroup controller down, so that containers, and engines inside of containers, can use
// them. The processes of the machine itself stay in the root cgroup, the only one that may have both.
func controllers(root string) error {
	data, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("pass cgroup controllers down: %w", err)
	}
	var errs []error
	for _, c := range strings.Fields(string(data)) {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("pass cgroup controller %s down: %w", c, err))
		}
	}
	return errors.Join(errs...)
}
