package vsphere

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// growDisk makes a data disk of a VM that is off larger: an edit of its capacity without a file operation, which
// vSphere carries out on the file as it is. It never makes one smaller.
func (f *Fleet) growDisk(ctx context.Context, s plan.GrowDisk, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.devices, func(d types.BaseVirtualDevice) bool {
		x, ok := d.(*types.VirtualDisk)
		return ok && s.Disk.UUID != "" && diskOf(x).UUID == canonical(s.Disk.UUID)
	})
	if i < 0 {
		return plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("disk %s (%s) is not attached", s.Disk.Name, s.Disk.UUID), Clear: "in the vSphere client attach the recorded disk as an existing hard disk"}
	}
	disk, _ := v.devices[i].(*types.VirtualDisk)
	now := diskOf(disk)
	switch {
	case now.Bytes >= s.Bytes:
		return nil
	case v.vm.Power != plan.Off:
		return fmt.Errorf("%w: it is %s, disks only grow while it is off", ErrChanged, v.vm.Power)
	case now.Parent || now.Shared:
		return plan.Blocked{VM: s.VM(), Code: plan.R05, Reason: fmt.Sprintf("disk %s has a snapshot or a parent, or is shared", now.Path), Clear: "remove the snapshots in the vSphere client"}
	}
	if err := f.roomToGrow(ctx, v, now, s.Bytes-now.Bytes); err != nil {
		return err
	}
	larger := *disk
	larger.CapacityInBytes, larger.CapacityInKB = s.Bytes, s.Bytes>>10
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{editDevice(&larger)}})
}

// roomToGrow refuses with R21 what the datastore could not hold; a thin disk takes its space later.
func (f *Fleet) roomToGrow(ctx context.Context, v sighted, d plan.Disk, more int64) error {
	ds, _, err := f.c.beside(ctx, v.ref, d.Path)
	if err != nil {
		return err
	}
	if need := min(more, thinReserve); ds.free < need {
		return plan.Blocked{VM: v.vm.Name, Code: plan.R21, Reason: fmt.Sprintf("datastore %s has %d MiB free, the disk is to grow by %d MiB", ds.name, ds.free>>20, more>>20), Clear: "make room on the datastore"}
	}
	return nil
}
