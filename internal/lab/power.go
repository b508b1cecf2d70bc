package lab

import (
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func wrongState(v view, want types.VirtualMachinePowerState) types.BaseMethodFault {
	have := types.VirtualMachinePowerStatePoweredOff
	if v.on {
		have = types.VirtualMachinePowerStatePoweredOn
	}
	return &types.InvalidPowerState{RequestedState: want, ExistingState: have}
}

// powerOn checks files and locks and flips the state under Lab.mu, then starts the machine without it.
func powerOn(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	v, ok := l.look(m.This)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: m.This}
	}
	mc := l.machineOf(v)
	mc.op.Lock()
	defer mc.op.Unlock()
	v, fault := l.powerOnState(m.This)
	if fault != nil {
		return nil, fault
	}
	if fault := l.boot(mc, v); fault != nil {
		l.markOff(m.This)
		return nil, fault
	}
	return nil, nil
}

func (l *Lab) powerOnState(ref types.ManagedObjectReference) (view, types.BaseMethodFault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.look(ref)
	if !ok {
		return v, &types.ManagedObjectNotFound{Obj: ref}
	}
	if v.on {
		return v, wrongState(v, types.VirtualMachinePowerStatePoweredOn)
	}
	for _, c := range v.cds {
		if !c.insert {
			continue
		}
		if fault := l.checkFile(v, c.iso); fault != nil {
			return v, fault
		}
	}
	for _, d := range v.disks {
		if fault := l.checkFile(v, d.path); fault != nil {
			return v, fault
		}
		if _, local, _ := l.file(v.dc, d.path); l.runner(ref, v.dc, local) != "" {
			return v, &types.FileLocked{FileFault: fileFault(d.path)}
		}
	}
	ram, fault := l.firmware(v)
	if fault != nil {
		return v, fault
	}
	v.db = ram.DB
	_, fault = inner(l, methods.PowerOnVM_Task, &types.PowerOnVM_Task{This: ref}, func(r *types.PowerOnVM_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	if fault != nil {
		return v, fault
	}

	l.update(ref, append(bump(), types.PropertyChange{Name: "runtime.bootTime", Val: time.Now()})...)
	return v, nil
}

// bump is a new changeVersion: a vCenter's changes with every power operation.
func bump() []types.PropertyChange {
	return []types.PropertyChange{{Name: "config.changeVersion", Val: strconv.FormatInt(time.Now().UnixNano(), 10)}}
}

// bootOf collects what the VM's configuration says for its machine.
func (l *Lab) bootOf(m *machine, v view, count int) (Boot, types.BaseMethodFault) {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return Boot{}, wrapIO(m.dir, err)
	}
	b := Boot{VM: v.name, Dir: m.dir, Count: count, MemoryMiB: int(v.memory), CPUs: int(v.cpus), Firmware: v.firmware, SecureBoot: v.secure, DB: v.db, Guestinfo: v.guestinfo}
	for _, c := range v.cds {
		if _, local, fault := l.file(v.dc, c.iso); fault == nil && c.insert {
			b.ISO = local
		}
	}
	slices.SortFunc(v.disks, func(a, b diskView) int { return int(a.ctl-b.ctl)*1000 + int(a.unit-b.unit) })
	for _, d := range v.disks {
		_, local, fault := l.file(v.dc, d.path)
		if fault != nil {
			return b, fault
		}
		b.Disks = append(b.Disks, BootDisk{Path: flat(local), Serial: serial(d.uuid), Controller: v.ctls[d.ctl], Bytes: d.bytes})
	}
	for _, n := range v.nics {
		nic, err := l.net.plug(n, v.name)
		if err != nil {
			return b, &types.GenericVmConfigFault{Reason: err.Error()}
		}
		b.NICs = append(b.NICs, nic)
	}
	return b, nil
}

func powerOff(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	v, ok := l.look(m.This)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: m.This}
	}
	mc := l.machineOf(v)
	mc.op.Lock()
	defer mc.op.Unlock()
	r := mc.current()
	if r == nil {
		if v, ok = l.look(m.This); ok && v.on {
			return nil, wrapIO(mc.dir, mc.settled())
		}
		return nil, wrongState(v, types.VirtualMachinePowerStatePoweredOff)
	}
	r.Kill()
	return nil, wrapIO(mc.dir, mc.settled())
}

func suspendVM(*Lab, *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	return nil, new(types.NotSupported)
}

func resetVM(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	v, ok := l.look(m.This)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: m.This}
	}
	mc := l.machineOf(v)
	r := mc.current()
	if r == nil {
		return nil, wrongState(v, types.VirtualMachinePowerStatePoweredOn)
	}
	mc.pub.Lock()
	l.publish(mc, Guest{})
	mc.pub.Unlock()
	if err := r.Reset(l.ctx); err != nil {
		return nil, &types.GenericVmConfigFault{Reason: err.Error()}
	}
	return nil, nil
}

// shutdownGuest needs running tools, as a vCenter does, and returns before the guest has done anything.
func shutdownGuest(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	r, fault := l.guestOf(m)
	if fault != nil {
		return nil, fault
	}
	if err := r.Shutdown(l.ctx); err != nil {
		return nil, &types.GenericVmConfigFault{Reason: err.Error()}
	}
	return nil, nil
}

func rebootGuest(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	if _, fault := l.guestOf(m); fault != nil {
		return nil, fault
	}
	return resetVM(l, m)
}

func (l *Lab) guestOf(m *simulator.Method) (Machine, types.BaseMethodFault) {
	v, ok := l.look(m.This)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: m.This}
	}
	r := l.machineOf(v).current()
	if !v.on || r == nil {
		return nil, wrongState(v, types.VirtualMachinePowerStatePoweredOn)
	}
	if !v.tools {
		return nil, new(types.ToolsUnavailable)
	}
	return r, nil
}

// markOff shows a VM as powered off, with nothing known about its guest any more.
func (l *Lab) markOff(ref types.ManagedObjectReference) {
	vm := l.vm(ref)
	if vm == nil {
		return
	}
	l.setGuest(ref, Guest{}, true)
	ctx := l.context()
	ctx.WithLock(vm, func() {
		devices := slices.Clone(vm.Config.Hardware.Device)
		for i, d := range devices {
			devices[i] = disconnected(d)
		}
		ctx.Update(vm, append(bump(),
			types.PropertyChange{Name: "config.hardware.device", Val: devices},
			types.PropertyChange{Name: "runtime.bootTime", Val: nil},
			types.PropertyChange{Name: "summary.runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
			types.PropertyChange{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff}))
	})
}

// disconnected is the CD-ROM drive of a powered-off VM; other devices are returned as they are.
func disconnected(d types.BaseVirtualDevice) types.BaseVirtualDevice {
	cd, ok := d.(*types.VirtualCdrom)
	if !ok || cd.Connectable == nil {
		return d
	}
	c, conn := *cd, *cd.Connectable
	conn.Connected = false
	c.Connectable = &conn
	return &c
}
