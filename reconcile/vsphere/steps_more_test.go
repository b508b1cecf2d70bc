package vsphere_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

const green, retired = "wrk-01-green", "wrk-01-retired-20260301-1200"

// named gives a step the VM it is about.
func named[S any](s S, set func(*S)) S {
	set(&s)
	return s
}

// means executes a step twice and fails unless vCenter shows what the model says, and the second time sends nothing.
func (r *rig) means(s plan.Step, d plan.Desired) {
	r.Helper()
	before := r.observe(d)
	r.execute(s, d)
	r.sameAs(s, before.After(s), r.observe(d))
	r.mutations()
	r.execute(s, d)
	if again := r.mutations(); len(again) > 0 {
		r.Errorf("%s, done already: sent %v", s, again)
	}
}

func (r *rig) vm(name string, d plan.Desired) plan.VM {
	r.Helper()
	for _, v := range r.observe(d).VMs {
		if v.Name == name {
			return v
		}
	}
	r.Fatalf("there is no VM %s", name)
	return plan.VM{}
}

// stand makes a fleet of n VMs that is done.
func (r *rig) stand(n int) plan.Desired {
	r.Helper()
	d := desired(n, r.image("iso v1"))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		r.Fatalf("make the fleet: %+v", res)
	}
	return d
}

// handOver is what one VM's disk goes through when another VM takes it, as steps.
func handOver(d plan.Desired, blue plan.VM) []plan.Step {
	w := d.VMs[0]
	w.Name = green
	disk := blue.Record.Disks[0]
	rec := plan.Record{Image: d.Image.Digest, ImageID: d.Image.ID, Token: plan.Token(d.Image.Digest, 1), Epoch: 1,
		Owner: "run-1", Started: time.Now(), Expires: time.Now().Add(time.Minute), Replaces: blue.ID, Takes: blue.Record.Disks}
	made := named(plan.CreateVM{Want: w, Fleet: d.Fleet, Record: rec, ISO: d.Image.Paths[w.Place.Store]}, func(s *plan.CreateVM) { s.Name = green })
	return []plan.Step{
		claim("run-1", blue.Record.Epoch+1),
		made,
		named(plan.Drain{Next: "keep"}, func(s *plan.Drain) { s.Name = one }),
		named(plan.Shutdown{Grace: time.Second}, func(s *plan.Shutdown) { s.Name = one }),
		named(plan.DetachDisk{Disk: disk}, func(s *plan.DetachDisk) { s.Name = one }),
		named(plan.AttachDisk{Disk: disk}, func(s *plan.AttachDisk) { s.Name = green }),
	}
}

// Every step of a hand-over, of a retirement and of the removal means what the model says.
func TestStepsOfAReplacement(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	d := r.stand(2)
	blue := r.vm(one, d)
	for _, s := range handOver(d, blue) {
		r.means(s, d)
	}
	heir := r.vm(green, d)
	disk := heir.Record.Disks[0]
	for _, s := range []plan.Step{
		named(plan.Disown{Successor: heir.ID}, func(s *plan.Disown) { s.Name = one }),
		named(plan.GrowDisk{Disk: disk, Bytes: 96 << 20}, func(s *plan.GrowDisk) { s.Name = green }),
		named(plan.PowerOn{}, func(s *plan.PowerOn) { s.Name = green }),
		named(plan.Retire{To: retired, At: time.Now(), Why: "replaced"}, func(s *plan.Retire) { s.Name = one }),
	} {
		r.means(s, d)
	}
	r.means(named(plan.Rename{To: one}, func(s *plan.Rename) { s.Name = green }), d)
	if v := r.vm(one, d); v.ID != heir.ID || v.Record.Replaces != "" || len(v.Disks) != 1 || v.Disks[0].UUID != blue.Disks[0].UUID {
		t.Fatalf("after the rename: %+v", v)
	}
	r.execute(named(plan.Claim{Owner: "run-1", Epoch: blue.Record.Epoch + 2, Started: time.Now(), Expires: time.Now().Add(time.Minute)}, func(s *plan.Claim) { s.Name = retired }), d)
	r.means(named(plan.DestroyVM{}, func(s *plan.DestroyVM) { s.Name = retired }), d)
}

// Every step of a hand-over that is undone means what the model says.
func TestStepsOfAWayBack(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	blue := r.vm(one, d)
	for _, s := range handOver(d, blue) {
		r.execute(s, d)
	}
	heir := r.vm(green, d)
	disk := heir.Record.Disks[0]
	r.execute(named(plan.Disown{Successor: heir.ID}, func(s *plan.Disown) { s.Name = one }), d)
	detach := named(plan.DetachDisk{Disk: disk}, func(s *plan.DetachDisk) { s.Name = green })
	r.refused(plan.R06, detach, d)
	for _, s := range []plan.Step{
		named(plan.Recall{Why: "not ready", Spurned: d.Image.Digest, Takes: []plan.DiskRecord{disk}}, func(s *plan.Recall) { s.Name = one }),
		detach,
		named(plan.AttachDisk{Disk: disk}, func(s *plan.AttachDisk) { s.Name = one }),
		named(plan.Disown{Successor: blue.ID}, func(s *plan.Disown) { s.Name = green }),
		named(plan.Retire{To: green + "-retired-20260301-1200", At: time.Now(), Why: "its gate failed"}, func(s *plan.Retire) { s.Name = green }),
		named(plan.PowerOn{}, func(s *plan.PowerOn) { s.Name = one }),
		named(plan.Restore{}, func(s *plan.Restore) { s.Name = one }),
		named(plan.Pause{}, func(s *plan.Pause) { s.Name = one }),
		named(plan.Unblock{Pause: true}, func(s *plan.Unblock) { s.Name = one }),
	} {
		r.means(s, d)
	}
	if v := r.vm(one, d); v.ID != blue.ID || len(v.Disks) != 1 || v.Disks[0] != blue.Disks[0] || v.Record.Failed != "not ready" || len(v.Record.Takes) > 0 {
		t.Errorf("%+v", v)
	}
	r.execute(claim("run-1", r.vm(one, d).Record.Epoch+1), d)
	r.means(named(plan.Unblock{Started: time.Now()}, func(s *plan.Unblock) { s.Name = one }), d)
}

