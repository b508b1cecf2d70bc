package vsphere_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// L1 to L17: the ways in which disks get lost elsewhere (safety.md). Each test shows on a scratch VM how it happens, and
// that lkv does not do it, or refuses. TestL06LinkedClone is with the tests of what the lab cannot show.

// loss is a fleet that stands, with known bytes on its disks, and a careless administrator.
type loss struct {
	*rig
	a     *admin
	d     plan.Desired
	disks []imprint
}

func newLoss(t *testing.T, n int) *loss {
	t.Helper()
	t.Parallel() // most of it is waiting
	l := &loss{rig: newRig(t, lab.Config{})}
	l.d = desired(n, l.image("iso v1"))
	for i := range l.d.VMs {
		l.d.VMs[i].Disks[0].Bytes = smallDisk
	}
	if res := l.run(l.d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	l.disks = l.imprint(l.d)
	l.a = l.admin("DC1")
	return l
}

// scratch makes a VM of somebody else's with a disk, and returns the disk's path.
func (l *loss) scratch(name string) string {
	l.Helper()
	l.a.create(name)
	path := "[vm-1] scratch/" + name + ".vmdk"
	l.makeDisk(path)
	l.a.attach(name, path, smallDisk)
	return path
}

func (l *loss) makeDisk(path string) {
	l.Helper()
	_ = object.NewFileManager(l.a.c.Client).MakeDirectory(l.Context(), path[:strings.LastIndex(path, "/")], l.a.dc, true) // it may be there
	task, err := object.NewVirtualDiskManager(l.a.c.Client).CreateVirtualDisk(l.Context(), path, l.a.dc, &types.FileBackedVirtualDiskSpec{CapacityKb: smallDisk >> 10,
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}})
	l.a.must(task, err)
	if err := os.WriteFile(l.bytesFile(l.d, path), append([]byte("precious"), make([]byte, smallDisk-8)...), 0o600); err != nil {
		l.Fatal(err)
	}
}

// lost tells whether a disk's bytes are gone.
func (l *loss) lost(path string) bool {
	raw, err := os.ReadFile(l.bytesFile(l.d, path))
	return err != nil || !strings.HasPrefix(string(raw), "precious")
}

// hurt fails unless what the administrator did has lost the disk: else the test would show nothing.
func (l *loss) hurt(path string) {
	l.Helper()
	if !l.lost(path) {
		l.Errorf("%s is still there: the mechanism is not shown", path)
	}
}

// safe fails unless the fleet's disks are as they were, and lkv has asked for no file operation.
func (l *loss) safe(from int) {
	l.Helper()
	l.intact("lkv", l.disks)
	for _, c := range l.lab.Journal()[from:] {
		if len(c.FileOps) > 0 || c.Method == "DeleteVirtualDisk_Task" {
			l.Errorf("lkv sent %s", c)
		}
	}
}

// mark is where in the journal lkv's turn begins.
func (l *loss) mark() int { return len(l.lab.Journal()) }

// question waits for the question that a VM asks, and returns its id.
func (a *admin) question(name string) string {
	a.Helper()
	for {
		var m mo.VirtualMachine
		if err := a.vm(name).Properties(a.Context(), a.vm(name).Reference(), []string{"runtime.question"}, &m); err != nil {
			a.Fatal(err)
		}
		if q := m.Runtime.Question; q != nil {
			return q.Id
		}
		time.Sleep(time.Millisecond)
	}
}

func (l *loss) disk(name string) *types.VirtualDisk {
	l.Helper()
	d, ok := l.a.devices(name).SelectByType((*types.VirtualDisk)(nil))[0].(*types.VirtualDisk)
	if !ok {
		l.Fatal("it has no disk")
	}
	return d
}

func step[S any](name string, s S) S {
	reflect.ValueOf(&s).Elem().FieldByName("Name").SetString(name)
	return s
}

// off claims the first VM and shuts it down.
func (l *loss) off() plan.VM {
	l.Helper()
	l.execute(claim("run-1", l.vm(one, l.d).Record.Epoch+1), l.d)
	l.execute(shutdown(time.Second), l.d)
	return l.vm(one, l.d)
}

