package vsphere_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
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

// made is a converged fleet of one VM, claimed by this run again.
func made(t *testing.T) (*rig, *admin, plan.Desired) {
	t.Helper()
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	r.execute(claim("run-1", 2), d)
	r.mutations()
	return r, r.admin("DC1"), d
}

const one = "wrk-01"

func claim(owner string, epoch int) plan.Claim {
	c := plan.Claim{Owner: owner, Epoch: epoch, Started: time.Now(), Expires: time.Now().Add(time.Minute)}
	c.Name = one
	return c
}

func powerOn() plan.PowerOn { var s plan.PowerOn; s.Name = one; return s }

func shutdown(grace time.Duration) plan.Shutdown {
	s := plan.Shutdown{Grace: grace}
	s.Name = one
	return s
}

// still checks that nothing was changed.
func (r *rig) still(what string) {
	r.Helper()
	if calls := r.mutations(); len(calls) > 0 {
		r.Errorf("%s: sent %v", what, calls)
	}
}

func TestClaims(t *testing.T) {
	r, _, d := made(t)
	r.execute(claim("run-1", 2), d) // renewed
	other := d
	other.Claimer = "run-2"
	r.mutations()
	b := r.refused(plan.R16, claim("run-2", 3), other)
	if !strings.Contains(b.Reason, "run-1 has claimed it") || !strings.Contains(b.Reason, "epoch 2") {
		t.Errorf("reason %q", b.Reason)
	}
	r.refused(plan.R16, shutdown(0), other)
	var unblock plan.Unblock
	unblock.Name = one
	r.refused(plan.R16, unblock, other)
	r.still("another run's claim")
	stale := claim("run-1", 1)
	if err := r.fleet.Execute(t.Context(), stale, d); err == nil {
		t.Error("a stale epoch was accepted")
	}
	r.still("a stale epoch")
	var rel plan.Release
	rel.Name = one
	r.execute(rel, d)
	r.mutations()
	if err := r.fleet.Execute(t.Context(), shutdown(0), d); !errors.Is(err, vsphere.ErrChanged) {
		t.Errorf("without a claim: %v", err)
	}
	r.still("without a claim")
	r.execute(claim("run-2", 3), other)
}

// An expired claim is taken over, and whoever held it notices before it writes (A6).
func TestLateRunCannotWrite(t *testing.T) {
	r, _, d := made(t)
	late := r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: func() time.Time { return time.Now().Add(time.Hour) }})
	other := d
	other.Claimer = "run-2"
	if err := late.Execute(t.Context(), claim("run-2", 3), other); err != nil {
		t.Fatal(err)
	}
	r.mutations()
	r.refused(plan.R16, shutdown(0), d)
	r.refused(plan.R16, claim("run-1", 2), d)
	r.still("a late run")

	drain := step(one, plan.Drain{Next: "keep"})
	if err := late.Execute(t.Context(), drain, other); err != nil {
		t.Fatal(err)
	}
	r.mutations()
	r.refused(plan.R16, drain, d) // that it is noted already is no leave to run the hook
	r.still("a late drain")
}

