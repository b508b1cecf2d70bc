// Package hardware loads drivers for what the machine has, hears of devices that come later, and of the power button.
package hardware

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Uevent is one message of the kernel about a device.
type Uevent struct {
	Action string            // "add", "change", "bind", "remove", …
	Path   string            // below /sys, for example "/devices/pci0000:00/…"
	Vars   map[string]string // SUBSYSTEM, DEVNAME, MODALIAS, …
}

// ParseUevent reads one kernel message: "action@path", then KEY=value, each ended by a zero byte. Messages of
// another form (udev's begin with "libudev") are not ok.
func ParseUevent(msg []byte) (u Uevent, ok bool) {
	fields := strings.Split(string(msg), "\x00")
	action, path, ok := strings.Cut(fields[0], "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Uevent{}, false
	}
	u = Uevent{Action: action, Path: path, Vars: map[string]string{}}
	for _, f := range fields[1:] {
		if key, value, ok := strings.Cut(f, "="); ok && key != "" {
			u.Vars[key] = value
		}
	}
	return u, true
}

// receiveBuffer holds a burst of messages while a module is loading.
const receiveBuffer = 4 << 20

// Uevents opens the kernel's device messages and calls each for every one, in one goroutine, until ctx ends.
// Lost messages (the buffer ran over) are reported by a Uevent with Action "lost".
func Uevents(ctx context.Context, each func(Uevent)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return fmt.Errorf("open device messages: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	tv := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open device messages: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open device messages: %w", err)
	}
	go func() {
		defer func() { _ = unix.Close(fd) }()
		receive(ctx, fd, each)
	}()
	return nil
}

func receive(ctx context.Context, fd int, each func(Uevent)) {
	buf := make([]byte, 16<<10)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			each(Uevent{Action: "lost"})
		case err != nil:
			return
		default:
			if u, ok := ParseUevent(buf[:n]); ok {
				each(u)
			}
		}
	}
}
