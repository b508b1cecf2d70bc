package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// kind is the type of the fault in an error, or "ok".
func kind(err error) string {
	if err == nil {
		return "ok"
	}
	name := err.Error()
	fault.In(err, func(f types.BaseMethodFault, _ string, _ []types.LocalizableMessage) bool {
		name = strings.TrimPrefix(fmt.Sprintf("%T", f), "*types.")
		return true
	})
	return name
}

func (r *rig) wait(task *object.Task, err error) error {
	if err != nil {
		return err
	}
	return task.Wait(r.ctx())
}

// stage is what most guards need: two VMs, the first running with a data disk, and a spare ISO.
type stage struct {
	*rig
	iso, spare string
	disk       string
	on1, off1  *object.VirtualMachine
}

func newStage(t *testing.T) *stage {
	r := newRig(t, Config{Datacenters: []Datacenter{{Name: "DC1", Clusters: []Cluster{{"C1", 2}}, Networks: []string{"VM Network", "backend"}, Datastores: []Datastore{
		{Name: "iso-nfs", NFS: true}, {Name: "vm-1"}, {Name: "vm-2"}, {Name: "small", Capacity: 10 * mib}, {Name: "local", Hosts: []string{"DC1-C1-host2"}}}}}})
	s := &stage{rig: r, iso: r.iso("v1"), spare: r.iso("v2"), disk: "[vm-1] lkv-disks/f/on.vmdk"}
	r.must(r.rigDisk(s.disk))
	s.on1, s.off1 = r.create("on", s.iso), r.create("off", s.iso)
	r.must(r.change(s.on1, attach(s.disk, 0)))
	r.must(r.on(s.on1))
	return s
}

func (r *rig) rigDisk(path string) error { return r.disk(path, 8) }

func edit(d types.BaseVirtualDevice, op types.VirtualDeviceConfigSpecOperation, file types.VirtualDeviceConfigSpecFileOperation) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: op, FileOperation: file, Device: d}}}
}

