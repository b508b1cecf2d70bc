package vsphere

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Steps that change nothing but a VM's record.

// amend writes a changed record of a VM that this run has claimed. A record that is as it should be is not written; the
// claim is asked for all the same, since what follows may be a hook: another run's VM must not be drained.
func (f *Fleet) amend(ctx context.Context, name string, desired plan.Desired, change func(*plan.Record)) error {
	return f.rewrite(ctx, name, desired, change, f.allowed)
}

// unclaimed writes one field of the record whoever holds the claim: changeVersion keeps everything else as it was.
func (f *Fleet) unclaimed(ctx context.Context, name string, desired plan.Desired, change func(*plan.Record)) error {
	return f.rewrite(ctx, name, desired, change, func(sighted, plan.Desired) error { return nil })
}

func (f *Fleet) rewrite(ctx context.Context, name string, desired plan.Desired, change func(*plan.Record), may func(sighted, plan.Desired) error) error {
	v, err := f.fresh(ctx, name, desired)
	if err != nil {
		return err
	}
	if err := may(v, desired); err != nil {
		return err
	}
	next := v.vm.Record
	change(&next)
	if reflect.DeepEqual(v.vm.Record, next) {
		return nil
	}
	return f.write(ctx, v, next)
}

// mark notes since when the VM does not serve, to the second; a mark that is there stays.
func (f *Fleet) mark(ctx context.Context, s plan.Mark, desired plan.Desired) error {
	return f.unclaimed(ctx, s.VM(), desired, func(r *plan.Record) {
		switch {
		case s.Ill.IsZero():
			r.Ill = time.Time{}
		case r.Ill.IsZero():
			r.Ill = s.Ill
		}
	})
}

// recall notes in the record of a VM that was to be replaced why it is not, and what it gets back.
func (f *Fleet) recall(ctx context.Context, s plan.Recall, desired plan.Desired) error {
	return f.amend(ctx, s.VM(), desired, func(r *plan.Record) {
		r.Failed, r.Spurned, r.Takes = s.Why, s.Spurned, slices.Clone(s.Takes)
	})
}

// disown takes out of the record what its successor has attached, on a fresh look at that one (D5).
func (f *Fleet) disown(ctx context.Context, s plan.Disown, desired plan.Desired) error {
	all, err := f.look(ctx, desired)
	if err != nil {
		return err
	}
	o := all.observed()
	for _, v := range all.vms {
		if v.vm.Name == s.VM() && v.vm.Fleet == desired.Fleet {
			next := o.After(s)
			return f.amend(ctx, s.VM(), desired, func(r *plan.Record) {
				for _, x := range next.VMs {
					if x.ID == v.vm.ID {
						r.Disks = keep(r.Disks, x.Record.Disks)
					}
				}
			})
		}
	}
	return ErrChanged
}

// keep returns the disks of list that stand in other too, nil when there are none.
func keep(list, other []plan.DiskRecord) []plan.DiskRecord {
	var out []plan.DiskRecord
	for _, d := range list {
		for _, o := range other {
			if d == o {
				out = append(out, d)
				break
			}
		}
	}
	return out
}
