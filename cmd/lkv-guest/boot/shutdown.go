package boot

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/power"
	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// Limits of the steps of a shutdown.
const (
	onshutdownLimit = time.Minute     // each onshutdown container or script
	leftoverLimit   = 5 * time.Second // between SIGTERM and SIGKILL for what is left
	consoleLimit    = 2 * time.Second // for the console to print the last lines
)

// shutdown takes the machine down. Nothing in it may wait without a limit.
func (m *machine) shutdown(a power.Action) {
	m.warn(m.state.change(func(r *report.Report) { r.State = report.Stopping }))
	m.stopServices()
	m.onshutdown()
	m.killRest()
	swapOff()
	m.unmountAll()
	unix.Sync()
	m.console.Say("%s", a)
	m.console.Flush(consoleLimit)
	m.warn(unix.Reboot(map[power.Action]int{
		power.Off: unix.LINUX_REBOOT_CMD_POWER_OFF, power.Reboot: unix.LINUX_REBOOT_CMD_RESTART, power.Halt: unix.LINUX_REBOOT_CMD_HALT,
	}[a]))
	m.console.Flush(consoleLimit)
}

func (m *machine) onshutdown() {
	for _, dir := range bundles(filepath.Join(m.containers, "onshutdown")) {
		ctx, cancel := context.WithTimeout(context.Background(), onshutdownLimit)
		if _, err := m.runBundle(ctx, "onshutdown", dir); err != nil {
			m.warn(err)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(context.Background(), onshutdownLimit)
	defer cancel()
	m.runScripts(ctx, "shutdown.d", "/etc/shutdown.d")
}

// killRest ends every process but this one and the kernel's.
func (m *machine) killRest() {
	_ = unix.Kill(-1, unix.SIGTERM)
	for end := time.Now().Add(leftoverLimit); time.Now().Before(end) && others("/proc"); {
		time.Sleep(50 * time.Millisecond)
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	for end := time.Now().Add(leftoverLimit); time.Now().Before(end) && others("/proc"); {
		time.Sleep(50 * time.Millisecond)
	}
}

// others tells whether there is a process besides PID 1. Kernel threads have no executable; zombies are not counted.
func others(proc string) bool {
	entries, _ := os.ReadDir(proc)
	for _, e := range entries {
		name := e.Name()
		if name == "1" || name == "" || name[0] < '0' || name[0] > '9' {
			continue
		}
		if _, err := os.Readlink(filepath.Join(proc, name, "exe")); err == nil {
			return true
		}
	}
	return false
}

// swapOff frees swap files, which keep their file systems busy.
func swapOff() {
	data, _ := os.ReadFile("/proc/swaps")
	for i, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 1 {
			_ = swapoff(f[0])
		}
	}
}
