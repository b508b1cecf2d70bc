package reconcile

import (
	"context"
	"errors"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Resumed says what Resume did to a fleet.
type Resumed struct {
	Fleet    string         `json:"fleet"`
	Cleared  []Cleared      `json:"cleared"`
	Blocked  []plan.Blocked `json:"blocked"`  // VMs that were left alone; the fleet still stands still
	Failures []Failure      `json:"failures"` // calls that failed; Resume again goes on
}

// Cleared is one VM that does not hold its fleet up any more.
type Cleared struct {
	VM     string `json:"vm"`
	Reason string `json:"reason"` // what stood in its record
}

// Resume lets a fleet go again that stands still: it claims every VM whose record tells of a failed roll or a pause,
// clears that, and frees the VM again. It touches no power, ISO, size or disk, and no VM that another run holds.
// Of o it needs Desired, Observer, Executor and Clock; Prober and the bounds are not used. The error is not nil when
// ctx ended or the options are wrong.
func Resume(ctx context.Context, o Options) (Resumed, error) {
	out := Resumed{Fleet: o.Desired.Fleet, Cleared: []Cleared{}, Blocked: []plan.Blocked{}, Failures: []Failure{}}
	o.Prober, o.MaxSteps, o.MaxDuration = nil, 0, 0
	e, err := newEngine(o)
	if err != nil {
		return out, err
	}
	have := e.look(ctx)
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	todo := plan.Resume(e.Desired, have, e.Clock.Now())
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
