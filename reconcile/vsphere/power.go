package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// connectTries times lastPoll is how long a CD-ROM may take to connect after power on.
const connectTries = 15

// awaitTask waits for a task that was found running. Every fresh read does.
func (f *Fleet) awaitTask(ctx context.Context, s plan.AwaitTask, desired plan.Desired) error {
	_, err := f.fresh(ctx, s.VM(), desired)
	return err
}

// shutdown asks the guest, waits for Grace, and then cuts the power.
func (f *Fleet) shutdown(ctx context.Context, s plan.Shutdown, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if v.vm.Power == plan.Off {
		return nil
	}
	if v.tools {
		off, err := f.askGuest(ctx, v, s.Grace)
		if err != nil || off {
			return err
		}
	}
	// The claim may have been lost during the grace.
	if v, err = f.claimed(ctx, s.VM(), desired); err != nil || v.vm.Power == plan.Off {
		return err
	}
	res, err := methods.PowerOffVM_Task(ctx, f.c.vim, &types.PowerOffVM_Task{This: v.ref})
	if err == nil {
		_, err = f.c.await(ctx, res.Returnval, &v.ref, taskTime)
	}
	if isFault[*types.InvalidPowerState](err) {
		return f.mustBe(ctx, s.VM(), desired, plan.Off)
	}
	return err
}

// askGuest tells whether the guest powered off in time. One that reboots instead will not, so it is not waited for.
func (f *Fleet) askGuest(ctx context.Context, v sighted, grace time.Duration) (bool, error) {
	_, err := methods.ShutdownGuest(ctx, f.c.vim, &types.ShutdownGuest{This: v.ref})
	if isFault[*types.ToolsUnavailable](err) || isFault[*types.InvalidPowerState](err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	wait, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for pause := firstPoll; ; pause = min(pause*3/2, lastPoll) {
		list, err := f.c.retrieve(wait, want{v.ref, []string{"runtime.powerState", "runtime.bootTime"}})
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case wait.Err() != nil:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("watch the guest shut down: %w", err)
		}
		if p, _ := get[types.VirtualMachinePowerState](list[0], "runtime.powerState"); p == types.VirtualMachinePowerStatePoweredOff {
			return true, nil
		}
		if booted, ok := get[time.Time](list[0], "runtime.bootTime"); ok && booted.After(v.booted) && !v.booted.IsZero() {
			return false, nil
		}
		_ = sleep(wait, pause) // the loop's next round tells which context ended
	}
}

// mustBe turns "it already is so" into success.
func (f *Fleet) mustBe(ctx context.Context, name string, desired plan.Desired, power plan.Power) error {
	v, err := f.fresh(ctx, name, desired)
	if err != nil {
		return err
	}
	if v.vm.Power != power {
		return fmt.Errorf("%w: it is %s", ErrChanged, v.vm.Power)
	}
	return nil
}

// powerOn starts a VM whose recorded disks are attached and whose ISO is there (D6).
func (f *Fleet) powerOn(ctx context.Context, s plan.PowerOn, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if v.vm.Power == plan.On {
		return f.connected(ctx, v)
	}
	if err := complete(v); err != nil {
		return err
	}
	if err := f.c.isoThere(ctx, v, v.vm.ISO); err != nil {
		return err
	}
	if err := f.keyed(ctx, v); err != nil {
		return err
	}
	res, err := methods.PowerOnVM_Task(ctx, f.c.vim, &types.PowerOnVM_Task{This: v.ref})
	if err == nil {
		_, err = f.c.await(ctx, res.Returnval, &v.ref, taskTime)
	}
	if isFault[*types.InvalidPowerState](err) {
		err = f.mustBe(ctx, s.VM(), desired, plan.On)
	}
	if err != nil {
		return err
	}
	return f.connected(ctx, v)
}

