package boot

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"golang.org/x/sys/unix"
)

// kept are the mounts that stay to the end: nothing on them outlives the machine, and the console and reboot(2)
// need some of them.
var kept = []string{"/", "/proc", "/sys", "/dev", "/run"}

// leaving orders what is to be unmounted, the latest first: a mount on top of another, or below it, was always made
// later.
func leaving(list []mountinfo.Mount) []mountinfo.Mount {
	var out []mountinfo.Mount
	for _, m := range list {
		api := strings.HasPrefix(m.Point, "/proc/") || strings.HasPrefix(m.Point, "/sys/") || strings.HasPrefix(m.Point, "/dev/")
		if !api && !slices.Contains(kept, m.Point) {
			out = append(out, m)
		}
	}
	slices.Reverse(out)
	return out
}

// passes is how often the list is tried: unmounting one frees another whose order was not visible, such as a loop
// device's file.
const passes = 3

// unmountAll unmounts everything it can. What stays busy is at least made read-only, which writes all of it to disk,
// and detached, so that what is below it can go.
func (m *machine) unmountAll() {
	unix.Sync()
	for range passes {
		list, err := mountinfo.Read("/proc/self/mountinfo")
		if err != nil {
			m.warn(err)
			return
		}
		busy := 0
		for _, x := range leaving(list) {
			if unix.Unmount(x.Point, unix.UMOUNT_NOFOLLOW) != nil {
				busy++
			}
		}
		if busy == 0 {
			return
		}
	}
	list, err := mountinfo.Read("/proc/self/mountinfo")
	m.warn(err)
	for _, x := range leaving(list) {
		err := unix.Mount("", x.Point, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		if x.Major != 0 {
			m.console.Say("%s is busy and cannot be unmounted; made read-only: %t", x.Point, err == nil)
		}
		_ = unix.Unmount(x.Point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
}

func swapoff(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
