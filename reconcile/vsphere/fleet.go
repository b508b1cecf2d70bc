package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// FleetConfig says how a Fleet tells its own VMs, and what time it is.
type FleetConfig struct {
	// OwnerID tells apart fleets of one name that different lkv installations manage in one vCenter. It is written
	// into new VMs; a VM with another one is foreign. Empty is a value like any other.
	OwnerID string
	// Now returns the time. It is needed.
	Now func() time.Time
	// AllFiles makes every look list the data disks of every datastore. Else a fleet whose VMs are all there with all
	// their disks attached is shown with these disks only, and not with those that no VM has: nothing is made then.
	AllFiles bool
	// VCenter is the name by which placements mean this vCenter, for a fleet of several (Many). VMs that are placed in
	// another one are only known by name here: nothing of theirs is looked for, and a VM of that name is shown. Empty:
	// every VM is placed here.
	VCenter string
}

// Fleet looks at VMs and changes them. One Fleet serves any number of fleets of one vCenter.
type Fleet struct {
	c   *Client
	cfg FleetConfig

	mu       sync.Mutex
	known    map[string]types.ManagedObjectReference             // VMs of a fleet seen before, by fleet and name
	seen     memory                                              // what earlier looks read and still holds
	bare     map[string]bool                                     // datastores without a disk of a fleet, by fleet and datastore
	where    map[types.ManagedObjectReference]*object.Datacenter // of a VM, when it was last looked at
	making   making                                              // VMs that a look may not show yet
	wholeKey bool                                                // this vCenter does not show single extraConfig keys
}

// Fleet returns an observer and executor of fleets on this vCenter.
func (c *Client) Fleet(cfg FleetConfig) *Fleet {
	return &Fleet{c: c, cfg: cfg, known: map[string]types.ManagedObjectReference{}, seen: newMemory(), bare: map[string]bool{},
		where: map[types.ManagedObjectReference]*object.Datacenter{}, making: making{hosts: map[string]types.ManagedObjectReference{}, made: map[string]bool{}}}
}

// here returns the fleet as far as it is placed in this vCenter.
func (f *Fleet) here(desired plan.Desired) plan.Desired {
	if f.cfg.VCenter != "" {
		desired.VMs = slices.DeleteFunc(slices.Clone(desired.VMs), func(w plan.WantVM) bool { return w.Place.VCenter != f.cfg.VCenter })
	}
	return desired
}

// Observe takes one complete look, in a number of calls that does not depend on the number of VMs. When anything
// could not be read, Problem says so and nothing else is to be believed.
func (f *Fleet) Observe(ctx context.Context, desired plan.Desired) (plan.Observed, error) {
	return f.observe(ctx, desired, f.cfg.AllFiles)
}

func (f *Fleet) observe(ctx context.Context, desired plan.Desired, allFiles bool) (plan.Observed, error) {
	if !f.c.vcenter() {
		return plan.Observed{Problem: fmt.Sprintf("%s is %s: VMs are managed through a vCenter only", f.c.base, f.c.About())}, nil
	}
	all, err := f.lookFor(ctx, desired, allFiles)
	if err == nil {
		return all.observed(), nil
	}
	if ctx.Err() != nil {
		return plan.Observed{Problem: err.Error()}, context.Cause(ctx)
	}
	err = f.c.refused(ctx, err)
	var denied plan.Blocked
	if errors.As(err, &denied) && denied.Code == plan.R20 {
		return plan.Observed{Problem: denied.Reason, Denied: true}, nil
	}
	return plan.Observed{Problem: err.Error()}, nil
}

// Execute carries out one step: it reads the VM afresh, returns at once when the step is done, checks that the change
// is allowed, and makes it. A refusal is a plan.Blocked; ErrChanged asks for another look.
func (f *Fleet) Execute(ctx context.Context, step plan.Step, desired plan.Desired) error {
	if !f.c.vcenter() {
		return fmt.Errorf("%s is %s: VMs are managed through a vCenter only", f.c.base, f.c.About())
	}
	err := f.execute(ctx, step, desired)
	if err == nil {
		return nil
	}
	err = refusal(step.VM(), f.c.refused(ctx, err))
	var blocked plan.Blocked
	if errors.As(err, &blocked) {
		return blocked
	}
	return err
}

func (f *Fleet) execute(ctx context.Context, step plan.Step, desired plan.Desired) error {
	switch s := step.(type) {
	case plan.CreateDisk:
		return f.createDisk(ctx, s, desired)
	case plan.CreateVM:
		return f.createVM(ctx, s, desired)
	case plan.AwaitTask:
		return f.awaitTask(ctx, s, desired)
	case plan.AttachDisk:
		return f.attachDisk(ctx, s, desired)
	case plan.Claim:
		return f.claim(ctx, s, desired)
	case plan.Release:
		return f.release(ctx, s, desired)
	case plan.Fail:
		return f.fail(ctx, s, desired)
	case plan.Unblock:
		return f.unblock(ctx, s, desired)
	case plan.Shutdown:
		return f.shutdown(ctx, s, desired)
	case plan.InsertISO:
		return f.insertISO(ctx, s, desired)
	case plan.Resize:
		return f.resize(ctx, s, desired)
	case plan.InstallKey:
		return f.installKey(ctx, s, desired)
	case plan.EnableSecureBoot:
		return f.enableSecureBoot(ctx, s, desired)
	case plan.PowerOn:
		return f.powerOn(ctx, s, desired)
	}
	return f.executeMore(ctx, step, desired)
}
