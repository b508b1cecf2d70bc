// Command lkv-guest is the one program of this project inside a guest: PID 1, the step that mounts the data disk,
// and the commands that go with them. It goes by the name it was called with; see docs/guest.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/lkv-io/lkv/cmd/lkv-guest/boot"
	"github.com/lkv-io/lkv/cmd/lkv-guest/early"
	"github.com/lkv-io/lkv/cmd/lkv-guest/guestinfo"
	"github.com/lkv-io/lkv/cmd/lkv-guest/power"
	"github.com/lkv-io/lkv/cmd/lkv-guest/publish"
	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitError = 1
	exitUsage = 64
)

const usage = `usage: lkv-guest COMMAND

  init       be PID 1: boot, supervise, shut down
  persist    find, check, grow and mount one data disk
  gate       fail unless a path is a mounted disk
  report     publish the machine's report as guestinfo (VMware; idle elsewhere)
  poweroff, halt, reboot, shutdown
             ask PID 1
`

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run does what the program's name or its first argument says and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	name, rest := command(args, os.Getpid())
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer cancel()
	var err error
	switch {
	case name == "init":
		cancel() // PID 1 has its own way with SIGTERM
		err = start(args)
	case power.IsName(name):
		err = ask(name, rest)
	case name == "persist":
		err = mountDisk(ctx, rest, stdout)
	case name == "gate":
		err = checkMount(rest, stdout)
	case name == "report":
		err = publishReport(ctx, stderr)
	case name == "help" || name == "--help" || name == "-h":
		_, _ = io.WriteString(stdout, usage)
	default:
		_, _ = io.WriteString(stderr, usage)
		return exitUsage
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "lkv-guest %s: %v\n", name, err)
		if errors.Is(err, power.ErrUsage) || errors.Is(err, errUsage) {
			return exitUsage
		}
		return exitError
	}
	return 0
}

// start is PID 1's life: early.Switch comes back only when this is the root file system to boot, or there is none.
func start(args []string) error {
	if os.Getpid() == 1 {
		if err := early.Switch(args[1:], os.Environ()); err != nil {
			return boot.Stand(err.Error())
		}
	}
	return boot.Run()
}

// command is the sub-command and its arguments. PID 1 is always init: the kernel passes parameters it does not know
// as arguments.
func command(args []string, pid int) (name string, rest []string) {
	if pid == 1 && base(args) != "lkv-guest" {
		return "init", nil
	}
	if name := base(args); name == "init" || power.IsName(name) {
		return name, args[1:]
	}
	if len(args) < 2 {
		return "", nil
	}
	return args[1], args[2:]
}

func base(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return filepath.Base(args[0])
}

func ask(name string, args []string) error {
	a, err := power.Parse(name, args)
	if err != nil {
		return err
	}
	return power.Ask(a)
}

func publishReport(ctx context.Context, log io.Writer) error {
	if !guestinfo.VMware() {
		<-ctx.Done()
		return nil
	}
	return publish.Publisher{File: report.Path, Set: guestinfo.Set, Log: log}.Run(ctx)
}
