package vsphere_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// lists returns the disks of the whole vCenter by path; everything must have been read.
func (r *rig) lists() map[string]vsphere.DataDisk {
	r.Helper()
	all, err := r.c.DataDisks(r.Context())
	if err != nil || len(all.Unread) > 0 {
		r.Fatalf("%v %v", err, all.Unread)
	}
	out := map[string]vsphere.DataDisk{}
	for _, d := range all.List {
		out[d.Datacenter+" "+d.Path] = d
	}
	if len(out) != len(all.List) {
		r.Fatalf("a disk is listed twice: %+v", all.List)
	}
	return out
}

// keeps tries to delete a disk that must be refused with the code, and nothing may be sent.
func (r *rig) keeps(code plan.Code, why, dc, file string) {
	r.Helper()
	r.mutations()
	err := r.c.DeleteDataDisk(r.Context(), dc, file)
	var b plan.Blocked
	if !errors.As(err, &b) || b.Code != code || !strings.Contains(b.Reason, why) {
		r.Errorf("delete %s: got %v, want %s about %q", file, err, code, why)
	}
	if sent := r.mutations(); len(sent) > 0 {
		r.Errorf("delete %s: refused, and %v was sent", file, sent)
	}
}

const diskOfFirst, diskOfSecond = "[vm-1] lkv-disks/workers/wrk-01-docker.vmdk", "[vm-1] lkv-disks/workers/wrk-02-docker.vmdk"

// A disk that any VM has or records in any way is never deleted; an orphan is, once nothing is left unread.
func TestOnlyOrphansAreDeleted(t *testing.T) {
	r := newRig(t, lab.Config{})
	r.stand(2)
	disks := r.lists()
	one := disks["/DC1 "+diskOfFirst]
	if len(disks) != 2 || !slices.Equal(one.Attached, []string{"wrk-01"}) || !slices.Equal(one.Recorded, []string{"wrk-01"}) ||
		one.Name != "docker" || one.Fleet != "workers" || one.Bytes != 64<<20 || one.UUID == "" || one.Orphan() {
		t.Fatalf("%+v", disks)
	}
	r.keeps(plan.R19, "attached to wrk-01", "DC1", diskOfFirst)
	r.keeps(plan.R06, "no data disk file", "DC1", diskOfSecond) // it is in the other datacenter
	r.keeps(plan.R06, "no data disk file", "DC1", "[vm-1] wrk-01/wrk-01.vmdk")

	a := r.admin("DC1")
	if err := r.lab.CutPower("wrk-01"); err != nil {
		t.Fatal(err)
	}
	a.detach("wrk-01")
	if one = r.lists()["/DC1 "+diskOfFirst]; len(one.Attached) > 0 || !slices.Equal(one.Recorded, []string{"wrk-01"}) || one.UUID == "" {
		t.Errorf("detached: %+v", one)
	}
	r.keeps(plan.R19, "record of wrk-01", "DC1", diskOfFirst)
	a.create("stranger")
	a.attach("stranger", diskOfFirst, 64<<20)
	r.keeps(plan.R19, "attached to stranger", "DC1", diskOfFirst)
	a.detach("stranger")

	// Taken out of lkv's hands, nobody knows the disk any more.
	a.change("wrk-01", types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{
		&types.OptionValue{Key: "lkv.owner", Value: ""}, &types.OptionValue{Key: "lkv.record", Value: ""}}})
	if one = r.lists()["/DC1 "+diskOfFirst]; !one.Orphan() {
		t.Errorf("nobody has it: %+v", one)
	}
	if err := r.lab.SetAccessible("DC2", "vm-2", false); err != nil {
		t.Fatal(err)
	}
	r.keeps(plan.R15, "vm-2", "DC1", diskOfFirst)
	if err := r.lab.SetAccessible("DC2", "vm-2", true); err != nil {
		t.Fatal(err)
	}
	r.mutations()
	if err := r.c.DeleteDataDisk(t.Context(), "DC1", diskOfFirst); err != nil {
		t.Fatal(err)
	}
	if sent := r.mutations(); !slices.Equal(sent, []string{"DeleteVirtualDisk_Task"}) {
		t.Errorf("sent: %v", sent)
	}
	if disks = r.lists(); len(disks) != 1 {
		t.Errorf("left: %+v", disks)
	}
	r.keeps(plan.R06, "no data disk file", "DC1", diskOfFirst)
	r.keeps(plan.R19, "attached to wrk-02", "DC2", diskOfSecond)
}

