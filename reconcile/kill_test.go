package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// mutant is a part of lkv that is broken on purpose.
type mutant struct {
	name     string
	scenario string
	steps    func(r plan.Roll) []plan.Step                   // a planner that plans other steps
	plan     func(p plan.Plan) plan.Plan                     // or other waves
	look     func(o plan.Observed, who string) plan.Observed // or does not see what stands there
	options  func(o *Options, w *world, r *run)              // an engine, executor, observer or drainer that is
	before   func(w *world)                                  // what must be there for it to show
}

// mutants are the guards of a roll, each broken once.
var mutants = []mutant{
	{name: "drain skipped", scenario: "drain", steps: without[plan.Drain]},
	{name: "restore skipped", scenario: "drain", steps: without[plan.Restore]},
	{name: "swap while on", scenario: "in-place", steps: without[plan.Shutdown]},
	{name: "no claim", scenario: "pause", steps: without[plan.Claim]},
	{name: "epoch not raised", scenario: "canary", steps: each(func(s plan.Step) plan.Step {
		if c, ok := s.(plan.Claim); ok {
			c.Epoch--
			return c
		}
		return s
	})},
	{name: "started without its disk", scenario: "in-place", steps: without[plan.AttachDisk]},
	{name: "attached before it is detached", scenario: "hand-over", steps: first[plan.AttachDisk, plan.DetachDisk]},
	{name: "detached and written nowhere", scenario: "hand-over", steps: each(func(s plan.Step) plan.Step {
		if c, ok := s.(plan.CreateVM); ok {
			c.Record.Takes = nil
			return c
		}
		return s
	})},
	{name: "detached while on", scenario: "hand-over", steps: without[plan.Shutdown]},
	{name: "retired before its successor serves", scenario: "fresh", steps: first[plan.Retire, plan.PowerOn]},
	{name: "blue down before green serves", scenario: "fresh", steps: first[plan.Shutdown, plan.AwaitReady]},
	{name: "disk made in an old place", scenario: "fresh", steps: each(func(s plan.Step) plan.Step {
		if c, ok := s.(plan.CreateDisk); ok {
			c.Path = strings.Replace(c.Path, "-g1", "", 1)
			c.Disk.Bytes++
			return c
		}
		return s
	})},
	{name: "swap forgets the disks", scenario: "drain", steps: each(func(s plan.Step) plan.Step {
		if c, ok := s.(plan.InsertISO); ok {
			c.Record.Disks = nil
			return c
		}
		return s
	})},
	{name: "all at once", scenario: "drain", plan: func(p plan.Plan) plan.Plan {
		var all plan.Wave
		for _, w := range p.Waves {
			all.Rolls = append(all.Rolls, w.Rolls...)
		}
		if len(all.Rolls) > 0 {
			p.Waves = []plan.Wave{all}
		}
		return p
	}},
	{name: "others' claims ignored", scenario: "drain", before: func(w *world) { w.claim("somebody", time.Now().Add(time.Hour)) },
		look: func(o plan.Observed, who string) plan.Observed {
			o = o.Clone()
			for i := range o.VMs {
				if r := &o.VMs[i].Record; r.Owner != who {
					r.Owner, r.Started = "", time.Time{}
				}
			}
			return o
		}},
	{name: "failures ignored", scenario: "drain", before: func(w *world) { w.vm("wrk-01").Record.Failed = "not ready" },
		look: func(o plan.Observed, _ string) plan.Observed {
			o = o.Clone()
			for i := range o.VMs {
				o.VMs[i].Record.Failed = ""
			}
			return o
		}},
	{name: "pause ignored", scenario: "drain", before: func(w *world) { w.vm("wrk-02").Record.Paused = true },
		look: func(o plan.Observed, _ string) plan.Observed {
			o = o.Clone()
			for i := range o.VMs {
				o.VMs[i].Record.Paused = false
			}
			return o
		}},
	{name: "partial look believed", scenario: "in-place", before: func(w *world) {
		w.badLook = func(int) (plan.Observed, error, bool) {
			return plan.Observed{Problem: "half of vCenter is away", Made: []string{"lkv-disks/workers/wrk-03-docker.vmdk"}}, nil, true
		}
	}, look: func(o plan.Observed, _ string) plan.Observed { o.Problem, o.Made = "", nil; return o }},
	{name: "gate passes too early", scenario: "drain", options: func(o *Options, _ *world, _ *run) { o.Desired.Rollout.Settle = 0 }},
	{name: "guest believed before it speaks", scenario: "drain", options: func(o *Options, w *world, r *run) { o.Observer, o.Watcher = liar{r, w}, nil }},
	{name: "drainer does nothing", scenario: "drain", options: func(o *Options, _ *world, _ *run) { o.Drainer = idle{} }},
	{name: "failure not written down", scenario: "pause", options: func(o *Options, _ *world, r *run) { o.Executor = deaf[plan.Fail]{r} }},
	{name: "claims not renewed", scenario: "drain", options: func(o *Options, w *world, r *run) {
		w.want.Rollout.Settle, o.Desired.Rollout.Settle = 9*time.Minute, 9*time.Minute
		o.Executor = forgetful{r, map[string]bool{}}
	}},
	{name: "disown skipped", scenario: "hand-over", options: func(o *Options, _ *world, r *run) { o.Executor = deaf[plan.Disown]{r} }},
}

func without[S plan.Step](r plan.Roll) []plan.Step {
	return slices.DeleteFunc(slices.Clone(r.Steps), func(s plan.Step) bool { _, is := s.(S); return is })
}

