package boot

import (
	"context"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/hardware"
	"github.com/lkv-io/lkv/cmd/lkv-guest/proc"
)

// collect is how long the kernel's messages are gathered before one modprobe is started for all of them.
const collect = 300 * time.Millisecond

// hardware loads drivers: twice for what is there, as a controller's driver shows the devices behind it, then for
// whatever the kernel announces.
func (m *machine) hardware(ctx context.Context) {
	late := make(chan string, 1000)
	err := hardware.Uevents(ctx, func(u hardware.Uevent) {
		alias := u.Vars["MODALIAS"]
		switch {
		case u.Vars["SUBSYSTEM"] == "input" && u.Action == "add":
			m.buttons.Scan("/dev/input", "/sys/class/input")
		case u.Action == "lost":
			alias = "*"
		case u.Action != "add":
			alias = ""
		}
		if alias != "" {
			select {
			case late <- alias:
			default:
			}
		}
	})
	m.warn(err)
	m.modprobe(ctx, append(hardware.Listed("/"), "button", "evdev", "qemu_fw_cfg"))
	m.coldplug(ctx)
	m.coldplug(ctx)
	m.buttons.Scan("/dev/input", "/sys/class/input")
	go m.loadLate(ctx, late)
}

func (m *machine) coldplug(ctx context.Context) {
	m.modprobe(ctx, hardware.Modaliases("/sys/devices"))
}

// loadLate loads drivers for announced devices, each alias once.
func (m *machine) loadLate(ctx context.Context, late <-chan string) {
	known := map[string]bool{}
	for {
		var names []string
		select {
		case <-ctx.Done():
			return
		case a := <-late:
			names = append(names, a)
		}
		time.Sleep(collect)
		for more := true; more; {
			select {
			case a := <-late:
				names = append(names, a)
			default:
				more = false
			}
		}
		var fresh []string
		for _, a := range names {
			if a == "*" {
				m.coldplug(ctx)
			} else if !known[a] {
				known[a] = true
				fresh = append(fresh, a)
			}
		}
		m.modprobe(ctx, fresh)
		m.buttons.Scan("/dev/input", "/sys/class/input")
	}
}

// modprobe loads what it can; -q keeps it silent about aliases without a module, and its status says nothing.
func (m *machine) modprobe(ctx context.Context, names []string) {
	for _, b := range hardware.Batches(names) {
		cmd := proc.Command("/sbin/modprobe", append([]string{"-abq"}, b...)...)
		cmd.Env = environment
		_ = m.procs.Run(ctx, cmd)
	}
}
