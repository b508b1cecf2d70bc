package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// hold learns from a look which claims of a roll's VMs are ours already.
func (e *engine) hold(r plan.Roll, have plan.Observed) {
	names := namesOf(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range have.VMs {
		if slices.Contains(names, v.Name) && v.Record.Owner == e.Desired.Claimer {
			e.held[v.Name] = hold{v.Record.Epoch, v.Record.Started, v.Record.Expires}
		}
	}
}

// namesOf returns the VMs a roll is about: its own, and in a blue-green roll the one that takes its place.
func namesOf(r plan.Roll) []string {
	names := []string{r.VM}
	for _, s := range r.Steps {
		if !slices.Contains(names, s.VM()) {
			names = append(names, s.VM())
		}
	}
	return names
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

// note remembers what a step of a roll did to its claims and names, and that a VM that was started has not passed its
// gate.
func (e *engine) note(r plan.Roll, s plan.Step) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch s := s.(type) {
	case plan.Claim:
		if e.held[s.VM()].epoch != s.Epoch { // taken, not renewed: whatever was seen before, somebody may have booted it since
			delete(e.gated, r.VM)
		}
		e.held[s.VM()] = hold{s.Epoch, s.Started, s.Expires}
	case plan.CreateVM:
		e.held[s.VM()] = hold{s.Record.Epoch, s.Record.Started, s.Record.Expires}
	case plan.PowerOn:
		delete(e.gated, r.VM)
		e.started[s.VM()] = e.Clock.Now()
	case plan.Rename:
		e.held[s.To], e.seen[s.To] = e.held[s.VM()], e.seen[s.VM()]
		delete(e.held, s.VM())
	case plan.Release:
		delete(e.held, s.VM())
		delete(e.gated, r.VM)
		delete(e.drained, s.VM())
	case plan.Retire, plan.Forget, plan.DestroyVM:
		delete(e.held, s.VM())
	case plan.Drain:
		e.drained[s.VM()] = true
	}
}

// renew writes the claims of a roll again that would not outlive its next step by half their time.
func (e *engine) renew(ctx context.Context, r plan.Roll, next plan.Step) error {
	need := e.Desired.TTL / 2
	switch s := next.(type) {
	case plan.Claim, plan.Release:
		return nil
	case plan.Shutdown:
		need += s.Grace
	}
	for _, name := range namesOf(r) {
		if err := e.renewOne(ctx, r, name, need); err != nil {
			return err
		}
	}
	return nil
}

// errLapsed is a claim of this run that expired before it could be renewed: a call took too long, or this machine was
// away. Nothing that was seen before holds any more, so it is not taken again without another look: by now a VM of the
// same name may be another one (A6).
var errLapsed = errors.New("the claim has expired meanwhile")

// renewOne renews the claim of one VM. Without a claim there is nothing to renew: disks are created before their VM.
func (e *engine) renewOne(ctx context.Context, r plan.Roll, name string, need time.Duration) error {
	e.mu.Lock()
	held, ok := e.held[name]
	e.mu.Unlock()
	left := held.expires.Sub(e.Clock.Now())
	switch {
	case !ok || left > need:
		return nil
	case left <= 0:
		return fmt.Errorf("renew the claim of %s: %w", name, errLapsed)
	}
	c := plan.Claim{Owner: e.Desired.Claimer, Epoch: held.epoch, Started: held.started,
		TTL: e.ttl(), Expires: e.Clock.Now().Add(e.ttl())}
	c.Name = name
	if err := e.watched(Event{VM: name, Step: c.String(), Renewal: true}, func() error { return e.call(ctx, c) }); err != nil {
		return err
	}
	e.note(r, c)
	return nil
}