// Somebody changes the VM between our read and our write: nothing is written, and the error says look again.
func TestConcurrentChange(t *testing.T) {
	r, a, d := made(t)
	var asked atomic.Bool
	r.lab.OnCall(func(lab.Call) lab.Fault {
		if asked.CompareAndSwap(false, true) { // the change is a call itself
			a.change(one, types.VirtualMachineConfigSpec{Annotation: "mine"})
		}
		return lab.None
	})
	if err := r.fleet.Execute(t.Context(), claim("run-1", 2), d); !errors.Is(err, vsphere.ErrChanged) {
		t.Errorf("%v", err)
	}
	r.lab.OnCall(nil)

	// Whatever else is asked in between, what counts is the read that the change was decided on: the first one.
	c, w := r.wired()
	f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	if _, err := f.Observe(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	w.set(func(n int) int {
		if n == 2 {
			a.change(one, types.VirtualMachineConfigSpec{Annotation: "mine again"})
		}
		return 0
	})
	if err := f.Execute(t.Context(), claim("run-1", 2), d); !errors.Is(err, vsphere.ErrChanged) || w.count() < 2 {
		t.Errorf("changed after the first read: %v", err)
	}
}

// D6: a VM goes on only with the recorded disks, all of them and no other, and with its ISO there.
func TestPowerOnChecks(t *testing.T) {
	r, a, d := made(t)
	r.execute(shutdown(time.Second), d)
	disk := r.observe(d).VMs[0].Disks[0]
	r.mutations()

	a.detach(one)
	r.refused(plan.R06, powerOn(), d)
	a.attach(one, disk.Path, disk.Bytes)
	a.create("stranger")
	dm := object.NewVirtualDiskManager(a.c.Client)
	task, err := dm.CreateVirtualDisk(t.Context(), "[vm-1] other.vmdk", a.dc, &types.FileBackedVirtualDiskSpec{CapacityKb: 1 << 10,
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}})
	a.must(task, err)
	unit := int32(9)
	ctl := a.devices(one).SelectByType((*types.ParaVirtualSCSIController)(nil))[0].GetVirtualDevice().Key
	a.change(one, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: "add",
		Device: &types.VirtualDisk{CapacityInKB: 1 << 10, CapacityInBytes: 1 << 20, VirtualDevice: types.VirtualDevice{Key: -3, ControllerKey: ctl, UnitNumber: &unit,
			Backing: &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[vm-1] other.vmdk"}}}}}}})
	b := r.refused(plan.R06, powerOn(), d)
	if !strings.Contains(b.Reason, "2 disks are attached, 1 are recorded") {
		t.Errorf("reason %q", b.Reason)
	}
	a.detach(one)
	a.attach(one, disk.Path, disk.Bytes)
	iso := filepath.Join(r.lab.DatastoreDir("DC1", "iso-nfs"), "lkv", "worker", d.Image.Digest+".iso")
	if err := os.Rename(iso, iso+".away"); err != nil {
		t.Fatal(err)
	}
	r.refused(plan.R01, powerOn(), d)
	r.still("refused power on")
	if err := os.Rename(iso+".away", iso); err != nil {
		t.Fatal(err)
	}
	r.execute(powerOn(), d)
}

// L10, R07: a disk of ours that somebody attached elsewhere is seen there, and is not attached again.
func TestDiskOnTwoVMs(t *testing.T) {
	r, a, d := made(t)
	r.execute(shutdown(time.Second), d)
	disk := r.observe(d).VMs[0].Disks[0]
	a.create("stranger")
	a.detach(one)
	a.attach("stranger", disk.Path, disk.Bytes)
	o := r.observe(d)
	if len(o.VMs) != 2 || o.VMs[1].Name != "stranger" || o.VMs[1].Fleet != "" || o.VMs[1].Disks[0].UUID != disk.UUID {
		t.Fatalf("the stranger is not seen: %+v", o.VMs)
	}
	p := plan.Compute(d, o, time.Now())
	if len(p.Waves) > 0 || len(p.Blocked) == 0 || p.Blocked[0].Code != plan.R07 {
		t.Errorf("plan %+v", p)
	}
	at := plan.AttachDisk{Disk: o.VMs[0].Record.Disks[0]}
	at.Name = one
	r.mutations()
	r.refused(plan.R07, at, d)
	r.still("attach of a disk in use")
}

// L8, D7: a disk whose file is gone is not made again, wherever its memory survives.
func TestDiskIsNeverMadeTwice(t *testing.T) {
	r, a, d := made(t)
	r.execute(shutdown(time.Second), d)
	path := r.observe(d).VMs[0].Disks[0].Path
	mk := plan.CreateDisk{Place: d.VMs[0].Place, Disk: d.VMs[0].Disks[0], Path: path}
	mk.Name = one
	r.mutations()

	r.execute(mk, d) // the file is there
	bigger := mk
	bigger.Disk.Bytes *= 2
	r.refused(plan.R06, bigger, d)
	elsewhere := mk
	elsewhere.Path = strings.Replace(path, "vm-1", "vm-2", 1)
	r.refused(plan.R06, elsewhere, d)
	a.detach(one)
	dir := filepath.Join(r.lab.DatastoreDir("DC1", "vm-1"), plan.DiskFolder)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	b := r.refused(plan.R06, mk, d)
	if !strings.Contains(b.Reason, "stands in the record of VM wrk-01") {
		t.Errorf("reason %q", b.Reason)
	}
	r.still("a disk that existed")
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
}

// The wrong power state: nothing is swapped, resized or attached on a running VM.
func TestNothingChangesWhileOn(t *testing.T) {
	r, _, d := made(t)
	in := plan.InsertISO{ISO: r.image("iso v2").Paths["iso-DC1"], Record: plan.Record{Image: "x"}}
	size := plan.Resize{CPUs: 1, MemoryMiB: 256}
	in.Name, size.Name = one, one
	r.mutations()
	for _, s := range []plan.Step{in, size} {
		if err := r.fleet.Execute(t.Context(), s, d); !errors.Is(err, vsphere.ErrChanged) {
			t.Errorf("%s: %v", s, err)
		}
	}
	r.still("a running VM")
	r.execute(shutdown(time.Second), d)
	in.ISO = "[iso-nfs] lkv/worker/none.iso"
	r.mutations()
	r.refused(plan.R01, in, d)
	r.still("a missing ISO")
}

func TestForeignVMs(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	a := r.admin("DC1")
	a.create("wrk-01")
	o := r.observe(d)
	if len(o.VMs) != 1 || o.VMs[0].Fleet != "" {
		t.Fatalf("%+v", o.VMs)
	}
	var mk plan.CreateVM
	mk.Name, mk.Want, mk.Fleet, mk.ISO = one, d.VMs[0], d.Fleet, d.Image.Paths["iso-DC1"]
	mk.Want.Disks = nil
	r.mutations()
	r.refused(plan.R22, mk, d)
	r.still("a name that is taken")

	// Another lkv installation's VM is as foreign as any.
	a.create("wrk-02", &types.OptionValue{Key: "lkv.owner", Value: `{"fleet":"workers","ordinal":2,"id":"somebody else"}`})
	d2 := desired(2, d.Image)
	for _, v := range r.observe(d2).VMs {
		if v.Fleet != "" {
			t.Errorf("%s counts as ours", v.Name)
		}
	}
	// Ours under another name is ours, and its place is taken.
	a.create("renamed", &types.OptionValue{Key: "lkv.owner", Value: `{"fleet":"workers","ordinal":3,"id":"test"}`})
	d3 := desired(3, d.Image)
	mk.Name, mk.Want = "wrk-03", d3.VMs[2]
	mk.Want.Disks = nil
	r.refused(plan.R22, mk, d3)
	r.still("a place that is taken")
}

func TestFullDatastore(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	mk := plan.CreateDisk{Place: d.VMs[0].Place, Disk: d.VMs[0].Disks[0], Path: plan.DiskPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0])}
	mk.Name, mk.Disk.Thin = one, false
	if err := r.lab.SetFreeSpace("DC1", "vm-1", 32<<20); err != nil {
		t.Fatal(err)
	}
	r.mutations()
	b := r.refused(plan.R21, mk, d)
	r.still("a full datastore")
	if !strings.Contains(b.Reason, "32 MiB free") {
		t.Errorf("reason %q", b.Reason)
	}
}

// Guests that do not obey, do not answer, or reboot instead: all are off in the end.
func TestShutdown(t *testing.T) {
	for name, c := range map[string]struct {
		how  lab.Behaviour
		asks bool
		cuts bool
	}{
		"obeys":    {lab.Behaviour{}, true, false},
		"ignores":  {lab.Behaviour{IgnoreShutdown: true}, true, true},
		"reboots":  {lab.Behaviour{RebootOnShutdown: true}, true, true},
		"no tools": {lab.Behaviour{NoTools: true}, false, true},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			r := newRig(t, lab.Config{Driver: lab.Paper{Behave: func(string, int) lab.Behaviour { return c.how }}})
			d := desired(1, r.image("iso v1"))
			p := plan.Compute(d, r.observe(d), time.Now())
			for _, s := range p.Waves[0].Rolls[0].Steps {
				if _, ok := s.(plan.AwaitReady); ok {
					break
				}
				r.execute(s, d)
			}
			for end := time.Now().Add(10 * time.Second); r.observe(d).VMs[0].Guest.Tools == c.how.NoTools && time.Now().Before(end); {
				if c.how.NoTools {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			r.mutations()
			r.execute(shutdown(300*time.Millisecond), d)
			want := []string{}
			if c.asks {
				want = append(want, "ShutdownGuest")
			}
			if c.cuts {
				want = append(want, "PowerOffVM_Task")
			}
			if got := r.mutations(); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("sent %v, want %v", got, want)
			}
			if o := r.observe(d); o.VMs[0].Power != plan.Off {
				t.Errorf("it is %s", o.VMs[0].Power)
			}
		})
	}
}

