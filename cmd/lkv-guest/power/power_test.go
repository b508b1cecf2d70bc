package power

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]Action{
		"poweroff": Off, "poweroff -f": Off, "reboot": Reboot, "reboot -f": Reboot, "reboot -p": Off, "halt": Halt, "halt -p": Off,
		"shutdown -h now": Off, "shutdown -P now": Off, "shutdown -r now": Reboot, "shutdown -H now": Halt, "shutdown now": Off,
		"shutdown -hP now": Off, "shutdown --reboot +0": Reboot, "shutdown": Off,
		"shutdown -P +0 hypervisor initiated shutdown": Off, // what QEMU's guest agent runs
		"shutdown -r +0 hypervisor initiated shutdown": Reboot,
	} {
		f := strings.Fields(line)
		if got, err := Parse(f[0], f[1:]); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", line, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"shutdown -h 22:00", "shutdown -h +5", "shutdown -x now", "reboot --wat", "sleep 1"} {
		f := strings.Fields(line)
		if got, err := Parse(f[0], f[1:]); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %s, %v; want a refusal", line, got, err)
		}
	}
}

// TestSignals: what a command asks for is what PID 1 understands.
func TestSignals(t *testing.T) {
	for _, a := range []Action{Off, Reboot, Halt} {
		if got, ok := FromSignal(a.Signal()); !ok || got != a {
			t.Errorf("%s comes out as %s, %t", a, got, ok)
		}
	}
	for _, s := range []os.Signal{unix.SIGTERM, unix.SIGPWR} {
		if got, ok := FromSignal(s); !ok || got != Off {
			t.Errorf("%s: %s, %t; want power off", s, got, ok)
		}
	}
	if _, ok := FromSignal(unix.SIGHUP); ok {
		t.Error("SIGHUP must not stop the machine")
	}
}
