package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// reconfigVM checks the whole specification before the simulator sees it, because the simulator applies the parts in
// front of one that fails.
func reconfigVM(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.ReconfigVM_Task) //nolint:forcetypeassert // see createDisk
	v, ok := l.look(m.This)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: m.This}
	}
	spec := &req.Spec
	if spec.ChangeVersion != "" && spec.ChangeVersion != v.version {
		return nil, new(types.ConcurrentAccess)
	}
	if spec.Name != "" && spec.Name != v.name {
		if f := l.siblingTaken(m.This, spec.Name); f != nil {
			return nil, f
		}
	}
	if v.on && (spec.NumCPUs != 0 && spec.NumCPUs != v.cpus || spec.MemoryMB != 0 && spec.MemoryMB != int64(v.memory) ||
		spec.Firmware != "" && spec.Firmware != v.firmware) {
		return nil, &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: types.VirtualMachinePowerStatePoweredOn}
	}
	if fault := l.checkSpec(v, spec); fault != nil {
		return nil, fault
	}
	_, fault := inner(l, methods.ReconfigVM_Task, req, func(r *types.ReconfigVM_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	if fault != nil {
		l.logf("the simulator refused what the guards let pass: ReconfigVM_Task %s: %T", v.name, fault)
		return nil, fault
	}
	l.afterDevices(m.This)
	return nil, nil
}

func (l *Lab) siblingTaken(ref types.ManagedObjectReference, name string) types.BaseMethodFault {
	vm := l.vm(ref)
	var parent *types.ManagedObjectReference
	l.context().WithLock(vm, func() { parent = vm.Parent })
	if parent == nil {
		return nil
	}
	return l.nameTaken(*parent, name)
}

// checkSpec refuses what a vCenter refuses in a specification, and fills in what a vCenter reads from disk files.
func (l *Lab) checkSpec(v view, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if spec.GuestId != "" && !slices.Contains(simulator.GuestID, types.VirtualMachineGuestOsIdentifier(spec.GuestId)) {
		return &types.InvalidArgument{InvalidProperty: "configSpec.guestId"}
	}
	firmware := v.firmware
	if spec.Firmware != "" {
		firmware = spec.Firmware
	}
	if b := spec.BootOptions; b != nil && b.EfiSecureBootEnabled != nil && *b.EfiSecureBootEnabled && firmware != "efi" {
		return &types.InvalidVmConfig{Property: "configSpec.bootOptions.efiSecureBootEnabled"}
	}
	p := &pending{view: v, disks: slices.Clone(v.disks)}
	for i, change := range spec.DeviceChange {
		d := change.GetVirtualDeviceConfigSpec()
		if d.Device == nil {
			return &types.InvalidDeviceSpec{DeviceIndex: int32(i)} //nolint:gosec // a handful of devices
		}
		if d.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			if kind := controllerKind(d.Device); kind != "" {
				v.ctls[d.Device.GetVirtualDevice().Key] = kind
			}
		}
	}
	for i, change := range spec.DeviceChange {
		if fault := l.checkDevice(p, int32(i), change.GetVirtualDeviceConfigSpec()); fault != nil { //nolint:gosec // a handful of devices
			return fault
		}
	}
	return nil
}

// pending is a VM's configuration while a specification is checked.
type pending struct {
	view
	disks []diskView
}

func (l *Lab) checkDevice(p *pending, i int32, d *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	base := d.Device.GetVirtualDevice()
	at, placed := slotOf(base)
	if d.Operation == types.VirtualDeviceConfigSpecOperationAdd {
		if placed && p.slots[at] {
			return &types.InvalidDeviceSpec{DeviceIndex: i}
		}
	} else if !p.keys[base.Key] {
		return &types.InvalidDeviceSpec{DeviceIndex: i}
	}
	switch x := d.Device.(type) {
	case *types.VirtualDisk:
		return l.checkDisk(p, i, d, x)
	case *types.VirtualCdrom:
		return l.checkCD(p, i, d, x)
	case types.BaseVirtualEthernetCard:
		return l.checkNIC(p, i, d, x.GetVirtualEthernetCard())
	}
	return nil
}

func (l *Lab) checkCD(p *pending, i int32, d *types.VirtualDeviceConfigSpec, cd *types.VirtualCdrom) types.BaseMethodFault {
	if d.Operation == types.VirtualDeviceConfigSpecOperationRemove {
		return nil
	}
	if d.Operation == types.VirtualDeviceConfigSpecOperationAdd && p.on && p.ctls[cd.ControllerKey] == "ide" {
		return &types.DeviceHotPlugNotSupported{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: i}}
	}
	b, ok := cd.Backing.(*types.VirtualCdromIsoBackingInfo)
	if !ok || b.FileName == "" {
		return nil
	}
	return l.checkFile(p.view, b.FileName)
}

// checkFile wants a file to exist on an accessible datastore that the VM's host mounts.
func (l *Lab) checkFile(v view, path string) types.BaseMethodFault {
	s, local, fault := l.file(v.dc, path)
	if fault != nil {
		return fault
	}
	if fault := l.accessible(s); fault != nil {
		return fault
	}
	if !s.mountedOn(v.host) {
		return &types.CannotAccessVmDevice{CannotAccessVmComponent: types.CannotAccessVmComponent{}, Device: path, Backing: path}
	}
	if !exists(local) {
		return &types.FileNotFound{FileFault: fileFault(path)}
	}
	return nil
}

func (l *Lab) checkNIC(p *pending, i int32, d *types.VirtualDeviceConfigSpec, nic *types.VirtualEthernetCard) types.BaseMethodFault {
	if d.Operation == types.VirtualDeviceConfigSpecOperationRemove {
		return nil
	}
	b, ok := nic.Backing.(*types.VirtualEthernetCardNetworkBackingInfo)
	if !ok {
		return &types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: i}}
	}
	dc := l.inv.datacenters[p.dc]
	if dc == nil || !slices.Contains(dc.networks, b.DeviceName) {
		return &types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: i, InvalidVmConfig: types.InvalidVmConfig{Property: b.DeviceName}}}
	}
	return nil
}
