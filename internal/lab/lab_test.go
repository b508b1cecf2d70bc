package lab

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// rig is a lab with one client and what tests do all the time.
type rig struct {
	*testing.T
	lab *Lab
	c   *govmomi.Client
	f   *find.Finder
	dc  *object.Datacenter
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Driver == nil {
		cfg.Driver = Paper{}
	}
	l, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	r := &rig{T: t, lab: l}
	r.again()
	return r
}

func login(t *testing.T, l *Lab) *govmomi.Client {
	t.Helper()
	u, err := url.Parse(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	sc := soap.NewClient(u, false)
	if err := sc.SetRootCAs(l.CAFile()); err != nil {
		t.Fatal(err)
	}
	vc, err := vim25.NewClient(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	user, pass := l.Credentials()
	if err := c.Login(t.Context(), url.UserPassword(user, pass)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ctx outlives neither the test nor a minute.
func (r *rig) ctx() context.Context { return r.Context() }

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// iso writes an ISO and its manifest, which would mount a disk labelled "docker", and returns the datastore path.
func (r *rig) iso(content string) string {
	r.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	dir := filepath.Join(r.lab.DatastoreDir("DC1", "iso-nfs"), "lkv", "worker")
	r.must(os.MkdirAll(dir, 0o700))
	r.must(os.WriteFile(filepath.Join(dir, sum+".iso"), []byte(content), 0o600))
	man := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:id-" + content, ISO: manifest.File{SHA256: sum, Size: int64(len(content))},
		Persist: []manifest.Persist{{Mount: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Via: "lkv", Gated: true}}}
	f, err := os.Create(filepath.Join(dir, sum+".manifest.json"))
	r.must(err)
	defer f.Close()
	r.must(man.Write(f))
	return "[iso-nfs] lkv/worker/" + sum + ".iso"
}

// disk makes a thin data disk of that many MiB.
func (r *rig) disk(path string, mebibytes int64) error {
	r.Helper()
	ds, dir, _ := splitPath(path)
	r.must(object.NewFileManager(r.c.Client).MakeDirectory(r.ctx(), "["+ds+"] "+filepath.Dir(dir), r.dc, true))
	task, err := object.NewVirtualDiskManager(r.c.Client).CreateVirtualDisk(r.ctx(), path, r.dc, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(types.VirtualDiskTypeThin), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)}, CapacityKb: mebibytes << 10})
	if err != nil {
		return err
	}
	return task.Wait(r.ctx())
}

// spec is a VM with a pvscsi controller, an ISO and a network card.
func spec(name, iso string) types.VirtualMachineConfigSpec {
	add := func(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
		return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
	}
	return types.VirtualMachineConfigSpec{Name: name, Files: &types.VirtualMachineFileInfo{VmPathName: "[vm-1]"}, NumCPUs: 2, MemoryMB: 256,
		GuestId: "other4xLinux64Guest", ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: report.TokenKey, Value: "t1"}},
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			add(&types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{SharedBus: types.VirtualSCSISharingNoSharing,
				VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: 1000}}}}),
			add(&types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: 15000}}}}),
			add(cdrom(0, 15000, iso)),
			add(&types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: types.VirtualEthernetCard{VirtualDevice: types.VirtualDevice{Key: -4,
				Backing: &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"}}}}}}),
		}}
}

func cdrom(key, ctl int32, iso string) *types.VirtualCdrom {
	return &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{Key: key, ControllerKey: ctl, UnitNumber: types.NewInt32(0),
		Backing:     &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: iso}},
		Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true}}}
}

// try creates a VM.
func (r *rig) try(s types.VirtualMachineConfigSpec) (*object.VirtualMachine, error) {
	r.Helper()
	folders, err := r.dc.Folders(r.ctx())
	r.must(err)
	pool, err := r.f.ResourcePool(r.ctx(), "C1/Resources")
	r.must(err)
	task, err := folders.VmFolder.CreateVM(r.ctx(), s, pool, nil)
	if err != nil {
		return nil, err
	}
	info, err := task.WaitForResult(r.ctx())
	if err != nil {
		return nil, err
	}
	return object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference)), nil
}

func (r *rig) create(name, iso string) *object.VirtualMachine {
	r.Helper()
	vm, err := r.try(spec(name, iso))
	r.must(err)
	return vm
}

func (r *rig) props(vm *object.VirtualMachine) mo.VirtualMachine {
	r.Helper()
	var m mo.VirtualMachine
	r.must(vm.Properties(r.ctx(), vm.Reference(), []string{"name", "config", "runtime", "guest", "guestHeartbeatStatus"}, &m))
	return m
}

func (r *rig) change(vm *object.VirtualMachine, s types.VirtualMachineConfigSpec) error {
	r.Helper()
	task, err := vm.Reconfigure(r.ctx(), s)
	if err != nil {
		return err
	}
	return task.Wait(r.ctx())
}

func (r *rig) on(vm *object.VirtualMachine) error {
	task, err := vm.PowerOn(r.ctx())
	if err != nil {
		return err
	}
	return task.Wait(r.ctx())
}

