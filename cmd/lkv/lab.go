package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/ui"
)

func (s system) labCommand() *cli.Command {
	dir := func() cli.Flag {
		return &cli.StringFlag{Name: "dir", Value: "lab", Usage: "`DIR` of datastores, logs and certificates"}
	}
	return &cli.Command{
		Name: "lab", Usage: "a vCenter on this machine whose VMs are real QEMU machines",
		Subcommands: []*cli.Command{
			{
				Name: "up", Usage: "start a lab, print the environment to use it with, and run until SIGINT or SIGTERM",
				Description: "Two datacenters DC1 and DC2, each with a cluster C1 and the datastores iso-nfs, vm-1 and vm-2.\n" +
					"Its files stay in the directory; the VMs do not survive it.",
				Flags: []cli.Flag{
					dir(),
					&cli.IntFlag{Name: "hosts", Value: 3, Usage: "`NUMBER` of hosts per cluster"},
					&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "`ADDRESS` of the SDK, on this machine only"},
					&cli.BoolFlag{Name: "paper", Usage: "VMs only keep state; nothing boots"},
				},
				Action: s.labUp,
			},
			{Name: "down", Usage: "end a lab that runs", Flags: []cli.Flag{dir()}, Action: s.labDown},
			{Name: "env", Usage: "print the environment to use a lab with", Flags: []cli.Flag{dir()}, Action: s.labEnv},
			{Name: "list", Usage: "list the VMs of a lab", Flags: []cli.Flag{dir()}, Action: s.labList},
			{
				Name: "forward", Usage: "make a VM's TCP port reachable on this machine, as long as the lab runs; prints the address",
				Flags: []cli.Flag{
					dir(),
					&cli.StringFlag{Name: "vm", Usage: "`NAME` of the VM"},
					&cli.IntFlag{Name: "port", Value: 22, Usage: "`PORT` of the VM"},
				},
				Action: s.labForward,
			},
		},
	}
}

func (s system) labUp(c *cli.Context) error {
	if n := c.Int("hosts"); n < 1 || n > 100 {
		return usagef("--hosts %d: write a number from 1 to 100", n)
	}
	if addr, err := netip.ParseAddrPort(c.String("listen")); err != nil || !addr.Addr().IsLoopback() {
		return usagef("--listen %s: write a loopback address with a port, for example 127.0.0.1:8989: a lab lets everybody in", c.String("listen"))
	}
	cfg := lab.Config{Dir: c.String("dir"), Datacenters: lab.DefaultDatacenters(c.Int("hosts")), Listen: c.String("listen"), Driver: lab.Paper{}}
	if !given(c, "paper") {
		if _, err := exec.LookPath(qemu.Binary); err != nil {
			return fmt.Errorf("%w: install it with: apt-get install %s ovmf; or use --paper", err, qemu.Package)
		}
		cfg.Driver = lab.QEMU{}
	}
	if given(c, "verbose") {
		cfg.Log = s.Stderr
	}
	l, err := lab.Start(c.Context, cfg)
	if err != nil {
		return err
	}
	if err := s.printEnv(c, l.Env()); err != nil {
		return errors.Join(err, l.Close())
	}
	s.note("the lab runs; end it with Ctrl-C or lkv lab down --dir %s\n", c.String("dir"))
	<-c.Done()
	return errors.Join(context.Cause(c.Context), l.Close())
}

// printEnv prints variables for a shell, or as JSON.
func (s system) printEnv(c *cli.Context, env map[string]string) error {
	if given(c, "json") {
		return s.printJSON(env)
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if _, err := fmt.Fprintf(s.Stdout, "export %s='%s'\n", k, strings.ReplaceAll(env[k], "'", `'\''`)); err != nil {
			return err
		}
	}
	return nil
}

// downWait is how long a lab may take to end its machines.
const downWait = 30 * time.Second

func (s system) labDown(c *cli.Context) error {
	l, err := lab.Dial(c.Context, c.String("dir"))
	if err != nil {
		return err
	}
	if err := unix.Kill(l.PID(), unix.SIGTERM); err != nil {
		return fmt.Errorf("end lab: %w", err)
	}
	ctx, cancel := context.WithTimeout(c.Context, downWait)
	defer cancel()
	for clock := (clock{s.Now}); ; {
		if _, err := lab.Dial(ctx, c.String("dir")); err != nil {
			break
		}
		if clock.Sleep(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("the lab (process %d) still runs after %s", l.PID(), downWait)
		}
	}
	_, err = fmt.Fprintf(s.Stdout, "the lab has ended; its files are in %s\n", filepath.Clean(c.String("dir")))
	return err
}

func (s system) labEnv(c *cli.Context) error {
	l, err := lab.Dial(c.Context, c.String("dir"))
	if err != nil {
		return err
	}
	return s.printEnv(c, l.Env())
}

func (s system) labList(c *cli.Context) error {
	l, err := lab.Dial(c.Context, c.String("dir"))
	if err != nil {
		return err
	}
	vms, err := l.VMs(c.Context)
	if err != nil {
		return err
	}
	if given(c, "json") {
		return s.printJSON(map[string][]lab.VM{"vms": append([]lab.VM{}, vms...)})
	}
	var rows [][]string
	for _, v := range vms {
		rows = append(rows, []string{v.Name, v.Datacenter, v.Host, string(v.Power), v.IP, fmt.Sprint(v.Boots), v.Serial})
	}
	return ui.Table(s.Stdout, s.style(), []string{"VM", "DATACENTER", "HOST", "POWER", "IP", "BOOTS", "CONSOLE LOG"}, rows)
}

func (s system) labForward(c *cli.Context) error {
	if c.String("vm") == "" {
		return usagef("name the VM: lkv lab forward --vm NAME --port 22")
	}
	l, err := lab.Dial(c.Context, c.String("dir"))
	if err != nil {
		return err
	}
	addr, err := l.Forward(c.Context, c.String("vm"), c.Int("port"))
	if err != nil {
		return err
	}
	if given(c, "json") {
		return s.printJSON(map[string]string{"address": addr})
	}
	_, err = fmt.Fprintln(s.Stdout, addr)
	return err
}
