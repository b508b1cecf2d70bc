// Package power has the words in which somebody asks the machine to stop, and the way to PID 1.
package power

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Action is how a machine stops.
type Action int

// Actions.
const (
	Off    Action = iota // power off
	Reboot               // start again
	Halt                 // everything stopped, machine still on
)

// String names the action as the console shows it.
func (a Action) String() string { return [...]string{"power off", "reboot", "halt"}[a] }

// Signal is what PID 1 understands as a.
func (a Action) Signal() unix.Signal {
	return [...]unix.Signal{unix.SIGUSR2, unix.SIGINT, unix.SIGUSR1}[a]
}

// FromSignal is the action PID 1 takes on a signal. SIGTERM powers off because the shutdown scripts of guest agents
// send it; busybox's init would reboot.
func FromSignal(s os.Signal) (Action, bool) {
	switch s {
	case unix.SIGTERM, unix.SIGUSR2, unix.SIGPWR:
		return Off, true
	case unix.SIGINT:
		return Reboot, true
	case unix.SIGUSR1:
		return Halt, true
	}
	return Off, false
}

// Names are the commands that Parse understands.
var names = map[string]Action{"poweroff": Off, "shutdown": Off, "halt": Halt, "reboot": Reboot}

// IsName tells whether a program called that way asks for a stop.
func IsName(s string) bool { _, ok := names[s]; return ok }

// ErrUsage is wrapped by errors about the command line.
var ErrUsage = errors.New("wrong usage")

// Parse reads "poweroff", "halt -p", "shutdown -h now", "shutdown -P +0 hypervisor initiated shutdown" and the like.
// The last action on the line counts. Only an immediate stop is known; a warning text is dropped.
func Parse(name string, args []string) (Action, error) {
	a, ok := names[name]
	if !ok {
		return Off, fmt.Errorf("%w: %s is neither poweroff, halt, reboot nor shutdown", ErrUsage, name)
	}
	when := false
	for _, arg := range args {
		switch {
		case strings.HasPrefix(arg, "-") && arg != "-":
			next, err := flag(name, arg, a)
			if err != nil {
				return Off, err
			}
			a = next
		case name == "shutdown" && !when:
			if arg != "now" && arg != "+0" && arg != "0" {
				return Off, fmt.Errorf("%w: shutdown %s: only \"now\" is known", ErrUsage, arg)
			}
			when = true
		}
	}
	return a, nil
}

func flag(name, arg string, a Action) (Action, error) {
	long := map[string]Action{"--poweroff": Off, "--reboot": Reboot, "--halt": Halt}
	if next, ok := long[arg]; ok {
		return next, nil
	}
	if arg == "--force" || arg == "--no-wall" || arg == "--" {
		return a, nil
	}
	if strings.HasPrefix(arg, "--") {
		return a, fmt.Errorf("%w: %s %s", ErrUsage, name, arg)
	}
	for _, c := range arg[1:] {
		switch {
		case c == 'P', c == 'p', c == 'h' && name == "shutdown":
			a = Off
		case c == 'r' && name == "shutdown":
			a = Reboot
		case c == 'H':
			a = Halt
		case strings.ContainsRune("fnwdihkt", c): // other systems' force, no-sync, no-wtmp, …: nothing to change here
		default:
			return a, fmt.Errorf("%w: %s %s", ErrUsage, name, arg)
		}
	}
	return a, nil
}

// initPIDNamespace is the inode of the machine's own PID namespace (PROC_PID_INIT_INO in linux/proc_ns.h).
const initPIDNamespace = "pid:[4026531836]"

// Ask signals PID 1. It refuses in a PID namespace of its own, where PID 1 is somebody else.
func Ask(a Action) error {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read PID namespace: %w", err)
	}
	if ns != initPIDNamespace {
		return fmt.Errorf("%s: this container has its own PID namespace and cannot reach the machine's init: give it \"pid: host\"", a)
	}
	if err := unix.Kill(1, a.Signal()); err != nil {
		return fmt.Errorf("signal init: %w", err)
	}
	return nil
}
