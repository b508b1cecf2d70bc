package early

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lkv-io/lkv/internal/rootdesc"
	"golang.org/x/sys/unix"
)

// Mount points in the initrd. None is left when the real init starts but the new root: an overlay and a loop device
// hold what they are made of by themselves.
const (
	medium  = "/.lkv/medium" // ISO
	lower   = "/.lkv/lower"  // squashfs
	upper   = "/.lkv/upper"  // tmpfs
	newRoot = "/.lkv/root"   // overlay
)

// upperSize limits what may be written to the root file system, as a share of all memory, like the limits of /run and
// /tmp in package boot. It is less than the half that the kernel allows an unpacked initrd, because the squashfs
// itself may take up to half of memory already; /var and writable containers have a tmpfs of their own.
const upperSize = "20%"

// mount is one mount; its point is made when missing.
type mount struct {
	source, point, fstype string
	flags                 uintptr
	data                  string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.point, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.point, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s (%s): %w", m.source, m.fstype, err)
	}
	return nil
}

// release takes a mount out of sight; the file system stays for whoever still uses it.
func release(point string) { _ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }

// assemble mounts the squashfs in f, below a tmpfs for what is written, on newRoot.
func assemble(f *os.File) error {
	loop, err := attach(f)
	if err != nil {
		return fmt.Errorf("mount the root file system: %w", err)
	}
	defer func() { _ = loop.Close() }() // the kernel frees it when the mount has gone too
	defer release(lower)
	defer release(upper)
	for _, m := range []mount{
		{loop.Name(), lower, "squashfs", unix.MS_RDONLY, ""},
		{"tmpfs", upper, "tmpfs", 0, "mode=0755,size=" + upperSize},
	} {
		if err := m.do(); err != nil {
			return fmt.Errorf("mount the root file system: %w", err)
		}
	}
	if err := layers(); err != nil {
		return fmt.Errorf("mount the root file system: %w", err)
	}
	m := mount{"overlay", newRoot, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/files,workdir=%s/work", lower, upper, upper)}
	if err := m.do(); err != nil {
		return fmt.Errorf("mount the root file system: %w", err)
	}
	return nil
}

// layers makes the overlay's directories. The root directory's own mode and owner are those of the upper one, so they
// are taken over from the image.
func layers() error {
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return fmt.Errorf("look at the image's root directory: %w", err)
	}
	files := filepath.Join(upper, "files")
	return errors.Join(os.Mkdir(files, 0o755), os.Mkdir(filepath.Join(upper, "work"), 0o755),
		os.Chown(files, int(st.Uid), int(st.Gid)), unix.Chmod(files, st.Mode&0o7777))
}

// attach puts a read-only loop device over f, which is freed by the kernel with its last user.
func attach(f *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("find a free loop device: %w", err)
	}
	loop, err := os.Open(fmt.Sprintf("/dev/loop%d", n))
	if err != nil {
		return nil, err
	}
	c := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR}}
	copy(c.Info.File_name[:len(c.Info.File_name)-1], rootdesc.OnMedium)
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &c); err != nil {
		_ = loop.Close()
		return nil, fmt.Errorf("set up %s: %w", loop.Name(), err)
	}
	return loop, nil
}

// enter makes newRoot the root. What the initrd had besides the squashfs is deleted, which frees its memory; the
// mounts of this package go, since the real init makes its own.
func enter(root rootdesc.Root) error {
	for _, f := range append([]string{"/init", rootdesc.Path}, root.Modules...) {
		_ = os.Remove(f)
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter the root file system: %w", err)
	}
	release("/sys")
	release("/dev")
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("enter the root file system: move: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the root file system: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter the root file system: %w", err)
	}
	return nil
}