// TestGuards: what a vCenter refuses and the simulator alone does not.
func TestGuards(t *testing.T) {
	s := newStage(t)
	changeCD := func(iso string) types.VirtualMachineConfigSpec {
		old := cdOf(s.props(s.off1))
		return edit(cdrom(old.Key, old.ControllerKey, iso), types.VirtualDeviceConfigSpecOperationEdit, "")
	}
	with := func(change func(*types.VirtualMachineConfigSpec)) error {
		sp := spec("new", s.iso)
		change(&sp)
		_, err := s.try(sp)
		return err
	}
	fm, vdm := object.NewFileManager(s.c.Client), object.NewVirtualDiskManager(s.c.Client)
	for _, c := range []struct {
		name, want string
		do         func() error
	}{
		{"stale changeVersion", "ConcurrentAccess", func() error {
			return s.change(s.off1, types.VirtualMachineConfigSpec{ChangeVersion: "1", Annotation: "x"})
		}},
		{"duplicate name", "DuplicateName", func() error { _, err := s.try(spec("off", s.iso)); return err }},
		{"rename to a taken name", "DuplicateName", func() error { return s.change(s.off1, types.VirtualMachineConfigSpec{Name: "on"}) }},
		{"unknown home datastore", "InvalidDatastore", func() error {
			return with(func(c *types.VirtualMachineConfigSpec) { c.Files.VmPathName = "[nowhere]" })
		}},
		{"unknown network", "InvalidDeviceBacking", func() error {
			return with(func(c *types.VirtualMachineConfigSpec) {
				c.DeviceChange[3].GetVirtualDeviceConfigSpec().Device.GetVirtualDevice().Backing.(*types.VirtualEthernetCardNetworkBackingInfo).DeviceName = "nowhere"
			})
		}},
		{"missing ISO at creation", "FileNotFound", func() error { _, err := s.try(spec("new", "[iso-nfs] none.iso")); return err }},
		{"unknown ISO datastore", "InvalidDatastore", func() error { _, err := s.try(spec("new", "[nowhere] x.iso")); return err }},
		{"path out of the datastore", "InvalidDatastorePath", func() error { _, err := s.try(spec("new", "[iso-nfs] ../../x.iso")); return err }},
		{"missing ISO at reconfigure", "FileNotFound", func() error { return s.change(s.off1, changeCD("[iso-nfs] none.iso")) }},
		{"host without the datastore", "CannotAccessVmDevice", func() error {
			s.must(os.WriteFile(filepath.Join(s.lab.DatastoreDir("DC1", "local"), "x.iso"), []byte("x"), 0o600))
			old := cdOf(s.props(s.on1)) // its host is host1: the least loaded one then
			return s.change(s.on1, edit(cdrom(old.Key, old.ControllerKey, "[local] x.iso"), types.VirtualDeviceConfigSpecOperationEdit, ""))
		}},
		{"unit 7", "InvalidDeviceSpec", func() error { return s.change(s.off1, attach(s.disk, 7)) }},
		{"device that is not there", "InvalidDeviceSpec", func() error {
			c := edit(cdrom(4711, 15000, s.spare), types.VirtualDeviceConfigSpecOperationEdit, "")
			c.Annotation = "half applied"
			return s.change(s.off1, c)
		}},
		{"CD-ROM where one is", "InvalidDeviceSpec", func() error {
			c := edit(cdrom(-5, 15000, s.spare), types.VirtualDeviceConfigSpecOperationAdd, "")
			c.Annotation = "half applied"
			return s.change(s.off1, c)
		}},
		{"unit taken", "InvalidDeviceSpec", func() error { return s.change(s.on1, attach(s.disk, 0)) }},
		{"unit too high", "InvalidDeviceSpec", func() error { return s.change(s.off1, attach(s.disk, 66)) }},
		{"missing disk", "FileNotFound", func() error { return s.change(s.off1, attach("[vm-1] none.vmdk", 0)) }},
		{"bad guest ID", "InvalidArgument", func() error { return s.change(s.off1, types.VirtualMachineConfigSpec{GuestId: "none"}) }},
		{"memory while on", "InvalidPowerState", func() error { return s.change(s.on1, types.VirtualMachineConfigSpec{MemoryMB: 512}) }},
		{"IDE hot-add", "DeviceHotPlugNotSupported", func() error {
			return s.change(s.on1, edit(cdrom(-9, 200, s.spare), types.VirtualDeviceConfigSpecOperationAdd, ""))
		}},
		{"shrink", "InvalidDeviceOperation", func() error {
			d := disksOf(s.props(s.on1))[0]
			d.CapacityInKB, d.CapacityInBytes = 1<<10, mib
			return s.change(s.on1, edit(d, types.VirtualDeviceConfigSpecOperationEdit, ""))
		}},
		{"delete the ISO of a running VM", "CannotDeleteFile", func() error { return s.wait(fm.DeleteDatastoreFile(s.ctx(), s.iso, s.dc)) }},
		{"delete the directory of that ISO", "CannotDeleteFile", func() error { return s.wait(fm.DeleteDatastoreFile(s.ctx(), "[iso-nfs] lkv", s.dc)) }},
		{"move onto that ISO", "FileLocked", func() error { return s.wait(fm.MoveDatastoreFile(s.ctx(), s.spare, s.dc, s.iso, s.dc, true)) }},
		{"copy onto itself", "FileAlreadyExists", func() error { return s.wait(fm.CopyDatastoreFile(s.ctx(), s.spare, s.dc, s.spare, s.dc, true)) }},
		{"move an attached disk", "FileLocked", func() error {
			return s.wait(vdm.MoveVirtualDisk(s.ctx(), s.disk, s.dc, "[vm-1] other.vmdk", s.dc, false))
		}},
		{"thick disk on a small datastore", "NoDiskSpace", func() error {
			return s.wait(vdm.CreateVirtualDisk(s.ctx(), "[small] x.vmdk", s.dc, &types.FileBackedVirtualDiskSpec{
				VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(types.VirtualDiskTypePreallocated)}, CapacityKb: 20 << 10}))
		}},
		{"disk that exists", "FileAlreadyExists", func() error { return s.rigDisk(s.disk) }},
		{"destroy while on", "InvalidPowerState", func() error { return s.wait(s.on1.Destroy(s.ctx())) }},
		{"power on twice", "InvalidPowerState", func() error { return s.on(s.on1) }},
		{"shut down a VM that is off", "InvalidPowerState", func() error { return s.off1.ShutdownGuest(s.ctx()) }},
	} {
		before := len(s.lab.all())
		if got := kind(c.do()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if after := len(s.lab.all()); after != before {
			t.Errorf("%s: %d VMs, had %d", c.name, after, before)
		}
	}
	s.must(s.lab.Invariants())
	if ann := s.props(s.off1).Config.Annotation; ann != "" {
		t.Errorf("a refused reconfigure changed the annotation to %q", ann)
	}
}

