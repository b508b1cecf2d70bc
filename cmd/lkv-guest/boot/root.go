package boot

import (
	"fmt"
	"os"

	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// Complete tells whether the initrd was unpacked to its end.
func Complete(marker string) bool {
	st, err := os.Stat(marker)
	return err == nil && st.Mode().IsRegular() && st.Size() > 0
}

// OnRAM tells whether the root is an unpacked initrd.
func OnRAM() bool {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return false
	}
	return st.Type == unix.RAMFS_MAGIC || st.Type == unix.TMPFS_MAGIC
}

// moveRoot puts a bind mount of the root on top of the root. The kernel's first root has no parent mount, so
// pivot_root, which runc needs, fails there; the same files seen through a mount of their own have one. Nothing is
// copied and no second tmpfs is needed, so memory is used once.
func moveRoot() error {
	const at = "/mnt"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Mount("/", at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("move root: bind: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: move: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("move root: chroot: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	return nil
}

// imageOf reads report.ImagePath. An image without the file has no name.
func imageOf(file string) report.Image {
	var img report.Image
	_ = readJSON(file, &img)
	return img
}
