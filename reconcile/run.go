package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Options say what to reconcile and with what. Watcher, Prober and Events may be nil.
type Options struct {
	Desired     plan.Desired
	Observer    Observer
	Executor    Executor
	Watcher     Watcher // nil: whoever waits takes whole looks
	Prober      Prober
	Drainer     Drainer // needed when Desired.Rollout.Drain
	Clock       Clock
	Only        *Saved        // do what this plan says and nothing else, refused with R17 when it is stale; nil: no bound
	Events      func(Event)   // called by one goroutine at a time
	MaxSteps    int           // stop before the next step after this many that change something; 0: no bound
	MaxDuration time.Duration // stop before the step after this time; 0: no bound
	Poll        time.Duration // between two looks while waiting; default 2s
	Attempts    int           // how often a look or a call is tried; default 3
	CallTimeout time.Duration // of one call, a shutdown's grace comes on top; default 15m
}

func (o Options) check() (Options, error) {
	o.Poll = cmp.Or(o.Poll, 2*time.Second)
	o.Attempts = cmp.Or(o.Attempts, 3)
	o.CallTimeout = cmp.Or(o.CallTimeout, 15*time.Minute)
	switch d := o.Desired; {
	case o.Observer == nil || o.Executor == nil || o.Clock == nil:
		return o, fmt.Errorf("reconcile: an observer, an executor and a clock are needed")
	case d.Fleet == "" || d.Claimer == "":
		return o, fmt.Errorf("reconcile: the fleet's name and the name of this run are needed")
	case d.TTL <= 0 || d.Rollout.Timeout <= 0:
		return o, fmt.Errorf("reconcile fleet %s: claim_ttl and timeout must be greater than zero", d.Fleet)
	case d.Rollout.MaxUnavailable < 1 && (d.Rollout.Strategy != plan.BlueGreen || d.Rollout.Disk != plan.Fresh):
		return o, fmt.Errorf("reconcile fleet %s: max_unavailable must be greater than zero: a VM goes down to be rolled", d.Fleet)
	case d.Rollout.Strategy != plan.InPlace && d.Rollout.Strategy != plan.BlueGreen:
		return o, fmt.Errorf("reconcile fleet %s: strategy %q is none", d.Fleet, d.Rollout.Strategy)
	case d.Rollout.OnFailure != "pause" && d.Rollout.OnFailure != "rollback":
		return o, fmt.Errorf("reconcile fleet %s: on_failure %q is none", d.Fleet, d.Rollout.OnFailure)
	case d.Rollout.Drain && o.Drainer == nil:
		return o, fmt.Errorf("reconcile fleet %s: its VMs are to be drained, and there is no drainer", d.Fleet)
	}
	return o, nil
}

// engine is one run.
type engine struct {
	Options
	began time.Time
	begin bool // the saved plan was compared with the first look

	looked time.Time // when the look was that the wave is planned from

	// Planner and checker; tests break them on purpose.
	compute func(plan.Desired, plan.Observed, time.Time) plan.Plan
	check   func(plan.Plan, plan.Observed) error

	limits limits

	mu       sync.Mutex
	seen     map[string]plan.VM // VMs as the last look saw them
	evidence []Failure          // gates that failed and stand in the VMs' records, after which the run goes on
	result   Result
	held     map[string]hold      // claims of this run by VM
	told     map[string]bool      // refusals that were reported
	gated    map[string]bool      // VMs whose gate this run has seen to hold
	drained  map[string]bool      // VMs whose work this run has moved away
	started  map[string]time.Time // when this run powered a VM on
	begun    map[string]bool      // VMs whose roll was reported
	doubts   []Failure            // calls that failed in the last wave; the next look says whether it matters
	second   map[string]int       // how often a failed call of a VM turned out not to matter
}

// Run converges the fleet once: look, plan, check, one wave, look again, until nothing is left to do or something
// stops it. Result says how it ended. The error is not nil when ctx ended (the call in flight was finished, and the
// next run goes on from there), when the options are wrong, or when plan and check contradict each other, which is a
// defect of lkv.
func Run(ctx context.Context, o Options) (Result, error) {
	e, err := newEngine(o)
	if err != nil {
		return Result{Outcome: Broken, Fleet: o.Desired.Fleet}, err
	}
	return e.run(ctx)
}

func (e *engine) run(ctx context.Context) (Result, error) {
	err := e.loop(ctx)
	if len(e.evidence) > 0 {
		e.result.Outcome, e.result.Failures = Broken, append(e.evidence, e.result.Failures...)
	}
	e.result.Seconds = e.Clock.Now().Sub(e.began).Seconds()
	return e.result, err
}

func newEngine(o Options) (*engine, error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	e := &engine{Options: o, compute: plan.Compute, check: plan.Check, began: o.Clock.Now(), held: map[string]hold{}, told: map[string]bool{}, gated: map[string]bool{}, drained: map[string]bool{}, started: map[string]time.Time{}, begun: map[string]bool{}, second: map[string]int{}, seen: map[string]plan.VM{}}
	e.result = Result{Fleet: o.Desired.Fleet, Blocked: []plan.Blocked{}, Failures: []Failure{}, Same: []string{}, Extra: []string{},
		Retired: []string{}, Later: []plan.Later{}}
	return e, nil
}

