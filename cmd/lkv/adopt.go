package main

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

func (s system) adoptCommand() *cli.Command {
	return &cli.Command{
		Name: "adopt", Usage: "give an existing VM to a fleet; it runs on untouched until the next lkv reconcile",
		Description: "The VM gets the name of its place, an owner key and a record. Power, ISO, size and disks stay. Look at lkv plan\n" +
			"before the next reconcile: it rolls the VM onto the fleet's image. Every disk of the VM must be one of the fleet's.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "vm", Usage: "`NAME` of the VM in vCenter"},
			&cli.StringFlag{Name: "fleet", Usage: "the fleet `NAME`"},
			&cli.IntFlag{Name: "ordinal", Usage: "its place `NUMBER` in the fleet, from 1"},
			&cli.StringSliceFlag{Name: "disk", Usage: "which attached disk is which of the fleet's, `NAME=UUID` or NAME=PATH; not needed for a single one"},
			journalFlag(),
		},
		Action: s.adopt,
	}
}

func (s system) adopt(c *cli.Context) error {
	a := plan.Adoption{VM: c.String("vm"), Ordinal: c.Int("ordinal"), Disks: map[string]string{}}
	if a.VM == "" || c.String("fleet") == "" || a.Ordinal < 1 {
		return usagef("say which VM gets which place: lkv adopt --vm NAME --fleet NAME --ordinal NUMBER")
	}
	for _, kv := range texts(c, "disk") {
		name, id, ok := strings.Cut(kv, "=")
		if !ok || name == "" || id == "" || a.Disks[name] != "" {
			return usagef("--disk %s: write NAME=UUID, each name once", kv)
		}
		a.Disks[name] = id
	}
	return s.one(c, wording{done: "has one VM more; look at lkv plan", nothing: "nothing to do", not: "adopted nothing", each: "adopted"}, func(v *visit) reconcile.Decision {
		want := v.desired // without the stranger, who is only looked at
		i := slices.IndexFunc(want.VMs, func(w plan.WantVM) bool { return w.Ordinal == a.Ordinal })
		if i >= 0 && want.VMs[i].Name != a.VM {
			stranger := want.VMs[i]
			stranger.Name, stranger.Ordinal = a.VM, 0
			v.desired.VMs = append(slices.Clone(want.VMs), stranger)
		}
		return func(_ plan.Desired, have plan.Observed, _ time.Time) plan.Request {
			if have.Problem == "" && !slices.ContainsFunc(have.VMs, func(x plan.VM) bool { return x.Name == a.VM }) {
				v.wrong = usagef("--vm %s: the vCenters of fleet %s show no such VM", a.VM, want.Fleet)
				return plan.Request{}
			}
			if i >= 0 && len(a.Disks) == 0 {
				a.Disks = single(want.VMs[i], have, a.VM)
			}
			return plan.AdoptVM(want, have, a)
		}
	})
}

// single maps the fleet's only disk to the VM's only disk, when that is how it is.
func single(w plan.WantVM, have plan.Observed, vm string) map[string]string {
	i := slices.IndexFunc(have.VMs, func(v plan.VM) bool { return v.Name == vm })
	if i < 0 || len(w.Disks) != 1 || len(have.VMs[i].Disks) != 1 {
		return nil
	}
	return map[string]string{w.Disks[0].Name: have.VMs[i].Disks[0].Path}
}

func (s system) forgetCommand() *cli.Command {
	return &cli.Command{
		Name: "forget", Usage: "take a VM out of lkv's hands; it stays as it is, and runs on",
		Description: "Owner key and record go; name, power, ISO and disks stay. As long as the fleet wants a VM of this\n" +
			"name, reconcile then refuses that place (R22): make the fleet smaller, rename the VM, or adopt it again.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "vm", Usage: "`NAME` of the VM"},
			&cli.StringFlag{Name: "fleet", Usage: "the fleet `NAME`"},
			journalFlag(),
		},
		Action: func(c *cli.Context) error {
			vm := c.String("vm")
			if vm == "" || c.String("fleet") == "" {
				return usagef("say which VM of which fleet: lkv forget --vm NAME --fleet NAME")
			}
			return s.one(c, wording{done: "has one VM less", nothing: "nothing to do", not: "forgot nothing", each: "forgotten"}, func(*visit) reconcile.Decision {
				return func(want plan.Desired, have plan.Observed, now time.Time) plan.Request {
					return plan.ForgetVM(want, have, vm, now)
				}
			})
		},
	}
}

// one carries out a decision about the one fleet that --fleet names.
func (s system) one(c *cli.Context, say wording, decide func(*visit) reconcile.Decision) error {
	list := []reconcile.Resumed{}
	err := s.withJournal(c, func(j *runJournal) error {
		return s.visitFleets(c, true, oneFleet, func(x *sessions, f specs.Fleet) error {
			t, err := x.members(c.Context, f)
			if err != nil {
				return err
			}
			v := visit{target: t, x: x, fleet: f}
			decision := decide(&v)
			res, err := s.act(c, v, j, decision)
			if v.wrong != nil {
				return v.wrong
			}
			list = append(list, res)
			return err
		})
	})
	return s.printResumed(c, list, say, err)
}

// oneFleet returns the fleet that --fleet, which is no list here, names.
func oneFleet(c *cli.Context, spec specs.Spec) ([]specs.Fleet, error) {
	known := make([]string, len(spec.Fleets))
	for i, f := range spec.Fleets {
		known[i] = f.Name
	}
	i := slices.Index(known, c.String("fleet"))
	if i < 0 {
		return nil, usagef("--fleet %s: the spec has no such fleet%s", c.String("fleet"), suggestion(c.String("fleet"), known))
	}
	return spec.Fleets[i : i+1], nil
}