// onOff are the steps that a VM of the fleet can get while it is off, each of which would change something.
func onOff(r *rig, d plan.Desired, v plan.VM) []plan.Step {
	r.Helper()
	v2 := r.image("iso v2")
	next := v.Record
	next.Image, next.ImageID, next.Token = v2.Digest, v2.ID, plan.Token(v2.Digest, v.Record.Epoch)
	disk := v.Record.Disks[0]
	r.mutations()
	return []plan.Step{
		step(one, plan.InsertISO{ISO: v2.Paths["iso-DC1"], Record: next}),
		step(one, plan.Resize{CPUs: 1, MemoryMiB: 256}),
		step(one, plan.GrowDisk{Disk: disk, Bytes: 2 * v.Disks[0].Bytes}),
		step(one, plan.DetachDisk{Disk: disk}),
		step(one, plan.Drain{Next: "keep"}),
		step(one, plan.Rename{To: "wrk-99"}),
		step(one, plan.Retire{To: retired, At: time.Now()}),
		step(one, plan.InstallKey{Certificate: []byte("a certificate")}),
		step(one, plan.EnableSecureBoot{}),
		step(one, plan.PowerOn{}),
	}
}

// TestGuarded: no step of any kind changes a VM that is not claimed, that somebody else has claimed, that waits for an
// answer, that is not ours, that is in the wrong power state, or that somebody changed after it was read.
func TestGuarded(t *testing.T) {
	t.Parallel()
	r, a, d := made(t)
	on := r.vm(one, d)
	running := []plan.Step{step(one, plan.Shutdown{}), step(one, plan.Fail{Why: "x"}), step(one, plan.Release{}), step(one, plan.Unblock{})}
	steps := onOff(r, d, on)
	for _, s := range steps { // while it is on
		switch s.(type) {
		case plan.Drain, plan.Rename, plan.PowerOn:
			continue // allowed, or done
		}
		if err := r.fleet.Execute(t.Context(), s, d); err == nil {
			t.Errorf("on: %s was done", s)
		}
		r.still("on: " + s.String())
	}
	r.refused(plan.R19, step(one, plan.DestroyVM{}), d)
	cd, _ := a.devices(one).SelectByType((*types.VirtualCdrom)(nil))[0].(*types.VirtualCdrom)
	cd.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: steps[0].(plan.InsertISO).ISO}} //nolint:forcetypeassert // see onOff
	task, err := a.vm(one).Reconfigure(t.Context(), types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: "edit", Device: cd}}})
	if err != nil {
		t.Fatal(err)
	}
	for r.vm(one, d).Task == "" && len(r.vm(one, d).Busy) == 0 { // until the question is there
		time.Sleep(time.Millisecond)
	}
	for _, s := range append(steps, running[0], claim("run-1", 2)) {
		r.refused(plan.R08, s, d)
		r.still("a question is pending: " + s.String())
	}
	q := a.question(one)
	if err := a.vm(one).Answer(t.Context(), q, "1"); err != nil {
		t.Fatal(err)
	}
	_ = task.Wait(t.Context()) // it fails: the answer was no

	r.execute(shutdown(0), d)
	r.guardedByBusy(a, d, append(steps[:len(steps):len(steps)], running[2], claim("run-1", 2)))
	disk := on.Record.Disks[0]
	smaller := step(one, plan.GrowDisk{Disk: disk, Bytes: on.Disks[0].Bytes / 2})
	r.mutations()
	r.execute(smaller, d)
	r.still("a smaller disk")
	r.refused(plan.R19, step(one, plan.DestroyVM{}), d)
	a.detach(one)
	other := disk
	other.UUID = "6000c290-0b1a-7e2f-8a4c-0123456789ab"
	rec := on.Record
	rec.Disks = []plan.DiskRecord{other}
	r.swapped(a, rec)
	r.refused(plan.R06, step(one, plan.AttachDisk{Disk: other}), d)
	r.refused(plan.R19, step(one, plan.DestroyVM{}), d)
	r.still("a disk with another UUID, and a VM without disks that is in use")
	r.swapped(a, on.Record)
	steps = append(steps, step(one, plan.AttachDisk{Disk: disk}))
	r.execute(steps[len(steps)-1], d)
	r.guardedByClaim(d, append(steps[:len(steps)-1], running...))
	r.guardedByVersion(a, d, steps[:len(steps)-1])
	a.change(one, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.owner", Value: ""}}})
	r.mutations()
	for _, s := range append(steps, running...) {
		if err := r.fleet.Execute(t.Context(), s, d); err == nil {
			t.Errorf("not ours: %s was done", s)
		}
		r.still("not ours: " + s.String())
	}
}