func (e *engine) loop(ctx context.Context) error {
	last, repeats := "", 0
	for {
		if e.stop(ctx) {
			return context.Cause(ctx)
		}
		have := e.look(ctx)
		if ctx.Err() != nil && e.stop(ctx) { // it was cut short, which says nothing about the fleet
			return context.Cause(ctx)
		}
		e.looked = e.Clock.Now()
		p := e.compute(e.Desired, have, e.Clock.Now())
		if done, err := e.within(&p, have); done || err != nil {
			return err
		}
		if err := e.check(p, have); err != nil {
			e.result.Outcome = Broken
			return fmt.Errorf("a defect of lkv, nothing was done: %w", err)
		}
		e.report(p)
		if have.Problem == "" {
			e.result.Same = append([]string{}, p.Same...) // however the run ends, these are as wanted
		}
		if e.weigh(p); e.ended() {
			return context.Cause(ctx)
		}
		if len(p.Waves) == 0 {
			e.conclude(p)
			return nil
		}
		if now := signature(p.Waves[0]); now == last {
			repeats++
		} else {
			last, repeats = now, 0
		}
		if repeats >= e.Attempts {
			e.result.Outcome = Broken
			return fmt.Errorf("reconcile fleet %s: %d times done and nothing changed: %s", e.Desired.Fleet, repeats, last)
		}
		e.wave(ctx, p.Waves[0], have)
		if e.ended() {
			return context.Cause(ctx)
		}
	}
}

// within holds a plan to the saved one: at the first look nothing may have changed, and later nothing else is done.
// done says that the run ends here.
func (e *engine) within(p *plan.Plan, have plan.Observed) (done bool, err error) {
	if e.Only == nil || have.Problem != "" {
		return false, nil
	}
	var b *plan.Blocked
	if !e.begin {
		e.begin = true
		if b, err = e.Only.Stale(e.Desired, have); err != nil {
			return true, err
		}
	}
	if b == nil && len(p.Waves) > 0 {
		b = e.Only.beyond(p.Waves[0])
	}
	if b == nil {
		return false, nil
	}
	e.emit(Event{State: Skipped, Code: b.Code, Error: b.Error()})
	e.result.Blocked, e.result.Outcome = append(e.result.Blocked, *b), Refused
	return true, nil
}

// ended tells whether a refusal by the executor or a failure ends the run.
func (e *engine) ended() bool {
	switch {
	case len(e.result.Failures) > 0:
		e.result.Outcome = Broken
		e.result.Failures, e.doubts = append(e.result.Failures, e.doubts...), nil
	case len(e.result.Blocked) > 0:
		e.result.Outcome = Refused
		e.result.Failures, e.doubts = append(e.result.Failures, e.doubts...), nil
	default:
		return false
	}
	return true
}

// weigh decides about calls that failed, by the look that followed. When the same step is still next, or nothing can
// be seen, the call has failed. When it is not, somebody changed the VM between our look and our call, or the reply of
// a call that worked was lost: the new plan knows better.
func (e *engine) weigh(p plan.Plan) {
	next := map[string]string{}
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			if next[r.VM] == "" {
				next[r.VM] = r.Steps[0].String()
			}
		}
	}
	blind := slices.ContainsFunc(p.Blocked, func(b plan.Blocked) bool { return b.Code == plan.R15 || b.Code == plan.R20 })
	for _, f := range e.doubts {
		e.second[f.VM]++
		if blind || next[f.VM] == f.Step || e.second[f.VM] > e.Attempts {
			e.result.Failures = append(e.result.Failures, f)
		}
	}
	e.doubts = nil
}

// stop tells whether the run must end before its next step, and notes why.
func (e *engine) stop(ctx context.Context) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	var why string
	switch {
	case ctx.Err() != nil:
		why = "interrupted: " + context.Cause(ctx).Error()
	case e.MaxSteps > 0 && e.result.Mutations >= e.MaxSteps:
		why = fmt.Sprintf("stopped after %d steps that change something, as asked", e.result.Mutations)
	case e.MaxDuration > 0 && e.Clock.Now().Sub(e.began) >= e.MaxDuration:
		why = fmt.Sprintf("stopped after %s, as asked", e.MaxDuration)
	default:
		return false
	}
	e.result.Outcome, e.result.Why = Pending, why
	return true
}

// conclude turns a plan without waves into the result.
func (e *engine) conclude(p plan.Plan) {
	e.result.Blocked = append(e.result.Blocked, p.Blocked...)
	e.result.Extra = append(e.result.Extra, p.Extra...)
	e.result.Retired, e.result.Later = append(e.result.Retired, p.Retired...), append(e.result.Later, p.Later...)
	e.result.Outcome = Converged
	if len(p.Later) > 0 {
		e.result.Outcome, e.result.Why = Pending, fmt.Sprintf("%d VMs wait: %s: %s", len(p.Later), p.Later[0].VM, p.Later[0].Reason)
	}
	for _, b := range p.Blocked {
		if b.Code != plan.R13 {
			e.result.Outcome = Refused
			return
		}
		e.result.Outcome, e.result.Why = Pending, b.Reason
	}
}

// report tells of every refusal once.
func (e *engine) report(p plan.Plan) {
	for _, b := range p.Blocked {
		key := b.VM + " " + string(b.Code)
		if e.told[key] {
			continue
		}
		e.told[key] = true
		e.emit(Event{VM: b.VM, State: Skipped, Code: b.Code, Error: b.Error()})
	}
}

func (e *engine) emit(ev Event) {
	if e.Events == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.Time, ev.Fleet = e.Clock.Now(), e.Desired.Fleet
	e.Events(ev)
}

func signature(w plan.Wave) string {
	var b strings.Builder
	for _, r := range w.Rolls {
		fmt.Fprintf(&b, "%s: %s; ", r.VM, r.Steps[0])
	}
	return b.String()
}