// TestPlacement: without a host in the call, the lab takes one that reaches everything; a child pool is a pool.
func TestPlacement(t *testing.T) {
	s := newStage(t)
	s.must(os.WriteFile(filepath.Join(s.lab.DatastoreDir("DC1", "local"), "x.iso"), []byte("x"), 0o600))
	s.create("third", s.iso)
	s.create("fourth", s.iso)
	s.create("local", "[local] x.iso")
	host := map[string]string{}
	for _, v := range s.lab.VMs() {
		host[v.Name] = v.Host
	}
	want := map[string]string{"on": "DC1-C1-host1", "off": "DC1-C1-host2", "third": "DC1-C1-host1", "fourth": "DC1-C1-host2", "local": "DC1-C1-host2"}
	if d := cmp.Diff(want, host); d != "" {
		t.Error(d)
	}
	root, err := s.f.ResourcePool(s.ctx(), "C1/Resources")
	s.must(err)
	child, err := root.Create(s.ctx(), "child", types.DefaultResourceConfigSpec())
	s.must(err)
	folders, err := s.dc.Folders(s.ctx())
	s.must(err)
	s.must(s.wait(folders.VmFolder.CreateVM(s.ctx(), spec("pooled", s.iso), child, nil)))
	stranger := object.NewHostSystem(s.c.Client, types.ManagedObjectReference{Type: "HostSystem", Value: "host-none"})
	if got := kind(s.wait(folders.VmFolder.CreateVM(s.ctx(), spec("new", s.iso), child, stranger))); got != "InvalidArgument" {
		t.Errorf("unknown host: %s", got)
	}
}

// TestOneDiskOnTwoVMs: attaching it to a second VM that is off works, as on a vCenter; running both does not.
func TestOneDiskOnTwoVMs(t *testing.T) {
	s := newStage(t)
	s.must(s.change(s.off1, attach(s.disk, 0)))
	if got := kind(s.on(s.off1)); got != "FileLocked" {
		t.Errorf("power on: %s", got)
	}
	if s.props(s.off1).Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		t.Error("the VM is on")
	}
	if err := s.lab.Invariants(); err == nil || !strings.Contains(err.Error(), "attached to") {
		t.Errorf("invariants: %v", err)
	}
}

// TestMissingFilesAtPowerOn: the ISO or the disk vanishes while the VM is off.
func TestMissingFilesAtPowerOn(t *testing.T) {
	s := newStage(t)
	s.must(s.off(s.on1))
	local := filepath.Join(s.lab.DatastoreDir("DC1", "vm-1"), "lkv-disks/f/on.vmdk")
	s.must(os.Rename(local, local+".away"))
	if got := kind(s.on(s.on1)); got != "FileNotFound" {
		t.Errorf("without the disk: %s", got)
	}
	s.must(os.Rename(local+".away", local))
	fm := object.NewFileManager(s.c.Client)
	s.must(s.wait(fm.DeleteDatastoreFile(s.ctx(), strings.TrimSuffix(s.iso, ".iso")+".manifest.json", s.dc)))
	_, isoFile, _ := s.lab.file("DC1", s.iso)
	s.must(os.Remove(isoFile))
	if got := kind(s.on(s.on1)); got != "FileNotFound" {
		t.Errorf("without the ISO: %s", got)
	}
}

// TestChangeVersion: reconfigurations and power operations change it, and a guest's report only if asked to.
func TestChangeVersion(t *testing.T) {
	for _, bumps := range []bool{false, true} {
		r := newRig(t, Config{GuestinfoBumps: bumps})
		vm := r.create("w", r.iso("v1"))
		seen := map[string]string{"created": r.props(vm).Config.ChangeVersion}
		note := func(what string, changed bool) {
			t.Helper()
			v := r.props(vm).Config.ChangeVersion
			for k, old := range seen {
				if (old == v) == changed {
					t.Errorf("bumps=%v: after %s the version is %s, after %s it was %s", bumps, what, v, k, old)
				}
			}
			seen = map[string]string{what: v}
		}
		r.must(r.change(vm, types.VirtualMachineConfigSpec{ChangeVersion: seen["created"], Annotation: "x"}))
		note("reconfigure", true)
		r.must(r.on(vm))
		if !bumps { // the report may come at any time
			note("power on", true)
		}
		r.await(vm, func(rep report.Report) bool { return rep.State == report.Failed }) // it has no disk
		note("report", bumps)
		r.must(r.off(vm))
		note("power off", true)
	}
}

