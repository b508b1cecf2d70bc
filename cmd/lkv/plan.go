package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile/plan"
)

func (s system) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "show what reconcile would do, why, and what data is at risk; changes nothing",
		Description: "Exit code 0: nothing to do. 2: changes pending. 3: something is refused.",
		Flags:       []cli.Flag{fleetFlag()},
		Action: func(c *cli.Context) error {
			doc, err := s.plan(c)
			if err != nil {
				return err
			}
			if given(c, "json") {
				err = s.printJSON(doc)
			} else {
				err = doc.Write(s.Stdout, s.style())
			}
			switch {
			case err != nil:
				return err
			case doc.Refused():
				return &exit{code: exitRefused}
			case doc.Pending():
				return &exit{code: exitPending}
			}
			return nil
		},
	}
}

func (s system) plan(c *cli.Context) (doc ui.PlanDoc, err error) {
	doc = ui.PlanDoc{Format: ui.PlanFormat, Fleets: []ui.FleetPlan{}}
	err = s.eachFleet(c, false, func(t target) error {
		if t.blocked != nil {
			doc.Add(t.desired.Fleet, plan.Plan{Blocked: t.blocked}, plan.Observed{})
			return nil
		}
		have, err := t.look(c.Context)
		if err != nil {
			return fmt.Errorf("look at fleet %s: %w", t.desired.Fleet, err)
		}
		p := plan.Compute(t.desired, have, s.Now())
		if err := plan.Check(p, have); err != nil {
			return fmt.Errorf("a defect of lkv: %w", err)
		}
		doc.Add(t.desired.Fleet, p, have)
		return nil
	})
	return doc, err
}

// eachFleet connects and calls do for every fleet that is asked for, one after the other. With alone set, nobody else
// does so with this spec on this machine at the same time.
func (s system) eachFleet(c *cli.Context, alone bool, do func(target) error) (err error) {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	chosen, err := fleets(c, spec)
	if err != nil {
		return err
	}
	log := s.logger(c)
	id, err := s.identify(c, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, id.close()) }()
	if alone {
		if err := id.lock(); err != nil {
			return err
		}
	}
	x := s.sessions(spec, log)
	defer func() { err = errors.Join(err, x.close(c.Context)) }()
	if x.who, err = id.name(s); err != nil {
		return err
	}
	if x.fetch, err = s.fetcher(c, spec, alone); err != nil {
		return err
	}
	for _, f := range chosen {
		t, err := x.target(c.Context, f)
		if err != nil {
			return err
		}
		if err := do(t); err != nil {
			return err
		}
	}
	return nil
}

func fleetFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "fleet", Usage: "only the fleet `NAME`; may be repeated"}
}