// retire does so and retires and claims it.
func (l *loss) retire() plan.VM {
	l.Helper()
	v := l.off()
	l.execute(step(one, plan.Retire{To: retired, At: time.Now()}), l.d)
	l.execute(step(retired, claim("run-1", v.Record.Epoch+1)), l.d)
	return l.vm(retired, l.d)
}

func TestL01DestroyTakesEveryDisk(t *testing.T) {
	l := newLoss(t, 1)
	path := l.scratch("scratch")
	l.a.must(l.a.vm("scratch").Destroy(t.Context()))
	l.hurt(path)

	from := l.mark()
	l.off()
	l.refused(plan.R19, step(one, plan.DestroyVM{}), l.d)
	l.execute(step(one, plan.Retire{To: retired, At: time.Now()}), l.d)
	l.execute(step(retired, claim("run-1", l.vm(retired, l.d).Record.Epoch+1)), l.d)
	l.refused(plan.R19, step(retired, plan.DestroyVM{}), l.d)
	l.safe(from)
}

func TestL02RemovingADeviceDestroysItsFile(t *testing.T) {
	l := newLoss(t, 1)
	path := l.scratch("scratch")
	if err := l.a.vm("scratch").RemoveDevice(t.Context(), false, l.disk("scratch")); err != nil {
		t.Fatal(err)
	}
	l.hurt(path)

	from := l.mark()
	v := l.retire()
	l.execute(step(retired, plan.DetachDisk{Disk: v.Record.Disks[0]}), l.d)
	if v := l.vm(retired, l.d); len(v.Disks) > 0 {
		t.Errorf("it was not detached: %+v", v.Disks)
	}
	l.safe(from)
}

func TestL03EditingADiskReplacesIt(t *testing.T) {
	l := newLoss(t, 1)
	path := l.scratch("scratch")
	d := l.disk("scratch")
	d.CapacityInKB, d.CapacityInBytes = 2*smallDisk>>10, 2*smallDisk
	if err := l.a.vm("scratch").EditDevice(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	l.hurt(path)

	from := l.mark()
	v := l.off()
	l.execute(step(one, plan.GrowDisk{Disk: v.Record.Disks[0], Bytes: 2 * smallDisk}), l.d)
	if v := l.vm(one, l.d); v.Disks[0].Bytes != 2*smallDisk {
		t.Errorf("it did not grow: %+v", v.Disks)
	}
	l.safe(from)
}

// No step has a switch that says whether a file is kept, and one that names no disk does nothing.
func TestL04AKeepFlagThatIsFalse(t *testing.T) {
	l := newLoss(t, 1)
	path := l.scratch("scratch")
	var keepFiles bool // nobody said
	if err := l.a.vm("scratch").RemoveDevice(t.Context(), keepFiles, l.disk("scratch")); err != nil {
		t.Fatal(err)
	}
	l.hurt(path)

	from := l.mark()
	for _, s := range []plan.Step{plan.DetachDisk{}, plan.DestroyVM{}, plan.Retire{}, plan.Forget{}, plan.Disown{}, plan.GrowDisk{}, plan.AttachDisk{}} {
		for i := range reflect.TypeOf(s).NumField() {
			if f := reflect.TypeOf(s).Field(i); f.Type.Kind() == reflect.Bool {
				t.Errorf("%T has a switch %s", s, f.Name)
			}
		}
	}
	l.retire()
	l.mutations()
	l.execute(step(retired, plan.DetachDisk{}), l.d)
	l.still("a detach that names no disk")
	l.safe(from)
}

func TestL05IdentityByOrder(t *testing.T) {
	l := newLoss(t, 1)
	l.retire()
	l.a.detach(retired) // somebody changes the order
	l.makeDisk("[vm-1] scratch/first.vmdk")
	l.attachAt(retired, "[vm-1] scratch/first.vmdk", 0, "")
	l.attachAt(retired, l.disks[0].Path, 5, "")
	naive := l.disk(retired) // "its data disk is the first one"
	if got := naive.Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName; got == l.disks[0].Path {
		t.Fatalf("the first disk is %s: the mechanism is not shown", got)
	}
	from := l.mark()
	v := l.vm(retired, l.d)
	l.execute(step(retired, plan.DetachDisk{Disk: v.Record.Disks[0]}), l.d)
	if v := l.vm(retired, l.d); len(v.Disks) != 1 || v.Disks[0].Path != "[vm-1] scratch/first.vmdk" {
		t.Errorf("detached the wrong one, left: %+v", v.Disks)
	}
	l.safe(from)
}

// attachAt attaches an existing disk file at a unit, in a mode (default independent_persistent).
func (l *loss) attachAt(name, file string, unit int32, mode string) {
	l.Helper()
	b := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: orElse(mode, plan.DiskMode), VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}
	ctl := l.a.devices(name).SelectByType((*types.ParaVirtualSCSIController)(nil))[0].GetVirtualDevice().Key
	l.a.change(name, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: "add",
		Device: &types.VirtualDisk{CapacityInKB: smallDisk >> 10, VirtualDevice: types.VirtualDevice{Key: -30 - unit, ControllerKey: ctl, UnitNumber: &unit, Backing: b}}}}})
}

