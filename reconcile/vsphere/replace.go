package vsphere

import (
	"context"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Steps of a VM that leaves: its disks go to another one or stay with it, and it is kept, renamed, until an operator
// has it removed.

// detachDisk removes a data disk from a VM that is off and keeps its file. Where the disk will be found must stand in
// a record before (D5): in that of the VM which takes it, or in the retired VM's own.
func (f *Fleet) detachDisk(ctx context.Context, s plan.DetachDisk, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.vm.Disks, func(d plan.Disk) bool { return s.Disk.UUID != "" && d.UUID == canonical(s.Disk.UUID) })
	if i < 0 {
		return nil
	}
	disk := v.vm.Disks[i]
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, disks are only detached while it is off", ErrChanged, v.vm.Power)
	}
	if err := alone(s.VM(), disk); err != nil {
		return err
	}
	if v.vm.Record.Retired.IsZero() {
		if err := f.awaited(ctx, v, disk, desired); err != nil {
			return err
		}
	}
	device := v.devices[slices.IndexFunc(v.devices, func(d types.BaseVirtualDevice) bool {
		x, ok := d.(*types.VirtualDisk)
		return ok && diskOf(x).UUID == disk.UUID
	})]
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{removeDevice(device)}})
}

// alone refuses a disk that is only a part of what its VM wrote, or that other VMs write to (R05).
func alone(vm string, d plan.Disk) error {
	if !d.Parent && !d.Shared {
		return nil
	}
	return plan.Blocked{VM: vm, Code: plan.R05, Reason: fmt.Sprintf("disk %s has a snapshot or a parent, or is shared", d.Path), Clear: "remove the snapshots in the vSphere client"}
}

// awaited checks that the VM which gets the disk names it, and corrects the path in its record when the file was
// moved since: after the detach nothing else says where it lies.
func (f *Fleet) awaited(ctx context.Context, v sighted, disk plan.Disk, desired plan.Desired) error {
	all, err := f.look(ctx, desired)
	if err != nil {
		return err
	}
	for _, heir := range all.vms {
		// The one that is to replace it, or, when that is undone, the one that it was to replace.
		heirs := heir.vm.ID != "" && (heir.vm.Record.Replaces == v.vm.ID || v.vm.Record.Replaces == heir.vm.ID)
		if heir.vm.Fleet != desired.Fleet || v.vm.ID == "" || !heirs {
			continue
		}
		i := slices.IndexFunc(heir.vm.Record.Takes, func(d plan.DiskRecord) bool { return canonical(d.UUID) == disk.UUID })
		if i < 0 {
			continue
		}
		if heir.vm.Record.Takes[i].Path == disk.Path {
			return nil
		}
		return f.amend(ctx, heir.vm.Name, desired, func(r *plan.Record) {
			r.Takes = slices.Clone(r.Takes)
			r.Takes[i].Path = disk.Path
		})
	}
	return plan.Blocked{VM: v.vm.Name, Code: plan.R06, Reason: fmt.Sprintf("no VM waits for its disk %s", disk.Path), Clear: "run lkv reconcile again"}
}

// rename gives the VM its place's name.
func (f *Fleet) rename(ctx context.Context, s plan.Rename, desired plan.Desired) error {
	list, err := f.named(ctx, s.To, desired)
	if err != nil {
		return err
	}
	for _, v := range list {
		if v.vm.Name != s.To {
			continue
		}
		if r := v.vm.Record; v.vm.Fleet == desired.Fleet && r.Replaces == "" && r.Retired.IsZero() && r.Owner == desired.Claimer {
			return nil
		}
		return plan.Blocked{VM: s.VM(), Code: plan.R22, Reason: fmt.Sprintf("VM %s (%s) has the name it should get", s.To, v.vm.Ref), Clear: "rename that VM in the vSphere client"}
	}
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	next := v.vm.Record
	next.Replaces = ""
	return f.renamed(ctx, v, desired, s.To, next, types.VirtualMachineConfigSpec{})
}

// renamed changes a VM's name together with its record and whatever else spec says, in one call.
func (f *Fleet) renamed(ctx context.Context, v sighted, desired plan.Desired, to string, r plan.Record, spec types.VirtualMachineConfigSpec) error {
	raw, err := encodeRecord(r)
	if err != nil {
		return err
	}
	spec.Name, spec.ExtraConfig = to, options(recordKey, raw)
	f.c.gate.permitRename(v.ref, to)
	if err := f.reconfigure(ctx, v, spec); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, desired.Fleet+"/"+v.vm.Name)
	f.known[desired.Fleet+"/"+to] = v.ref
	return nil
}

