package lab

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// view is what guards need to know of a VM, copied under its lock.
type view struct {
	ref       types.ManagedObjectReference
	name      string
	dc        string
	host      string
	on        bool
	template  bool
	snapshots bool
	version   string // config.changeVersion
	vmx       string // datastore path of its configuration file
	cpus      int32
	memory    int32
	firmware  string
	secure    bool
	certs     []string // certificates in its directory that a new NVRAM is made with
	db        [][]byte // certificates in its NVRAM; set at power on
	guestinfo map[string]string
	tools     bool
	cds       []cdView       // drives with an ISO
	keys      map[int32]bool // every device
	slots     map[slot]bool  // every place on a controller that is taken
	disks     []diskView
	nics      []nicView
	ctls      map[int32]string // controller key -> "pvscsi", "lsi", "ahci", "nvme", "ide"
}

// slot is a controller's key and a unit number on it.
type slot struct{ ctl, unit int32 }

// slotOf is a device's place; false when it asks for none.
func slotOf(d *types.VirtualDevice) (slot, bool) {
	if d.UnitNumber == nil || d.ControllerKey == 0 {
		return slot{}, false
	}
	return slot{d.ControllerKey, *d.UnitNumber}, true
}

type cdView struct {
	key    int32
	iso    string
	insert bool // connected at power on
}

type diskView struct {
	key, ctl int32
	unit     int32
	path     string
	bytes    int64
	uuid     string
	parent   bool
}

type nicView struct{ mac, model, network string }

// vm returns the simulator's VM; nil when there is none.
func (l *Lab) vm(ref types.ManagedObjectReference) *simulator.VirtualMachine {
	vm, _ := l.model.Map().Get(ref).(*simulator.VirtualMachine)
	return vm
}

// look copies one VM.
func (l *Lab) look(ref types.ManagedObjectReference) (view, bool) {
	vm := l.vm(ref)
	if vm == nil {
		return view{}, false
	}
	var v view
	l.context().WithLock(vm, func() { v = l.copyVM(vm) })
	v.dc = l.datacenterOf(ref)
	return v, true
}

// all copies every VM.
func (l *Lab) all() []view {
	var vs []view
	for _, ref := range l.model.Map().AllReference("VirtualMachine") {
		vm, ok := ref.(*simulator.VirtualMachine)
		if !ok {
			continue
		}
		if v, ok := l.look(vm.Self); ok {
			vs = append(vs, v)
		}
	}
	slices.SortFunc(vs, func(a, b view) int { return strings.Compare(a.name, b.name) })
	return vs
}

func (l *Lab) copyVM(vm *simulator.VirtualMachine) view {
	c := vm.Config
	v := view{ref: vm.Self, name: vm.Name, on: vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn, template: c.Template,
		snapshots: vm.Snapshot != nil && len(vm.Snapshot.RootSnapshotList) > 0, version: c.ChangeVersion, vmx: c.Files.VmPathName,
		cpus: c.Hardware.NumCPU, memory: c.Hardware.MemoryMB, firmware: c.Firmware, guestinfo: map[string]string{}, ctls: map[int32]string{},
		keys: map[int32]bool{}, slots: map[slot]bool{},
		tools: vm.Guest != nil && vm.Guest.ToolsRunningStatus == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)}
	if vm.Runtime.Host != nil {
		v.host = l.inv.hosts[*vm.Runtime.Host]
	}
	if b := c.BootOptions; b != nil && b.EfiSecureBootEnabled != nil {
		v.secure = *b.EfiSecureBootEnabled
	}
	v.certs = keyFiles(c.ExtraConfig)
	for _, o := range c.ExtraConfig {
		kv := o.GetOptionValue()
		if s, ok := kv.Value.(string); ok && strings.HasPrefix(kv.Key, "guestinfo.") {
			v.guestinfo[kv.Key] = s
		}
	}
	for _, d := range c.Hardware.Device {
		v.device(d)
	}
	return v
}

func (v *view) device(d types.BaseVirtualDevice) {
	base := d.GetVirtualDevice()
	v.keys[base.Key] = true
	if s, ok := slotOf(base); ok {
		v.slots[s] = true
	}
	if kind := controllerKind(d); kind != "" {
		v.ctls[base.Key] = kind
	}
	switch x := d.(type) {
	case *types.VirtualCdrom:
		if _, ok := x.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
			v.cds = append(v.cds, cdView{x.Key, backingFile(x), x.Connectable == nil || x.Connectable.StartConnected})
		}
	case *types.VirtualDisk:
		v.disks = append(v.disks, viewDisk(x))
	case types.BaseVirtualEthernetCard:
		n := nicView{mac: x.GetVirtualEthernetCard().MacAddress, model: "vmxnet3"}
		switch d.(type) {
		case *types.VirtualE1000, *types.VirtualE1000e:
			n.model = "e1000"
		}
		if b, ok := base.Backing.(*types.VirtualEthernetCardNetworkBackingInfo); ok {
			n.network = b.DeviceName
		}
		v.nics = append(v.nics, n)
	}
}

func viewDisk(x *types.VirtualDisk) diskView {
	d := diskView{key: x.Key, ctl: x.ControllerKey, unit: -1, path: backingFile(x), bytes: x.CapacityInBytes}
	if x.UnitNumber != nil {
		d.unit = *x.UnitNumber
	}
	if b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		d.uuid, d.parent = b.Uuid, b.Parent != nil
	}
	return d
}

func controllerKind(d types.BaseVirtualDevice) string {
	switch d.(type) {
	case *types.ParaVirtualSCSIController:
		return "pvscsi"
	case types.BaseVirtualSCSIController:
		return "lsi"
	case *types.VirtualNVMEController:
		return "nvme"
	case types.BaseVirtualSATAController:
		return "ahci"
	case *types.VirtualIDEController:
		return "ide"
	}
	return ""
}

// datacenterOf walks up the folders; empty when the object is gone.
func (l *Lab) datacenterOf(ref types.ManagedObjectReference) string {
	for range 100 {
		obj := l.model.Map().Get(ref)
		e, ok := obj.(mo.Entity)
		if !ok {
			return ""
		}
		var parent *types.ManagedObjectReference
		var name string
		l.context().WithLock(obj, func() { parent, name = e.Entity().Parent, e.Entity().Name })
		if ref.Type == "Datacenter" {
			return name
		}
		if parent == nil {
			return ""
		}
		ref = *parent
	}
	return ""
}

// file is a datastore path's place on this machine. The fault says which part of the path does not exist.
func (l *Lab) file(dc, path string) (*store, string, types.BaseMethodFault) {
	name, rest, ok := splitPath(path)
	if !ok {
		return nil, "", &types.InvalidDatastorePath{DatastorePath: path}
	}
	s := l.store(dc, name)
	if s == nil {
		return nil, "", &types.InvalidDatastore{Name: name}
	}
	local, ok := s.local(rest)
	if !ok {
		return nil, "", &types.InvalidDatastorePath{DatastorePath: path}
	}
	return s, local, nil
}
