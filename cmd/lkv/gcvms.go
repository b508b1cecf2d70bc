package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// retiredVM is one retired VM in the JSON of gc.
type retiredVM struct {
	Fleet   string    `json:"fleet"`
	VM      string    `json:"vm"`
	Removed bool      `json:"removed"` // or would be, in a dry run
	Orphans []string  `json:"orphans"` // paths of its data disks, which stay as files that no VM has
	Why     string    `json:"why"`     // why it is kept
	Until   time.Time `json:"until,omitzero"`
	Code    string    `json:"code,omitempty"` // of a refusal

	failed bool // a call did not succeed; the next gc goes on
}

// cleanVMs removes the retired VMs of every fleet whose time is over.
func (s system) cleanVMs(c *cli.Context, dry bool) (list []retiredVM, err error) {
	list = []retiredVM{}
	err = s.eachOwn(c, !dry, func(v visit) error {
		ttl := v.fleet.Rollout.RetireTTL
		if c.IsSet("older-than") {
			ttl = c.Duration("older-than")
		}
		var asks plan.Request
		decide := func(want plan.Desired, have plan.Observed, now time.Time) plan.Request {
			asks = plan.Collect(want, have, now, ttl)
			return asks
		}
		var res reconcile.Resumed
		switch {
		case v.blocked != nil:
			res.Blocked = v.blocked
		case dry:
			have, err := v.target.fleet.Observe(c.Context, v.desired)
			if err != nil {
				return fmt.Errorf("look at fleet %s: %w", v.desired.Fleet, err)
			}
			res.Blocked = decide(v.desired, have, s.Now()).Blocked
			for _, r := range asks.Rolls {
				res.Cleared = append(res.Cleared, reconcile.Cleared{VM: r.VM, Reason: r.Reason})
			}
		default:
			if res, err = s.act(c, v, s.journal, decide); err != nil {
				return err
			}
		}
		list = append(list, cleaned(v.desired.Fleet, asks, res)...)
		return nil
	})
	return list, err
}

// cleaned lists what came of each retired VM.
func cleaned(fleet string, asks plan.Request, res reconcile.Resumed) []retiredVM {
	var list []retiredVM
	for _, x := range res.Cleared {
		one := retiredVM{Fleet: fleet, VM: x.VM, Removed: true, Orphans: []string{}}
		for _, r := range asks.Rolls {
			for _, s := range r.Steps {
				if d, ok := s.(plan.DetachDisk); ok && r.VM == x.VM {
					one.Orphans = append(one.Orphans, d.Disk.Path)
				}
			}
		}
		list = append(list, one)
	}
	for _, l := range asks.Later {
		list = append(list, retiredVM{Fleet: fleet, VM: l.VM, Orphans: []string{}, Why: l.Reason, Until: l.Until})
	}
	for _, b := range res.Blocked {
		list = append(list, retiredVM{Fleet: fleet, VM: b.VM, Orphans: []string{}, Why: b.Error(), Code: string(b.Code)})
	}
	for _, f := range res.Failures {
		list = append(list, retiredVM{Fleet: fleet, VM: f.VM, Orphans: []string{}, Why: fmt.Sprintf("%s failed: %s", f.Step, f.Why), failed: true})
	}
	return list
}

// printRetired prints for people what came of retired VMs.
func (s system) printRetired(d gcDoc, word string) error {
	var rows [][]string
	orphans := 0
	for _, v := range d.VMs {
		what := "kept: " + v.Why
		if !v.Until.IsZero() {
			what += ", until " + v.Until.UTC().Format("2006-01-02 15:04Z")
		}
		if v.Removed {
			what, orphans = word, orphans+len(v.Orphans)
		}
		rows = append(rows, []string{v.Fleet, v.VM, strings.Join(v.Orphans, ", "), what})
	}
	if len(rows) == 0 && d.onlyVMs {
		_, err := fmt.Fprintln(s.Stdout, "no VM is retired")
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	if err := ui.Table(s.Stdout, s.style(), []string{"FLEET", "VM", "DISKS THAT STAY", "WHAT"}, rows); err != nil {
		return err
	}
	if orphans == 0 {
		return nil
	}
	_, err := fmt.Fprintf(s.Stdout, "%s left without a VM: lkv disks list --orphans\n", count(orphans, "data disk"))
	return err
}
