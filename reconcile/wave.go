package reconcile

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// wave runs the rolls of one wave at the same time, each roll's steps in order.
//
// Rolls that begin with a claim, or with the wait for somebody's task, do only that, and the caller looks again: two
// runs that claim different VMs at the same moment each find the other's claim in that second look, so they cannot
// both take a VM away. By the suffix law the next plan begins with exactly the rest.
func (e *engine) wave(ctx context.Context, w plan.Wave, have plan.Observed) {
	rolls := leading(w)
	if len(rolls) == 0 {
		rolls = w.Rolls
		e.result.Waves++
	}
	var wg sync.WaitGroup
	for _, r := range rolls {
		e.hold(r, have)
		if !e.begun[r.VM] {
			e.begun[r.VM] = true
			e.emit(Event{VM: r.VM, Step: "roll", State: Start, Reason: fmt.Sprintf("%s: %s", r.Action, r.Reason)})
		}
		wg.Go(func() { e.roll(ctx, r) })
	}
	wg.Wait()
}

// leading returns the rolls that begin with a step after which one must look again, cut to that step.
func leading(w plan.Wave) []plan.Roll {
	var out []plan.Roll
	for _, r := range w.Rolls {
		switch r.Steps[0].(type) {
		case plan.Claim, plan.AwaitTask:
			r.Steps = r.Steps[:1]
			out = append(out, r)
		}
	}
	return out
}

func (e *engine) roll(ctx context.Context, r plan.Roll) {
	for _, s := range r.Steps {
		if e.stop(ctx) {
			return
		}
		err := e.step(ctx, r, s)
		if errors.Is(err, errStale) {
			return
		}
		if err != nil {
			e.giveUp(ctx, s, err)
			return
		}
		if _, long := s.(plan.Drain); long {
			return // meanwhile others may have gone down: it is looked again before this one does (A1)
		}
	}
}

// errStale ends a roll before its VM goes down: what the plan was made from is too old. Claims may have taken long to
// renew, or another VM to get ready, and meanwhile the fleet may have lost others (A1, A7). The caller looks again, and
// a shutdown that still has its place in the plan is then the first step of its roll.
var errStale = errors.New("too much may have happened since the last look")

// A VM is taken down from a look that is at most so many Polls old. Where Poll is very short, so is no vCenter's answer:
// then it may be as old as staleLeast.
const (
	staleLooks = 10
	staleLeast = 2 * time.Second
)

// step carries out one step of a roll. A release is never the first thing this run does for a VM that was rolled:
// what released it was a gate that another run saw, or saw for too short, so it is waited for again (A4).
func (e *engine) step(ctx context.Context, r plan.Roll, s plan.Step) error {
	if _, ok := s.(plan.Release); ok && r.Action != plan.GiveBack && !e.isGated(r.VM) {
		gate := e.again(r, s.VM())
		if err := e.timed(s.VM(), gate, func() error { return e.await(ctx, r, gate) }); err != nil {
			return err
		}
	}
	if gate, ok := s.(plan.AwaitReady); ok {
		return e.timed(s.VM(), gate, func() error { return e.await(ctx, r, gate) })
	}
	if err := e.renew(ctx, r, s); err != nil {
		return err
	}
	if err := e.relieved(ctx, r, s); err != nil {
		return err
	}
	if _, down := s.(plan.Shutdown); down && e.Clock.Now().Sub(e.looked) > max(staleLooks*e.Poll, staleLeast) {
		return errStale
	}
	leave, err := e.limits.enter(ctx, s, e.latest(s.VM()))
	if err != nil {
		return err
	}
	defer leave()
	if again := e.undrained(s); again != nil {
		if err := e.timed(s.VM(), *again, func() error { return e.hooks(ctx, r, *again) }); err != nil {
			return err
		}
		e.note(r, *again)
		return errStale
	}
	err = e.timed(s.VM(), s, func() error {
		s = e.stamp(s)
		// What is drained must be restored by whoever comes next, so the record says it first; and that it is restored, last.
		if _, first := s.(plan.Drain); first {
			if err := e.call(ctx, s); err != nil {
				return err
			}
			return e.hooks(ctx, r, s)
		}
		if err := e.hooks(ctx, r, s); err != nil {
			return err
		}
		return e.call(ctx, s)
	})
	if err != nil {
		return err
	}
	e.note(r, s)
	return nil
}

