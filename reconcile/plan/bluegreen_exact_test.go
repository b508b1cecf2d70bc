package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestPairRefusalsInFull: what stops a replacement in the middle, in the words an operator reads.
func TestPairRefusalsInFull(t *testing.T) {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	for _, c := range []struct {
		name, disk string
		last       Step
		spoil      func(d *Desired, o *Observed)
		says       string
	}{
		{"blue still awaits a disk of the VM before it", HandOver, CreateVM{base: g}, func(_ *Desired, o *Observed) {
			o.find("wrk-01").Record.Takes = []DiskRecord{{Name: "logs", UUID: "l", Path: "[ssd-1] l.vmdk"}}
		}, "VM wrk-01 has not got all disks that it takes over"},
		{"a VM with blank disks awaits one", Fresh, CreateVM{base: g}, func(_ *Desired, o *Observed) {
			o.find("wrk-01-green").Record.Takes = []DiskRecord{{Name: "logs", UUID: "l", Path: "[ssd-1] l.vmdk"}}
		}, "VM wrk-01-green has not got the disks it takes over, and wrk-01 does not hold them for it"},
		{"green awaits a disk, and blue is retired", HandOver, Retire{base: n}, func(_ *Desired, o *Observed) {
			o.find("wrk-01-green").Record.Takes = []DiskRecord{{Name: "logs", UUID: "l", Path: "[ssd-1] l.vmdk"}}
		}, "VM wrk-01-green has not got the disks it takes over, and wrk-01-retired-20260301-1200 does not hold them for it"},
		{"the fleet wants a disk more", HandOver, AwaitReady{base: g}, func(d *Desired, _ *Observed) {
			d.VMs[0].Disks = append(d.VMs[0].Disks, WantDisk{Name: "logs", Bytes: 1 << 30})
		}, "the fleet wants disk logs, VM wrk-01-green was made without it"},
		{"the fleet wants a smaller disk", HandOver, AwaitReady{base: g}, func(d *Desired, _ *Observed) { d.VMs[0].Disks[0].Bytes = 5 << 30 },
			"disk docker has 10 GiB, the fleet wants 5 GiB"},
		{"the place's name was given to a retired VM", HandOver, Retire{base: n}, func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "wrk-01", ID: "r", Ref: "vm-r", Fleet: "workers", Ordinal: 9, Record: Record{Retired: t0}})
		}, "a VM that was retired on 2026-03-01 has its name"},
		{"another VM has got blue's name", HandOver, CreateVM{base: g}, func(_ *Desired, o *Observed) {
			o.find("wrk-01").Name = "wrk-01-old"
			o.VMs = append(o.VMs, VM{Name: "wrk-01", ID: "x", Ref: "vm-x", Fleet: "workers", Ordinal: 1})
		}, "VM wrk-01-green was made to replace wrk-01-old, and another VM has the name"},
		{"a blank disk became another before it was attached", Fresh, CreateVM{base: g}, func(_ *Desired, o *Observed) {
			o.find("wrk-01-green").Record.Disks[0].UUID = "6000C2AA"
			o.Files[2].UUID = "6000C2BB"
		}, "disk docker (6000C2AA, [ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk) is recorded for wrk-01-green but not attached"},
		{"a VM with the retired one's name has the disk", HandOver, Retire{base: n}, func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "wrk-01-retired-20260301-1200", ID: "x", Ref: "vm-x", Record: Record{Disks: o.find("wrk-01-green").Record.Disks}})
		}, "disk docker (6000C290-0001-AAAA-BBBB-CCCCDDDDEEEE) is on wrk-01-green and wrk-01-retired-20260301-1200"},
	} {
		d := bluegreen(wish(2, "docker"), c.disk)
		o := rolledBefore(fleetOf(d, oldDigest))
		o = until(t, o, flat(Compute(d, o, t0)), c.last)
		c.spoil(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.VM == "wrk-01" })
		if i < 0 || p.Blocked[i].Reason != c.says || len(byRoll(p)["wrk-01"]) > 0 {
			t.Errorf("%s: %v", c.name, p.Blocked)
		}
	}
}