func each(change func(plan.Step) plan.Step) func(plan.Roll) []plan.Step {
	return func(r plan.Roll) []plan.Step {
		var out []plan.Step
		for _, s := range r.Steps {
			out = append(out, change(s))
		}
		return out
	}
}

// first moves the first step of one kind right before the first of another.
func first[A, B plan.Step](r plan.Roll) []plan.Step {
	steps := slices.Clone(r.Steps)
	a := slices.IndexFunc(steps, func(s plan.Step) bool { _, is := s.(A); return is })
	b := slices.IndexFunc(steps, func(s plan.Step) bool { _, is := s.(B); return is })
	if a < 0 || b < 0 || a < b {
		return steps
	}
	s := steps[a]
	return slices.Insert(slices.Delete(steps, a, a+1), b, s)
}

// liar shows every VM that is on as ready at once.
type liar struct {
	*run
	w *world
}

func (l liar) Observe(ctx context.Context, d plan.Desired) (plan.Observed, error) {
	o, err := l.run.Observe(ctx, d)
	for i := range o.VMs {
		v := &o.VMs[i]
		if id := map[string]string{newISO: "sha256:new", oldISO: "sha256:old"}[v.ISO]; v.Power == plan.On {
			v.Guest = plan.Guest{Tools: true, Token: v.Record.Token, ImageID: id, State: "running"}
			for _, k := range v.Disks {
				v.Guest.Mounts = append(v.Guest.Mounts, plan.GuestMount{Path: "/var/lib/docker", Serial: plan.SerialOf(k.UUID)})
			}
		}
	}
	return o, err
}

// idle is a drainer that does nothing.
type idle struct{}

func (idle) Drain(context.Context, plan.VM, string, string) error { return nil }
func (idle) Restore(context.Context, plan.VM, string) error       { return nil }

// deaf says of one kind of step that it is done.
type deaf[S plan.Step] struct{ *run }

func (x deaf[S]) Execute(ctx context.Context, s plan.Step, d plan.Desired) error {
	if _, is := s.(S); is {
		return nil
	}
	return x.run.Execute(ctx, s, d)
}

// forgetful takes claims and does not renew them.
type forgetful struct {
	*run
	taken map[string]bool
}

func (x forgetful) Execute(ctx context.Context, s plan.Step, d plan.Desired) error {
	if c, is := s.(plan.Claim); is {
		key := fmt.Sprint(c.VM(), c.Epoch)
		if x.taken[key] {
			return nil
		}
		x.taken[key] = true
	}
	return x.run.Execute(ctx, s, d)
}

// verdicts says what notices a mutant.
type verdicts struct{ check, executor, invariant, end bool }

func (v verdicts) String() string {
	out := ""
	for _, c := range []bool{v.check, v.executor, v.invariant, v.end} {
		out += map[bool]string{true: "  killed", false: "       -"}[c]
	}
	return out
}

// TestKillTable breaks each guard on purpose, with Check and without, and asserts that something notices it each time:
// Check itself, the executor's own look, an invariant of the world, or an end that is not the clean run's.
func TestKillTable(t *testing.T) {
	table := []string{fmt.Sprintf("%-40s %s", "broken on purpose", "   check executor invariant end")}
	for _, m := range mutants {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == m.scenario })
		var v verdicts
		planner := m.steps != nil || m.plan != nil || m.look != nil
		if planner {
			v.check = m.run(t, scenarios[i], true).check
		}
		got := m.run(t, scenarios[i], false)
		got.check = v.check
		table = append(table, fmt.Sprintf("%-40s %s", m.name, got))
		if got == (verdicts{}) {
			t.Errorf("%s: nobody notices", m.name)
		}
	}
	t.Log("\n" + strings.Join(table, "\n"))
}

func (m mutant) run(t *testing.T, sc scenario, checked bool) (v verdicts) {
	golden, _, _ := sc.clean(t)
	synctest.Test(t, func(t *testing.T) {
		d, w := sc.make()
		d.Claimer = "a"
		if m.before != nil {
			m.before(w)
		}
		r := &run{w: w}
		o := options(d, r)
		if m.options != nil {
			m.options(&o, w, r)
		}
		o.MaxSteps, o.MaxDuration = 200, 3*time.Hour
		e, err := newEngine(o)
		if err != nil {
			t.Fatal(err)
		}
		e.compute = m.compute
		if !checked {
			e.check = func(plan.Plan, plan.Observed) error { return nil }
		}
		_, err = e.run(t.Context())
		v.check = checked && err != nil && strings.Contains(err.Error(), "a defect of lkv")
		v.executor = slices.ContainsFunc(w.log, func(l string) bool { return strings.Contains(l, "refused") || strings.Contains(l, errChanged.Error()) })
		v.invariant = len(w.broken) > 0 || len(w.quiet()) > 0
		v.end = gocmp.Diff(golden, end(w), cmpopts.EquateEmpty()) != ""
	})
	return v
}

func (m mutant) compute(d plan.Desired, o plan.Observed, now time.Time) plan.Plan {
	if m.look != nil {
		o = m.look(o, d.Claimer)
	}
	p := plan.Compute(d, o, now)
	if m.plan != nil {
		p = m.plan(p)
	}
	if m.steps == nil {
		return p
	}
	for i := range p.Waves {
		for j := range p.Waves[i].Rolls {
			r := &p.Waves[i].Rolls[j]
			r.Steps = m.steps(*r)
		}
	}
	return p
}