// again is the gate of a VM whose roll another run brought to its end: of the wanted image, or, in a rollback, of the
// one that was put back.
func (e *engine) again(r plan.Roll, vm string) plan.AwaitReady {
	gate := plan.AwaitReady{Timeout: e.Desired.Rollout.Timeout, Settle: e.Desired.Rollout.Settle}
	gate.Name = vm
	if r.Action == plan.Rollback {
		rec := e.latest(vm).Record
		gate.ImageID, gate.Token = rec.ImageID, rec.Token
	}
	return gate
}

// timed reports a step's start and end.
func (e *engine) timed(vm string, s plan.Step, do func() error) error {
	return e.watched(Event{VM: vm, Step: s.String(), Kind: kindOf(s)}, do)
}

func kindOf(s plan.Step) string { return reflect.TypeOf(s).Name() }

// watched sends ev as the start and, completed, as the end of what do does.
func (e *engine) watched(ev Event, do func() error) error {
	from := e.Clock.Now()
	ev.State = Start
	e.emit(ev)
	err := do()
	ev.State, ev.Seconds = Done, e.Clock.Now().Sub(from).Seconds()
	if err != nil {
		ev.State, ev.Error = Failed, err.Error()
		var b plan.Blocked
		if errors.As(err, &b) {
			ev.State, ev.Code = Skipped, b.Code
		}
	} else {
		e.mu.Lock()
		e.result.Steps++
		e.mu.Unlock()
	}
	e.emit(ev)
	return err
}

// call hands one step to the executor. The end of ctx does not cut a call that has begun; it only prevents the next
// attempt. Every attempt is safe, because the executor reads afresh and knows when a step is already done.
func (e *engine) call(ctx context.Context, s plan.Step) error {
	limit := e.CallTimeout
	if d, ok := s.(plan.Shutdown); ok {
		limit += d.Grace
	}
	var err error
	for i := range e.Attempts {
		if i > 0 && e.Clock.Sleep(ctx, e.Poll*time.Duration(i)) != nil {
			return err
		}
		if _, waits := s.(plan.AwaitTask); !waits {
			e.mu.Lock()
			e.result.Mutations++
			e.mu.Unlock()
		}
		inFlight, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		err = e.Executor.Execute(inFlight, s, e.Desired)
		cancel()
		var refused plan.Blocked
		if err == nil || errors.As(err, &refused) {
			return err
		}
	}
	return err
}

// gateError is a gate that did not hold in time: evidence against the image, not against vCenter.
type gateError struct{ why string }

func (g gateError) Error() string { return g.why }

// giveUp notes why a roll ended early. Only a failed gate is written into the VM's record: it says that the image does
// not work here, and whatever run comes next must stop for it. A call that failed says nothing about the image; the
// VM stays halfway and the next run goes on.
func (e *engine) giveUp(ctx context.Context, s plan.Step, err error) {
	var refused plan.Blocked
	if errors.As(err, &refused) {
		e.mu.Lock()
		e.result.Blocked = append(e.result.Blocked, refused)
		e.mu.Unlock()
		return
	}
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return // the caller notes the interruption
	}
	f := Failure{VM: s.VM(), Step: s.String(), Why: err.Error()}
	var drain drainError
	if errors.As(err, &drain) {
		e.mu.Lock()
		e.result.Failures = append(e.result.Failures, f)
		e.mu.Unlock()
		return
	}
	var gate gateError
	if !errors.As(err, &gate) {
		e.mu.Lock()
		e.doubts = append(e.doubts, f)
		e.mu.Unlock()
		return
	}
	if err := e.recordFailure(ctx, s.VM(), gate.why); err != nil {
		f.Why += "; " + err.Error()
	} else {
		f.Recorded = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.Recorded && e.goesOn() {
		e.evidence = append(e.evidence, f)
		return
	}
	e.result.Failures = append(e.result.Failures, f)
}

// goesOn tells whether the plan has something to say about a VM that failed: a rollback, or other VMs that may follow.
func (e *engine) goesOn() bool {
	return e.Desired.Rollout.OnFailure == "rollback" || e.Desired.Rollout.MaxFailed > 1
}

func (e *engine) recordFailure(ctx context.Context, vm, why string) error {
	s := plan.Fail{Why: why}
	s.Name = vm
	if err := e.timed(vm, s, func() error { return e.call(ctx, s) }); err != nil {
		return fmt.Errorf("record the failure in the VM: %w", err)
	}
	return nil
}
