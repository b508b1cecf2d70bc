package main

import (
	"context"
	"net/url"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// operator is somebody at the vSphere client, in one datacenter.
type operator struct {
	testing.TB
	c  *govmomi.Client
	f  *find.Finder
	dc *object.Datacenter
}

func (m *mission) operator(dc string) *operator {
	m.t.Helper()
	u, err := url.Parse(m.lab.URL())
	if err != nil {
		m.t.Fatal(err)
	}
	sc := soap.NewClient(u, false)
	if err := sc.SetRootCAs(m.lab.CAFile()); err != nil {
		m.t.Fatal(err)
	}
	vc, err := vim25.NewClient(m.t.Context(), sc)
	if err != nil {
		m.t.Fatal(err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	user, password := m.lab.Credentials()
	if err := c.Login(m.t.Context(), url.UserPassword(user, password)); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.Logout(context.Background()) }) // it ends with the lab at the latest
	o := &operator{TB: m.t, c: c, f: find.NewFinder(vc)}
	if o.dc, err = o.f.Datacenter(m.t.Context(), dc); err != nil {
		m.t.Fatal(err)
	}
	o.f.SetDatacenter(o.dc)
	return o
}

func (o *operator) must(task *object.Task, err error) {
	o.Helper()
	if err == nil && task != nil {
		err = task.Wait(o.Context())
	}
	if err != nil {
		o.Fatal(err)
	}
}

func (o *operator) vm(name string) *object.VirtualMachine {
	o.Helper()
	vm, err := o.f.VirtualMachine(o.Context(), "/"+o.dc.Name()+"/vm/"+name)
	if err != nil {
		o.Fatal(err)
	}
	return vm
}

func (o *operator) change(name string, devices ...types.BaseVirtualDeviceConfigSpec) {
	o.Helper()
	o.must(o.vm(name).Reconfigure(o.Context(), types.VirtualMachineConfigSpec{DeviceChange: devices}))
}

// disks returns the disks of a VM, by path.
func (o *operator) disks(name string) map[string]*types.VirtualDisk {
	o.Helper()
	list, err := o.vm(name).Device(o.Context())
	if err != nil {
		o.Fatal(err)
	}
	all := map[string]*types.VirtualDisk{}
	for _, d := range list.SelectByType((*types.VirtualDisk)(nil)) {
		disk := d.(*types.VirtualDisk)
		all[disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName] = disk
	}
	return all
}

// detach takes a disk out of a VM, every one when path is empty, and keeps the file. It returns the last one's path.
func (o *operator) detach(name, path string) (last string) {
	o.Helper()
	for at, d := range o.disks(name) {
		if path == "" || path == at {
			o.change(name, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d})
			last = at
		}
	}
	return last
}

// attach puts an existing disk file into a VM.
func (o *operator) attach(name, file string, unit int32) {
	o.Helper()
	list, err := o.vm(name).Device(o.Context())
	if err != nil {
		o.Fatal(err)
	}
	disk := &types.VirtualDisk{CapacityInKB: 64 << 10, CapacityInBytes: 64 << 20}
	disk.Key, disk.ControllerKey, disk.UnitNumber = -9, list.SelectByType((*types.ParaVirtualSCSIController)(nil))[0].GetVirtualDevice().Key, &unit
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}
	o.change(name, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk})
}

// blank makes a disk file of 64 MiB.
func (o *operator) blank(path string) {
	o.Helper()
	task, err := object.NewVirtualDiskManager(o.c.Client).CreateVirtualDisk(o.Context(), path, o.dc, &types.FileBackedVirtualDiskSpec{
		CapacityKb: 64 << 10, VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}})
	o.must(task, err)
}

// move gives a disk file that no VM has another path.
func (o *operator) move(from, to string) {
	o.Helper()
	o.must(object.NewVirtualDiskManager(o.c.Client).MoveVirtualDisk(o.Context(), from, o.dc, to, o.dc, false))
}

func (o *operator) off(name string) { o.Helper(); o.must(o.vm(name).PowerOff(o.Context())) }

// stranger makes a VM with a SCSI controller and no disk.
func (o *operator) stranger(name string) {
	o.Helper()
	folders, err := o.dc.Folders(o.Context())
	if err != nil {
		o.Fatal(err)
	}
	pool, err := o.f.ResourcePool(o.Context(), "C1/Resources")
	if err != nil {
		o.Fatal(err)
	}
	hosts, err := o.f.HostSystemList(o.Context(), "*/*")
	if err != nil {
		o.Fatal(err)
	}
	ctl := &types.ParaVirtualSCSIController{}
	ctl.Key, ctl.SharedBus = -1, types.VirtualSCSISharingNoSharing
	o.must(folders.VmFolder.CreateVM(o.Context(), types.VirtualMachineConfigSpec{
		Name: name, NumCPUs: 1, MemoryMB: 64, GuestId: "otherGuest", Files: &types.VirtualMachineFileInfo{VmPathName: "[vm-1]"},
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: "add", Device: ctl}},
	}, pool, hosts[0]))
}