// complete checks that exactly the recorded disks are attached, in a mode that keeps writes.
func complete(v sighted) error {
	refuse := func(code plan.Code, format string, args ...any) error {
		return plan.Blocked{VM: v.vm.Name, Code: code, Reason: fmt.Sprintf(format, args...),
			Clear: "in the vSphere client give the VM back its ISO and exactly the recorded disks, as existing hard disks, keeping every file"}
	}
	for _, r := range v.vm.Record.Disks {
		i := slices.IndexFunc(v.vm.Disks, func(d plan.Disk) bool { return r.UUID != "" && d.UUID == canonical(r.UUID) })
		if i < 0 {
			return refuse(plan.R06, "disk %s (%s, %s) is recorded but not attached", r.Name, r.UUID, r.Path)
		}
		d := v.vm.Disks[i]
		if d.Parent || d.Shared || d.Mode != plan.DiskMode && d.Mode != string(types.VirtualDiskModePersistent) {
			return refuse(plan.R05, "disk %s has mode %q, parent %v, shared %v", r.Name, d.Mode, d.Parent, d.Shared)
		}
	}
	if len(v.vm.Disks) != len(v.vm.Record.Disks) {
		return refuse(plan.R06, "%d disks are attached, %d are recorded", len(v.vm.Disks), len(v.vm.Record.Disks))
	}
	if v.vm.ISO == "" {
		return refuse(plan.R01, "no ISO is in its CD-ROM drive")
	}
	return nil
}

// connected waits until vCenter shows the CD-ROM as connected: with a wrong path or an unreachable datastore a VM
// powers on all the same, and boots nothing.
func (f *Fleet) connected(ctx context.Context, v sighted) error {
	for range connectTries {
		list, err := f.c.retrieve(ctx, want{v.ref, []string{"config.hardware.device", "runtime.powerState"}})
		if err != nil {
			return fmt.Errorf("look at the CD-ROM: %w", err)
		}
		devices, _ := get[[]types.BaseVirtualDevice](list[0], "config.hardware.device")
		if cd := cdromOf(devices); cd != nil && cd.Connectable != nil && cd.Connectable.Connected {
			return nil
		}
		if p, _ := get[types.VirtualMachinePowerState](list[0], "runtime.powerState"); p != types.VirtualMachinePowerStatePoweredOn {
			return errors.New("it went off again right after power on")
		}
		if err := sleep(ctx, lastPoll); err != nil {
			return err
		}
	}
	return fmt.Errorf("it is on, but its CD-ROM with %s is not connected: can the host read that datastore?", v.vm.ISO)
}

// isoThere checks that the ISO's file exists (R01): vCenter would start the VM without it.
func (c *Client) isoThere(ctx context.Context, v sighted, iso string) error {
	dc, err := c.datacenterOf(ctx, v.ref)
	if err != nil {
		return err
	}
	return c.isoIn(ctx, dc, v.vm.Name, iso)
}

func (c *Client) isoIn(ctx context.Context, dc *object.Datacenter, vm, iso string) error {
	ds, rest, err := c.onePath(ctx, dc, iso)
	if err != nil {
		return err
	}
	f, err := ds.stat(ctx, rest)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.size == 0 {
		return plan.Blocked{VM: vm, Code: plan.R01, Reason: fmt.Sprintf("ISO %s is not there", iso), Clear: "lkv push, for the image of this ISO; or run lkv plan again when the channel has moved on"}
	}
	return err
}

// datacenterOf climbs from a VM to its datacenter. There is no shorter way in the API.
func (c *Client) datacenterOf(ctx context.Context, ref types.ManagedObjectReference) (*object.Datacenter, error) {
	for range 64 { // folders do not nest deeper
		list, err := c.retrieve(ctx, want{ref, []string{"parent", "name"}})
		if err != nil {
			return nil, fmt.Errorf("find the VM's datacenter: %w", err)
		}
		if ref.Type == "Datacenter" {
			return c.datacenterAt(ctx, ref)
		}
		parent, ok := get[types.ManagedObjectReference](list[0], "parent")
		if !ok {
			break
		}
		ref = parent
	}
	return nil, errors.New("find the VM's datacenter: it has none")
}
