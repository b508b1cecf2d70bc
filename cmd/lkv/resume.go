package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile"
)

func (s system) resumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "let a fleet go again that stands still because a roll failed",
		Description: "Look at the VM that failed first. This only clears the failure in its record; power, ISO and disks stay as\n" +
			"they are, and the next reconcile judges the VM by whether it serves.\n" +
			"Exit code 0: nothing holds the fleet up any more. 3: a VM was left alone, for example because another run holds it.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "fleet", Usage: "the fleet `NAME`; may be repeated"},
		},
		Action: s.resume,
	}
}

func (s system) resume(c *cli.Context) error {
	if len(texts(c, "fleet")) == 0 {
		return usagef("name the fleet: lkv resume --fleet NAME")
	}
	list := []reconcile.Resumed{}
	err := s.eachFleet(c, true, func(t target) error {
		if t.blocked != nil {
			list = append(list, reconcile.Resumed{Fleet: t.desired.Fleet, Cleared: []reconcile.Cleared{}, Blocked: t.blocked, Failures: []reconcile.Failure{}})
			return nil
		}
		res, err := reconcile.Resume(c.Context, reconcile.Options{Desired: t.desired, Observer: t.fleet, Executor: t.fleet, Clock: clock{s.Now}})
		list = append(list, res)
		if err != nil {
			return fmt.Errorf("resume fleet %s: %w", t.desired.Fleet, err)
		}
		return nil
	})
	switch {
	case err != nil && len(list) == 0:
		return err
	case given(c, "json"):
		err = errors.Join(err, s.printJSON(map[string][]reconcile.Resumed{"fleets": list}))
	default:
		err = errors.Join(err, s.showResumed(list))
	}
	if err != nil {
		return err
	}
	return resumedCode(list)
}

// showResumed prints for people what was cleared, also when the command ends early.
func (s system) showResumed(list []reconcile.Resumed) error {
	style, text := s.style(), ""
	for _, r := range list {
		name := style.Bold("fleet " + r.Fleet)
		switch {
		case len(r.Blocked)+len(r.Failures) > 0:
			text += fmt.Sprintf("%s: %s\n", name, style.Bad("still stands still"))
		case len(r.Cleared) == 0:
			text += fmt.Sprintf("%s: nothing holds it up\n", name)
		default:
			text += fmt.Sprintf("%s: %s with the next lkv reconcile\n", name, style.Good("goes on"))
		}
		for _, v := range r.Cleared {
			text += fmt.Sprintf("  %s  cleared: %s\n", style.Bold(v.VM), v.Reason)
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