// TestPairGoesOnAllTheSame: what happened does not matter to what is left.
func TestPairGoesOnAllTheSame(t *testing.T) {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	for name, c := range map[string]struct {
		last Step
		then func(d *Desired, o *Observed)
		does string
	}{
		"a person detached the disk of the retired VM": {Retire{base: n}, func(_ *Desired, o *Observed) { o.find("wrk-01-retired-20260301-1200").Disks = nil }, "green rename, release"},
		"a blank disk's UUID is seen only now":         {CreateVM{base: g}, func(_ *Desired, o *Observed) { o.Files[2].UUID = "6000C2AA" }, "green attachdisk, green poweron, green awaitready, drain, shutdown, retire, green rename, release"},
		"the image left the store when green served":   {AwaitReady{base: g}, func(d *Desired, _ *Observed) { d.Image.Known = false }, "drain, shutdown, retire, green rename, release"},
	} {
		d, o := pairAt(t, Fresh, c.last)
		c.then(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil || kindsOf(p) != c.does {
			t.Errorf("%s: %v, %s, %v", name, err, kindsOf(p), p.Blocked)
		}
	}
}

// TestBlockedPairAndTheOthers: a pair that cannot go on counts as serving while one of its VMs does, but for one that
// another run is about to take down; and what holds up the others names it.
func TestBlockedPairAndTheOthers(t *testing.T) {
	g, b := Of("wrk-01-green"), Of("wrk-01")
	for _, c := range []struct {
		name, disk string
		last       Step
		spoil      func(v *VM)
		rolls      bool   // the other VM
		says       string // of the fleet
	}{
		{"busy, and blue serves", Fresh, CreateVM{base: g}, asking, true, ""},
		{"claimed by another run", Fresh, CreateVM{base: g}, claimedBy(other), false, "another run (lkv@there) is at wrk-01"},
		{"busy, and blue was handed over", HandOver, Shutdown{base: b}, asking, false, "wrk-01: wrk-01-green: the VM must not be touched: a question is pending"},
		{"blue is not there any more", HandOver, Shutdown{base: b}, func(v *VM) { v.Record.Replaces = "id-x" }, false,
			"wrk-01: VM wrk-01-green was made to replace a VM that is not there any more (instance UUID id-x)"},
		{"blue is not there any more, and green serves", Fresh, AwaitReady{base: g}, func(v *VM) { v.Record.Replaces = "id-x" }, true, ""},
	} {
		d := bluegreen(wish(2, "docker"), c.disk)
		d.Rollout.Surge = 2
		o := rolledBefore(fleetOf(d, oldDigest))
		o = until(t, o, flat(Compute(d, o, t0)), c.last)
		c.spoil(o.find("wrk-01-green"))
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if rolls := len(byRoll(p)["wrk-02"]) > 0; rolls != c.rolls || len(byRoll(p)["wrk-01"]) > 0 {
			t.Errorf("%s: %+v", c.name, p.Waves)
		}
		fleet := ""
		for _, b := range p.Blocked {
			if b.VM == "" {
				fleet += b.Reason
			}
		}
		for _, l := range p.Later {
			fleet += l.Reason
		}
		if !strings.Contains(fleet, c.says) || (fleet == "") != (c.says == "") {
			t.Errorf("%s: the fleet %q", c.name, fleet)
		}
	}
}

// TestGreenIsBornComplete: what is written into a VM that is to take another's place, when it is made.
func TestGreenIsBornComplete(t *testing.T) {
	for _, c := range []struct {
		name, disk string
		set        func(d *Desired, v *VM)
		config     map[string]string
		disks      []DiskRecord
	}{
		{"blank disks", Fresh, func(*Desired, *VM) {}, map[string]string{"guestinfo.lkv.role": "worker", "guestinfo.lkv.hostname": "wrk-01-g1"},
			[]DiskRecord{{Name: "docker", Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk", Label: "docker", Filesystem: "ext4"}}},
		{"a blank disk that nothing is mounted from", Fresh, func(d *Desired, _ *VM) { d.VMs[0].Disks[0].Mount, d.Image.Mounts = "", nil }, map[string]string{"guestinfo.lkv.role": "worker", "guestinfo.lkv.hostname": "wrk-01-g1"},
			[]DiskRecord{{Name: "docker", Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk"}}},
		{"nothing configured", HandOver, func(d *Desired, _ *VM) { d.VMs[0].ExtraConfig = nil }, map[string]string{"guestinfo.lkv.hostname": "wrk-01"}, nil},
		{"a host name of its own", HandOver, func(d *Desired, _ *VM) { d.VMs[0].ExtraConfig = map[string]string{"guestinfo.lkv.hostname": "db"} }, map[string]string{"guestinfo.lkv.hostname": "db"}, nil},
		{"blank disks and a host name of its own", Fresh, func(d *Desired, _ *VM) { d.VMs[0].ExtraConfig = map[string]string{"guestinfo.lkv.hostname": "db"} }, map[string]string{"guestinfo.lkv.hostname": "wrk-01-g1"},
			[]DiskRecord{{Name: "docker", Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk", Label: "docker", Filesystem: "ext4"}}},
	} {
		d := bluegreen(wish(1, "docker"), c.disk)
		o := rolledBefore(fleetOf(d, oldDigest))
		c.set(&d, &o.VMs[0])
		wanted := d.VMs[0].clone()
		s := only[CreateVM](t, flat(Compute(d, o, t0)))
		if diff := gocmp.Diff(c.config, s.Want.ExtraConfig); diff != "" {
			t.Errorf("%s: configured (-want +got):\n%s", c.name, diff)
		}
		if diff := gocmp.Diff(c.disks, s.Record.Disks); diff != "" {
			t.Errorf("%s: its disks (-want +got):\n%s", c.name, diff)
		}
		if diff := gocmp.Diff(wanted, d.VMs[0]); diff != "" {
			t.Errorf("%s: planning changed what is wanted:\n%s", c.name, diff)
		}
		r, start := s.Record, t0
		if r.Image != newDigest || r.ImageID != "sha256:new" || r.Token != Token(newDigest, 1) || r.Epoch != 1 || r.Owner != me || r.Expires != t0.Add(d.TTL) || r.Started != start || r.Replaces != "id-wrk-01" {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// TestClaimsGivenBackForLackOfRoom: two claims are one too many for surge. Ours is released as it is; one that has
// expired, or was another run's, is claimed first.
func TestClaimsGivenBackForLackOfRoom(t *testing.T) {
	for _, c := range []struct {
		name, owner string
		left        time.Duration // of the claims
		does        string
	}{
		{"ours", me, time.Minute, "release"},
		{"ours, expired", me, -time.Second, "claim release"},
		{"another's, expired", other, -time.Second, "claim release"},
	} {
		d := bluegreen(wish(3, "docker"), Fresh)
		d.Rollout.MaxUnavailable = 3
		o := rolledBefore(fleetOf(d, oldDigest))
		for _, name := range []string{"wrk-01", "wrk-02"} {
			o = o.After(Claim{base: Of(name), Owner: c.owner, Epoch: 4, Started: t0.Add(-time.Minute), Expires: t0.Add(c.left)})
		}
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil || len(p.Waves) == 0 {
			t.Fatalf("%s: %v", c.name, err)
		}
		var kinds []string
		for _, s := range p.Waves[0].Rolls[0].Steps {
			kinds = append(kinds, nameOf(s))
		}
		if r := p.Waves[0].Rolls[0]; r.Action != GiveBack || r.VM != "wrk-02" || strings.Join(kinds, " ") != c.does || len(p.Waves[0].Rolls) != 1 {
			t.Errorf("%s: %+v", c.name, p.Waves[0])
		}
	}
}

// TestUndoFollowsAMovedDisk: a storage migration moved a disk, and its file can be found: it goes back from there.
func TestUndoFollowsAMovedDisk(t *testing.T) {
	d, o := greenFailed(t, bluegreen(wish(1, "docker"), HandOver))
	const moved = "[ssd-2] lkv-disks/workers/wrk-01-docker.vmdk"
	o.Files[0].Path, o.find("wrk-01-green").Disks[0].Path = moved, moved
	all := flat(Compute(d, o, t0))
	if s := only[Recall](t, all); len(s.Takes) != 1 || s.Takes[0].Path != moved {
		t.Errorf("%+v", s)
	}
	if s := only[AttachDisk](t, all); s.Disk.Path != moved {
		t.Errorf("%+v", s)
	}
	wholeWayBack(t, d, o)
}

// wholeWayBack is wholeWay for a replacement that is undone: the failure stays.
func wholeWayBack(t *testing.T, d Desired, o Observed) {
	t.Helper()
	for len(flat(Compute(d, o, t0))) > 0 {
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Fatal(err)
		}
		o = o.After(flat(p)[0])
	}
	if v := o.find("wrk-01"); v.Power != On || len(v.Disks) != 1 || len(v.Record.Disks) != 1 || v.Record.Failed == "" || v.Record.Owner != "" {
		t.Errorf("%+v", v)
	}
}

func TestGenerationIn(t *testing.T) {
	const base = "lkv-disks/workers/wrk-01-docker"
	for path, want := range map[string]int{
		base + ".vmdk": 0, "[ssd-1] " + base + ".vmdk": 0, base + "-g1.vmdk": 1, "[x] " + base + "-g12.vmdk": 12,
		base + "-g0.vmdk": -1, base + "-g-1.vmdk": -1, base + "-gx.vmdk": -1, base + "-g.vmdk": -1, base + "7.vmdk": -1, base + "-logs.vmdk": -1,
		base + "-g1": -1, base: -1, "lkv-disks/workers/wrk-02-docker.vmdk": -1, base + "-1.vmdk": -1,
	} {
		if n, ok := generationIn(base, path); ok != (want >= 0) || ok && n != want {
			t.Errorf("%s: %d %v", path, n, ok)
		}
	}
}
