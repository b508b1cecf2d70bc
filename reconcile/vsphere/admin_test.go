package vsphere_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// admin is somebody else who works on the same vCenter.
type admin struct {
	testing.TB
	c  *govmomi.Client
	f  *find.Finder
	dc *object.Datacenter
}

func (r *rig) admin(dc string) *admin {
	r.Helper()
	u, err := url.Parse(r.lab.URL())
	if err != nil {
		r.Fatal(err)
	}
	sc := soap.NewClient(u, false)
	if err := sc.SetRootCAs(r.lab.CAFile()); err != nil {
		r.Fatal(err)
	}
	vc, err := vim25.NewClient(r.Context(), sc)
	if err != nil {
		r.Fatal(err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	user, password := r.lab.Credentials()
	if err := c.Login(r.Context(), url.UserPassword(user, password)); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = c.Logout(context.Background()) }) // tests may have ended the session
	a := &admin{TB: r.TB, c: c, f: find.NewFinder(vc)}
	if a.dc, err = a.f.Datacenter(r.Context(), dc); err != nil {
		r.Fatal(err)
	}
	a.f.SetDatacenter(a.dc)
	return a
}

func (a *admin) must(task *object.Task, err error) {
	a.Helper()
	if err == nil && task != nil {
		err = task.Wait(a.Context())
	}
	if err != nil {
		a.Fatal(err)
	}
}

func (a *admin) vm(name string) *object.VirtualMachine {
	a.Helper()
	all := map[types.ManagedObjectReference]*object.VirtualMachine{}
	list, err := a.f.VirtualMachineList(a.Context(), "*")
	for _, deeper := range []string{"*/*", "*/*/*"} {
		more, merr := a.f.VirtualMachineList(a.Context(), deeper)
		if merr == nil {
			list, err = append(list, more...), nil
		}
	}
	for _, vm := range list {
		if vm.Name() == name {
			all[vm.Reference()] = vm
		}
	}
	if len(all) != 1 {
		a.Fatalf("%d VMs named %s (%v)", len(all), name, err)
	}
	for _, vm := range all {
		return vm
	}
	return nil
}

// change reconfigures a VM without asking anybody.
func (a *admin) change(name string, spec types.VirtualMachineConfigSpec) {
	a.Helper()
	a.must(a.vm(name).Reconfigure(a.Context(), spec))
}

// create makes a VM with a SCSI controller, no disk.
func (a *admin) create(name string, extra ...types.BaseOptionValue) {
	a.Helper()
	folders, err := a.dc.Folders(a.Context())
	if err != nil {
		a.Fatal(err)
	}
	pool, err := a.f.ResourcePool(a.Context(), "C1/Resources")
	if err != nil {
		a.Fatal(err)
	}
	hosts, err := a.f.HostSystemList(a.Context(), "*/*")
	if err != nil {
		a.Fatal(err)
	}
	ctl := &types.ParaVirtualSCSIController{}
	ctl.Key, ctl.SharedBus = -1, types.VirtualSCSISharingNoSharing
	a.must(folders.VmFolder.CreateVM(a.Context(), types.VirtualMachineConfigSpec{
		Name: name, NumCPUs: 1, MemoryMB: 64, GuestId: "otherGuest", ExtraConfig: extra, Files: &types.VirtualMachineFileInfo{VmPathName: "[vm-1]"},
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: "add", Device: ctl}},
	}, pool, hosts[0]))
}

// detach takes every disk out of a VM and keeps the files.
func (a *admin) detach(name string) {
	a.Helper()
	for _, d := range a.devices(name) {
		if disk, ok := d.(*types.VirtualDisk); ok {
			a.change(name, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
				&types.VirtualDeviceConfigSpec{Operation: "remove", Device: disk}}})
		}
	}
}

// attach puts an existing disk file into a VM.
func (a *admin) attach(name, file string, bytes int64) {
	a.Helper()
	ctl := int32(0)
	for _, d := range a.devices(name) {
		if c, ok := d.(*types.ParaVirtualSCSIController); ok {
			ctl = c.Key
		}
	}
	unit := int32(3)
	a.change(name, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
		Operation: "add", Device: &types.VirtualDisk{CapacityInKB: bytes >> 10, CapacityInBytes: bytes, VirtualDevice: types.VirtualDevice{
			Key: -9, ControllerKey: ctl, UnitNumber: &unit, Backing: &types.VirtualDiskFlatVer2BackingInfo{
				DiskMode: "independent_persistent", VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}}}}}})
}

func (a *admin) devices(name string) object.VirtualDeviceList {
	a.Helper()
	list, err := a.vm(name).Device(a.Context())
	if err != nil {
		a.Fatal(err)
	}
	return list
}

// host is the name of the host a VM is on.
func (a *admin) host(name string) string {
	a.Helper()
	h, err := a.vm(name).HostSystem(a.Context())
	if err != nil {
		a.Fatal(err)
	}
	var m mo.HostSystem
	if err := h.Properties(a.Context(), h.Reference(), []string{"name"}, &m); err != nil {
		a.Fatal(err)
	}
	return m.Name
}
