package vsphere

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// fresh reads one VM of the fleet now. A task of ours that still runs on it, left by a call whose reply was lost, is
// waited for first. A VM that is not found is an error: unknown, not gone.
func (f *Fleet) fresh(ctx context.Context, name string, desired plan.Desired) (sighted, error) {
	for {
		v, err := f.current(ctx, name, desired)
		if err != nil || v.vm.Task == "" {
			return v, err
		}
		if err := f.outlast(ctx, v); err != nil {
			return sighted{}, err
		}
	}
}

// outlast waits until a task has ended, well or not: what it did, the next read shows.
func (f *Fleet) outlast(ctx context.Context, v sighted) error {
	info, err := f.c.await(ctx, types.ManagedObjectReference{Type: "Task", Value: v.vm.Task}, &v.ref, taskTime)
	if err != nil && (info == nil || info.State != types.TaskInfoStateError) {
		return err
	}
	return nil
}

func (f *Fleet) current(ctx context.Context, name string, desired plan.Desired) (sighted, error) {
	f.mu.Lock()
	ref, ok := f.known[desired.Fleet+"/"+name]
	f.mu.Unlock()
	if ok {
		list, err := f.read(ctx, []types.ManagedObjectReference{ref})
		if err == nil && list[0].vm.Name == name && list[0].vm.Fleet == desired.Fleet {
			return list[0], nil
		}
		if err != nil && !isFault[*types.ManagedObjectNotFound](err) {
			return sighted{}, err
		}
	}
	list, err := f.named(ctx, name, desired)
	if err != nil {
		return sighted{}, err
	}
	for _, v := range list {
		if v.vm.Fleet == desired.Fleet && v.vm.Name == name {
			f.remember(desired.Fleet, []sighted{v})
			return v, nil
		}
	}
	return sighted{}, fmt.Errorf("VM %s of fleet %s is not to be found: it may be gone or out of sight", name, desired.Fleet)
}

// named reads every VM of that name, and every VM of the fleet with the name's ordinal.
func (f *Fleet) named(ctx context.Context, name string, desired plan.Desired) ([]sighted, error) {
	all, err := f.sweep(ctx)
	if err != nil {
		return nil, err
	}
	ordinal := 0
	if i := slices.IndexFunc(desired.VMs, func(w plan.WantVM) bool { return w.Name == name }); i >= 0 {
		ordinal = desired.VMs[i].Ordinal
	}
	var refs []types.ManagedObjectReference
	for _, b := range all {
		if b.name == name || f.mine(b, desired.Fleet) && ordinal > 0 && b.owner.Ordinal == ordinal {
			refs = append(refs, b.ref)
		}
	}
	return f.read(ctx, refs)
}

// claimed reads a VM that this run has claimed and may change.
func (f *Fleet) claimed(ctx context.Context, name string, desired plan.Desired) (sighted, error) {
	v, err := f.fresh(ctx, name, desired)
	if err != nil {
		return v, err
	}
	return v, f.allowed(v, desired)
}

// allowed refuses a VM that is busy, or whose claim is not ours (A6).
func (f *Fleet) allowed(v sighted, desired plan.Desired) error {
	if len(v.vm.Busy) > 0 {
		return plan.Blocked{VM: v.vm.Name, Code: plan.R08, Reason: v.vm.Busy[0], Clear: "see to it in the vSphere client"}
	}
	r := v.vm.Record
	if r.Owner == desired.Claimer && desired.Claimer != "" {
		return nil
	}
	if r.Owner == "" {
		return fmt.Errorf("%w: nobody has claimed it", ErrChanged)
	}
	return f.otherClaim(v)
}

// otherClaim is R16, with who holds the claim and until when.
func (f *Fleet) otherClaim(v sighted) error {
	r := v.vm.Record
	age := "not started"
	if !r.Started.IsZero() {
		age = "for " + f.cfg.Now().Sub(r.Started).Round(time.Second).String()
	}
	return plan.Blocked{VM: v.vm.Name, Code: plan.R16,
		Reason: fmt.Sprintf("%s has claimed it %s (epoch %d, until %s)", r.Owner, age, r.Epoch, r.Expires.UTC().Format(time.RFC3339)),
		Clear:  "wait until that run ends or its claim expires"}
}

// reconfigure changes a VM, provided that nobody else did since it was read.
func (f *Fleet) reconfigure(ctx context.Context, v sighted, spec types.VirtualMachineConfigSpec) error {
	spec.ChangeVersion = v.vm.ChangeVersion
	res, err := methods.ReconfigVM_Task(ctx, f.c.vim, &types.ReconfigVM_Task{This: v.ref, Spec: spec})
	if err == nil {
		_, err = f.c.await(ctx, res.Returnval, &v.ref, taskTime)
	}
	return err
}

