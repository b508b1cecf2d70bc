package reconcile

import (
	"context"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// hold is a claim of this run, as far as the run knows.
type hold struct {
	epoch            int
	started, expires time.Time
}

// ttl is how long this run's claims live: the configured time and a shutdown's grace, because no claim is renewed
// while a call is in flight.
func (e *engine) ttl() time.Duration { return e.Desired.TTL + e.Desired.Rollout.Grace }

// hold learns from a look that a VM's claim is ours already.
func (e *engine) hold(vm string, have plan.Observed) {
	for _, v := range have.VMs {
		if v.Name == vm && v.Record.Owner == e.Desired.Claimer {
			e.mu.Lock()
			e.held[vm] = hold{v.Record.Epoch, v.Record.Started, v.Record.Expires}
			e.mu.Unlock()
		}
	}
}

// stamp sets the times that are about to be written, a claim's expiry above all: the plan may be minutes old.
func (e *engine) stamp(s plan.Step) plan.Step {
	expires := e.Clock.Now().Add(e.ttl())
	e.mu.Lock()
	held, ok := e.held[s.VM()]
	e.mu.Unlock()
	switch s := s.(type) {
	case plan.Claim:
		s.TTL, s.Expires = e.ttl(), expires
		return s
	case plan.CreateVM:
		s.Record.Expires = expires
		return s
	case plan.Release:
		if !s.At.IsZero() {
			s.At = e.Clock.Now()
		}
		return s
	case plan.InsertISO:
		if ok {
			s.Record.Expires = held.expires
		}
		return s
	}
	return s
}

// note remembers what a step did to the claim, and that a VM that was started has not passed its gate.
func (e *engine) note(s plan.Step) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch s := s.(type) {
	case plan.Claim:
		e.held[s.VM()] = hold{s.Epoch, s.Started, s.Expires}
	case plan.CreateVM:
		e.held[s.VM()] = hold{s.Record.Epoch, s.Record.Started, s.Record.Expires}
	case plan.PowerOn:
		delete(e.gated, s.VM())
	case plan.Release:
		delete(e.held, s.VM())
	}
}

// renew writes the claim again when it would not outlive the next step by half its time. Without a claim there is
// nothing to renew: disks are created before their VM.
func (e *engine) renew(ctx context.Context, next plan.Step) error {
	e.mu.Lock()
	held, ok := e.held[next.VM()]
	e.mu.Unlock()
	need := e.Desired.TTL / 2
	switch s := next.(type) {
	case plan.Claim, plan.Release:
		return nil
	case plan.Shutdown:
		need += s.Grace
	}
	if !ok || held.expires.Sub(e.Clock.Now()) > need {
		return nil
	}
	c := plan.Claim{Owner: e.Desired.Claimer, Epoch: held.epoch, Started: held.started,
		TTL: e.ttl(), Expires: e.Clock.Now().Add(e.ttl())}
	c.Name = next.VM()
	if err := e.watched(Event{VM: next.VM(), Step: c.String(), Renewal: true}, func() error { return e.call(ctx, c) }); err != nil {
		return err
	}
	e.note(c)
	return nil
}