func (r *rig) off(vm *object.VirtualMachine) error {
	task, err := vm.PowerOff(r.ctx())
	if err != nil {
		return err
	}
	return task.Wait(r.ctx())
}

// attach is the specification that attaches an existing disk.
func attach(path string, unit int32) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd,
		Device: &types.VirtualDisk{VirtualDevice: types.VirtualDevice{Key: -1, ControllerKey: 1000, UnitNumber: &unit,
			Backing: &types.VirtualDiskFlatVer2BackingInfo{DiskMode: string(types.VirtualDiskModeIndependent_persistent),
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: path}}}}}}}
}

// await polls until the guest's report satisfies ok.
func (r *rig) await(vm *object.VirtualMachine, ok func(report.Report) bool) report.Report {
	r.Helper()
	for range 500 {
		for _, o := range r.props(vm).Config.ExtraConfig {
			kv := o.GetOptionValue()
			var rep report.Report
			if kv.Key == report.Key && json.Unmarshal([]byte(kv.Value.(string)), &rep) == nil && ok(rep) {
				return rep
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Fatal("no such report")
	return report.Report{}
}

func (r *rig) awaitPower(vm *object.VirtualMachine, want types.VirtualMachinePowerState) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx(), 10*time.Second)
	defer cancel()
	r.must(vm.WaitForPowerState(ctx, want))
}

func disksOf(m mo.VirtualMachine) []*types.VirtualDisk {
	var ds []*types.VirtualDisk
	for _, d := range m.Config.Hardware.Device {
		if x, ok := d.(*types.VirtualDisk); ok {
			ds = append(ds, x)
		}
	}
	return ds
}

func cdOf(m mo.VirtualMachine) *types.VirtualCdrom {
	for _, d := range m.Config.Hardware.Device {
		if x, ok := d.(*types.VirtualCdrom); ok {
			return x
		}
	}
	return nil
}

func running(rep report.Report) bool { return rep.State == report.Running }

// TestLifecycle is one VM's life: create, power on, report, shut down, swap the ISO, power on, destroy.
func TestLifecycle(t *testing.T) {
	r := newRig(t, Config{})
	v1, v2 := r.iso("v1"), r.iso("v2")
	const path = "[vm-2] lkv-disks/f/w-docker.vmdk"
	r.must(r.disk(path, 64))
	vm := r.create("w", v1)
	r.must(r.change(vm, attach(path, 0)))
	r.must(r.on(vm))
	rep := r.await(vm, running)
	m := r.props(vm)
	d := disksOf(m)[0]
	number := serial(d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid)
	if d.CapacityInBytes != 64*mib || rep.Token != "t1" || rep.Image.ID != "sha256:id-v1" || len(rep.Disks) != 1 || rep.Disks[0].Serial != number || !rep.Disks[0].Formatted {
		t.Errorf("first boot: capacity %d, %+v", d.CapacityInBytes, rep)
	}
	if m.Guest.IpAddress != "192.168.127.2" || m.Guest.ToolsRunningStatus != "guestToolsRunning" || m.GuestHeartbeatStatus != "green" || m.Runtime.BootTime == nil {
		t.Errorf("guest: %+v %v", m.Guest, m.GuestHeartbeatStatus)
	}
	r.must(vm.ShutdownGuest(r.ctx()))
	r.awaitPower(vm, types.VirtualMachinePowerStatePoweredOff)
	if m = r.props(vm); m.Guest.IpAddress != "" || m.Guest.ToolsRunningStatus != "guestToolsNotRunning" || m.Runtime.BootTime != nil {
		t.Errorf("guest after shutdown: %+v", m.Guest)
	}
	old := cdOf(m)
	r.must(r.change(vm, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: report.TokenKey, Value: "t2"}},
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: cdrom(old.Key, old.ControllerKey, v2)}}}))
	r.must(r.on(vm))
	again := r.await(vm, running)
	if again.Token != "t2" || again.Image.ID != "sha256:id-v2" || again.Disks[0].Formatted || again.Disks[0].UUID != rep.Disks[0].UUID || again.BootID == rep.BootID {
		t.Errorf("second boot: %+v", again)
	}
	r.must(r.off(vm))
	r.must(r.change(vm, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disksOf(r.props(vm))[0]}}}))
	task, err := vm.Destroy(r.ctx())
	r.must(err)
	r.must(task.Wait(r.ctx()))
	r.must(r.lab.Invariants())
	var got []string
	for _, c := range r.lab.Journal() {
		got = append(got, c.Method)
	}
	want := "MakeDirectory CreateVirtualDisk_Task CreateVM_Task ReconfigVM_Task PowerOnVM_Task ShutdownGuest ReconfigVM_Task PowerOnVM_Task PowerOffVM_Task ReconfigVM_Task Destroy_Task"
	if strings.Join(got, " ") != want {
		t.Errorf("journal: %v", r.lab.Journal())
	}
}

// again logs in with a new client.
func (r *rig) again() {
	r.Helper()
	r.c = login(r.T, r.lab)
	r.f = find.NewFinder(r.c.Client)
	dc, err := r.f.Datacenter(r.ctx(), "DC1")
	r.must(err)
	r.dc = dc
	r.f.SetDatacenter(dc)
}