// guardedByBusy has somebody make a template of the VM meanwhile.
func (r *rig) guardedByBusy(a *admin, d plan.Desired, steps []plan.Step) {
	r.Helper()
	vm := a.vm(one)
	if err := vm.MarkAsTemplate(r.Context()); err != nil {
		r.Fatal(err)
	}
	r.mutations()
	for _, s := range steps {
		r.refused(plan.R08, s, d)
		r.still("a template: " + s.String())
	}
	pool, err := a.f.ResourcePool(r.Context(), "C1/Resources")
	if err != nil {
		r.Fatal(err)
	}
	if err := vm.MarkAsVirtualMachine(r.Context(), *pool, nil); err != nil {
		r.Fatal(err)
	}
}

// swapped is somebody who writes another record into the VM.
func (r *rig) swapped(a *admin, rec plan.Record) {
	r.Helper()
	type disk struct {
		Name string `json:"name"`
		UUID string `json:"uuid"`
		Path string `json:"path"`
	}
	out := map[string]any{"format": 1, "epoch": rec.Epoch, "owner": rec.Owner, "expires": rec.Expires, "started": rec.Started, "image": rec.Image, "image_id": rec.ImageID, "token": rec.Token}
	var disks []disk
	for _, x := range rec.Disks {
		disks = append(disks, disk{x.Name, x.UUID, x.Path})
	}
	out["disks"] = disks
	raw, err := json.Marshal(out)
	if err != nil {
		r.Fatal(err)
	}
	a.change(one, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: string(raw)}}})
}