// A VM is only destroyed when it was retired and has no disk (D2), and a disk only leaves a VM when a record says
// where it goes (D5).
func TestWhatMayNotBeDestroyedOrDetached(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	blue := r.vm(one, d)
	destroy := named(plan.DestroyVM{}, func(s *plan.DestroyVM) { s.Name = one })
	detach := named(plan.DetachDisk{Disk: blue.Record.Disks[0]}, func(s *plan.DetachDisk) { s.Name = one })
	if err := r.fleet.Execute(t.Context(), destroy, d); err == nil {
		t.Fatal("a VM that nobody claimed was destroyed")
	}
	r.execute(claim("run-1", blue.Record.Epoch+1), d)
	r.refused(plan.R19, destroy, d)
	if err := r.fleet.Execute(t.Context(), detach, d); !errors.Is(err, vsphere.ErrChanged) {
		t.Fatalf("a disk was detached from a running VM: %v", err)
	}
	r.execute(named(plan.Shutdown{}, func(s *plan.Shutdown) { s.Name = one }), d)
	r.refused(plan.R06, detach, d)
	r.execute(named(plan.Retire{To: retired, At: time.Now()}, func(s *plan.Retire) { s.Name = one }), d)
	r.execute(named(plan.Claim{Owner: "run-1", Epoch: blue.Record.Epoch + 2, Started: time.Now(), Expires: time.Now().Add(time.Minute)}, func(s *plan.Claim) { s.Name = retired }), d)
	r.refused(plan.R19, named(plan.DestroyVM{}, func(s *plan.DestroyVM) { s.Name = retired }), d)
	if v := r.vm(retired, d); len(v.Disks) != 1 || v.Disks[0].UUID != blue.Disks[0].UUID {
		t.Fatalf("the disk is not where it was: %+v", v.Disks)
	}
	detach.Name = retired
	r.means(detach, d)
	if o := r.observe(d); len(o.Files) != 1 || o.Files[0].UUID != blue.Disks[0].UUID {
		t.Fatalf("the detached disk is not listed: %+v", o.Files)
	}
}

// What only a person asks for.
func TestStepsOfPeople(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	before := r.vm(one, d)
	for _, s := range []plan.Step{
		named(plan.Mark{Ill: time.Now()}, func(s *plan.Mark) { s.Name = one }),
		named(plan.Mark{}, func(s *plan.Mark) { s.Name = one }),
		named(plan.Pause{}, func(s *plan.Pause) { s.Name = one }),
		claim("run-1", before.Record.Epoch+1),
		named(plan.Drain{Next: "keep"}, func(s *plan.Drain) { s.Name = one }),
		named(plan.Restore{}, func(s *plan.Restore) { s.Name = one }),
		named(plan.Unblock{}, func(s *plan.Unblock) { s.Name = one }),
		named(plan.Forget{}, func(s *plan.Forget) { s.Name = one }),
		named(plan.Adopt{Fleet: d.Fleet, Ordinal: 1, To: one, Record: plan.Record{Disks: before.Record.Disks}}, func(s *plan.Adopt) { s.Name = one }),
	} {
		r.means(s, d)
	}
	r.refused(plan.R22, named(plan.Adopt{Fleet: "others", Ordinal: 1, To: one}, func(s *plan.Adopt) { s.Name = one }), d)
	if v := r.vm(one, d); v.Power != plan.On || v.Disks[0] != before.Disks[0] {
		t.Errorf("it was touched: %+v", v)
	}
}

// A VM that takes another one's place is only made while this run holds that one (A6).
func TestOnlyAClaimedVMIsReplaced(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	blue := r.vm(one, d)
	made := handOver(d, blue)[1]
	if err := r.fleet.Execute(t.Context(), made, d); err == nil {
		t.Error("made although nobody has claimed the VM it replaces")
	}
	other := d
	other.Claimer = "run-2"
	r.execute(claim("run-2", blue.Record.Epoch+1), other)
	r.refused(plan.R16, made, d)
	stray, ok := made.(plan.CreateVM)
	if !ok {
		t.Fatalf("%T", made)
	}
	stray.Record.Replaces = "somebody else"
	stray.Record.Owner = "run-2"
	if err := r.fleet.Execute(t.Context(), stray, other); err == nil {
		t.Error("made although the VM it replaces is not there")
	}
	for _, v := range r.observe(d).VMs {
		if v.Name == green {
			t.Error("a stray VM was made")
		}
	}
}
