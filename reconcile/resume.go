package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Resumed says what Act did to a fleet.
type Resumed struct {
	Fleet    string         `json:"fleet"`
	Cleared  []Cleared      `json:"cleared"`
	Blocked  []plan.Blocked `json:"blocked"`  // VMs that were left alone; the fleet still stands still
	Failures []Failure      `json:"failures"` // calls that failed; asking again goes on
}

// Cleared is one VM that was seen to.
type Cleared struct {
	VM     string `json:"vm"`
	Reason string `json:"reason"` // what was done, or what stood in its record
}

// Decision plans what a person asked for, on a look that was just made. It is pure.
type Decision func(want plan.Desired, have plan.Observed, now time.Time) plan.Request

// Act looks once and does what a person decided: the rolls one after the other, each up to its first step that fails.
// Of o it needs Desired, Observer, Executor and Clock; Prober, Drainer and the bounds are not used. The error is not
// nil when ctx ended or the options are wrong.
func Act(ctx context.Context, o Options, decide Decision) (Resumed, error) {
	out := Resumed{Fleet: o.Desired.Fleet, Cleared: []Cleared{}, Blocked: []plan.Blocked{}, Failures: []Failure{}}
	o.Prober, o.MaxSteps, o.MaxDuration, o.Desired.Rollout.Drain = nil, 0, 0, false
	e, err := newEngine(o)
	if err != nil {
		return out, err
	}
	have := e.look(ctx)
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	todo := decide(e.Desired, have, e.Clock.Now())
	out.Blocked = append(out.Blocked, todo.Blocked...)
	for _, r := range todo.Rolls {
		s, err := e.resume(ctx, r)
		if ctx.Err() != nil && err != nil {
			return out, context.Cause(ctx)
		}
		var refused plan.Blocked
		switch {
		case err == nil:
			out.Cleared = append(out.Cleared, Cleared{r.VM, r.Reason})
		case errors.As(err, &refused):
			out.Blocked = append(out.Blocked, refused)
		default:
			out.Failures = append(out.Failures, Failure{VM: r.VM, Step: s.String(), Why: err.Error()})
		}
	}
	return out, nil
}

// resume runs the steps of one roll and returns the one that failed.
func (e *engine) resume(ctx context.Context, r plan.Roll) (plan.Step, error) {
	for _, s := range r.Steps {
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		s = e.stamp(s)
		if err := e.timed(r.VM, s, func() error { return e.call(ctx, s) }); err != nil {
			return s, err
		}
	}
	return nil, nil
}
