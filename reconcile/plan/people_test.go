package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

const week = 7 * 24 * time.Hour

// askedFor is a request that a person makes of a fleet of two VMs with two disks each; spoil makes it a refusal.
type askedFor struct {
	name  string
	spoil func(o *Observed)
	vm    string
	code  Code // "": granted
	says  string
}

func (a askedFor) judge(t *testing.T, o Observed, r Request) {
	t.Helper()
	p := Plan{Fleet: "workers", MaxUnavailable: 1, Waves: []Wave{{Rolls: r.Rolls}}}
	if err := Check(p, o); len(r.Rolls) > 0 && err != nil {
		t.Errorf("%s: Check: %v", a.name, err)
	}
	if a.code == "" {
		if len(r.Blocked) > 0 || !slices.ContainsFunc(r.Rolls, func(x Roll) bool { return x.VM == a.vm }) {
			t.Errorf("%s: %+v", a.name, r)
		}
		return
	}
	i := slices.IndexFunc(r.Blocked, func(b Blocked) bool { return b.VM == a.vm && b.Code == a.code })
	if i < 0 || !strings.Contains(r.Blocked[i].Reason, a.says) || r.Blocked[i].Clear == "" {
		t.Errorf("%s: blocked: %v", a.name, r.Blocked)
	}
	if slices.ContainsFunc(r.Rolls, func(x Roll) bool { return x.VM == a.vm }) {
		t.Errorf("%s: refused, and planned: %v", a.name, r.Rolls)
	}
}

// madeInto returns what a VM of that name is made into.
func madeInto(name string, f func(v *VM)) func(*Observed) {
	return func(o *Observed) { f(o.find(name)) }
}

func claimedBy(owner string) func(v *VM) {
	return func(v *VM) { v.Record.Owner, v.Record.Expires = owner, t0.Add(time.Hour) }
}

func asking(v *VM) { v.Busy = []string{"a question is pending"} }

func TestHalt(t *testing.T) {
	d := wish(2, "docker", "logs")
	for _, a := range []askedFor{
		{"granted", func(*Observed) {}, "wrk-02", "", ""},
		{"a run is at work", madeInto("wrk-02", claimedBy(other)), "wrk-02", "", ""},
		{"not wanted any more", madeInto("wrk-02", func(v *VM) { v.Name = "wrk-07" }), "wrk-07", "", ""},
		{"busy", madeInto("wrk-02", asking), "wrk-02", R08, "question"},
		{"two of one name", func(o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-02", Ref: "vm-x"}) }, "wrk-02", R22, "two VMs have this name"},
		{"the look failed", func(o *Observed) { o.Problem = "timeout" }, "", R15, "timeout"},
		{"no VM", func(o *Observed) { o.VMs = nil }, "", R14, "has no VM"},
		{"only a retired one", func(o *Observed) { o.VMs = o.VMs[:1]; o.VMs[0].Record.Retired = t0 }, "", R14, "has no VM"},
	} {
		o := fleetOf(d, oldDigest)
		a.spoil(&o)
		a.judge(t, o, Halt(d, o))
	}
}

// TestHaltStops: after a halt, whatever a world looks like, nothing is planned, nothing but pauses has changed, and a
// second halt has nothing to do.
func TestHaltStops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		o := genPairWorld(t, d)
		o, _ = genCut(t, Compute(d, o, t0), o, func(Observed, Roll, Step) {})
		h := Halt(d, o)
		after := o.Clone()
		for _, r := range h.Rolls {
			for _, s := range r.Steps {
				after.apply(s)
			}
		}
		if p := Compute(d, after, t0); len(p.Waves) > 0 && len(o.VMs) > 0 {
			t.Fatalf("it would still do %v", flat(p))
		}
		if again := Halt(d, after); len(again.Rolls) > 0 {
			t.Fatalf("a second halt does %v", again.Rolls)
		}
		for i := range after.VMs {
			after.VMs[i].Record.Paused = o.VMs[i].Record.Paused
		}
		if diff := cmp.Diff(o, after); diff != "" {
			t.Fatalf("more than pauses changed:\n%s", diff)
		}
	})
}

