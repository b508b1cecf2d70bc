package vsphere

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// How long Changes waits: for one answer of vCenter, for VMs of a fleet that has none, and before it follows anew after
// an error, at first and at most. Watch waits longer for one answer.
const (
	wakeTime  = time.Minute
	firstBack = time.Second
	lastBack  = time.Minute
	watchTime = 10 * time.Minute // one answer about a VM that is waited for: whoever waits looks meanwhile anyway
)

// watched is what tells that a VM should be looked at: somebody switched or changed it, or its guest says something else.
var watched = []string{
	"name", "runtime.powerState", "runtime.connectionState", "config.changeVersion", "guest.toolsRunningStatus", "guest.ipAddress",
}

// Changes returns a channel that holds a wake-up whenever VMs of the fleet may have changed since the last one was
// taken: power, configuration, guest, or a VM that came or went in a folder where VMs of the fleet are. Many changes
// are one wake-up, and those that lkv itself makes wake as well. It is a hint to look early and nothing else: one that
// is lost, for example while vCenter is away, is made up for by one too many, and a fleet without any VM has none, so
// that the caller looks now and then by itself. It goes on through errors and ends of sessions. The channel is closed
// when ctx ends, and when vCenter refuses the password in a new session: asking on would lock the account. The error says
// that this is no vCenter.
func (f *Fleet) Changes(ctx context.Context, desired plan.Desired) (<-chan struct{}, error) {
	if !f.c.vcenter() {
		return nil, fmt.Errorf("%s is %s: VMs are managed through a vCenter only", f.c.base, f.c.About())
	}
	wake := make(chan struct{}, 1)
	go func() {
		defer close(wake)
		f.followFleet(ctx, desired, func() { hint(wake) })
	}()
	return wake, nil
}

func hint(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // one is waiting
	}
}

// Glance reads one VM of the fleet afresh, in one call when it was seen before. A VM that is not found is an error:
// unknown, not gone.
func (f *Fleet) Glance(ctx context.Context, vm string, desired plan.Desired) (plan.VM, error) {
	v, err := f.current(ctx, vm, desired)
	return v.vm, err
}

// Watch returns a channel that holds a hint whenever a VM of the fleet that was seen before may have changed since the
// last hint was taken, and since Watch was called; one for a guest that is up already is there from the beginning. It is
// closed when ctx has ended, and at the first error: then the caller looks by itself, or asks anew. It takes three calls,
// one for each hint, and two for its end.
func (f *Fleet) Watch(ctx context.Context, vm string, desired plan.Desired) (<-chan struct{}, error) {
	f.mu.Lock()
	ref, seen := f.known[desired.Fleet+"/"+vm]
	f.mu.Unlock()
	if !seen {
		return nil, fmt.Errorf("VM %s of fleet %s was not seen before", vm, desired.Fleet)
	}
	begin, cancel := context.WithTimeout(ctx, graceTime)
	defer cancel()
	w, err := f.c.follow(begin, filters([]want{{ref, f.watched()}}))
	if err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	if slices.ContainsFunc(w.first, alive) {
		hint(wake)
	}
	go func() {
		defer close(wake)
		defer w.close(ctx)
		for {
			updates, err := w.wait(ctx, watchTime)
			if err != nil {
				return
			}
			if len(updates) > 0 {
				hint(wake)
			}
		}
	}()
	return wake, nil
}

// alive tells whether a VM's guest has said anything yet.
func alive(u types.ObjectUpdate) bool {
	return slices.ContainsFunc(u.ChangeSet, func(c types.PropertyChange) bool {
		return c.Name == reported && c.Val != nil || c.Name == "guest.toolsRunningStatus" && c.Val == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	})
}

// watched are the properties that tell that a VM should be looked at. A vCenter that shows no single keys does not tell
// of a guest's report either, but for what else changes with it.
func (f *Fleet) watched() []string {
	if f.whole() {
		return watched
	}
	return append([]string{reported}, watched...)
}

// followFleet follows until ctx ends. Between the end of one follower and the start of the next anything may have
// happened, so that each but the first begins with a wake-up.
func (f *Fleet) followFleet(ctx context.Context, desired plan.Desired, wake func()) {
	back := firstBack
	for missed := false; ctx.Err() == nil; missed = true {
		followed, err := f.followOnce(ctx, desired, missed, wake)
		switch {
		case isFault[*types.InvalidLogin](err):
			return
		case followed || err == nil:
			back = firstBack
		}
		if sleep(ctx, back) != nil {
			return
		}
		back = min(2*back, lastBack)
	}
}

// followOnce follows the VMs that the fleet has now, until one has come or gone, or until an error. It tells whether it
// got as far as following.
func (f *Fleet) followOnce(ctx context.Context, desired plan.Desired, missed bool, wake func()) (bool, error) {
	ours, spec, err := f.toWatch(ctx, desired)
	if err != nil {
		return false, err
	}
	if len(ours) == 0 {
		return false, sleep(ctx, wakeTime)
	}
	w, err := f.c.follow(ctx, []types.PropertyFilterSpec{spec})
	if err != nil {
		return false, err
	}
	defer w.close(ctx)
	if missed {
		wake()
	}
	for {
		updates, err := w.wait(ctx, wakeTime)
		if err != nil {
			return true, err
		}
		moved := slices.ContainsFunc(updates, func(u types.ObjectUpdate) bool { return u.Kind != types.ObjectUpdateKindModify })
		if moved || slices.ContainsFunc(updates, func(u types.ObjectUpdate) bool { return slices.Contains(ours, u.Obj) }) {
			wake()
		}
		if moved {
			return true, nil
		}
	}
}

// toWatch finds the fleet's VMs and says what is to be followed: whatever lies in their folders, so that a VM that
// comes or goes is seen, and by themselves those that lie in none, as in a vApp.
func (f *Fleet) toWatch(ctx context.Context, desired plan.Desired) ([]types.ManagedObjectReference, types.PropertyFilterSpec, error) {
	spec := types.PropertyFilterSpec{PropSet: []types.PropertySpec{{Type: "VirtualMachine", PathSet: f.watched()}}}
	ours, err := f.members(ctx, desired)
	if err != nil {
		return nil, spec, err
	}
	list, err := f.c.retrieve(ctx, ours...)
	if err != nil {
		return nil, spec, fmt.Errorf("read the folders of VMs: %w", err)
	}
	seen := map[types.ManagedObjectReference]bool{}
	var refs []types.ManagedObjectReference
	for _, o := range list {
		refs = append(refs, o.ref)
		folder, ok := get[types.ManagedObjectReference](o, "parent")
		switch {
		case !ok:
			spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: o.ref})
		case !seen[folder]:
			spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: folder, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
				&types.TraversalSpec{Type: "Folder", Path: "childEntity"},
			}})
		}
		seen[folder] = true
	}
	return refs, spec, nil
}

// members asks for the folders of the fleet's VMs, and of those that have a wanted name.
func (f *Fleet) members(ctx context.Context, desired plan.Desired) ([]want, error) {
	all, err := f.sweep(ctx)
	if err != nil {
		return nil, err
	}
	var ours []want
	for _, b := range all {
		if f.mine(b, desired.Fleet) || wanted(desired, b.name) {
			ours = append(ours, want{b.ref, []string{"parent"}})
		}
	}
	return ours, nil
}
