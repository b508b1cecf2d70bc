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
	if err := f.isoToCome(ctx, v, desired); err != nil {
		return err
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
	rest := f.c.rests(want{v.ref, []string{"runtime.powerState", "runtime.bootTime"}})
	rest.n = quick - 1 // one short pause for a guest that does nothing; others take seconds
	defer rest.end(ctx)
	for {
		_ = rest.pause(wait) // the look tells which context ended
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
	ds, rest, err := c.beside(ctx, v.ref, iso)
	if err != nil {
		return err
	}
	return isoOn(ctx, ds, rest, v.vm.Name, iso)
}

// errNotFound says of something with a name that it is certainly not there.
var errNotFound = errors.New("not found")

// isoToCome checks, while a VM still serves, that the ISO it is to get lies where the VM is (R01): the planner knows the
// stores of the VM's placement only, and that may say another datacenter by now. In a blue-green roll another VM gets the
// ISO, and one that failed gets back what it had.
func (f *Fleet) isoToCome(ctx context.Context, v sighted, desired plan.Desired) error {
	i := slices.IndexFunc(desired.VMs, func(w plan.WantVM) bool { return w.Name == v.vm.Name })
	if i < 0 || v.vm.Power != plan.On || v.vm.Record.Failed != "" || desired.Rollout.Strategy == plan.BlueGreen {
		return nil
	}
	place := desired.VMs[i].Place
	iso := desired.Image.Paths[place.Store]
	if iso == "" || iso == v.vm.ISO { // what a VM that is on runs from cannot be deleted
		return nil
	}
	f.mu.Lock()
	dc := f.where[v.ref]
	f.mu.Unlock()
	if dc == nil {
		return nil // no look has shown it
	}
	if _, err := oneDatacenter([]*object.Datacenter{dc}, place.Datacenter); err == nil {
		return nil
	}
	err := f.c.isoThere(ctx, v, iso)
	var b plan.Blocked
	if !errors.As(err, &b) && !errors.Is(err, errNotFound) {
		return err
	}
	return plan.Blocked{VM: v.vm.Name, Code: plan.R01, Reason: fmt.Sprintf("ISO %s is not in %s, the datacenter that the VM is in", iso, dc.InventoryPath),
		Clear: "give the fleet's placements the order back that they had: a VM does not move to another datacenter; or lkv push to a store there"}
}

func (c *Client) isoIn(ctx context.Context, dc *object.Datacenter, vm, iso string) error {
	ds, rest, err := c.onePath(ctx, dc, iso)
	if err != nil {
		return err
	}
	return isoOn(ctx, ds, rest, vm, iso)
}

func isoOn(ctx context.Context, ds datastore, rest, vm, iso string) error {
	f, err := ds.stat(ctx, rest)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.size == 0 {
		return plan.Blocked{VM: vm, Code: plan.R01, Reason: fmt.Sprintf("ISO %s is not there", iso), Clear: "lkv push, for the image of this ISO; or run lkv plan again when the channel has moved on"}
	}
	return err
}

// beside finds the datastore that a path like "[ds] a/b.iso" names where a VM lies, and the rest of the path: one call
// for the VM's folders, its datacenter and the datastores of that. Which hosts mount them is not read.
func (c *Client) beside(ctx context.Context, vm types.ManagedObjectReference, p string) (datastore, string, error) {
	var dp object.DatastorePath
	if !dp.FromString(p) {
		return datastore{}, "", fmt.Errorf("%q is no datastore path: want \"[datastore] folder/file\"", p)
	}
	dc, found, err := c.above(ctx, vm)
	if err != nil {
		return datastore{}, "", err
	}
	var list []item
	for _, o := range found {
		if o.ref.Type == "Datastore" && text(o, "name") == dp.Datastore {
			list = append(list, o)
		}
	}
	if len(list) != 1 {
		return datastore{}, "", fmt.Errorf("datastore %q %w in %s", dp.Datastore, errNotFound, dc.InventoryPath)
	}
	good, err := usable(c.described(dc, list), nil)
	if err != nil {
		return datastore{}, "", err
	}
	return good[0], dp.Path, nil
}

// datacenterOf finds the datacenter that a VM lies in.
func (c *Client) datacenterOf(ctx context.Context, vm types.ManagedObjectReference) (*object.Datacenter, error) {
	dc, _, err := c.above(ctx, vm)
	return dc, err
}

// above reads the datacenter of a VM, its folders and its datastores in one call.
func (c *Client) above(ctx context.Context, vm types.ManagedObjectReference) (*object.Datacenter, map[types.ManagedObjectReference]item, error) {
	found, err := c.collect(ctx, []types.PropertyFilterSpec{upwards(vm)})
	if err != nil {
		return nil, nil, fmt.Errorf("find the VM's datacenter: %w", err)
	}
	all, err := c.located(found)
	if err == nil && len(all) != 1 {
		err = errors.New("vCenter does not show it")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find the VM's datacenter: %w", err)
	}
	return all[0], found, nil
}

// upwards asks for what lies above a VM, and for the datastores of its datacenter.
func upwards(vm types.ManagedObjectReference) types.PropertyFilterSpec {
	up := &types.SelectionSpec{Name: "up"}
	return types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: vm, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{SelectionSpec: *up, Type: "ManagedEntity", Path: "parent", SelectSet: []types.BaseSelectionSpec{
				up, &types.TraversalSpec{Type: "Datacenter", Path: "datastore"},
			}},
			&types.TraversalSpec{Type: "VirtualMachine", Path: "parentVApp", SelectSet: []types.BaseSelectionSpec{up}},
		}}},
		PropSet: []types.PropertySpec{
			{Type: "Folder", PathSet: []string{"name", "parent"}},
			{Type: "Datacenter", PathSet: []string{"name", "parent"}},
			{Type: "Datastore", PathSet: storeProps},
		},
	}
}