func (r *rig) guardedByClaim(d plan.Desired, steps []plan.Step) {
	r.Helper()
	other := d
	other.Claimer = "run-2"
	r.mutations()
	for _, s := range steps {
		r.refused(plan.R16, s, other)
		r.still("another run's claim: " + s.String())
	}
	r.execute(step(one, plan.Release{}), d)
	r.mutations()
	for _, s := range steps {
		err := r.fleet.Execute(r.Context(), s, d)
		switch s.(type) {
		case plan.Release, plan.Unblock, plan.Shutdown, plan.Fail: // done, or allowed to everybody
			continue
		}
		if !errors.Is(err, vsphere.ErrChanged) {
			r.Errorf("nobody has claimed it: %s: %v", s, err)
		}
		r.still("nobody has claimed it: " + s.String())
	}
	r.execute(claim("run-1", r.vm(one, d).Record.Epoch+1), d)
}

// guardedByVersion has somebody change the VM between our read and our write.
func (r *rig) guardedByVersion(a *admin, d plan.Desired, steps []plan.Step) {
	r.Helper()
	for _, s := range steps {
		switch s.(type) {
		case plan.PowerOn, plan.DetachDisk, plan.EnableSecureBoot, plan.InstallKey:
			continue // a call without changeVersion, or refused for another reason
		}
		before := r.vm(one, d)
		var asked atomic.Bool
		r.lab.OnCall(func(c lab.Call) lab.Fault {
			if c.Method == "ReconfigVM_Task" && asked.CompareAndSwap(false, true) { // the change is a call itself
				a.change(one, types.VirtualMachineConfigSpec{Annotation: "changed before: " + s.String()})
			}
			return lab.None
		})
		err := r.fleet.Execute(r.Context(), s, d)
		r.lab.OnCall(nil)
		after := r.vm(one, d)
		before.ChangeVersion, after.ChangeVersion = "", ""
		if diff := cmp.Diff(before, after); !errors.Is(err, vsphere.ErrChanged) || diff != "" || !asked.Load() {
			r.Errorf("%s, changed in between: %v\n%s", s, err, diff)
		}
	}
}
