package boot

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openFiles is the limit of open files that services inherit. Engines and databases expect about a million.
const openFiles = 1 << 20

// limits raises what children inherit. syscall.Setrlimit, not unix.Setrlimit, tells Go's runtime that the value is
// meant for children too; otherwise it would hand them the limit it found at its own start.
func limits() error {
	var errs []error
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: openFiles, Max: openFiles}); err != nil {
		errs = append(errs, fmt.Errorf("raise open files: %w", err))
	}
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &all); err != nil {
		errs = append(errs, fmt.Errorf("raise processes: %w", err))
	}
	return errors.Join(errs...)
}

func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("start loopback: %w", err)
	}
	return nil
}

// clockSlack is how far the system clock may be off the hardware's, whose resolution is one second.
const clockSlack = 2 * time.Second

// clock sets the time from the hardware clock, in UTC, unless the kernel has already done so.
func clock() error {
	f, err := os.Open("/dev/rtc0")
	if err != nil {
		return nil // no hardware clock: time comes from the network
	}
	defer func() { _ = f.Close() }()
	t, err := unix.IoctlGetRTCTime(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("read hardware clock: %w", err)
	}
	hw := time.Date(int(t.Year)+1900, time.Month(t.Mon+1), int(t.Mday), int(t.Hour), int(t.Min), int(t.Sec), 0, time.UTC)
	if off := time.Since(hw); off.Abs() <= clockSlack {
		return nil
	}
	tv := unix.NsecToTimeval(hw.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// hostname chooses the machine's name: what the host gives, else the image's, else one made of the first network
// card's address, which differs between machines that run one image.
func hostname(given, image string, cards []net.Interface) string {
	for _, s := range []string{given, image} {
		if s = strings.TrimSpace(s); validHostname(s) {
			return s
		}
	}
	for _, c := range cards {
		if c.Flags&net.FlagLoopback == 0 && len(c.HardwareAddr) == 6 {
			return "lkv-" + strings.ReplaceAll(c.HardwareAddr.String(), ":", "")
		}
	}
	return "lkv"
}

// validHostname takes what sethostname(2) and DNS take: up to 64 letters, digits, dots and hyphens.
func validHostname(s string) bool {
	if s == "" || len(s) > 64 || strings.HasPrefix(s, "-") {
		return false
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
	return strings.Trim(s, letters) == ""
}

// sysctl is one kernel setting.
type sysctl struct {
	path  string // below /proc/sys
	value string
	maybe bool // a line that begins with "-" may fail
}

// parseSysctl reads lines "key = value"; comments begin with # or ;. In a key, dots and slashes are exchanged when a
// dot comes first, so that interface names with dots can be written.
func parseSysctl(text string) []sysctl {
	var out []sysctl
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		s := sysctl{value: strings.TrimSpace(value)}
		key, s.maybe = strings.CutPrefix(strings.TrimSpace(key), "-")
		if !ok || key == "" {
			continue
		}
		if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
			key = strings.Map(func(r rune) rune {
				switch r {
				case '.':
					return '/'
				case '/':
					return '.'
				}
				return r
			}, key)
		}
		s.path = filepath.Join("/", key)
		out = append(out, s)
	}
	return out
}

// sysctls applies etc/sysctl.d/*.conf in name order.
func sysctls(dir, proc string) error {
	files, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
	slices.Sort(files)
	var errs []error
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, s := range parseSysctl(string(data)) {
			if err := os.WriteFile(filepath.Join(proc, s.path), []byte(s.value), 0o644); err != nil && !s.maybe {
				errs = append(errs, fmt.Errorf("apply %s: %w", filepath.Base(f), err))
			}
		}
	}
	return errors.Join(errs...)
}