// write stores a changed record.
func (f *Fleet) write(ctx context.Context, v sighted, r plan.Record) error {
	raw, err := encodeRecord(r)
	if err != nil {
		return err
	}
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: options(recordKey, raw)})
}

// claim takes the VM, or renews our own claim.
func (f *Fleet) claim(ctx context.Context, s plan.Claim, desired plan.Desired) error {
	v, err := f.fresh(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if len(v.vm.Busy) > 0 {
		return f.allowed(v, desired)
	}
	r := v.vm.Record
	mine := r.Owner == s.Owner && r.Epoch == s.Epoch
	switch {
	case mine && r.Expires.Equal(s.Expires) && r.Started.Equal(s.Started) && (r.Due || !s.Due):
		return nil
	case mine:
	case r.Owner != "" && r.Owner != s.Owner && r.Expires.After(f.cfg.Now()):
		return f.otherClaim(v)
	case r.Epoch != s.Epoch-1:
		if r.Owner == "" {
			return fmt.Errorf("%w: its epoch is %d, expected was %d", ErrChanged, r.Epoch, s.Epoch-1)
		}
		return f.otherClaim(v)
	}
	if err := f.isoToCome(ctx, v, desired); err != nil {
		return err
	}
	r.Owner, r.Epoch, r.Started, r.Expires, r.Due = s.Owner, s.Epoch, s.Started, s.Expires, r.Due || s.Due
	return f.write(ctx, v, r)
}

// release frees the VM and ends the roll.
func (f *Fleet) release(ctx context.Context, s plan.Release, desired plan.Desired) error {
	v, err := f.fresh(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	r := v.vm.Record
	if r.Owner == "" && r.Started.IsZero() && !r.Due {
		return nil
	}
	if err := f.allowed(v, desired); err != nil {
		return err
	}
	r.Owner, r.Expires, r.Started, r.Due = "", time.Time{}, time.Time{}, false
	if !s.At.IsZero() {
		r.Rolled, r.Ill = s.At, time.Time{}
	}
	return f.write(ctx, v, r)
}

// unblock frees the VM and clears what makes its fleet stand still.
func (f *Fleet) unblock(ctx context.Context, s plan.Unblock, desired plan.Desired) error {
	v, err := f.fresh(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	r := v.vm.Record
	r.Owner, r.Expires, r.Paused = "", time.Time{}, false
	if !s.Pause {
		r.Failed, r.Spurned, r.Due = "", "", false
		if !r.Started.Equal(s.Started) {
			r.Started = s.Started
		}
	}
	if reflect.DeepEqual(r, v.vm.Record) {
		return nil
	}
	if err := f.allowed(v, desired); err != nil {
		return err
	}
	return f.write(ctx, v, r)
}

// fail writes down why the roll failed, and frees the claim.
func (f *Fleet) fail(ctx context.Context, s plan.Fail, desired plan.Desired) error {
	v, err := f.fresh(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	r := v.vm.Record
	if r.Owner == "" && r.Failed == s.Why {
		return nil
	}
	if r.Owner != "" && r.Owner != desired.Claimer {
		return f.otherClaim(v)
	}
	r.Owner, r.Expires, r.Failed = "", time.Time{}, s.Why
	return f.write(ctx, v, r)
}

// insertISO swaps the CD-ROM's backing and the record in one call, on a VM that is off.
func (f *Fleet) insertISO(ctx context.Context, s plan.InsertISO, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	r, want := v.vm.Record, s.Record
	next := swapped(r, want)
	same := reflect.DeepEqual(r, next)
	if same && v.vm.ISO == s.ISO && v.extra[report.TokenKey] == want.Token {
		return nil
	}
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, its ISO is only swapped while it is off", ErrChanged, v.vm.Power)
	}
	if err := f.c.isoThere(ctx, v, s.ISO); err != nil {
		return err
	}
	cd := cdromOf(v.devices)
	if cd == nil {
		return plan.Blocked{VM: s.VM(), Code: plan.R02, Reason: "the VM has no CD-ROM drive", Clear: "add a SATA CD-ROM drive to it in the vSphere client"}
	}
	unit := int32(0)
	if cd.UnitNumber != nil {
		unit = *cd.UnitNumber
	}
	raw, err := encodeRecord(next)
	if err != nil {
		return err
	}
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{editDevice(cdrom(cd.Key, cd.ControllerKey, unit, s.ISO))},
		ExtraConfig:  options(recordKey, raw, report.TokenKey, next.Token),
	})
}

// swapped returns the record after the ISO swap: what it says about images, and nothing else, becomes as planned.
func swapped(r, want plan.Record) plan.Record {
	r.Image, r.ImageID, r.Key, r.Token = want.Image, want.ImageID, want.Key, want.Token
	r.Previous, r.PreviousISO, r.PreviousID = want.Previous, want.PreviousISO, want.PreviousID
	r.Engine, r.EngineWas, r.Rolled = want.Engine, want.EngineWas, want.Rolled
	r.Spurned, r.Due = want.Spurned, false
	return r
}

// resize sets CPUs and memory of a VM that is off.
func (f *Fleet) resize(ctx context.Context, s plan.Resize, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if v.vm.CPUs == s.CPUs && v.vm.MemoryMiB == s.MemoryMiB {
		return nil
	}
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, it is only resized while it is off", ErrChanged, v.vm.Power)
	}
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{NumCPUs: int32(s.CPUs), MemoryMB: s.MemoryMiB})
}

