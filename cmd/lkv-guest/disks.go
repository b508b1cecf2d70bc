package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/guestinfo"
	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"github.com/lkv-io/lkv/cmd/lkv-guest/persist"
	"github.com/lkv-io/lkv/internal/report"
)

// errUsage is wrapped by errors about flags.
var errUsage = errors.New("wrong usage")

// settle is how long no further disk may appear before a blank one is formatted. Scanning a controller takes less.
const settle = 5 * time.Second

func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(0))
	}
	return nil
}

// mountDisk is "lkv-guest persist".
func mountDisk(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("persist", flag.ContinueOnError)
	mount := fs.String("mount", "", "")
	label := fs.String("label", "", "")
	id := fs.String("disk-uuid", "", "")
	filesystem := fs.String("filesystem", "ext4", "")
	options := fs.String("options", "noatime", "")
	timeout := fs.Duration("timeout", 30*time.Second, "")
	if err := parse(fs, args); err != nil {
		return err
	}
	p := persist.Persist{
		Want:  persist.Want{Label: *label, DiskUUID: persist.Normalize(*id), Filesystem: *filesystem},
		Mount: *mount, Options: strings.Split(*options, ","), Timeout: *timeout, Settle: settle,
		Sys: "/sys", Dev: "/dev", Reports: report.DisksDir, Log: stdout, Run: persist.Exec,
	}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	d, err := p.Ensure(ctx)
	if err != nil {
		return err
	}
	prove(d.Mount, stdout)
	_, err = fmt.Fprintf(stdout, "%s is on %s, %s %s, %d MiB\n", d.Mount, d.Device, d.Filesystem, d.UUID, d.Size>>20)
	return err
}

// checkMount is "lkv-guest gate".
func checkMount(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("gate", flag.ContinueOnError)
	mount := fs.String("mount", "", "")
	label := fs.String("label", "", "")
	if err := parse(fs, args); err != nil {
		return err
	}
	mounts, err := mountinfo.Read("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	g := persist.Gate{Mount: *mount, Label: *label, Sys: "/sys", Dev: "/dev", Reports: report.DisksDir}
	d, err := g.Check(mounts)
	if err != nil {
		return err
	}
	prove(d.Mount, stdout)
	_, err = fmt.Fprintf(stdout, "%s is on %s (%s)\n", d.Mount, d.Device, d.Filesystem)
	return err
}

// prove answers lkv prove; without its key nothing happens. A proof that fails is not a disk that fails: the boot goes on.
func prove(mount string, stdout io.Writer) {
	if nonce, ok := guestinfo.Get(report.ProveKey); ok {
		_, _ = fmt.Fprintln(stdout, persist.Prove(mount, nonce)) // whoever asked reads the console, and sees nothing there
	}
}