// TestDisks: sizes are real, UUIDs travel with the file, growing keeps the bytes, and attaching keeps the capacity.
func TestDisks(t *testing.T) {
	s := newStage(t)
	s.await(s.on1, running)
	s.must(s.off(s.on1))
	vdm := object.NewVirtualDiskManager(s.c.Client)
	d := disksOf(s.props(s.on1))[0]
	id := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid
	asked, err := vdm.QueryVirtualDiskUuid(s.ctx(), s.disk, s.dc)
	s.must(err)
	if dashed(asked) != id || !strings.HasPrefix(id, "6000C2") {
		t.Errorf("UUID by query %q, in the backing %q", asked, id)
	}
	flatFile := filepath.Join(s.lab.DatastoreDir("DC1", "vm-1"), "lkv-disks/f/on-flat.vmdk")
	before, err := digestOf(flatFile)
	s.must(err)
	d.CapacityInKB, d.CapacityInBytes = 16<<10, 0
	s.must(s.change(s.on1, edit(d, types.VirtualDeviceConfigSpecOperationEdit, "")))
	info, err := os.Stat(flatFile)
	s.must(err)
	if got := disksOf(s.props(s.on1))[0]; info.Size() != 16*mib || got.CapacityInBytes != 16*mib || got.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid != id {
		t.Errorf("after growing: file %d, %+v", info.Size(), got)
	}
	s.must(s.change(s.on1, edit(disksOf(s.props(s.on1))[0], types.VirtualDeviceConfigSpecOperationRemove, "")))
	const moved = "[vm-2] moved.vmdk"
	s.must(s.wait(vdm.MoveVirtualDisk(s.ctx(), s.disk, s.dc, moved, s.dc, false)))
	s.must(s.change(s.off1, attach(moved, 3)))
	got := disksOf(s.props(s.off1))[0]
	after, err := digestOf(filepath.Join(s.lab.DatastoreDir("DC1", "vm-2"), "moved-flat.vmdk"))
	s.must(err)
	if got.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid != id || got.CapacityInBytes != 16*mib || after != before {
		t.Errorf("after the move: %+v, bytes equal: %v", got, after == before)
	}
	s.must(s.lab.Invariants())
}

// TestDestroy deletes attached disks, as a vCenter does, and nothing else.
func TestDestroy(t *testing.T) {
	s := newStage(t)
	s.must(s.off(s.on1))
	dir := s.lab.DatastoreDir("DC1", "vm-1")
	s.must(s.rigDisk("[vm-1] off/kept.vmdk")) // a detached disk in another VM's directory
	s.must(s.wait(s.off1.Destroy(s.ctx())))
	if !exists(filepath.Join(dir, "off/kept.vmdk")) || !exists(filepath.Join(dir, "off/kept-flat.vmdk")) || exists(filepath.Join(dir, "off/off.vmx")) {
		t.Error("destroying a VM deletes its own files and no other")
	}
	s.must(s.lab.Invariants())
	s.must(s.wait(s.on1.Destroy(s.ctx())))
	if exists(filepath.Join(dir, "lkv-disks/f/on.vmdk")) || exists(filepath.Join(dir, "lkv-disks/f/on-flat.vmdk")) {
		t.Error("an attached disk survives its VM")
	}
	err := s.lab.Invariants()
	if err == nil || !strings.Contains(err.Error(), "Destroy_Task of on with data disk") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("invariants: %v", err)
	}
}

// TestViolations: file operations that destroy data are carried out, as a vCenter would, and remembered.
func TestViolations(t *testing.T) {
	s := newStage(t)
	s.await(s.on1, running)
	s.must(s.off(s.on1))
	s.must(s.lab.Invariants())
	s.must(s.change(s.on1, edit(disksOf(s.props(s.on1))[0], types.VirtualDeviceConfigSpecOperationEdit, types.VirtualDeviceConfigSpecFileOperationReplace)))
	err := s.lab.Invariants()
	if err == nil || !strings.Contains(err.Error(), "replace") || !strings.Contains(err.Error(), "bytes have changed") {
		t.Errorf("invariants after replace: %v", err)
	}
	if kind := kind(s.wait(object.NewVirtualDiskManager(s.c.Client).DeleteVirtualDisk(s.ctx(), s.disk, s.dc))); kind != "FileLocked" {
		t.Errorf("delete of an attached disk: %s", kind)
	}
	j := s.lab.Journal()
	var ops []string
	for _, c := range j {
		ops = append(ops, c.FileOps...)
	}
	if len(ops) != 1 || ops[0] != "edit:replace "+s.disk {
		t.Errorf("file operations in the journal: %q", ops)
	}
}

// TestSnapshot: a disk with a snapshot can neither be detached nor grow.
func TestSnapshot(t *testing.T) {
	s := newStage(t)
	s.must(s.off(s.on1))
	s.must(s.wait(s.on1.CreateSnapshot(s.ctx(), "snap", "", false, false)))
	d := disksOf(s.props(s.on1))[0]
	if got := kind(s.change(s.on1, edit(d, types.VirtualDeviceConfigSpecOperationRemove, ""))); got != "InvalidDeviceOperation" {
		t.Errorf("detach: %s", got)
	}
	d.CapacityInKB, d.CapacityInBytes = 16<<10, 16*mib
	if got := kind(s.change(s.on1, edit(d, types.VirtualDeviceConfigSpecOperationEdit, ""))); got != "InvalidDeviceOperation" {
		t.Errorf("grow: %s", got)
	}
}