// attachDisk attaches an existing file and completes the record with its UUID, in one call.
func (f *Fleet) attachDisk(ctx context.Context, s plan.AttachDisk, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	r, moved := taken(v.vm.Record, s.Disk)
	v.vm.Record.Disks, v.vm.Record.Takes = r.Disks, r.Takes
	i := slices.IndexFunc(r.Disks, func(d plan.DiskRecord) bool { return d.Name == s.Disk.Name })
	if i < 0 || r.Disks[i].Path != s.Disk.Path {
		return plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("disk %s (%s) does not stand in the VM's record", s.Disk.Name, s.Disk.Path), Clear: "run lkv reconcile again; if it stays, look at the VM's lkv.record in the vSphere client"}
	}
	if j := slices.IndexFunc(v.vm.Disks, func(d plan.Disk) bool { return d.Path == s.Disk.Path }); j >= 0 {
		if r.Disks[i].UUID != "" && !moved {
			return nil
		}
		r.Disks = slices.Clone(r.Disks)
		r.Disks[i].UUID = v.vm.Disks[j].UUID
		return f.write(ctx, v, r)
	}
	return f.attach(ctx, v, i, desired)
}

// taken returns the record with a disk that comes from another VM moved from Takes to Disks, and whether it was.
func taken(r plan.Record, d plan.DiskRecord) (plan.Record, bool) {
	i := slices.IndexFunc(r.Takes, func(x plan.DiskRecord) bool { return x.Name == d.Name && x.Path == d.Path })
	if i < 0 {
		return r, false
	}
	r.Disks = append(slices.Clone(r.Disks), r.Takes[i])
	r.Takes = slices.Delete(slices.Clone(r.Takes), i, i+1)
	return r, true
}

func (f *Fleet) attach(ctx context.Context, v sighted, i int, desired plan.Desired) error {
	r := v.vm.Record
	r.Disks = slices.Clone(r.Disks)
	name, p := v.vm.Name, r.Disks[i].Path
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, disks are only attached while it is off", ErrChanged, v.vm.Power)
	}
	all, err := f.look(ctx, desired)
	if err != nil {
		return err
	}
	k := slices.IndexFunc(all.files, func(x plan.DiskFile) bool { return x.Path == p })
	if k < 0 || r.Disks[i].UUID != "" && all.files[k].UUID != canonical(r.Disks[i].UUID) {
		return plan.Blocked{VM: name, Code: plan.R06, Reason: fmt.Sprintf("disk file %s is gone or another one than recorded", p), Clear: "find the file in the vSphere client and put it back where it was"}
	}
	file := all.files[k]
	for _, other := range all.vms {
		if other.ref != v.ref && slices.ContainsFunc(other.vm.Disks, func(d plan.Disk) bool { return d.UUID == file.UUID }) {
			return plan.Blocked{VM: name, Code: plan.R07, Reason: fmt.Sprintf("disk %s is attached to VM %s", p, other.vm.Name), Clear: "detach it there, keeping the file"}
		}
	}
	controller, unit, ok := freeUnit(v.devices)
	if !ok {
		return plan.Blocked{VM: name, Code: plan.R06, Reason: "the VM has no SCSI controller with a free slot", Clear: "add a paravirtual SCSI controller"}
	}
	if err := f.noteTaken(ctx, v, r.Disks[i], all.marked, desired); err != nil {
		return err
	}
	r.Disks[i].UUID = file.UUID
	raw, err := encodeRecord(r)
	if err != nil {
		return err
	}
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{addDevice(dataDisk(controller, unit, p, file.Bytes))},
		ExtraConfig:  options(recordKey, raw),
	})
}
