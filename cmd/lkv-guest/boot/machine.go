// Package boot is PID 1: it brings the machine up, keeps its services running and takes it down.
//
// It never returns and never panics on what it finds: the end of PID 1 is the end of the machine. What cannot be
// done is said on the console, and only a failed required step keeps services from starting.
package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/cmd/lkv-guest/container"
	"github.com/lkv-io/lkv/cmd/lkv-guest/guestinfo"
	"github.com/lkv-io/lkv/cmd/lkv-guest/hardware"
	"github.com/lkv-io/lkv/cmd/lkv-guest/power"
	"github.com/lkv-io/lkv/cmd/lkv-guest/proc"
	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// machine is what PID 1 knows.
type machine struct {
	console    *Console
	procs      *proc.Table
	runc       container.Runc
	state      *state
	buttons    hardware.Buttons
	containers string // "/containers"
	logs       string // logDir
	mounts     string // PID 1's mountinfo
	debug      bool
	services   []*service
	stop       chan request
}

// request asks the machine to stop.
type request struct {
	action power.Action
	why    string
}

// Run is the machine's life. It returns only an error of a start as something else than PID 1.
func Run() error { return live("") }

// Stand is the life of a machine that has no root file system to boot: it says why on every console, again and again,
// until somebody switches it off. It returns as Run does.
func Stand(why string) error { return live(why) }

func live(why string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("init: must be PID 1, but is %d", os.Getpid())
	}
	procs := proc.New()
	m := &machine{
		console: NewConsole(os.Stdout), procs: procs, containers: "/containers", logs: logDir, mounts: "/proc/self/mountinfo",
		stop:  make(chan request, 1),
		runc:  container.Runc{Path: "/usr/bin/runc", Root: "/run/runc", Procs: procs},
		state: newState(report.Path, report.DisksDir, guestinfo.Set),
	}
	m.buttons.Pressed = func() { m.ask(request{power.Off, "power button"}) }
	m.listen()
	procs.Watch(context.Background())

	whole := Complete(report.MarkerPath)
	m.early()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer m.rescue()
		switch {
		case why != "":
			m.stand(ctx, why)
		case whole:
			m.boot(ctx)
		default:
			m.starve(ctx)
		}
	}()
	r := <-m.stop
	m.console.Say("stopping (%s)", r.why)
	cancel()
	<-done
	m.shutdown(r.action)
	select {} // not reached when reboot(2) works; PID 1 must not end
}

// rescue turns a fault of this program into a stopped boot: the end of PID 1 would be a kernel panic, and the machine
// could neither be looked at nor shut down.
func (m *machine) rescue() {
	if r := recover(); r != nil {
		m.fail(fmt.Sprintf("fault in init: %v", r))
	}
}

// ask hands in a request; while one is being served, more of them change nothing.
func (m *machine) ask(r request) {
	select {
	case m.stop <- r:
	default:
	}
}

// listen turns signals into requests. Signals whose default in Go's runtime is to end the program are caught too;
// they are not ignored, because children would inherit that.
func (m *machine) listen() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) // Ctrl-Alt-Del becomes SIGINT
	drop := make(chan os.Signal, 1)
	signal.Notify(drop, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGABRT, unix.SIGALRM, unix.SIGVTALRM)
	asked := make(chan os.Signal, 4)
	signal.Notify(asked, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPWR)
	go func() {
		for range drop {
		}
	}()
	go func() {
		for s := range asked {
			if a, ok := power.FromSignal(s); ok {
				m.ask(request{a, "signal " + unix.SignalName(s.(unix.Signal))})
			}
		}
	}()
}

// warn says an error and goes on.
func (m *machine) warn(err error) {
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			m.console.Say("%s", line)
		}
	}
}

// early makes the root usable and finds the consoles.
func (m *machine) early() {
	var errs []error
	if OnRAM() {
		errs = append(errs, moveRoot())
	}
	errs = append(errs, mountAll(early), os.MkdirAll(filepath.Dir(report.Path), 0o755), os.MkdirAll(logDir, 0o755))
	if active, err := os.ReadFile("/sys/class/tty/console/active"); err == nil {
		m.console.OpenAll(string(active), "/dev")
	}
	cmdline, _ := os.ReadFile("/proc/cmdline")
	args := ParseCmdline(string(cmdline))
	m.debug = args.Has("lkv.debug")
	if !m.debug && !args.Has("debug") && !args.Has("ignore_loglevel") && !args.Has("loglevel") {
		// Only errors of the kernel go between our lines from here on; dmesg has the rest.
		_ = os.WriteFile("/proc/sys/kernel/printk", []byte("4"), 0o644)
	}
	m.console.LogTo(newRotating(filepath.Join(logDir, "init.log"), logSize))
	m.warn(errors.Join(errs...))
}

// boot brings the machine up to its services.
func (m *machine) boot(ctx context.Context) {
	img := imageOf(report.ImagePath)
	m.console.Say("image %s %s", img.Name, img.ID)
	m.warn(errors.Join(mountAll(late), layout(), limits()))
	m.hardware(ctx)
	m.warn(errors.Join(clock(), loopback()))
	name := m.name()
	m.warn(sysctls("/etc/sysctl.d", "/proc/sys"))
	token, _ := guestinfo.Get(report.TokenKey)
	m.warn(m.state.change(func(r *report.Report) {
		r.Image, r.BootID, r.Token, r.Hostname = img, bootID(), token, name
	}))
	m.runScripts(ctx, "init.d", "/etc/init.d")
	err := volumes(filepath.Join(m.containers, "volumes"))
	if err == nil {
		err = m.onboot(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.startServices(true)
		m.fail(err.Error())
	default:
		m.startServices(false)
		m.warn(m.state.change(func(r *report.Report) { r.State = report.Running }))
		m.console.Say("services started")
	}
}

// fail records that the boot ended here.
func (m *machine) fail(why string) {
	m.warn(m.state.change(func(r *report.Report) { r.State, r.Error = report.Failed, why }))
	m.console.Say("boot stopped: %s", why)
}

// name sets the host name.
func (m *machine) name() string {
	given, _ := guestinfo.Get(report.HostnameKey)
	image, _ := os.ReadFile("/etc/hostname")
	cards, _ := net.Interfaces()
	name := hostname(given, string(image), cards)
	if err := unix.Sethostname([]byte(name)); err != nil {
		m.warn(fmt.Errorf("set host name: %w", err))
	}
	return name
}