func TestForgetVM(t *testing.T) {
	d := bluegreen(wish(2, "docker", "logs"), HandOver)
	middle := func(last Step) func(o *Observed) {
		return func(o *Observed) {
			for _, s := range flat(Compute(d, *o, t0)) {
				if o.apply(s); nameOf(s) == nameOf(last) {
					return
				}
			}
		}
	}
	for _, a := range []askedFor{
		{"granted", func(*Observed) {}, "wrk-01", "", ""},
		{"retired", madeInto("wrk-01", func(v *VM) { v.Record.Retired = t0 }), "wrk-01", "", ""},
		{"a stranger", madeInto("wrk-01", func(v *VM) { v.Fleet = "" }), "wrk-01", R22, "the fleet has no VM"},
		{"another fleet's", madeInto("wrk-01", func(v *VM) { v.Fleet = "db" }), "wrk-01", R22, "the fleet has no VM"},
		{"not there", func(o *Observed) { o.VMs = nil }, "wrk-01", R22, "the fleet has no VM"},
		{"two of one name", func(o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-01", Ref: "vm-x"}) }, "wrk-01", R22, "two VMs"},
		{"claimed", madeInto("wrk-01", claimedBy(other)), "wrk-01", R16, "claimed by"},
		{"claimed by us", madeInto("wrk-01", claimedBy(me)), "wrk-01", "", ""},
		{"busy", madeInto("wrk-01", asking), "wrk-01", R08, "question"},
		{"recorded disk not attached", madeInto("wrk-01", func(v *VM) { v.Disks = v.Disks[1:] }), "wrk-01", R06, "only trace of disk docker"},
		{"blue of a pair", middle(CreateVM{}), "wrk-01", R08, "wrk-01-green is about to take its place"},
		{"green before the detach", middle(Shutdown{}), "wrk-01-green", "", ""},
		{"green between detach and attach", middle(DetachDisk{}), "wrk-01-green", R06, "only trace of disk docker"},
		{"green with all disks", middle(PowerOn{}), "wrk-01-green", "", ""},
		{"the look failed", func(o *Observed) { o.Problem = "timeout" }, "", R15, "timeout"},
	} {
		o := rolledBefore(fleetOf(d, oldDigest))
		a.spoil(&o)
		vm := a.vm
		if vm == "" {
			vm = "wrk-01"
		}
		a.judge(t, o, ForgetVM(d, o, vm, t0))
	}
}

func TestForgottenIsUntouched(t *testing.T) {
	d := wish(2, "docker")
	o := fleetOf(d, oldDigest)
	after := o.Clone()
	for _, s := range ForgetVM(d, o, "wrk-01", t0).Rolls[0].Steps {
		after.apply(s)
	}
	was, is := o.VMs[0], after.VMs[0]
	was.Fleet, was.Ordinal, was.Record = "", 0, Record{}
	if diff := cmp.Diff(was, is); diff != "" {
		t.Error(diff)
	}
	if p := Compute(d, after, t0); !slices.ContainsFunc(p.Blocked, func(b Blocked) bool { return b.VM == "wrk-01" && b.Code == R22 }) {
		t.Errorf("%+v", p)
	}
}

// strange is the fleet's world with wrk-01 as a VM of nobody's, "old", and what a person says about it.
func strange(d Desired) (Observed, Adoption) {
	o := fleetOf(d, oldDigest)
	v := o.find("wrk-01")
	a := Adoption{VM: "old", Ordinal: 1, Disks: map[string]string{"docker": v.Disks[0].UUID, "logs": v.Disks[1].Path}}
	v.Name, v.Fleet, v.Ordinal, v.Record = "old", "", 0, Record{}
	return o, a
}

func TestAdoptVM(t *testing.T) {
	d := wish(2, "docker", "logs")
	adopt := func(f func(a *Adoption)) func(o *Observed, a *Adoption) {
		return func(_ *Observed, a *Adoption) { f(a) }
	}
	old := func(f func(v *VM)) func(o *Observed, a *Adoption) {
		return func(o *Observed, a *Adoption) { f(o.find("old")) }
	}
	for _, c := range []struct {
		askedFor
		spoil func(o *Observed, a *Adoption)
	}{
		{askedFor{"granted", nil, "old", "", ""}, adopt(func(*Adoption) {})},
		{askedFor{"UUID as the guest sees it", nil, "old", "", ""}, adopt(func(a *Adoption) { a.Disks["docker"] = SerialOf(a.Disks["docker"]) })},
		{askedFor{"smaller disk", nil, "old", "", ""}, old(func(v *VM) { v.Disks[0].Bytes = 1 << 30 })},
		{askedFor{"no such place", nil, "old", R22, "has no place 7"}, adopt(func(a *Adoption) { a.Ordinal = 7 })},
		{askedFor{"place taken", nil, "old", R22, "VM wrk-02 has the name or the place"}, adopt(func(a *Adoption) { a.Ordinal = 2 })},
		{askedFor{"name taken by a stranger", nil, "old", R22, "VM wrk-01 has the name"}, func(o *Observed, _ *Adoption) { o.VMs = append(o.VMs, VM{Name: "wrk-01", Ref: "vm-x"}) }},
		{askedFor{"no such VM", nil, "new", R22, "no VM of this name"}, adopt(func(a *Adoption) { a.VM = "new" })},
		{askedFor{"two of one name", nil, "old", R22, "two VMs"}, func(o *Observed, _ *Adoption) { o.VMs = append(o.VMs, VM{Name: "old", Ref: "vm-x"}) }},
		{askedFor{"a fleet's", nil, "old", R22, "belongs to fleet db"}, old(func(v *VM) { v.Fleet = "db" })},
		{askedFor{"busy", nil, "old", R08, "question"}, old(asking)},
		{askedFor{"snapshot", nil, "old", R05, "snapshot"}, old(func(v *VM) { v.Disks[1].Parent = true })},
		{askedFor{"a disk not named", nil, "old", R06, "the fleet's disk logs is none"}, adopt(func(a *Adoption) { delete(a.Disks, "logs") })},
		{askedFor{"a disk it has not", nil, "old", R06, "the fleet's disk docker is none"}, adopt(func(a *Adoption) { a.Disks["docker"] = uuidOf(2, 0) })},
		{askedFor{"one disk for two", nil, "old", R06, "would be two disks"}, adopt(func(a *Adoption) { a.Disks["logs"] = a.Disks["docker"] })},
		{askedFor{"a disk left over", nil, "old", R06, "attached and none of the fleet's"}, old(func(v *VM) {
			v.Disks = append(v.Disks, Disk{UUID: "6000C2FF", Path: "[ssd-1] old/x.vmdk", Mode: DiskMode})
		})},
		{askedFor{"larger disk", nil, "old", R06, "has 20 GiB, the fleet wants 10 GiB"}, old(func(v *VM) { v.Disks[0].Bytes = 20 << 30 })},
		{askedFor{"UUID unknown", nil, "old", R06, "UUID of disk"}, func(o *Observed, a *Adoption) {
			v := o.find("old")
			v.Disks[0].UUID, a.Disks["docker"] = "", v.Disks[0].Path
		}},
		{askedFor{"disk on another VM", nil, "old", R07, "is also on x"}, func(o *Observed, _ *Adoption) { o.VMs = append(o.VMs, VM{Name: "x", Disks: o.find("old").Disks[:1]}) }},
		{askedFor{"disk in another's record", nil, "old", R07, "is also on wrk-02"}, func(o *Observed, a *Adoption) {
			v := o.find("wrk-02")
			v.Record.Takes = []DiskRecord{{UUID: a.Disks["docker"]}}
		}},
		{askedFor{"the place's disk was made already", nil, "old", R06, "was made already"}, func(o *Observed, a *Adoption) {
			v := o.find("old")
			v.Disks[0].UUID, v.Disks[0].Path, a.Disks["docker"] = "6000C2FF", "[ssd-1] old/old.vmdk", "6000C2FF"
		}},
		{askedFor{"the place's disk was made and is gone", nil, "old", R06, "was made already"}, func(o *Observed, a *Adoption) {
			v := o.find("old")
			o.Made = []string{inDatastore(v.Disks[0].Path)}
			o.Files = o.Files[1:]
		}},
		{askedFor{"the look failed", nil, "", R15, "timeout"}, func(o *Observed, _ *Adoption) { o.Problem = "timeout" }},
	} {
		o, a := strange(d)
		c.spoil(&o, &a)
		c.judge(t, o, AdoptVM(d, o, a))
	}
}

// TestAdoptedIsRolled: the fleet takes an adopted VM for its own, and rolls it with its disks.
func TestAdoptedIsRolled(t *testing.T) {
	d := wish(2, "docker", "logs")
	d.Rollout.MaxUnavailable = 2
	o, a := strange(d)
	start := o
	for _, s := range AdoptVM(d, o, a).Rolls[0].Steps {
		o = o.After(s)
	}
	for range 10 {
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Fatal(err)
		}
		if len(p.Waves) == 0 {
			break
		}
		for _, r := range p.Waves[0].Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
			}
		}
	}
	v := o.find("wrk-01")
	if v == nil || Ready(d, d.VMs[0], *v) != "" || !slices.Equal(v.Disks, start.find("old").Disks) || v.Ref != "vm-wrk-01" {
		t.Errorf("%+v", o.VMs)
	}
}