func orElse(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// codeIs fails unless the plan leaves the first VM alone for that reason.
func (l *loss) codeIs(code plan.Code) {
	l.Helper()
	l.d.Image = l.image("iso v2")
	p := plan.Compute(l.d, l.observe(l.d), time.Now())
	if len(p.Waves) > 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != code {
		l.Errorf("plan %+v, want %s", p, code)
	}
}

// A revert takes a disk back in time, unless it is independent; a disk whose writes are thrown away is lost at power off.
func TestL07SnapshotRevert(t *testing.T) {
	l := newLoss(t, 1)
	if mode := l.disk(one).Backing.(*types.VirtualDiskFlatVer2BackingInfo).DiskMode; mode != "independent_persistent" {
		t.Errorf("lkv attached it as %s", mode)
	}
	l.off()
	for _, mode := range []string{"independent_nonpersistent", "nonpersistent", "undoable"} {
		l.a.detach(one)
		l.attachAt(one, l.disks[0].Path, 4, mode)
		l.mutations()
		l.refused(plan.R05, powerOn(), l.d)
		l.still(mode)
	}
	l.codeIs(plan.R05)
	l.intact("lkv", l.disks)
}

func TestL08NotFoundSoMakeANewOne(t *testing.T) {
	l := newLoss(t, 1)
	v := l.off()
	l.a.detach(one)
	dir := filepath.Join(l.lab.DatastoreDir("DC1", "vm-1"), plan.DiskFolder)
	for what, hide := range map[string]struct{ away, back func() error }{
		"the folder is hidden":       {func() error { return os.Rename(dir, dir+".away") }, func() error { return os.Rename(dir+".away", dir) }},
		"the datastore is not there": {func() error { return l.lab.SetAccessible("DC1", "vm-1", false) }, func() error { return l.lab.SetAccessible("DC1", "vm-1", true) }},
	} {
		if err := hide.away(); err != nil {
			t.Fatal(err)
		}
		l.mutations()
		mk := step(one, plan.CreateDisk{Place: l.d.VMs[0].Place, Disk: l.d.VMs[0].Disks[0], Path: v.Disks[0].Path})
		if err := l.fleet.Execute(t.Context(), mk, l.d); err == nil {
			t.Errorf("%s: a disk was made", what)
		}
		if o, err := l.fleet.Observe(t.Context(), l.d); err == nil {
			if p := plan.Compute(l.d, o, time.Now()); len(p.Waves) > 0 {
				t.Errorf("%s: plan %+v", what, p)
			}
		}
		l.still(what)
		if err := hide.back(); err != nil {
			t.Fatal(err)
		}
	}
	l.intact("lkv", l.disks)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	l.makeDisk(v.Disks[0].Path) // "not found": the naive one is blank, and in the way when the folder comes back
	if err := os.Rename(dir+".away", dir); err == nil {
		t.Error("the folder came back over the new disk: the mechanism is not shown")
	}
}

func TestL09DiskInTheVMsFolder(t *testing.T) {
	l := newLoss(t, 1)
	vdm := object.NewVirtualDiskManager(l.a.c.Client)
	path := l.scratch("scratch")
	l.a.detach("scratch") // a storage migration moves the file
	moved := "[vm-1] scratch/home/disk.vmdk"
	_ = object.NewFileManager(l.a.c.Client).MakeDirectory(t.Context(), "[vm-1] scratch/home", l.a.dc, true)
	task, err := vdm.MoveVirtualDisk(t.Context(), path, l.a.dc, moved, l.a.dc, false)
	l.a.must(task, err)
	task, err = object.NewFileManager(l.a.c.Client).DeleteDatastoreFile(t.Context(), "[vm-1] scratch/home", l.a.dc)
	l.a.must(task, err)
	l.hurt(moved)

	v := l.retire()
	home := strings.TrimSuffix(v.Home, "/")
	l.a.detach(retired)
	task, err = vdm.MoveVirtualDisk(t.Context(), l.disks[0].Path, l.a.dc, home+"/data.vmdk", l.a.dc, false)
	l.a.must(task, err)
	l.attachAt(retired, home+"/data.vmdk", 4, "")
	from := l.mark()
	l.execute(step(retired, plan.DetachDisk{Disk: v.Record.Disks[0]}), l.d)
	b := l.refused(plan.R19, step(retired, plan.DestroyVM{}), l.d)
	if !strings.Contains(b.Reason, home+"/data.vmdk") {
		t.Errorf("reason %q", b.Reason)
	}
	l.safe(from)
}

func TestL10TwoVMsOnOneDisk(t *testing.T) {
	l := newLoss(t, 1)
	path := l.scratch("a")
	l.a.create("b")
	l.a.attach("b", path, smallDisk) // nobody minds while both are off
	v := l.off()
	l.a.create("thief")
	l.a.detach(one)
	l.a.attach("thief", v.Disks[0].Path, smallDisk)
	from := l.mark()
	l.refused(plan.R07, step(one, plan.AttachDisk{Disk: v.Record.Disks[0]}), l.d)
	l.codeIs(plan.R07)
	l.safe(from)
}

// bootTest fails unless the boot tests have that test with that case: what a guest does only a guest proves.
func bootTest(t *testing.T, name, part string) {
	t.Helper()
	file := filepath.Join("..", "..", "e2e", "boot_test.go")
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == name {
			ast.Inspect(fn, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				found = found || ok && strings.Contains(lit.Value, part)
				return true
			})
		}
	}
	if !found {
		t.Errorf("%s has no test %s with %q", file, name, part)
	}
}

