package lab

import (
	"path/filepath"
	"slices"

	"github.com/vmware/govmomi/vim25/types"
)

// units per controller: how many and which one the controller itself takes (-1: none).
var units = map[string]struct{ count, own int32 }{
	"pvscsi": {65, 7}, "lsi": {16, 7}, "ahci": {30, -1}, "nvme": {64, -1}, "ide": {2, -1},
}

func (l *Lab) checkDisk(p *pending, i int32, d *types.VirtualDeviceConfigSpec, x *types.VirtualDisk) types.BaseMethodFault {
	bad := &types.InvalidDeviceSpec{DeviceIndex: i}
	at := slices.IndexFunc(p.disks, func(o diskView) bool { return o.key == x.Key })
	switch d.Operation {
	case types.VirtualDeviceConfigSpecOperationAdd:
		return l.checkAdd(p, bad, d, x)
	case types.VirtualDeviceConfigSpecOperationEdit:
		if at < 0 {
			return bad
		}
		return l.checkEdit(p, d, x, p.disks[at])
	case types.VirtualDeviceConfigSpecOperationRemove:
		if at < 0 {
			return bad
		}
		if p.snapshots {
			return &types.InvalidDeviceOperation{BadOp: types.VirtualDeviceConfigSpecOperationRemove}
		}
		if d.FileOperation != "" {
			l.watch.violate("%s of %s from %s with file operation %s", d.Operation, p.disks[at].path, p.name, d.FileOperation)
		}
		p.disks = slices.Delete(p.disks, at, at+1)
	}
	return nil
}

func (l *Lab) checkAdd(p *pending, bad types.BaseMethodFault, d *types.VirtualDeviceConfigSpec, x *types.VirtualDisk) types.BaseMethodFault {
	kind, ok := p.ctls[x.ControllerKey]
	if !ok || x.UnitNumber == nil {
		return bad
	}
	u := units[kind]
	taken := slices.ContainsFunc(p.disks, func(o diskView) bool { return o.ctl == x.ControllerKey && o.unit == *x.UnitNumber })
	if *x.UnitNumber < 0 || *x.UnitNumber >= u.count || *x.UnitNumber == u.own || taken {
		return bad
	}
	b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return &types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{}}
	}
	fault := l.checkNew(p, d, x, b)
	if d.FileOperation == "" {
		fault = l.checkAttach(p, x, b)
	}
	if fault == nil {
		p.disks = append(p.disks, viewDisk(x))
	}
	return fault
}

// checkAttach wants an existing disk, and reads its capacity and UUID as a vCenter does, whatever the call says.
func (l *Lab) checkAttach(p *pending, x *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	if fault := l.checkFile(p.view, b.FileName); fault != nil {
		return fault
	}
	_, local, _ := l.file(p.dc, b.FileName)
	desc, err := readDisk(local)
	if err != nil || len(desc.Extent) != 1 || !exists(flat(local)) {
		return &types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{}}
	}
	if p.on {
		if u := l.runner(p.ref, p.dc, local); u != "" {
			return &types.FileLocked{FileFault: fileFault(b.FileName)}
		}
	}
	x.CapacityInBytes, x.CapacityInKB = desc.Capacity(), desc.Capacity()>>10
	b.Uuid = dashed(desc.DDB[ddbUUID])
	return nil
}

// checkNew wants space and a datastore for a disk that the call creates.
func (l *Lab) checkNew(p *pending, d *types.VirtualDeviceConfigSpec, x *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	if d.FileOperation == "" {
		return nil
	}
	if d.FileOperation != types.VirtualDeviceConfigSpecFileOperationCreate {
		l.watch.violate("%s of %s at %s with file operation %s", d.Operation, b.FileName, p.name, d.FileOperation)
	}
	if b.FileName == "" {
		return nil // in the VM's own directory
	}
	s, local, fault := l.file(p.dc, b.FileName)
	if fault != nil {
		return fault
	}
	if !s.mountedOn(p.host) {
		return &types.CannotAccessVmDevice{Device: b.FileName, Backing: b.FileName}
	}
	if fault := l.accessible(s); fault != nil {
		return fault
	}
	if filepath.Ext(local) == ".vmdk" {
		if !exists(filepath.Dir(local)) {
			return &types.FileNotFound{FileFault: fileFault(b.FileName)}
		}
		if exists(local) && d.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate {
			return &types.FileAlreadyExists{FileFault: fileFault(b.FileName)}
		}
	}
	return s.room(b.FileName, needed(max(x.CapacityInBytes, x.CapacityInKB<<10), b.ThinProvisioned != nil && *b.ThinProvisioned))
}

// checkEdit lets a disk grow, never shrink, and keeps what a vCenter keeps.
func (l *Lab) checkEdit(p *pending, d *types.VirtualDeviceConfigSpec, x *types.VirtualDisk, old diskView) types.BaseMethodFault {
	if d.FileOperation != "" {
		l.watch.violate("%s of %s at %s with file operation %s", d.Operation, old.path, p.name, d.FileOperation)
	}
	want := max(x.CapacityInBytes, x.CapacityInKB<<10)
	if want == 0 {
		want = old.bytes
	}
	if want < old.bytes || x.CapacityInKB != 0 && x.CapacityInKB<<10 < old.bytes {
		return &types.InvalidDeviceOperation{}
	}
	if want > old.bytes {
		if p.snapshots {
			return &types.InvalidDeviceOperation{}
		}
		s, _, fault := l.file(p.dc, old.path)
		if fault != nil {
			return fault
		}
		if fault := s.room(old.path, mib); fault != nil {
			return fault
		}
	}
	x.CapacityInBytes, x.CapacityInKB = want, want>>10
	if b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.Uuid == "" {
		b.Uuid = old.uuid
	}
	return nil
}

// runner names another running VM that has the disk attached.
func (l *Lab) runner(self types.ManagedObjectReference, dc, local string) string {
	for _, v := range l.all() {
		if v.ref == self || !v.on || v.dc != dc {
			continue
		}
		for _, d := range v.disks {
			if _, other, fault := l.file(v.dc, d.path); fault == nil && other == local {
				return v.name
			}
		}
	}
	return ""
}

// afterDevices gives every disk of the VM its real size and the UUID of its file.
func (l *Lab) afterDevices(ref types.ManagedObjectReference) {
	v, ok := l.look(ref)
	if !ok {
		return
	}
	uuids := map[int32]string{}
	for _, d := range v.disks {
		_, local, fault := l.file(v.dc, d.path)
		if fault != nil {
			continue
		}
		if err := settleDisk(local, d.bytes, false); err != nil {
			l.logf("disk %s: %v", d.path, err)
			continue
		}
		if desc, err := readDisk(local); err == nil {
			uuids[d.key] = dashed(desc.DDB[ddbUUID])
		}
	}
	l.setUUIDs(ref, uuids)
	l.refreshAll()
}

// setUUIDs replaces the simulator's disk UUIDs, which follow from the path, by those of the files.
func (l *Lab) setUUIDs(ref types.ManagedObjectReference, uuids map[int32]string) {
	vm := l.vm(ref)
	if vm == nil {
		return
	}
	ctx := l.context()
	ctx.WithLock(vm, func() {
		devices := slices.Clone(vm.Config.Hardware.Device)
		for i, d := range devices {
			x, ok := d.(*types.VirtualDisk)
			if !ok || uuids[x.Key] == "" {
				continue
			}
			disk := *x
			if b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				backing := *b
				backing.Uuid = uuids[x.Key]
				disk.Backing = &backing
			}
			devices[i] = &disk
		}
		ctx.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
	})
}