func TestCollect(t *testing.T) {
	d := wish(2, "docker", "logs")
	gone := "wrk-01-retired-20260201-1200"
	one := func(f func(v *VM)) func(*Observed) { return madeInto(gone, f) }
	for _, a := range []askedFor{
		{"granted", func(*Observed) {}, gone, "", ""},
		{"a disk is detached already", one(func(v *VM) { v.Disks = v.Disks[1:] }), gone, "", ""},
		{"without disks", one(func(v *VM) { v.Disks, v.Record.Disks = nil, nil }), gone, "", ""},
		{"on", one(func(v *VM) { v.Power = On }), gone, R08, "it is on"},
		{"busy", one(asking), gone, R08, "question"},
		{"claimed", one(claimedBy(other)), gone, R16, "claimed by"},
		{"snapshot", one(func(v *VM) { v.Disks[0].Parent = true }), gone, R05, "snapshot"},
		{"a disk that is not recorded", one(func(v *VM) { v.Record.Disks = v.Record.Disks[1:] }), gone, R19, "not in its record"},
		{"its disk lies in its folder", func(o *Observed) {
			v := o.find(gone)
			v.Disks[0].Path, o.Files[0].Path = "[ssd-1] old/a.vmdk", "[ssd-1] old/a.vmdk"
		}, gone, R19, "in the VM's own folder [ssd-1] old"},
		{"somebody's disk lies in its folder", madeInto("wrk-02", func(v *VM) { v.Disks[0].Path = "[ssd-1] old/a.vmdk" }), gone, R19, "[ssd-1] old/a.vmdk lies in"},
		{"somebody's recorded disk lies in its folder", madeInto("wrk-02", func(v *VM) { v.Record.Disks[0].Path = "[ssd-1] old/a.vmdk" }), gone, R19, "[ssd-1] old/a.vmdk lies in"},
		{"a folder beside it", madeInto("wrk-02", func(v *VM) { v.Disks[0].Path = "[ssd-1] older/a.vmdk" }), gone, "", ""},
		{"folder unknown", one(func(v *VM) { v.Home = "" }), gone, R19, "own folder none"},
		{"disk lies where nobody looks", func(o *Observed) { o.Files = o.Files[1:] }, gone, R06, "where nobody would find it"},
		{"disk on another VM", func(o *Observed) { o.VMs = append(o.VMs, VM{Name: "x", Disks: o.find(gone).Disks}) }, gone, R07, gone + " and x"},
		{"its successor has not got the place", madeInto("wrk-02", func(v *VM) { v.Record.Replaces = "id-wrk-01" }), gone, R08, "about to take its place"},
		{"two of one name", func(o *Observed) { o.VMs = append(o.VMs, VM{Name: gone, Ref: "vm-x"}) }, gone, R22, "two VMs"},
		{"the fleet stands still", madeInto("wrk-02", func(v *VM) { v.Record.Failed = "not ready" }), "wrk-02", R12, "not ready"},
		{"the look failed", func(o *Observed) { o.Problem = "timeout" }, "", R15, "timeout"},
	} {
		o := withRetired(d)
		a.spoil(&o)
		a.judge(t, o, Collect(d, o, t0, week))
	}
	o := withRetired(d)
	r := Collect(d, o, t0.Add(-27*24*time.Hour), week)
	if len(r.Rolls) > 0 || len(r.Later) != 1 || r.Later[0].VM != gone || !r.Later[0].Until.Equal(t0.Add(-28*24*time.Hour).Add(week)) {
		t.Errorf("too early: %+v", r)
	}
}