func TestL11GuestFormatsAForeignDisk(t *testing.T) {
	bootTest(t, "TestRefusals", "foreign and stray disks")
	bootTest(t, "TestDataSurvives", "formatted=false")
}

// A guest that mounted nothing serves from memory: it is never taken for ready.
func TestL12GuestMountsNothing(t *testing.T) {
	bootTest(t, "TestRefusals", "no disk")
	t.Parallel()
	r := newRig(t, lab.Config{Driver: lab.Paper{Behave: func(_ string, boot int) lab.Behaviour { return lab.Behaviour{FailMount: boot > 1} }}})
	d := r.stand(2)
	d.Image = r.image("iso v2")
	if res := r.run(d); res.Outcome != reconcile.Broken {
		t.Errorf("%+v", res)
	}
	o := r.observe(d)
	if o.VMs[0].Record.Failed == "" || o.VMs[1].Record.Image == d.Image.Digest {
		t.Errorf("records %+v and %+v", o.VMs[0].Record, o.VMs[1].Record)
	}
}

func TestL13CollectingOrphansOverAPartialView(t *testing.T) {
	l := newLoss(t, 1)
	v := l.retire()
	l.execute(step(retired, plan.DetachDisk{Disk: v.Record.Disks[0]}), l.d) // now no VM has the disk
	o := l.observe(l.d)
	for what, change := range map[string]func(*plan.Observed){
		"partial": func(o *plan.Observed) { o.Problem = "one datacenter did not answer" },
		"empty":   func(o *plan.Observed) { o.VMs, o.Files = nil, nil },
	} {
		seen := o.Clone()
		change(&seen)
		if req := plan.Collect(l.d, seen, time.Now().Add(time.Hour), 0); len(req.Rolls) > 0 {
			t.Errorf("%s: gc would do %+v", what, req.Rolls)
		}
	}
	from := l.mark()
	l.execute(step(retired, plan.DestroyVM{}), l.d)
	l.safe(from)
	path := l.disks[0].Path
	task, err := object.NewVirtualDiskManager(l.a.c.Client).DeleteVirtualDisk(t.Context(), path, l.a.dc) // "nobody has it"
	l.a.must(task, err)
	l.hurt(path)
}

