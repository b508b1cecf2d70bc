package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

// members is target without the stores: who the VMs of a fleet are, whatever image they should run. Every datastore is
// looked at, because people ask about disks that no VM has.
func (x *sessions) members(ctx context.Context, f specs.Fleet) (target, error) {
	pick := func(p specs.Placement, datastore string, what reconcile.Load) (string, error) {
		return x.datastore(ctx, f.Name, p, datastore, what)
	}
	want, err := reconcile.DesiredOf(x.spec, f, reconcile.Facts{Digest: f.Digest}, x.who, pick)
	if err != nil {
		return target{}, err
	}
	fleet, err := x.managed(ctx, f, vsphere.FleetConfig{Now: x.s.Now, AllFiles: true})
	if err != nil {
		return target{}, err
	}
	return target{desired: want, fleet: fleet}, nil
}

// act carries out a decision about one fleet, under a journal.
func (s system) act(c *cli.Context, v visit, j *runJournal, decide reconcile.Decision) (reconcile.Resumed, error) {
	if v.blocked != nil {
		return reconcile.Resumed{Fleet: v.desired.Fleet, Cleared: []reconcile.Cleared{}, Blocked: v.blocked, Failures: []reconcile.Failure{}}, nil
	}
	if err := j.begin(v.target); err != nil {
		return reconcile.Resumed{Fleet: v.desired.Fleet}, err
	}
	opt := reconcile.Options{Desired: v.desired, Observer: v.target.fleet, Executor: v.target.fleet, Clock: clock{s.Now}}
	res, err := reconcile.Act(c.Context, opt, decide)
	if err != nil {
		return res, fmt.Errorf("%s fleet %s: %w", c.Command.Name, v.desired.Fleet, err)
	}
	return res, nil
}

// decided carries out a decision about every fleet that is asked for, and prints what came of it.
func (s system) decided(c *cli.Context, alone bool, say wording, decide reconcile.Decision) error {
	list := []reconcile.Resumed{}
	err := s.withJournal(c, func(j *runJournal) error {
		return s.eachOwn(c, alone, func(v visit) error {
			res, err := s.act(c, v, j, decide)
			list = append(list, res)
			return err
		})
	})
	return s.printResumed(c, list, say, err)
}

// wording is how a decision is shown to people.
type wording struct {
	done    string // of a fleet: what holds when everything was done
	nothing string // of a fleet: there was nothing to do
	not     string // of a fleet: something was not done
	each    string // of a VM: what was done
}

// printResumed prints what was done, also when the command ends early, and chooses the exit code.
func (s system) printResumed(c *cli.Context, list []reconcile.Resumed, say wording, err error) error {
	switch {
	case err != nil && len(list) == 0:
		return err
	case given(c, "json"):
		err = errors.Join(err, s.printJSON(map[string][]reconcile.Resumed{"fleets": list}))
	default:
		err = errors.Join(err, s.showResumed(list, say))
	}
	if err != nil {
		return err
	}
	return resumedCode(list)
}

// showResumed prints for people what was done.
func (s system) showResumed(list []reconcile.Resumed, say wording) error {
	style, text := s.style(), ""
	for _, r := range list {
		name := style.Bold("fleet " + r.Fleet)
		switch {
		case len(r.Blocked)+len(r.Failures) > 0:
			text += fmt.Sprintf("%s: %s\n", name, style.Bad(say.not))
		case len(r.Cleared) == 0:
			text += fmt.Sprintf("%s: %s\n", name, say.nothing)
		default:
			text += fmt.Sprintf("%s: %s\n", name, style.Good(say.done))
		}
		for _, v := range r.Cleared {
			text += fmt.Sprintf("  %s  %s: %s\n", style.Bold(v.VM), say.each, v.Reason)
		}
		for _, f := range r.Failures {
			text += fmt.Sprintf("  %s  %s %s: %s\n", style.Bold(f.VM), style.Bad("failed at"), f.Step, f.Why)
		}
		for _, b := range r.Blocked {
			text += "  " + b.Error() + "\n"
		}
	}
	_, err := fmt.Fprint(s.Stdout, text)
	return err
}

// resumedCode is the exit code of several fleets: the worst counts.
func resumedCode(list []reconcile.Resumed) error {
	code := exitOK
	for _, r := range list {
		switch {
		case len(r.Failures) > 0:
			return &exit{code: exitError}
		case len(r.Blocked) > 0:
			code = exitRefused
		}
	}
	if code == exitOK {
		return nil
	}
	return &exit{code: code}
}
