package vsphere_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// Where wrk-01's disk was made, and what says so for ever.
const (
	firstDisk   = "lkv-disks/workers/wrk-01-docker.vmdk"
	firstMarker = "lkv-disks/workers/wrk-01-docker.made"
	moved       = "[vm-1] wrk-01/wrk-01_1.vmdk"
	old         = "[vm-2] legacy-disks/d.vmdk"
)

// move gives a disk file another name; its content and its UUID stay.
func (a *admin) move(from, to string) {
	a.Helper()
	a.must(object.NewVirtualDiskManager(a.c.Client).MoveVirtualDisk(a.Context(), from, a.dc, to, a.dc, false))
}

func (a *admin) folder(path string) {
	a.Helper()
	a.must(nil, object.NewFileManager(a.c.Client).MakeDirectory(a.Context(), path, a.dc, true))
}

// flat is the file with a disk's content.
func (r *rig) flat(disk string) string {
	_, rest, _ := strings.Cut(disk, "] ")
	return filepath.Join(r.lab.DatastoreDir("DC1", "vm-1"), strings.TrimSuffix(rest, ".vmdk")+"-flat.vmdk")
}

const deep = 1 << 20 // where the tests' data lies on a disk: what its file system is stands at its begin

// write puts text onto a disk.
func write(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(text), deep)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A storage migration moves the disk into the VM's folder, and a person takes the VM away. The disk is not made again;
// once it is back under its name it is attached as it was.
func TestDiskThatMovedAwayIsNeverMadeAgain(t *testing.T) {
	r, a, d := made(t)
	before := r.vm(one, d)
	disk := before.Disks[0]
	if got := r.observe(d).Made; !slices.Contains(got, firstDisk) {
		t.Fatalf("made: %q", got)
	}
	a.must(a.vm(one).PowerOff(t.Context()))
	write(t, r.flat(disk.Path), "the data")
	a.detach(one)
	a.move(disk.Path, moved)
	a.attach(one, moved, disk.Bytes)
	a.must(nil, a.vm(one).Unregister(t.Context()))
	r.mutations()

	for range 2 { // the second run remembers what it saw
		res := r.run(d)
		if res.Outcome != reconcile.Refused || len(res.Blocked) != 1 || res.Blocked[0].Code != plan.R06 || !strings.Contains(res.Blocked[0].Reason, "made once") {
			t.Fatalf("%+v", res)
		}
	}
	var mk plan.CreateDisk
	mk.Name, mk.Place, mk.Disk, mk.Path = one, d.VMs[0].Place, d.VMs[0].Disks[0], disk.Path
	if b := r.refused(plan.R06, mk, d); !strings.Contains(b.Reason, firstMarker) {
		t.Errorf("%+v", b)
	}
	r.still("a disk that was made")

	a.move(moved, disk.Path)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	after := r.vm(one, d)
	if diff := cmp.Diff([]plan.Disk{disk}, after.Disks); diff != "" {
		t.Error(diff)
	}
	if b, err := os.ReadFile(r.flat(disk.Path)); err != nil || !bytes.HasPrefix(b[deep:], []byte("the data")) {
		t.Errorf("other bytes: %v", err)
	}
}

// A marker counts on whatever datastore it is, also on one that was empty when this process last listed it.
func TestMarkerOnADatastoreThatWasEmpty(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	if o := r.observe(d); len(o.Made) != 0 {
		t.Fatalf("%q", o.Made)
	}
	r.admin("DC1").folder("[vm-2] " + firstMarker) // by another run, whose VM and disk are gone since
	var mk plan.CreateDisk
	mk.Name, mk.Place, mk.Disk, mk.Path = one, d.VMs[0].Place, d.VMs[0].Disks[0], "[vm-1] "+firstDisk
	r.mutations()
	r.refused(plan.R06, mk, d)
	r.still("a disk with a marker")
	fresh := r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	o, err := fresh.Observe(t.Context(), d)
	if err != nil || !slices.Equal(o.Made, []string{firstDisk}) {
		t.Errorf("%v %q", err, o.Made)
	}
}

// The marker is there before the record that names the disk: a run that dies in between goes on with the same file.
func TestMarkerComesBeforeTheVM(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	r.lab.OnCall(func(c lab.Call) lab.Fault {
		if c.Method == "CreateVM_Task" {
			return lab.Refuse
		}
		return lab.None
	})
	if res := r.run(d); res.Outcome != reconcile.Broken {
		t.Fatalf("%+v", res)
	}
	calls := r.mutations()
	if last := calls[len(calls)-1]; last != "CreateVM_Task" || !slices.Contains(calls, "CreateVirtualDisk_Task") {
		t.Errorf("%q", calls)
	}
	o := r.observe(d)
	if len(o.VMs) != 0 || len(o.Files) != 1 || !slices.Equal(o.Made, []string{firstDisk}) {
		t.Fatalf("%+v", o)
	}
	r.lab.OnCall(nil)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	if v := r.vm(one, d); len(v.Disks) != 1 || v.Disks[0].UUID != o.Files[0].UUID {
		t.Errorf("%+v", v.Disks)
	}
}

// A VM that lkv did not make has markers once it is adopted, for its place and wherever its disk lies.
func TestAdoptedDiskHasAMarker(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	a := r.admin("DC1")
	a.create("legacy")
	a.folder("[vm-2] legacy-disks")
	dm := object.NewVirtualDiskManager(a.c.Client)
	a.must(dm.CreateVirtualDisk(t.Context(), old, a.dc, &types.FileBackedVirtualDiskSpec{CapacityKb: 64 << 10,
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(types.VirtualDiskTypeThin), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)}}))
	uuid, err := dm.QueryVirtualDiskUuid(t.Context(), old, a.dc)
	if err != nil {
		t.Fatal(err)
	}
	a.attach("legacy", old, 64<<20)
	var adopt plan.Adopt
	adopt.Name, adopt.Fleet, adopt.Ordinal, adopt.To = "legacy", d.Fleet, 1, one
	adopt.Record.Disks = []plan.DiskRecord{{Name: "docker", UUID: uuid, Path: old}}
	r.execute(adopt, d)
	r.mutations()
	r.execute(adopt, d)
	r.still("an adopted VM")
	if o := r.observe(d); !slices.Equal(o.Made, []string{firstDisk}) || !slices.Equal(o.Made, plan.Observed{VMs: []plan.VM{{Name: "legacy"}}}.After(adopt).Made) {
		t.Fatalf("made: %q", o.Made)
	}
	a.must(nil, a.vm(one).Unregister(t.Context()))
	o := r.observe(d)
	if !slices.Equal(o.Made, []string{firstDisk}) {
		t.Fatalf("made: %q", o.Made)
	}
	if p := plan.Compute(d, o, time.Now()); len(p.Waves) != 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != plan.R06 {
		t.Errorf("%+v", p)
	}
}
