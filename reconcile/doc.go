// Package reconcile brings a fleet to what is wanted: look, plan, check the plan, run one wave, look again.
//
// It knows no vSphere: it looks through an Observer and acts through an Executor. It keeps no state between runs and
// reads no clock of its own. What was done is only ever learned by looking again, so that a run that died is
// continued by any other.
package reconcile

import (
	"context"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Observer looks at a fleet.
type Observer interface {
	// Observe returns one complete look at the VMs and data disk files of the fleet. What cannot be read completely
	// is an error or a Problem in the result, never a shorter list.
	Observe(ctx context.Context, want plan.Desired) (plan.Observed, error)
}

// Executor carries out single steps.
type Executor interface {
	// Execute carries out one step and returns when its effect can be observed. It reads the VM afresh, returns nil
	// at once when the step is already done, and makes every change of an existing VM only while its record shows
	// want.Claimer's claim. A step it refuses is a plan.Blocked (found with errors.As); any other error may be
	// tried again. AwaitReady never reaches an Executor: the engine polls.
	Execute(ctx context.Context, s plan.Step, want plan.Desired) error
}

// Watcher makes waiting for one VM cheap: a whole look asks about every VM.
type Watcher interface {
	// Glance reads one VM of the fleet afresh. One that is not found is an error: unknown, not gone.
	Glance(ctx context.Context, vm string, want plan.Desired) (plan.VM, error)
	// Watch returns a channel that holds a hint whenever the VM may have changed since the last hint was taken, and
	// since Watch was called. When its guest is up already, one is there from the beginning. It is closed when ctx has
	// ended, or when nothing can be told any more.
	Watch(ctx context.Context, vm string, want plan.Desired) (<-chan struct{}, error)
}

// Prober makes the ready checks that need no vCenter.
type Prober interface {
	// Probe returns one outcome per check for a VM that is powered on. It has its own deadlines.
	Probe(ctx context.Context, want plan.WantVM, vm plan.VM) []plan.Probe
}

// Clock tells the time and waits. It is monotonic where the machine allows it.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or with the context's error when that ends first.
	Sleep(ctx context.Context, d time.Duration) error
}
