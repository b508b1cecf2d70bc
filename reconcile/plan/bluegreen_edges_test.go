package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPairClaims: whose claims a run finds on a pair decides what it says and what it claims first.
func TestPairClaims(t *testing.T) {
	for _, c := range []struct {
		name, owner string
		later       time.Duration
		reason      string
		claims      int
	}{
		{"ours", me, time.Second, "its replacement is under way", 0},
		{"ours, expired", me, time.Hour, "its replacement stopped halfway", 2},
		{"another's, expired", other, time.Hour, "its replacement stopped halfway", 2},
	} {
		d, o := pairAt(t, HandOver, CreateVM{base: Of("wrk-01-green")})
		d.Claimer = map[string]string{me: me, other: other}[c.owner]
		p := Compute(d, o, t0.Add(c.later))
		r, claims := p.Waves[0].Rolls[0], 0
		for _, s := range r.Steps {
			if x, ok := s.(Claim); ok {
				if claims++; x.Epoch != o.find(x.Name).Record.Epoch+1 || x.Started != t0 {
					t.Errorf("%s: %+v", c.name, x)
				}
			}
		}
		if r.Reason != c.reason || claims != c.claims || Check(p, o) != nil {
			t.Errorf("%s: %q, %d claims", c.name, r.Reason, claims)
		}
	}
}

// TestPairWaitsForTasks: somebody's task on either VM is waited for before anything else, by its name.
func TestPairWaitsForTasks(t *testing.T) {
	d, o := pairAt(t, HandOver, CreateVM{base: Of("wrk-01-green")})
	o.find("wrk-01").Task, o.find("wrk-01-green").Task = "task-1", "task-2"
	all := flat(Compute(d, o, t0))
	if all[0] != (AwaitTask{Of("wrk-01"), "task-1"}) || all[1] != (AwaitTask{Of("wrk-01-green"), "task-2"}) {
		t.Errorf("%v", all[:2])
	}
	wholeWay(t, d, o)
}

// TestDrainOfAVMThatIsOff: its node has no work, and whether the hook says so does not matter.
func TestDrainOfAVMThatIsOff(t *testing.T) {
	for _, isOff := range []bool{false, true} {
		d, o := pairAt(t, Fresh, AwaitReady{base: Of("wrk-01-green")})
		if isOff {
			*o.find("wrk-01") = off(*o.find("wrk-01"))
		}
		d.VMs, o.VMs = d.VMs[:1], slices.DeleteFunc(o.VMs, func(v VM) bool { return v.Name == "wrk-02" })
		if s := only[Drain](t, flat(Compute(d, o, t0))); s.Try != isOff || s.Next != "delete" || s.VM() != "wrk-01" {
			t.Errorf("off %v: %+v", isOff, s)
		}
	}
}

// TestFailedGreenHoldsUpTheOthers: where several may fail, a place whose replacement failed counts as down although its
// VM before still serves: it is left as it is.
func TestFailedGreenHoldsUpTheOthers(t *testing.T) {
	for _, most := range []int{1, 2} {
		d, o := greenFailed(t, bluegreen(wish(3, "docker"), Fresh))
		d.Rollout.OnFailure, d.Rollout.MaxFailed, d.Rollout.MaxUnavailable, d.Rollout.Surge = "pause", 2, most, 2
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Error(err)
		}
		if goesOn := len(byRoll(p)["wrk-02"]) > 0; goesOn != (most == 2) || len(byRoll(p)["wrk-01"]) > 0 {
			t.Errorf("max_unavailable %d: %+v", most, p.Waves)
		}
	}
}

// TestGreenWithoutAStart: a claim was freed in the middle (a drain that failed): the green VM is still being made, and
// gets its key.
func TestGreenWithoutAStart(t *testing.T) {
	d := locked(bluegreen(wish(1, "docker"), Fresh), ChainKey)
	o := rolledBefore(fleetOf(d, oldDigest))
	o = until(t, o, flat(Compute(d, o, t0)), CreateVM{base: Of("wrk-01-green")})
	o.find("wrk-01-green").ID = "id-green"
	o = o.After(Release{base: Of("wrk-01-green")}).After(Release{base: Of("wrk-01")})
	got := kindsOf(Compute(d, o, t0))
	if got != "green attachdisk, green installkey, green poweron, green awaitready, shutdown, retire, green rename, release" {
		t.Errorf("it does %s", got)
	}
	wholeWay(t, d, o)
}

// TestGreenKeyAndPlace: a VM that is to take another's place knows the image's key, and its blank disk is made where the
// place is.
func TestGreenKeyAndPlace(t *testing.T) {
	d := locked(bluegreen(wish(1, "docker"), Fresh), ChainKey)
	d.VMs[0].Place.Host = "esx-7"
	all := flat(Compute(d, rolledBefore(fleetOf(d, oldDigest)), t0))
	if s := only[CreateDisk](t, all); s.Place != d.VMs[0].Place || s.Disk != d.VMs[0].Disks[0] {
		t.Errorf("%+v", s)
	}
	if s := only[CreateVM](t, all); s.Record.Key != KeyOf(certificate) || !s.Want.SecureBoot || s.Want.Place != d.VMs[0].Place {
		t.Errorf("%+v", s)
	}
}

