package vsphere

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

var (
	testVM = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}
	testDC = types.ManagedObjectReference{Type: "Datacenter", Value: "dc-1"}
)

const dataFile = "[ds] lkv-disks/f/a.vmdk"

// attachedDisk is the data disk as a read shows it.
func attachedDisk() *types.VirtualDisk {
	d := dataDisk(1000, 0, dataFile, 1<<30)
	d.Key = int32(2000)
	d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid = "6000C29a-0000-0000-0000-000000000001"
	d.DeviceInfo = &types.Description{Label: "Hard disk 1"}
	return d
}

func attachedCard() *types.VirtualVmxnet3 {
	c := &types.VirtualVmxnet3{}
	c.Key, c.MacAddress = 4000, "00:50:56:00:00:01"
	c.Backing = &types.VirtualEthernetCardNetworkBackingInfo{}
	c.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true}
	return c
}

// show lets the gate see a read of the VM under changeVersion 1.
func show(g *gate, devices ...types.BaseVirtualDevice) {
	g.seen.learn(g.seen.now(), nil, &methods.RetrievePropertiesExBody{Res: &types.RetrievePropertiesExResponse{Returnval: &types.RetrieveResult{
		Objects: []types.ObjectContent{{Obj: testVM, PropSet: []types.DynamicProperty{
			{Name: "name", Val: "wrk-01"}, {Name: versionPath, Val: "1"}, {Name: extraPath, Val: types.ArrayOfOptionValue{}},
			{Name: devicesPath, Val: types.ArrayOfVirtualDevice{VirtualDevice: devices}},
		}}},
	}}}, nil)
}

func changing(version string, op types.VirtualDeviceConfigSpecOperation, file types.VirtualDeviceConfigSpecFileOperation, d types.BaseVirtualDevice) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{Req: &types.ReconfigVM_Task{This: testVM, Spec: types.VirtualMachineConfigSpec{ChangeVersion: version, DeviceChange: change(op, file, d)}}}
}

// twice is two changes in one call.
func twice(a, b soap.HasFault) soap.HasFault {
	x, y := a.(*methods.ReconfigVM_TaskBody), b.(*methods.ReconfigVM_TaskBody)
	x.Req.Spec.DeviceChange = append(x.Req.Spec.DeviceChange, y.Req.Spec.DeviceChange...)
	return x
}

func diskAs(f func(*types.VirtualDisk)) *types.VirtualDisk { d := attachedDisk(); f(d); return d }

func cardAs(f func(*types.VirtualVmxnet3)) *types.VirtualVmxnet3 { c := attachedCard(); f(c); return c }

func backed(f func(*types.VirtualDiskFlatVer2BackingInfo)) func(*types.VirtualDisk) {
	return func(d *types.VirtualDisk) {
		d.CapacityInKB, d.CapacityInBytes = 2<<20, 2<<30
		f(d.Backing.(*types.VirtualDiskFlatVer2BackingInfo))
	}
}

func destroying(ref types.ManagedObjectReference) soap.HasFault {
	return &methods.Destroy_TaskBody{Req: &types.Destroy_Task{This: ref}}
}

func renaming(ref types.ManagedObjectReference, name string) soap.HasFault {
	return &methods.Rename_TaskBody{Req: &types.Rename_Task{This: ref, NewName: name}}
}

// dataMarker is the marker of dataFile.
const dataMarker = "[ds] lkv-disks/f/a.made"

func unmarking(name string, dc *types.ManagedObjectReference) soap.HasFault {
	return &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: name, Datacenter: dc}}
}

func deleting(file string, dc *types.ManagedObjectReference) soap.HasFault {
	return &methods.DeleteVirtualDisk_TaskBody{Req: &types.DeleteVirtualDisk_Task{Name: file, Datacenter: dc}}
}

func creating(file string, dc *types.ManagedObjectReference) soap.HasFault {
	return &methods.CreateVirtualDisk_TaskBody{Req: &types.CreateVirtualDisk_Task{Name: file, Datacenter: dc}}
}

func extending(file string, kb int64, dc *types.ManagedObjectReference) soap.HasFault {
	return &methods.ExtendVirtualDisk_TaskBody{Req: &types.ExtendVirtualDisk_Task{Name: file, NewCapacityKb: kb, Datacenter: dc}}
}

