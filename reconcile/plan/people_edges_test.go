package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// grantedTo returns the VMs that a request is granted for, in its order.
func grantedTo(r Request) (vms []string) {
	for _, x := range r.Rolls {
		vms = append(vms, x.VM)
	}
	return vms
}

// What is asked for is planned by name, however the VMs were found, and only for those that need it.
func TestRequestsAreSorted(t *testing.T) {
	d := wish(3, "docker")
	o := fleetOf(d, oldDigest)
	slices.Reverse(o.VMs)
	o.find("wrk-02").Record.Paused = true
	if diff := cmp.Diff([]string{"wrk-01", "wrk-03"}, grantedTo(Halt(d, o))); diff != "" {
		t.Error(diff)
	}
	for i := range o.VMs {
		v := &o.VMs[i]
		*v = off(*v)
		v.Record.Paused, v.Record.Retired, v.Home = false, t0.Add(-2*week), "[ssd-1] "+v.Name
	}
	stranger := o.VMs[0]
	stranger.Name, stranger.Ref, stranger.Fleet, stranger.Disks, stranger.Record.Disks = "db-01-retired", "vm-db", "db", nil, nil
	o.VMs = append(o.VMs, stranger) // another fleet's is not collected
	if diff := cmp.Diff([]string{"wrk-01", "wrk-02", "wrk-03"}, grantedTo(Collect(d, o, t0, week))); diff != "" {
		t.Error(diff)
	}
}

// A claim is taken unless it is ours and alive.
func TestRequestsClaimOnce(t *testing.T) {
	d := wish(1, "docker")
	for name, tt := range map[string]struct {
		owner   string
		expires time.Duration
		claims  bool
	}{
		"free": {"", 0, true}, "ours": {me, time.Minute, false}, "ours, expired": {me, -time.Minute, true}, "another's, expired": {other, -time.Minute, true},
	} {
		o := fleetOf(d, oldDigest)
		o.VMs[0].Record.Owner, o.VMs[0].Record.Expires = tt.owner, t0.Add(tt.expires)
		r := ForgetVM(d, o, "wrk-01", t0)
		if len(r.Rolls) != 1 {
			t.Fatalf("%s: %+v", name, r)
		}
		if _, claims := r.Rolls[0].Steps[0].(Claim); claims != tt.claims || len(r.Rolls[0].Steps) != map[bool]int{true: 2, false: 1}[tt.claims] {
			t.Errorf("%s: %v", name, r.Rolls[0].Steps)
		}
	}
}