// TestUndoInTheMiddleOfAMixUp: HA or a person powers a VM on while its disks go back.
func TestUndoInTheMiddleOfAMixUp(t *testing.T) {
	for _, c := range []struct{ next, on, says string }{
		{"attachdisk", "wrk-01-green", "VM wrk-01-green is on although its data disks go back to wrk-01"},
		{"attachdisk", "wrk-01", "VM wrk-01 is on although wrk-01-green has taken over from it"},
		{"disown", "wrk-01-green", "VM wrk-01-green is on although its data disks go back to wrk-01"},
		{"retire", "wrk-01", "VM wrk-01 is on although wrk-01-green has taken over from it"},
	} {
		d, o := greenFailed(t, bluegreen(wish(1, "docker"), HandOver))
		o = before(t, d, o, c.next)
		o.find(c.on).Power = On
		if m := look(d, o, t0)[0]; m.reason != c.says || len(Compute(d, o, t0).Waves) > 0 {
			t.Errorf("%s on before %s: %q", c.on, c.next, m.reason)
		}
	}
}

// TestWayBackByTheRecords: what two records say about a way back, each of its conditions by itself.
func TestWayBackByTheRecords(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b, g *Record)
		back  bool
	}{
		"begun":                      {func(_, _ *Record) {}, true},
		"blue did not fail":          {func(b, _ *Record) { b.Failed = "" }, false},
		"blue spurns nothing":        {func(b, g *Record) { b.Spurned, g.Image = "", "" }, false},
		"blue spurns another image":  {func(b, _ *Record) { b.Spurned = oldDigest }, false},
		"blue is retired":            {func(b, _ *Record) { b.Retired = t0 }, false},
		"green is retired: it ended": {func(_, g *Record) { g.Retired = t0 }, false},
	} {
		b, g := Record{Failed: "not ready", Spurned: newDigest}, Record{Image: newDigest}
		c.spoil(&b, &g)
		if got := undone(VM{Record: b}, VM{Record: g}); got != c.back {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSameDisk(t *testing.T) {
	a := DiskRecord{UUID: "6000C290-01", Path: "[a] x.vmdk"}
	for name, c := range map[string]struct {
		b    DiskRecord
		same bool
	}{
		"itself":                       {a, true},
		"as a guest writes it":         {DiskRecord{UUID: "6000c29001", Path: "[b] y.vmdk"}, true},
		"another in its file's place":  {DiskRecord{UUID: "6000C290-02", Path: a.Path}, false},
		"not made yet, the same path":  {DiskRecord{Path: a.Path}, true},
		"not made yet, another path":   {DiskRecord{Path: "[b] y.vmdk"}, false},
		"another disk at another path": {DiskRecord{UUID: "6000C290-02", Path: "[b] y.vmdk"}, false},
	} {
		if sameDisk(a, c.b) != c.same || sameDisk(c.b, a) != c.same {
			t.Errorf("%s: %v", name, !c.same)
		}
	}
}

// TestAfterInDetail: what the model says of steps whose whole meaning the executor's tests compare only on vSphere.
func TestAfterInDetail(t *testing.T) {
	d := locked(wish(1, "docker"), ChainShim)
	w := d.VMs[0]
	file := DiskFile{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk", UUID: "6000C290-01", Bytes: 7}
	rec := Record{Image: newDigest, Disks: []DiskRecord{{Name: "docker", Path: file.Path}, {Name: "docker", Path: file.Path}}}
	made := Observed{}.After(CreateVM{base: Of("wrk-01"), Want: w, Fleet: "workers", Record: rec, ISO: newISO})
	if v := made.VMs[0]; v.CPUs != 2 || v.MemoryMiB != 2048 || v.Firmware != "efi" || !v.SecureBoot || v.Ordinal != 1 || v.Power != Off || v.Record.Disks[0].UUID != "" {
		t.Errorf("%+v", v)
	}
	if got := strings.Join(made.Made, " "); got != "lkv-disks/workers/wrk-01-docker.vmdk" {
		t.Errorf("made: %s", got)
	}
	if again := made.After(CreateVM{base: Of("wrk-02"), Want: w, Fleet: "workers", Record: rec}); len(again.Made) != 1 {
		t.Errorf("made twice: %v", again.Made)
	}
	made.Files = []DiskFile{file}
	v := made.After(AttachDisk{Of("wrk-01"), rec.Disks[0]}).VMs[0]
	if v.Record.Disks[0].UUID != file.UUID || v.Disks[0] != (Disk{UUID: file.UUID, Path: file.Path, Bytes: 7, Mode: DiskMode}) {
		t.Errorf("attached: %+v", v)
	}
	known := made.Clone()
	known.VMs[0].Record.Disks = []DiskRecord{{Name: "docker", UUID: "known", Path: file.Path}, {Name: "logs", Path: "[x] logs.vmdk"}}
	if r := known.After(AttachDisk{Of("wrk-01"), rec.Disks[0]}).VMs[0].Record.Disks; r[0].UUID != "known" || r[1].UUID != "" {
		t.Errorf("a UUID was made up: %+v", r)
	}
	lone := made.Clone()
	lone.Files = nil
	if v := lone.After(AttachDisk{Of("wrk-01"), DiskRecord{UUID: "u", Path: file.Path}}).VMs[0]; v.Disks[0].UUID != "u" {
		t.Errorf("attached without a file: %+v", v.Disks)
	}
	up := known
	up.VMs[0].Power, up.VMs[0].Guest = On, Guest{IP: "10.0.0.7", BootID: "b", Token: "before"}
	if g := up.After(AwaitReady{base: Of("wrk-01"), Token: "t", ImageID: "i"}).VMs[0].Guest; g.IP != "10.0.0.7" || g.BootID != "b" || g.Token != "t" || g.ImageID != "i" || !g.Tools {
		t.Errorf("ready: %+v", g)
	}
	strange := Observed{VMs: []VM{{Name: "a", ID: "id-a", Record: Record{Disks: rec.Disks[:1]}}, {Name: "b", Disks: []Disk{{Path: file.Path}}}}}
	if got := strange.After(Disown{base: Of("a")}); len(got.VMs[0].Record.Disks) != 1 {
		t.Errorf("disowned for somebody who does not replace it: %+v", got.VMs[0])
	}
	strange.VMs[1].Record.Replaces = "id-a"
	if got := strange.After(Disown{base: Of("a")}); len(got.VMs[0].Record.Disks) != 0 {
		t.Errorf("not disowned: %+v", got.VMs[0])
	}
}

// TestAfterOfTwins: two VMs have one name, and only one of them is removed; a boot that was due stays due.
func TestAfterOfTwins(t *testing.T) {
	o := Observed{VMs: []VM{{Name: "a", ID: "1"}, {Name: "a", ID: "2"}, {Name: "b", ID: "1"}}}
	if got := o.After(DestroyVM{Of("a")}).VMs; len(got) != 2 || got[0].ID != "2" || got[1].Name != "b" {
		t.Errorf("%+v", got)
	}
	for was, want := range map[bool][2]bool{false: {false, true}, true: {true, true}} {
		o.VMs[0].Record.Due = was
		for i, due := range []bool{false, true} {
			if got := o.After(Claim{base: Of("a"), Due: due}).VMs[0].Record.Due; got != want[i] {
				t.Errorf("due %v, claimed for it %v: %v", was, due, got)
			}
		}
	}
	w := wish(1, "docker").VMs[0]
	w.Networks = []Network{{Name: "a"}}
	c := w.clone()
	c.Networks[0].Name, c.Disks[0].Name, c.ExtraConfig["guestinfo.lkv.role"] = "b", "b", "b"
	if w.Networks[0].Name == "b" || w.Disks[0].Name == "b" || w.ExtraConfig["guestinfo.lkv.role"] == "b" {
		t.Errorf("%+v", w)
	}
}

// TestCloneSharesNothing: whatever is changed in a copy of a world stays in the copy.
func TestCloneSharesNothing(t *testing.T) {
	d := wish(1, "docker")
	o := fleetOf(d, newDigest)
	o.Hidden, o.Made = []Hidden{{Datastore: "a"}}, []string{"a"}
	v := &o.VMs[0]
	v.Busy, v.Keys, v.Guest.Probes, v.Record.Takes = []string{"a"}, []string{"a"}, []Probe{{Name: "a"}}, []DiskRecord{{Name: "a"}}
	c := o.Clone()
	x := &c.VMs[0]
	c.Hidden[0].Datastore, c.Made[0], c.Files[0].UUID = "b", "b", "b"
	x.Busy[0], x.Keys[0], x.Guest.Probes[0].Name, x.Guest.Mounts[0].Path = "b", "b", "b", "b"
	x.Record.Takes[0].Name, x.Record.Disks[0].Name, x.Disks[0].UUID, x.Name = "b", "b", "b", "b"
	if o.Hidden[0].Datastore == "b" || o.Made[0] == "b" || o.Files[0].UUID == "b" || v.Busy[0] == "b" || v.Keys[0] == "b" || v.Guest.Probes[0].Name == "b" ||
		v.Guest.Mounts[0].Path == "b" || v.Record.Takes[0].Name == "b" || v.Record.Disks[0].Name == "b" || v.Disks[0].UUID == "b" || v.Name == "b" {
		t.Errorf("%+v", o)
	}
}