// Every shape that is allowed, and what looks like it.
func TestGateShapes(t *testing.T) {
	const add, edit, remove = types.VirtualDeviceConfigSpecOperationAdd, types.VirtualDeviceConfigSpecOperationEdit, types.VirtualDeviceConfigSpecOperationRemove
	whole := func(g *gate) { show(g, pvscsi(), attachedDisk(), attachedCard()) }
	bare := func(g *gate) { show(g, pvscsi(), attachedCard()) }
	larger := func(d *types.VirtualDisk) { d.CapacityInKB, d.CapacityInBytes = 2<<20, 2<<30 }
	off := func(c *types.VirtualVmxnet3) { c.Connectable = &types.VirtualDeviceConnectInfo{} }
	both := func(a, b func(*gate)) func(*gate) { return func(g *gate) { a(g); b(g) } }
	may := func(g *gate) { g.permitDestroy(testVM) }
	folder := types.ManagedObjectReference{Type: "Folder", Value: "group-v1"}
	for _, c := range []struct {
		name string
		ok   bool
		seen func(*gate)
		req  soap.HasFault
	}{
		{"detach", true, whole, changing("1", remove, "", attachedDisk())},
		{"detach by key", true, whole, changing("1", remove, "", &types.VirtualDisk{VirtualDevice: types.VirtualDevice{Key: int32(2000)}})},
		{"detach and destroy", false, whole, changing("1", remove, "destroy", attachedDisk())},
		{"detach and create", false, whole, changing("1", remove, "create", attachedDisk())},
		{"detach without changeVersion", false, whole, changing("", remove, "", attachedDisk())},
		{"detach under an old changeVersion", false, whole, changing("0", remove, "", attachedDisk())},
		{"detach unread", false, func(*gate) {}, changing("1", remove, "", attachedDisk())},
		{"detach after a change", false, func(g *gate) { whole(g); g.seen.leave(testVM); g.seen.arrive(testVM, nil) }, changing("1", remove, "", attachedDisk())},
		{"detach during a change", false, func(g *gate) { g.seen.leave(testVM); whole(g) }, changing("1", remove, "", attachedDisk())},
		{"detach what is not there", false, bare, changing("1", remove, "", attachedDisk())},
		{"detach another file", false, whole, changing("1", remove, "", diskAs(backed(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.FileName = "[ds] b.vmdk" })))},
		{"remove a controller as a disk", false, whole, changing("1", remove, "", &types.VirtualDisk{VirtualDevice: types.VirtualDevice{Key: scsiKey}})},
		{"remove a card", false, whole, changing("1", remove, "", attachedCard())},
		{"attach", true, bare, changing("1", add, "", dataDisk(1000, 0, dataFile, 0))},
		{"attach with the file's capacity", true, bare, changing("1", add, "", dataDisk(1000, 0, dataFile, 1<<30))},
		{"attach and create", false, bare, changing("1", add, "create", dataDisk(1000, 0, dataFile, 0))},
		{"attach and replace", false, bare, changing("1", add, "replace", dataDisk(1000, 0, dataFile, 0))},
		{"attach without changeVersion", false, bare, changing("", add, "", dataDisk(1000, 0, dataFile, 0))},
		{"grow", true, whole, changing("1", edit, "", diskAs(larger))},
		{"grow and replace", false, whole, changing("1", edit, "replace", diskAs(larger))},
		{"grow unread", false, func(*gate) {}, changing("1", edit, "", diskAs(larger))},
		{"grow under an old changeVersion", false, whole, changing("0", edit, "", diskAs(larger))},
		{"as large as before", false, whole, changing("1", edit, "", attachedDisk())},
		{"shrink", false, whole, changing("1", edit, "", diskAs(func(d *types.VirtualDisk) { d.CapacityInKB, d.CapacityInBytes = 1<<10, 1<<20 }))},
		{"grow in bytes only", false, whole, changing("1", edit, "", diskAs(func(d *types.VirtualDisk) { d.CapacityInBytes = 2 << 30 }))},
		{"grow in KiB only", false, whole, changing("1", edit, "", diskAs(func(d *types.VirtualDisk) { d.CapacityInKB, d.CapacityInBytes = 2<<20, 0 }))},
		{"grow another file", false, whole, changing("1", edit, "", diskAs(backed(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.FileName = "[ds] b.vmdk" })))},
		{"grow and forget", false, whole, changing("1", edit, "", diskAs(backed(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.DiskMode = "independent_nonpersistent" })))},
		{"grow and share", false, whole, changing("1", edit, "", diskAs(backed(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.Sharing = "sharingMultiWriter" })))},
		{"grow with a parent", false, whole, changing("1", edit, "", diskAs(backed(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.Parent = &types.VirtualDiskFlatVer2BackingInfo{} })))},
		{"grow and move to another slot", false, whole, changing("1", edit, "", diskAs(func(d *types.VirtualDisk) { larger(d); d.ControllerKey = 1001 }))},
		{"grow without a backing", false, whole, changing("1", edit, "", diskAs(func(d *types.VirtualDisk) { larger(d); d.Backing = nil }))},
		{"extend a file", true, bare, extending(dataFile, 2<<20, &testDC)},
		{"extend an attached file", false, whole, extending(dataFile, 2<<20, &testDC)},
		{"extend without a datacenter", false, bare, extending(dataFile, 2<<20, nil)},
		{"extend to nothing", false, bare, extending(dataFile, 0, &testDC)},
		{"extend what is not ours", false, bare, extending("[ds] vm/a.vmdk", 2<<20, &testDC)},
		{"extend by a detour", false, bare, extending("[ds] lkv-disks/../vm/a.vmdk", 2<<20, &testDC)},
		{"disconnect a card", true, whole, changing("1", edit, "", cardAs(off))},
		{"disconnect under an old changeVersion", false, whole, changing("0", edit, "", cardAs(off))},
		{"disconnect with a file operation", false, whole, changing("1", edit, "replace", cardAs(off))},
		{"another MAC address", false, whole, changing("1", edit, "", cardAs(func(c *types.VirtualVmxnet3) { off(c); c.MacAddress = "" }))},
		{"another network", false, whole, changing("1", edit, "", cardAs(func(c *types.VirtualVmxnet3) {
			off(c)
			c.Backing = &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "x"}}
		}))},
		{"another kind of card", false, whole, changing("1", edit, "", &types.VirtualE1000{VirtualEthernetCard: attachedCard().VirtualEthernetCard})},
		{"destroy", true, both(bare, may), destroying(testVM)},
		{"destroy unasked", false, bare, destroying(testVM)},
		{"destroy with a disk", false, both(whole, may), destroying(testVM)},
		{"destroy unread", false, may, destroying(testVM)},
		{"destroy after a change", false, func(g *gate) { bare(g); may(g); g.seen.leave(testVM); g.seen.arrive(testVM, nil) }, destroying(testVM)},
		{"destroy another VM", false, both(bare, may), destroying(types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-2"})},
		{"destroy a folder", false, func(g *gate) { g.permitDestroy(folder) }, destroying(folder)},
		{"rename", true, func(g *gate) { g.permitRename(testVM, "old") }, renaming(testVM, "old")},
		{"rename unasked", false, bare, renaming(testVM, "old")},
		{"rename otherwise", false, func(g *gate) { g.permitRename(testVM, "old") }, renaming(testVM, "new")},
		{"rename a folder", false, func(g *gate) { g.permitRename(folder, "old") }, renaming(folder, "old")},
		{"rename by a change", false, bare, reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Name: "old"})},
		{"rename by a permitted change", true, func(g *gate) { g.permitRename(testVM, "old") }, &methods.ReconfigVM_TaskBody{Req: &types.ReconfigVM_Task{This: testVM, Spec: types.VirtualMachineConfigSpec{ChangeVersion: "1", Name: "old"}}}},
		{"rename another VM by a change", false, func(g *gate) { g.permitRename(testVM, "old") }, reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Name: "old"})},
		{"annotate", true, bare, reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Annotation: "retired"})},
		{"delete a disk", true, func(g *gate) { g.permitDelete(testDC, dataFile) }, deleting(dataFile, &testDC)},
		{"delete a disk unasked", false, bare, deleting(dataFile, &testDC)},
		{"delete another disk", false, func(g *gate) { g.permitDelete(testDC, dataFile) }, deleting("[ds] lkv-disks/f/b.vmdk", &testDC)},
		{"delete in another datacenter", false, func(g *gate) { g.permitDelete(testDC, dataFile) }, deleting(dataFile, &types.ManagedObjectReference{Type: "Datacenter", Value: "dc-2"})},
		{"delete without a datacenter", false, func(g *gate) { g.permitDelete(testDC, dataFile) }, deleting(dataFile, nil)},
		{"delete an attached disk", false, func(g *gate) { whole(g); g.permitDelete(testDC, dataFile) }, deleting(dataFile, &testDC)},
		{"delete a VM's own disk", false, func(g *gate) { g.permitDelete(testDC, "[ds] vm/a.vmdk") }, deleting("[ds] vm/a.vmdk", &testDC)},
		{"delete a disk's extent", false, func(g *gate) { g.permitDelete(testDC, "[ds] lkv-disks/f/a-flat.vmdk") }, deleting("[ds] lkv-disks/f/a-flat.vmdk", &testDC)},
		{"delete a folder as a disk", false, func(g *gate) { g.permitDelete(testDC, "[ds] lkv-disks/f") }, deleting("[ds] lkv-disks/f", &testDC)},
		{"remove a marker", true, func(g *gate) { bare(g); g.permitUnmark(testDC, dataMarker) }, unmarking(dataMarker, &testDC)},
		{"remove a marker unasked", false, bare, unmarking(dataMarker, &testDC)},
		{"remove another marker", false, func(g *gate) { g.permitUnmark(testDC, dataMarker) }, unmarking("[ds] lkv-disks/f/b.made", &testDC)},
		{"remove a marker without a datacenter", false, func(g *gate) { g.permitUnmark(testDC, dataMarker) }, unmarking(dataMarker, nil)},
		{"remove a marker elsewhere", false, func(g *gate) { g.permitUnmark(testDC, dataMarker) }, unmarking(dataMarker, &types.ManagedObjectReference{Type: "Datacenter", Value: "dc-2"})},
		{"remove an attached disk's marker", false, func(g *gate) { whole(g); g.permitUnmark(testDC, dataMarker) }, unmarking(dataMarker, &testDC)},
		{"remove the disk as a marker", false, func(g *gate) { g.permitUnmark(testDC, dataFile) }, unmarking(dataFile, &testDC)},
		{"remove the fleet's folder", false, func(g *gate) { g.permitUnmark(testDC, "[ds] lkv-disks/f") }, unmarking("[ds] lkv-disks/f", &testDC)},
		{"remove a folder that ends so", false, func(g *gate) { g.permitUnmark(testDC, "[ds] lkv-disks/f.made") }, unmarking("[ds] lkv-disks/f.made", &testDC)},
		{"remove a marker of no name", false, func(g *gate) { g.permitUnmark(testDC, "[ds] lkv-disks/f/.made") }, unmarking("[ds] lkv-disks/f/.made", &testDC)},
		{"remove what lies deeper", false, func(g *gate) { g.permitUnmark(testDC, "[ds] lkv-disks/f/x/a.made") }, unmarking("[ds] lkv-disks/f/x/a.made", &testDC)},
		{"remove a marker by dots", false, func(g *gate) { g.permitUnmark(testDC, "[ds] lkv-disks/../a.made") }, unmarking("[ds] lkv-disks/../a.made", &testDC)},
		{"detach the only device", true, func(g *gate) { show(g, attachedDisk()) }, changing("1", remove, "", attachedDisk())},
		{"remove the CD-ROM", false, func(g *gate) { show(g, pvscsi(), cdrom(cdKey, sataKey, 0, isoFile)) }, changing("1", remove, "", cdrom(cdKey, sataKey, 0, isoFile))},
		{"change a controller", false, whole, changing("1", edit, "", pvscsi())},
		{"a card with the key of a disk", false, whole, changing("1", edit, "", cardAs(func(c *types.VirtualVmxnet3) { c.Key = 2000 }))},
		{"a disk with the key of a card", false, whole, changing("1", edit, "", diskAs(func(d *types.VirtualDisk) { larger(d); d.Key = 4000 }))},
		{"add nothing", false, bare, changing("1", add, "", nil)},
		{"add with other files", false, bare, &methods.ReconfigVM_TaskBody{Req: &types.ReconfigVM_Task{This: testVM, Spec: types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: add, Device: dataDisk(1000, 0, dataFile, 0), Backing: &types.VirtualDeviceConfigSpecBackingSpec{}}}}}}},
		{"attach for one VM", true, bare, changing("1", add, "", diskWith(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.Sharing = "sharingNone" }))},
		{"a new VM with an edit", false, bare, &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{DeviceChange: change(edit, "", pvscsi())}}}},
		{"create a disk", true, func(g *gate) { g.permit(testDC, dataFile) }, creating(dataFile, &testDC)},
		{"create a disk without a datacenter", false, func(g *gate) { g.permit(testDC, dataFile) }, creating(dataFile, nil)},
		{"create a disk elsewhere", false, func(g *gate) { g.permit(testDC, "[ds] vm/a.vmdk") }, creating("[ds] vm/a.vmdk", &testDC)},
		{"create a disk by a detour", false, func(g *gate) { g.permit(testDC, "[ds] lkv-disks/../vm/a.vmdk") }, creating("[ds] lkv-disks/../vm/a.vmdk", &testDC)},
		{"rename to nothing", false, func(g *gate) { g.permitRename(testVM, "") }, renaming(testVM, "")},
		{"delete by no path", false, func(g *gate) { g.permitDelete(testDC, dataFile[1:]) }, deleting(dataFile[1:], &testDC)},
		{"finish an upload", true, bare, &methods.MoveDatastoreFile_TaskBody{Req: &types.MoveDatastoreFile_Task{SourceName: unfinished, DestinationName: isoFile}}},
		{"finish an upload as unfinished", false, bare, move(unfinished, unfinished+"0", false)},
		{"add a card", true, bare, changing("1", add, "", attachedCard())},
		{"a good change and a bad one", false, whole, twice(changing("1", remove, "", attachedDisk()), changing("1", remove, "", pvscsi()))},
		{"an attach and a bad change", false, whole, twice(changing("1", add, "", dataDisk(1000, 1, dataFile, 0)), changing("1", remove, "destroy", attachedDisk()))},
		{"two good changes", true, whole, twice(changing("1", remove, "", attachedDisk()), changing("1", edit, "", cardAs(off)))},
		{"a new VM with a file", false, bare, &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{DeviceChange: change(add, "create", pvscsi())}}}},
		{"delete a disk beside an attached one", true, func(g *gate) { whole(g); g.permitDelete(testDC, "[ds] lkv-disks/f/b.vmdk") }, deleting("[ds] lkv-disks/f/b.vmdk", &testDC)},
		{"move files", false, whole, reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Files: &types.VirtualMachineFileInfo{}})},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			w := &wire{}
			g := newGate(w, nil)
			c.seen(g)
			err := g.RoundTrip(t.Context(), c.req, nil)
			var f *ForbiddenError
			if c.ok != (err == nil && len(w.sent) == 1) || !c.ok && (!errors.As(err, &f) && !errors.Is(err, ErrChanged) || len(w.sent) > 0) {
				t.Errorf("error %v, sent %v", err, w.sent)
			}
		})
	}
}