// A recorded disk whose file is not to be found is listed as missing, and an adopted or migrated one where it lies.
func TestDisksThatLieElsewhere(t *testing.T) {
	r := newRig(t, lab.Config{})
	r.stand(1)
	a := r.admin("DC1")
	if err := r.lab.CutPower("wrk-01"); err != nil {
		t.Fatal(err)
	}
	a.detach("wrk-01")
	a.folder("[vm-2] lkv-disks/workers")
	a.move(diskOfFirst, "[vm-2] elsewhere.vmdk")
	disks := r.lists()
	one, ok := disks["/DC1 "+diskOfFirst]
	if !ok || !one.Missing || one.Orphan() || len(disks) != 1 {
		t.Errorf("gone: %+v", disks)
	}
	a.move("[vm-2] elsewhere.vmdk", "[vm-2] lkv-disks/workers/by-hand.vmdk")
	if one, ok = r.lists()["/DC1 [vm-2] lkv-disks/workers/by-hand.vmdk"]; !ok || one.Orphan() || !slices.Equal(one.Recorded, []string{"wrk-01"}) {
		t.Errorf("a file that somebody moved, and that a record knows by its UUID: %+v", r.lists())
	}
	r.keeps(plan.R19, "record of wrk-01", "DC1", "[vm-2] lkv-disks/workers/by-hand.vmdk")
	a.move("[vm-2] lkv-disks/workers/by-hand.vmdk", "[vm-2] elsewhere.vmdk")
	a.attach("wrk-01", "[vm-2] elsewhere.vmdk", 64<<20)
	one, ok = r.lists()["/DC1 [vm-2] elsewhere.vmdk"]
	if !ok || one.Missing || !slices.Equal(one.Attached, []string{"wrk-01"}) || one.Name != "docker" {
		t.Errorf("moved: %+v", r.lists())
	}
	r.keeps(plan.R06, "no data disk file", "DC1", "[vm-2] elsewhere.vmdk")
}

// The steps of lkv disks attach put a recorded disk back, with the same bytes.
func TestARecordedDiskIsAttachedAgain(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	before := r.vm("wrk-01", d)
	if err := r.lab.CutPower("wrk-01"); err != nil {
		t.Fatal(err)
	}
	r.admin("DC1").detach("wrk-01")
	if p := plan.Compute(d, r.observe(d), wall{}.Now()); len(p.Waves) > 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != plan.R06 {
		t.Fatalf("%+v", p)
	}
	claim := plan.Claim{Owner: d.Claimer, Epoch: before.Record.Epoch + 1, TTL: d.TTL, Started: wall{}.Now(), Expires: wall{}.Now().Add(d.TTL)}
	attach, release := plan.AttachDisk{Disk: before.Record.Disks[0]}, plan.Release{}
	claim.Name, attach.Name, release.Name = "wrk-01", "wrk-01", "wrk-01"
	for _, s := range []plan.Step{claim, attach, release} {
		r.execute(s, d)
	}
	if res := r.run(d); res.Outcome != "converged" {
		t.Errorf("%+v", res)
	}
	if after := r.vm("wrk-01", d); len(after.Disks) != 1 || after.Disks[0] != before.Disks[0] {
		t.Errorf("before %+v, after %+v", before.Disks, after.Disks)
	}
	if err := r.lab.Invariants(); err != nil {
		t.Error(err)
	}
}
