package vsphere

import (
	"context"
	"fmt"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// executeMore carries out the steps that are about more than one roll of one VM. Of Drain and
// Restore it only writes the record; the engine runs the hooks.
func (f *Fleet) executeMore(ctx context.Context, step plan.Step, desired plan.Desired) error {
	switch s := step.(type) {
	case plan.Drain:
		return f.amend(ctx, s.VM(), desired, func(r *plan.Record) { r.Drained = true })
	case plan.Restore:
		return f.amend(ctx, s.VM(), desired, func(r *plan.Record) { r.Drained = false })
	case plan.GrowDisk:
		return f.growDisk(ctx, s, desired)
	case plan.DetachDisk:
		return f.detachDisk(ctx, s, desired)
	case plan.Disown:
		return f.disown(ctx, s, desired)
	case plan.Recall:
		return f.recall(ctx, s, desired)
	case plan.Rename:
		return f.rename(ctx, s, desired)
	case plan.Retire:
		return f.retire(ctx, s, desired)
	case plan.DestroyVM:
		return f.destroyVM(ctx, s, desired)
	case plan.Mark:
		return f.mark(ctx, s, desired)
	case plan.Pause:
		return f.unclaimed(ctx, s.VM(), desired, func(r *plan.Record) { r.Paused = true })
	case plan.Adopt:
		return f.adopt(ctx, s, desired)
	case plan.Forget:
		return f.letGo(ctx, s, desired)
	}
	return fmt.Errorf("%T is no step for vCenter", step)
}