// A permit is good for one call.
func TestPermitsAreGoodOnce(t *testing.T) {
	g := newGate(&wire{}, nil)
	show(g)
	for _, c := range []struct {
		permit func()
		req    soap.HasFault
	}{
		{func() { g.permitRename(testVM, "old") }, renaming(testVM, "old")},
		{func() { g.permitDelete(testDC, dataFile) }, deleting(dataFile, &testDC)},
		{func() { g.permitUnmark(testDC, dataMarker) }, unmarking(dataMarker, &testDC)},
		{func() { show(g); g.permitDestroy(testVM) }, destroying(testVM)},
	} {
		c.permit()
		if err := g.RoundTrip(t.Context(), c.req, nil); err != nil {
			t.Errorf("%T: %v", c.req, err)
		}
		show(g)
		if err := g.RoundTrip(t.Context(), c.req, nil); err == nil {
			t.Errorf("%T: sent twice", c.req)
		}
	}
}

// What the executor does to its own copy of a read does not change what the filter saw.
func TestGateKeepsItsOwnCopy(t *testing.T) {
	disk := attachedDisk()
	g := newGate(&wire{}, nil)
	show(g, disk)
	disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName = "[ds] b.vmdk"
	disk.CapacityInKB, disk.CapacityInBytes = 2<<20, 2<<30
	if err := g.RoundTrip(t.Context(), changing("1", "edit", "", disk), nil); err == nil {
		t.Error("another file got through")
	}
}