// What an operator deletes is gone. Lkv does not paper over it with a blank disk under the same name.
func TestL14DeleteFromDisk(t *testing.T) {
	l := newLoss(t, 1)
	l.off()
	l.a.must(l.a.vm(one).Destroy(t.Context()))
	l.hurt(l.disks[0].Path)
	from := l.mark()
	c := l.connect() // another process, which remembers nothing
	l.fleet = c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	res := l.run(l.d)
	if res.Outcome != reconcile.Refused || len(res.Blocked) == 0 || res.Blocked[0].Code != plan.R06 {
		t.Errorf("%+v", res)
	}
	for _, c := range l.lab.Journal()[from:] {
		t.Errorf("lkv sent %s", c)
	}
}

func TestL15ISOOverwritten(t *testing.T) {
	l := newLoss(t, 1)
	l.off()
	ds, err := l.a.f.Datastore(t.Context(), "iso-nfs")
	if err != nil {
		t.Fatal(err)
	}
	name := "lkv/worker/" + l.d.Image.Digest + ".iso"
	file := filepath.Join(l.lab.DatastoreDir("DC1", "iso-nfs"), name)
	before := l.sum(file, 6)
	l.image("iso v2") // the next image of that name
	if l.sum(file, 6) != before || l.honest("after a second push") != 4 {
		t.Error("the push changed the first ISO")
	}
	up := soap.DefaultUpload
	up.ContentLength = 6
	if err := ds.Upload(t.Context(), strings.NewReader("iso vX"), name, &up); err != nil {
		t.Fatal(err)
	}
	if l.sum(file, 6) == before {
		t.Error("the ISO is as it was: the mechanism is not shown")
	}
}

func TestL16FailedReadTakenAsEmpty(t *testing.T) {
	l := newLoss(t, 1)
	l.lab.ExpireSessions()
	if list, _ := l.a.f.VirtualMachineList(t.Context(), "*"); len(list) > 0 { // "no VMs: make them all"
		t.Error("the list has VMs: the mechanism is not shown")
	}
	c, w := l.wired()
	f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	for what, status := range map[string]int{"an error": http.StatusInternalServerError, "a cut": -1, "not allowed": http.StatusForbidden} {
		for k := 1; ; k++ {
			w.set(func(n int) int {
				if n >= k && n < k+20 { // and its repetitions
					return status
				}
				return 0
			})
			o, err := f.Observe(t.Context(), l.d)
			reached := w.count() >= k
			w.set(nil)
			p := plan.Compute(l.d, o, time.Now())
			if err == nil && o.Problem == "" && reached || len(p.Waves) > 0 {
				t.Errorf("%s at request %d: %v %+v, plan %+v", what, k, err, o, p)
			}
			if !reached || status != http.StatusInternalServerError {
				break
			}
		}
	}
	l.intact("lkv", l.disks)
}

func TestL17DatastoreFull(t *testing.T) {
	l := newLoss(t, 1)
	v := l.off()
	if err := l.lab.SetFreeSpace("DC1", "vm-1", 1<<20); err != nil {
		t.Fatal(err)
	}
	task, err := object.NewVirtualDiskManager(l.a.c.Client).CreateVirtualDisk(t.Context(), "[vm-1] thick.vmdk", l.a.dc, &types.FileBackedVirtualDiskSpec{CapacityKb: smallDisk >> 10,
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "preallocated", AdapterType: "lsiLogic"}})
	if err == nil && task.Wait(t.Context()) == nil {
		t.Error("there was room: the mechanism is not shown")
	}
	l.mutations()
	l.refused(plan.R21, step(one, plan.GrowDisk{Disk: v.Record.Disks[0], Bytes: 4 * smallDisk}), l.d)
	mk := step("wrk-02", plan.CreateDisk{Place: l.d.VMs[0].Place, Disk: l.d.VMs[0].Disks[0], Path: "[vm-1] lkv-disks/workers/wrk-02-docker.vmdk"})
	l.refused(plan.R21, mk, l.d)
	l.still("a full datastore")
	from := l.mark()
	l.d.Image = l.image("iso v2") // a roll in place needs no room there
	if res := l.run(l.d); res.Outcome != reconcile.Converged {
		t.Errorf("%+v", res)
	}
	l.safe(from)
}