func TestForgetVMEdges(t *testing.T) {
	d := wish(2, "docker")
	ask := func(spoil func(o *Observed)) Request {
		o := fleetOf(d, oldDigest)
		spoil(&o)
		return ForgetVM(d, o, "wrk-02", t0)
	}
	first := madeInto("wrk-01", func(v *VM) { v.Record.Replaces = "id-wrk-02" })
	if r := ask(first); len(r.Rolls) > 0 || r.Blocked[0].Code != R08 || !strings.Contains(r.Blocked[0].Clear, "lkv forget --fleet workers --vm wrk-01") {
		t.Errorf("the first VM of all is its successor: %+v", r)
	}
	if r := ask(func(o *Observed) { first(o); o.find("wrk-01").Record.Retired = t0 }); len(r.Rolls) != 1 {
		t.Errorf("a retired VM is nobody's successor: %+v", r)
	}
	// The disk is on a VM whose record does not name it: this one's is the only trace.
	r := ask(func(o *Observed) {
		v := o.find("wrk-02")
		x := VM{Name: "x", Ref: "vm-x", Disks: v.Disks}
		v.Disks = nil
		o.VMs = append(o.VMs, x)
	})
	if len(r.Rolls) > 0 || r.Blocked[0].Code != R06 || !strings.Contains(r.Blocked[0].Reason, "only trace of disk docker") {
		t.Errorf("%+v", r)
	}
	// With the record, too, nothing is lost.
	if r := ask(func(o *Observed) {
		v := o.find("wrk-02")
		x := VM{Name: "x", Ref: "vm-x", Disks: v.Disks, Record: Record{Disks: v.Record.Disks}}
		v.Disks = nil
		o.VMs = append(o.VMs, x)
	}); len(r.Rolls) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAdoptVMEdges(t *testing.T) {
	d := wish(2, "docker", "logs")
	for _, c := range []struct {
		askedFor
		spoil func(o *Observed, a *Adoption)
	}{
		{askedFor{"it has the name of its place already", nil, "wrk-01", "", ""}, func(o *Observed, a *Adoption) { o.find("old").Name, a.VM = "wrk-01", "wrk-01" }},
		{askedFor{"the place is a renamed VM's", nil, "old", R22, "VM renamed has the name or the place (ordinal 1)"}, func(o *Observed, _ *Adoption) {
			o.VMs = append(o.VMs, VM{Name: "renamed", Ref: "vm-r", Fleet: "workers", Ordinal: 1})
		}},
		{askedFor{"the place was a retired VM's", nil, "old", "", ""}, func(o *Observed, _ *Adoption) {
			o.VMs = append(o.VMs, VM{Name: "retired", Ref: "vm-r", Fleet: "workers", Ordinal: 1, Record: Record{Retired: t0}})
		}},
		{askedFor{"another fleet's VM has such a place", nil, "old", "", ""}, func(o *Observed, _ *Adoption) {
			o.VMs = append(o.VMs, VM{Name: "db-01", Ref: "vm-r", Fleet: "db", Ordinal: 1})
		}},
		// Two vCenters may give two VMs one reference.
		{askedFor{"the name is taken in another vCenter", nil, "old", R22, "VM wrk-01 has the name"}, func(o *Observed, _ *Adoption) {
			o.VMs = append(o.VMs, VM{Name: "wrk-01", Ref: o.find("old").Ref})
		}},
		{askedFor{"the disk is on a VM of another vCenter", nil, "old", R07, "is also on x"}, func(o *Observed, _ *Adoption) {
			o.VMs = append(o.VMs, VM{Name: "x", Ref: o.find("old").Ref, Disks: o.find("old").Disks[:1]})
		}},
		{askedFor{"a path that is not known is no disk that was not named", nil, "old", R06, "the fleet's disk logs is none"}, func(o *Observed, a *Adoption) {
			o.find("old").Disks[1].Path = ""
			delete(a.Disks, "logs")
		}},
		{askedFor{"a UUID that is not known is none", nil, "old", R06, "the fleet's disk logs is none"}, func(o *Observed, a *Adoption) {
			o.find("old").Disks[1].UUID, a.Disks["logs"] = "", "-"
		}},
		{askedFor{"its disk lies elsewhere, and none was ever made here", nil, "old", "", ""}, func(o *Observed, a *Adoption) {
			o.find("old").Disks[1].Path, a.Disks["logs"] = "[ssd-1] old/old.vmdk", "[ssd-1] old/old.vmdk"
			o.Files = slices.Delete(o.Files, 1, 2)
		}},
		{askedFor{"its disk is the one that was made here", nil, "old", "", ""}, func(o *Observed, _ *Adoption) {
			o.Made = []string{inDatastore(o.find("old").Disks[0].Path)}
		}},
	} {
		o, a := strange(d)
		c.spoil(&o, &a)
		c.judge(t, o, AdoptVM(d, o, a))
	}
	o, a := strange(d)
	old := o.find("old")
	want := Adopt{base: Of("old"), Fleet: "workers", Ordinal: 1, To: "wrk-01", Record: Record{Disks: []DiskRecord{
		{Name: "docker", UUID: old.Disks[0].UUID, Path: old.Disks[0].Path}, {Name: "logs", UUID: old.Disks[1].UUID, Path: old.Disks[1].Path}}}}
	if diff := cmp.Diff([]Step{want}, AdoptVM(d, o, a).Rolls[0].Steps, steps); diff != "" {
		t.Error(diff)
	}
}

func TestCollectEdges(t *testing.T) {
	d := wish(2, "docker")
	gone := "wrk-01-retired-20260201-1200"
	o := withRetired(d)
	v := o.find(gone)
	v.Task, v.Disks[0].Path = "task-7", "[ssd-2] lkv-disks/workers/wrk-01-docker.vmdk" // migrated: the record has the old path
	o.Files[0].Path = v.Disks[0].Path
	r := Collect(d, o, t0, week)
	if len(r.Rolls) != 1 {
		t.Fatalf("%+v", r)
	}
	disk := v.Record.Disks[0]
	disk.Path = v.Disks[0].Path
	want := []Step{AwaitTask{base: Of(gone), Task: "task-7"}, claim(d, Of(gone), v.Record, t0), DetachDisk{base: Of(gone), Disk: disk}, DestroyVM{Of(gone)}}
	if diff := cmp.Diff(want, r.Rolls[0].Steps, steps); diff != "" {
		t.Error(diff)
	}
	for _, a := range []askedFor{
		{"the file at its disk's path is another one", func(o *Observed) { o.Files[0].UUID = uuidOf(9, 9) }, gone, R06, "where nobody would find it"},
		{"nobody's file lies in its folder", func(o *Observed) { o.Files = append(o.Files, DiskFile{Path: "[ssd-1] old/b.vmdk"}) }, gone, R19, "[ssd-1] old/b.vmdk lies in"},
		{"somebody's disk to be taken over lies in its folder", madeInto("wrk-02", func(v *VM) { v.Record.Takes = []DiskRecord{{Name: "x", Path: "[ssd-1] old/c.vmdk"}} }), gone, R19, "[ssd-1] old/c.vmdk lies in"},
		{"exactly as old as it must be", func(o *Observed) { o.find(gone).Record.Retired = t0.Add(-week) }, gone, "", ""},
		{"paused", madeInto("wrk-02", func(v *VM) { v.Record.Paused = true }), "wrk-02", R12, "it is paused"},
	} {
		o := withRetired(d)
		a.spoil(&o)
		a.judge(t, o, Collect(d, o, t0, week))
	}
	if first := Collect(d, withRetired(d), t0, week).Rolls[0].Steps[0]; nameOf(first) != nameOf(Claim{}) {
		t.Errorf("nothing is to be waited for: %s", first)
	}
	o = withRetired(d)
	o.find(gone).Record.Failed = "not ready" // as a green VM is left whose place went back to the blue one
	if r := Collect(d, o, t0, week); !slices.Contains(grantedTo(r), gone) || len(r.Blocked) > 0 {
		t.Errorf("a retired VM's failure holds up nothing: %+v", r)
	}
}

func TestResumeEdges(t *testing.T) {
	d := wish(2, "docker")
	failed := func(name string) func(*Observed) {
		return madeInto(name, func(v *VM) { v.Record.Failed, v.Record.Started = "not ready", t0.Add(-time.Minute) })
	}
	both := func(more func(o *Observed)) func(*Observed) {
		return func(o *Observed) { failed("wrk-02")(o); more(o) }
	}
	for _, a := range []askedFor{
		{"claimed", both(madeInto("wrk-02", claimedBy(other))), "wrk-02", R16, "claimed by"},
		{"busy", both(madeInto("wrk-02", asking)), "wrk-02", R08, "question"},
		{"two of one name", both(func(o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-02", Ref: "vm-x"}) }), "wrk-02", R22, "two VMs"},
		{"the look failed", both(func(o *Observed) { o.Problem = "timeout" }), "", R15, "timeout"},
	} {
		o := fleetOf(d, oldDigest)
		a.spoil(&o)
		a.judge(t, o, Resume(d, o, t0))
	}
	o := fleetOf(d, oldDigest)
	failed("wrk-01")(&o)
	o.find("wrk-02").Record.Spurned = newDigest
	slices.Reverse(o.VMs)
	claimOf := func(name string) Claim { return claim(d, Of(name), o.find(name).Record, t0) }
	want := []Roll{
		{VM: "wrk-01", Action: GoOn, Reason: "its roll failed: not ready", Steps: []Step{claimOf("wrk-01"), Unblock{base: Of("wrk-01")}}},
		{VM: "wrk-02", Action: GoOn, Reason: "image bbbbbbbbbbbb was rolled back", Steps: []Step{claimOf("wrk-02"), Unblock{base: Of("wrk-02")}}},
	}
	if diff := cmp.Diff(want, Resume(d, o, t0).Rolls, steps); diff != "" {
		t.Error(diff)
	}
	// A VM that was being made goes on being made, from now on.
	v := o.find("wrk-01")
	*v = off(*v)
	v.Record.Previous, v.Record.PreviousISO, v.Record.Rolled = "", "", time.Time{}
	got := Resume(d, o, t0).Rolls[0].Steps
	if c, u := got[0].(Claim), got[1].(Unblock); !c.Started.Equal(t0) || !u.Started.Equal(t0) {
		t.Errorf("%v", got)
	}
}

// What holds up a VM while its replacement is undone waits, and its name is said; a pair of another fleet, and a VM
// without an ID, hold up nothing.
func TestResumeWaitsForAWayBack(t *testing.T) {
	d := bluegreen(wish(1, "docker"), HandOver)
	pair := func(change func(blue, green *VM)) Request {
		o := fleetOf(d, oldDigest)
		green := standing(d, d.VMs[0], newDigest)
		green.Name, green.ID, green.Ref, green.Disks, green.Record.Disks, green.Record.Replaces = "wrk-01-green", "id-green", "vm-green", nil, nil, "id-wrk-01"
		o.VMs = append(o.VMs, off(green))
		o.VMs[0].Record.Failed, o.VMs[0].Record.Spurned = "not ready", newDigest
		change(&o.VMs[0], &o.VMs[1])
		return Resume(d, o, t0)
	}
	if r := pair(func(_, _ *VM) {}); len(r.Rolls) > 0 || len(r.Blocked) != 1 || r.Blocked[0].VM != "wrk-01" || r.Blocked[0].Code != R08 || !strings.Contains(r.Blocked[0].Reason, "being undone") {
		t.Errorf("%+v", r)
	}
	for name, change := range map[string]func(blue, green *VM){
		"another fleet's":    func(_, green *VM) { green.Fleet = "db" },
		"of another VM":      func(_, green *VM) { green.Record.Replaces = "id-x" },
		"nobody has an ID":   func(blue, green *VM) { blue.ID, green.Record.Replaces = "", "" },
		"no way back at all": func(blue, _ *VM) { blue.Record.Failed, blue.Record.Spurned, blue.Record.Paused = "", "", true },
	} {
		if r := pair(change); len(r.Blocked) > 0 || !slices.Contains(grantedTo(r), "wrk-01") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