// retire renames a VM that is off, says why in its annotation and disconnects its NICs.
func (f *Fleet) retire(ctx context.Context, s plan.Retire, desired plan.Desired) error {
	list, err := f.named(ctx, s.To, desired)
	if err != nil {
		return err
	}
	for _, v := range list {
		if v.vm.Name == s.To && v.vm.Fleet == desired.Fleet && !v.vm.Record.Retired.IsZero() {
			return nil
		}
	}
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, only a VM that is off is retired", ErrChanged, v.vm.Power)
	}
	note, err := f.annotation(ctx, v.ref)
	if err != nil {
		return err
	}
	next := plan.Observed{VMs: []plan.VM{v.vm}}.After(s).VMs[0].Record
	return f.renamed(ctx, v, desired, s.To, next, types.VirtualMachineConfigSpec{
		Annotation:   strings.TrimSpace(note + "\n" + s.Why),
		DeviceChange: unplugged(v.devices),
	})
}

func (f *Fleet) annotation(ctx context.Context, ref types.ManagedObjectReference) (string, error) {
	list, err := f.c.retrieve(ctx, want{ref, []string{"config.annotation"}})
	if err != nil {
		return "", fmt.Errorf("read the annotation: %w", err)
	}
	return text(list[0], "config.annotation"), nil
}

// unplugged disconnects every network card, so that a retired VM that somebody starts disturbs nobody.
func unplugged(devices []types.BaseVirtualDevice) []types.BaseVirtualDeviceConfigSpec {
	var out []types.BaseVirtualDeviceConfigSpec
	for _, d := range devices {
		if _, ok := d.(types.BaseVirtualEthernetCard); !ok {
			continue
		}
		c := copyOf(d)
		c.GetVirtualDevice().Connectable = &types.VirtualDeviceConnectInfo{}
		out = append(out, editDevice(c))
	}
	return out
}

// copyOf returns a shallow copy of a device, so that what was read stays as it was read.
func copyOf(d types.BaseVirtualDevice) types.BaseVirtualDevice {
	c := reflect.New(reflect.TypeOf(d).Elem())
	c.Elem().Set(reflect.ValueOf(d).Elem())
	out, _ := c.Interface().(types.BaseVirtualDevice) // it has d's type
	return out
}

// removeDevice takes a device away and leaves its file alone: it has no file operation.
func removeDevice(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d}
}

// destroyVM destroys a retired VM without any disk, when no disk file lies in its folder either: vSphere deletes the
// folder with the VM (D2, L1, L9).
func (f *Fleet) destroyVM(ctx context.Context, s plan.DestroyVM, desired plan.Desired) error {
	all, err := f.named(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(v sighted) bool { return v.vm.Name == s.VM() && v.vm.Fleet == desired.Fleet }) {
		return nil // the sweep was complete: somebody destroyed it, or our reply was lost
	}
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if why, err := f.worthKeeping(ctx, v); err != nil || why != "" {
		if err == nil {
			err = plan.Blocked{VM: s.VM(), Code: plan.R19, Reason: why, Clear: "run lkv gc again, or move the file out of the VM's folder in the vSphere client"}
		}
		return err
	}
	f.c.gate.permitDestroy(v.ref)
	res, err := methods.Destroy_Task(ctx, f.c.vim, &types.Destroy_Task{This: v.ref})
	if err == nil {
		_, err = f.c.await(ctx, res.Returnval, nil, taskTime)
	}
	return err
}

// worthKeeping says why a VM must not be destroyed, or "".
func (f *Fleet) worthKeeping(ctx context.Context, v sighted) (string, error) {
	switch {
	case v.vm.Record.Retired.IsZero():
		return "it was not retired", nil
	case v.vm.Power != plan.Off:
		return "it is " + string(v.vm.Power), nil
	case len(v.vm.Disks) > 0:
		return fmt.Sprintf("disk %s is attached", v.vm.Disks[0].Path), nil
	case v.vm.Home == "":
		return "its folder is not known", nil
	}
	ds, dir, err := f.c.beside(ctx, v.ref, v.vm.Home)
	if err != nil {
		return "", err
	}
	left, err := ds.disks(ctx, dir)
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return fmt.Sprintf("disk file %s lies in its folder, which is deleted with it", ds.path(path.Join(dir, left[0].name))), nil
	}
	return "", nil
}
