package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

func (s system) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "show what reconcile would do, why, and what data is at risk; changes nothing",
		Description: "Exit code 0: nothing to do. 2: changes pending. 3: something is refused.\n" +
			"While the spec says suspend = true it shows what would be done, and that nothing is (R13).",
		Flags: []cli.Flag{
			fleetFlag(), targetFlag(), brakeFlag(),
			&cli.StringFlag{Name: "out", Usage: "write the plan into `FILE` for lkv reconcile --plan, which then does that and nothing else"},
		},
		Action: func(c *cli.Context) error {
			doc, saved, err := s.plan(c)
			if err != nil {
				return err
			}
			if given(c, "json") {
				err = s.printJSON(doc)
			} else {
				err = doc.Write(s.Stdout, s.style())
			}
			if err == nil && c.String("out") != "" {
				err = s.savePlan(c.String("out"), saved, len(doc.Fleets))
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

func (s system) plan(c *cli.Context) (doc ui.PlanDoc, saved savedPlans, err error) {
	doc, saved = ui.NewPlanDoc(), newSavedPlans(c, s.Now())
	err = s.eachFleet(c, false, func(t target) error {
		if t.blocked != nil {
			doc.Add(t.desired, plan.Observed{}, plan.Plan{Blocked: slices.Concat(t.blocked, t.still)})
			return nil
		}
		have, err := t.look(c.Context)
		if err != nil {
			return fmt.Errorf("look at fleet %s: %w", t.desired.Fleet, err)
		}
		now := s.Now()
		p := plan.Compute(t.desired, have, now)
		if err := plan.Check(p, have); err != nil {
			return fmt.Errorf("a defect of lkv: %w", err)
		}
		shown := p
		shown.Blocked = slices.Concat(p.Blocked, t.still)
		doc.Add(t.desired, have, shown)
		if have.Problem != "" {
			return nil
		}
		one, err := reconcile.Save(t.desired, have, p, now)
		saved.Fleets = append(saved.Fleets, one)
		return err
	})
	return doc, saved, err
}

// suspended refuses everything while the spec says suspend = true.
func suspended(by specs.Pos) plan.Blocked {
	return plan.Blocked{Code: plan.R13, Reason: "suspended by " + by.String(), Clear: "remove suspend = true"}
}

// visit is one fleet of a command that looks at several.
type visit struct {
	target
	x     *sessions
	fleet specs.Fleet
	wrong error // what a decision found to be wrong usage
}

// eachFleet connects and calls do for every fleet that is asked for, one after the other. With alone set, nobody else
// does so with this spec on this machine at the same time.
func (s system) eachFleet(c *cli.Context, alone bool, do func(target) error) error {
	return s.visitFleets(c, alone, fleets, func(x *sessions, f specs.Fleet) error {
		t, err := x.target(c.Context, f)
		if err != nil {
			return err
		}
		t.desired.Targets, t.desired.Rollout.NoBrake = texts(c, "target"), given(c, "ignore-brake")
		if r := x.spec.Reconcile; r.Suspend {
			t.still = []plan.Blocked{suspended(r.Pos)}
		}
		return do(t)
	})
}

// eachPlanned is eachFleet for the fleets and bounds of a plan file; nil: those of the flags.
func (s system) eachPlanned(c *cli.Context, p *savedPlans, do func(target) error) error {
	if p == nil {
		return s.eachFleet(c, true, do)
	}
	return s.visitFleets(c, true, p.fleets, func(x *sessions, f specs.Fleet) error {
		t, err := x.target(c.Context, f)
		if err != nil {
			return err
		}
		t.desired.Targets, t.desired.Rollout.NoBrake = p.Targets, p.IgnoreBrake
		return do(t)
	})
}

// eachOwn is eachFleet for what people do to VMs whatever image they should run: nothing is read from a store. A fleet
// that cannot be looked at is there, too, and blocked.
func (s system) eachOwn(c *cli.Context, alone bool, do func(visit) error) error {
	return s.visitFleets(c, alone, fleets, func(x *sessions, f specs.Fleet) error {
		t, err := x.members(c.Context, f)
		if err != nil {
			t, err = refusedTarget(f, err)
		}
		if err != nil {
			return err
		}
		return do(visit{target: t, x: x, fleet: f})
	})
}

func (s system) visitFleets(c *cli.Context, alone bool, choose func(*cli.Context, specs.Spec) ([]specs.Fleet, error), do func(*sessions, specs.Fleet) error) (err error) {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	chosen, err := choose(c, spec)
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
	if err := x.checkTargets(c.Context, texts(c, "target"), chosen); err != nil {
		return refusalOf(err)
	}
	for _, f := range chosen {
		if err := do(x, f); err != nil {
			return refusalOf(err)
		}
	}
	return nil
}

func fleetFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "fleet", Usage: "only the fleet `NAME`; may be repeated"}
}

func targetFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "target", Usage: "begin nothing but with the VM `NAME`, wanted or not wanted any more; may be repeated. What was begun on others is still finished"}
}

func brakeFlag() cli.Flag {
	return &cli.BoolFlag{Name: "ignore-brake", Usage: "go on although many VMs do not serve (R12): you have looked and know why"}
}

// newSavedPlans returns an empty plan file that remembers what bounds the plan.
func newSavedPlans(c *cli.Context, now time.Time) savedPlans {
	return savedPlans{Format: savedPlansFormat, Made: now.UTC(), Targets: texts(c, "target"), IgnoreBrake: given(c, "ignore-brake"), Fleets: []reconcile.Saved{}}
}