// soapMethods lists every call of the API, from govmomi's source.
func soapMethods(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir", "github.com/vmware/govmomi/vim25/methods").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct{ Dir string }
	if err := json.Unmarshal(out, &pkg); err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, "methods.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

// Of all the calls there are, those that may change something are these, and the filter refuses the rest by name.
func TestEveryOtherMethodIsUnknown(t *testing.T) {
	known := map[kind][]string{}
	unknowns := 0
	for _, name := range soapMethods(t) {
		if err := admitted(name); err != nil {
			unknowns++
			var f *ForbiddenError
			if !errors.As(err, &f) || f.Call != name {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		known[calls[name]] = append(known[calls[name]], name)
	}
	if unknowns < 500 {
		t.Errorf("only %d methods are refused: is the list of all of them whole?", unknowns)
	}
	slices.Sort(known[writes])
	want := []string{
		"CancelTask", "CopyDatastoreFile_Task", "CreateDirectory", "CreateFolder", "CreateVM_Task", "CreateVirtualDisk_Task",
		"DeleteDatastoreFile_Task", "DeleteVirtualDisk_Task", "Destroy_Task", "ExtendVirtualDisk_Task", "MakeDirectory",
		"MoveDatastoreFile_Task", "PowerOffVM_Task", "PowerOnVM_Task", "ReconfigVM_Task", "Rename_Task", "ShutdownGuest",
	}
	if !slices.Equal(known[writes], want) {
		t.Errorf("calls that change something: %v\nwant %v", known[writes], want)
	}
	for _, name := range known[reads] {
		ok := slices.ContainsFunc([]string{"Retrieve", "Continue", "Create", "Destroy", "Find", "Search", "Query", "Acquire", "WaitFor"}, func(p string) bool { return strings.HasPrefix(name, p) })
		ok = ok || name == "CurrentTime" || name == "HasUserPrivilegeOnEntities" // what a doctor asks
		if !ok || strings.HasSuffix(name, "_Task") && name != "SearchDatastore_Task" {
			t.Errorf("%s is taken for a read", name)
		}
	}
	for _, name := range []string{"UnregisterVM", "MoveVirtualDisk_Task", "CopyVirtualDisk_Task", "RelocateVM_Task", "MigrateVM_Task", "CloneVM_Task", "InstantClone_Task",
		"ZeroFillVirtualDisk_Task", "EagerZeroVirtualDisk_Task", "ShrinkVirtualDisk_Task", "DefragmentVirtualDisk_Task", "InflateVirtualDisk_Task", "SetVirtualDiskUuid",
		"CreateSnapshot_Task", "RevertToSnapshot_Task", "RemoveAllSnapshots_Task", "ConsolidateVMDisks_Task", "PromoteDisks_Task", "UnregisterAndDestroy_Task",
		"DestroyDatastore", "FormatVmfs", "DeleteVStorageObject_Task", "ResetVM_Task", "SuspendVM_Task", "DetachDisk_Task", "AttachDisk_Task", "DeleteFile", "DeleteDirectory"} {
		if admitted(name) == nil {
			t.Errorf("%s is let through", name)
		}
	}
}

// A refusal because what was read of the VM does not hold any more is none of a bug: somebody changed it, or a later read
// of it failed, as it does when another VM that it asks for was destroyed. Anything else is one.
func TestGateOvertaken(t *testing.T) {
	gone := soap.WrapVimFault(&types.ManagedObjectNotFound{Obj: types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-2"}})
	nobody := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-9"}
	both := &methods.RetrievePropertiesExBody{Req: &types.RetrievePropertiesEx{SpecSet: filters([]want{{testVM, detail}, {types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-2"}, detail}})}}
	failing := func(g *gate) { g.seen.learn(g.seen.now(), both, nil, gone) }
	const remove = types.VirtualDeviceConfigSpecOperationRemove
	for name, c := range map[string]struct {
		then func(*gate)
		req  soap.HasFault
		bug  bool
	}{
		"a detach after a read that failed":         {failing, changing("1", remove, "", attachedDisk()), false},
		"a destroy after a read that failed":        {func(g *gate) { failing(g); g.permitDestroy(testVM) }, destroying(testVM), false},
		"a detach under an older changeVersion":     {func(*gate) {}, changing("0", remove, "", attachedDisk()), false},
		"a detach of a disk that is not there":      {func(*gate) {}, changing("1", remove, "", diskAs(func(d *types.VirtualDisk) { d.Key = 7 })), true},
		"a destroy of a VM that has a disk":         {func(g *gate) { g.permitDestroy(testVM) }, destroying(testVM), true},
		"a destroy of a VM that nobody read":        {func(g *gate) { g.permitDestroy(nobody) }, destroying(nobody), true},
		"a detach while a call of its own is going": {func(g *gate) { g.seen.leave(testVM) }, changing("1", remove, "", attachedDisk()), true},
		"a disk that nobody asked to be deleted":    {failing, deleting(dataFile, &testDC), true},
	} {
		g := newGate(nil, nil) // whatever is sent panics
		show(g, pvscsi(), attachedDisk(), attachedCard())
		c.then(g)
		err := g.RoundTrip(t.Context(), c.req, nil)
		var forbidden *ForbiddenError
		if errors.As(err, &forbidden) != c.bug || errors.Is(err, ErrChanged) == c.bug {
			t.Errorf("%s: %v", name, err)
		}
	}
}