// withRetired is the world in which wrk-01 was retired four weeks ago.
func withRetired(d Desired) Observed {
	o := fleetOf(d, oldDigest)
	v := o.find("wrk-01")
	*v = off(*v)
	v.Name, v.Home, v.Record.Retired = "wrk-01-retired-20260201-1200", "[ssd-1] old", t0.Add(-28*24*time.Hour)
	return o
}

// TestNoDiskIsEverLost: a fleet is replaced again and again, what was retired is collected in between, and runs and
// collections die in the middle: after every step every data disk that ever was is attached, recorded or a file, what
// is left of a collection is exactly its rest, and no more than the VMs that are wanted are left at the end.
func TestNoDiskIsEverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		o, now := genPairWorld(t, d), t0
		all := o.Clone()
		for i := range rapid.IntRange(1, 3).Draw(t, "rounds") {
			for j := range o.VMs { // as vCenter would
				v := &o.VMs[j]
				if v.ID == "" {
					v.ID = "id-new-" + v.Name + now.Format(time.RFC3339)
				}
				v.Home = "[ssd-1] " + v.ID
			}
			digest := strings.Repeat(string(rune('c'+i)), 64)
			d.Image.Digest, d.Image.ID, d.Image.Paths = digest, "sha256:"+digest[:3], map[string]string{"dc1": "[iso] lkv/worker/" + digest + ".iso"}
			p := Compute(d, o, now)
			o, _ = genCut(t, p, o, func(o Observed, r Roll, s Step) { accountedFor(t, all, o, s) })
			if rapid.Bool().Draw(t, "to the end") {
				o = run(t, d, o, now)
			}
			now = now.Add(2 * week)
			c := Collect(d, o, now, week)
			if err := Check(Plan{Fleet: d.Fleet, Waves: []Wave{{Rolls: c.Rolls}}}, o); len(c.Rolls) > 0 && err != nil {
				t.Fatal(err)
			}
			var left map[string][]Step
			o, left = genCut(t, Plan{Waves: []Wave{{Rolls: c.Rolls}}}, o, func(o Observed, _ Roll, s Step) { accountedFor(t, all, o, s) })
			rest := byRoll(Plan{Waves: []Wave{{Rolls: Collect(d, o, now, week).Rolls}}})
			empty := cmpopts.IgnoreMapEntries(func(_ string, s []Step) bool { return len(s) == 0 })
			if diff := cmp.Diff(left, rest, steps, cmpopts.EquateEmpty(), empty); diff != "" {
				t.Fatalf("(-rest +collected):\n%s", diff)
			}
			for _, f := range o.Files {
				if all.file(f.Path) == nil {
					all.Files = append(all.Files, f)
				}
			}
		}
	})
}

// accountedFor asks that every file of before is there, attached to at most one VM, and nothing runs without its disks.
func accountedFor(t *rapid.T, before, o Observed, s Step) {
	for _, f := range before.Files {
		if now := o.file(f.Path); now == nil || now.UUID != f.UUID {
			t.Fatalf("after %s: %s: disk %s is lost", s.VM(), s, f.Path)
		}
	}
	user := map[string]string{}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if user[d.Path] != "" {
				t.Fatalf("after %s: %s: %s is on %s and %s", s.VM(), s, d.Path, user[d.Path], v.Name)
			}
			user[d.Path] = v.Name
		}
		if v.Power == On && (len(v.Disks) != len(v.Record.Disks) || len(v.Record.Takes) > 0) {
			t.Fatalf("after %s: %s: %s runs without its disks", s.VM(), s, v.Name)
		}
	}
	if _, ok := s.(DestroyVM); ok && o.find(s.VM()) != nil {
		t.Fatalf("%s is still there", s.VM())
	}
}
