package plan

import (
	"slices"
	"testing"
	"time"
)

// TestCheckKnowsWhoServes: a run died on a VM, and another VM is down. What is halfway may be finished when it does not
// serve, whatever the reason; when it serves, max_unavailable keeps it as it is.
func TestCheckKnowsWhoServes(t *testing.T) {
	const says = "check wave 1: 1 VMs do not serve and 1 more would be shut down, max_unavailable is 1 (A1)"
	for _, c := range []struct {
		name   string
		spoil  func(d *Desired, v *VM)
		serves bool
	}{
		{"all is well", func(*Desired, *VM) {}, true},
		{"tools are gone", func(_ *Desired, v *VM) { v.Guest.Tools = false }, false},
		{"tools are gone and nobody asks", func(d *Desired, v *VM) { d.Rollout.NoTools, v.Guest.Tools = true, false }, true},
		{"the guest runs another image", func(_ *Desired, v *VM) { v.Guest.ImageID = "sha256:x" }, false},
		{"it has not booted since the swap", func(_ *Desired, v *VM) { v.Guest.Token = "x" }, false},
		{"a check fails", func(_ *Desired, v *VM) { v.Guest.Probes = []Probe{{Name: "a", OK: true}, {Name: "http"}} }, false},
		{"checks pass", func(_ *Desired, v *VM) { v.Guest.Probes = []Probe{{Name: "a", OK: true}} }, true},
		{"the disk is mounted elsewhere", func(_ *Desired, v *VM) { v.Guest.Mounts[0].Path = "/mnt" }, false},
		{"another disk is mounted there", func(_ *Desired, v *VM) { v.Guest.Mounts[0].Serial = "x" }, false},
		{"nothing is mounted", func(_ *Desired, v *VM) { v.Guest.Mounts = nil }, false},
		{"nothing is mounted and nobody asks", func(d *Desired, v *VM) { d.Rollout.NoMounted, v.Guest.Mounts = true, nil }, true},
		{"the disk is not for mounting", func(d *Desired, v *VM) {
			d.VMs[0].Disks[0].Mount, v.Guest.Mounts, d.Image.Mounts = "", nil, nil
			d.VMs[1].Disks[0].Mount = ""
		}, true},
	} {
		d := wish(2, "docker")
		o := rolledBefore(fleetOf(d, oldDigest))
		halfDone(&o, 0, time.Minute)
		o.VMs[0].Guest.State = running
		c.spoil(&d, &o.VMs[0])
		dead := o.Clone()
		dead.VMs[0].Guest.State = "failed"
		finish := Compute(d, dead, t0) // what follows when it does not serve, for certain
		mute(&o, 0, 1)
		asking(&o.VMs[1])
		if err := Check(Compute(d, o, t0), o); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if rolls := slices.ContainsFunc(flat(Compute(d, o, t0)), isShutdown); rolls == c.serves {
			t.Errorf("%s: Compute sees it otherwise", c.name)
		}
		finish.Waves = finish.Waves[:1]
		if err := Check(finish, o); (err != nil) != c.serves || err != nil && err.Error() != says {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCheckCountsPlacesNotVMs: somebody renamed a VM that is off to the name of another one that is off. One place is
// refused for it (R22) and the other is made again: of two that may be down, one is left for the roll.
func TestCheckCountsPlacesNotVMs(t *testing.T) {
	d := wish(4)
	d.Rollout.MaxUnavailable, d.Rollout.NoBrake = 2, true
	o := rolledBefore(fleetOf(d, oldDigest))
	o.VMs[0], o.VMs[3] = off(o.VMs[0]), off(o.VMs[3])
	o.VMs[3].Name = "wrk-01"
	p := Compute(d, o, t0)
	if err := Check(p, o); err != nil || len(p.Waves) != 3 || p.Waves[0].Rolls[0].VM != "wrk-04" || p.Waves[1].Rolls[0].VM != "wrk-02" {
		t.Errorf("%v, %+v", err, p)
	}
	p.MaxUnavailable = 1
	if err := Check(p, o); err == nil || err.Error() != "check wave 2: 1 VMs do not serve and 1 more would be shut down, max_unavailable is 1 (A1)" {
		t.Errorf("Check says %v", err)
	}
}

// TestCheckPassesWhatIsNoBeginning: nothing is begun, and yet this goes on: whatever the brake, the window and the
// targets say, what was begun is finished or given back, notes are taken, and ways back are gone.
func TestCheckPassesWhatIsNoBeginning(t *testing.T) {
	trouble := func(d *Desired, o *Observed) {
		d.Rollout.Window, d.Targets = tomorrow(), []string{"nobody"}
		mute(o, 0, 2, 3, 4)
	}
	for _, c := range []struct {
		name   string
		world  func() (Desired, Observed)
		action Action
	}{
		{"a roll halfway", fleetLike(5, oldDigest, func(_ *Desired, o *Observed) { halfDone(o, 0, time.Minute) }), Finish},
		{"a claim to give back", fleetLike(5, oldDigest, func(_ *Desired, o *Observed) {
			halfDone(o, 0, time.Minute)
			o.VMs[0].Guest.State = running
		}), GiveBack},
		{"left drained", fleetLike(5, newDigest, func(_ *Desired, o *Observed) { o.VMs[0].Record.Drained = true }), Finish},
		{"a roll back", func() (Desired, Observed) {
			d := wish(5, "docker")
			d.Rollout.OnFailure, d.Rollout.MaxFailed = backOnFailure, 3
			return d, rolledAndFailed(d, "")
		}, Rollback},
		{"a way back that takes too long", func() (Desired, Observed) {
			d, o := greenFailed(t, bluegreen(wish(5, "docker"), Fresh))
			d.Rollout.Progress, d.Rollout.MaxFailed = 30*time.Minute, 3
			for _, name := range []string{"wrk-01", "wrk-01-green"} {
				o.find(name).Record.Started = t0.Add(-time.Hour)
			}
			return d, o
		}, Rollback},
		{"a green VM", func() (Desired, Observed) {
			d := bluegreen(wish(5, "docker"), Fresh)
			o := rolledBefore(fleetOf(d, oldDigest))
			for _, s := range flat(Compute(d, o, t0))[:5] {
				o = o.After(s)
			}
			return d, o
		}, Finish},
	} {
		d, o := c.world()
		trouble(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(p.Waves) == 0 || p.Waves[0].Rolls[0].VM != "wrk-01" || p.Waves[0].Rolls[0].Action != c.action {
			t.Errorf("%s: %+v", c.name, p.Waves)
		}
	}
	d, o := fleetLike(5, newDigest, func(d *Desired, o *Observed) {
		d.Rollout.Heal = time.Hour
		mute(o, 0, 0, 1, 2, 3)
	})()
	if p := Compute(d, o, t0); len(p.Waves) != 1 || p.Waves[0].Rolls[0].Action != Note || Check(p, o) != nil {
		t.Errorf("notes: %+v: %v", p.Waves, Check(p, o))
	}
}

// TestWithinIsOpen: Check reads the window from the clock on the wall, Compute from dates. Where that clock runs evenly
// they say the same, and where it is changed Check never calls shut what Compute calls open.
func TestWithinIsOpen(t *testing.T) {
	zones := []*time.Location{nil, time.UTC, time.FixedZone("x", -3*3600-1800)}
	for _, name := range []string{"Europe/Vienna", "America/New_York", "Australia/Lord_Howe"} {
		z, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, z)
	}
	windows := []Window{{From: 22 * time.Hour, To: 5 * time.Hour}, {From: 2 * time.Hour, To: 3 * time.Hour}, {From: 90 * time.Minute, To: 150 * time.Minute},
		{Days: []time.Weekday{time.Saturday}, From: 23 * time.Hour, To: 23 * time.Hour}, {Days: []time.Weekday{time.Sunday, time.Monday}, From: 30 * time.Minute, To: 2 * time.Hour},
		{Days: []time.Weekday{time.Sunday}}, {Days: []time.Weekday{9}, To: time.Hour}}
	seen := map[bool]int{}
	for _, zone := range zones {
		for _, w := range windows {
			w.Zone = zone
			for at := t0; at.Before(t0.AddDate(0, 9, 0)); at = at.Add(47 * time.Minute) {
				open, _ := w.open(at)
				offset := func(d int) int { _, s := at.AddDate(0, 0, d).In(zoneOf(zone)).Zone(); return s }
				even := offset(-2) == offset(2)
				if got := within(&w, at); got != open && (even || open) {
					t.Fatalf("%+v in %v at %s: Check says %v, Compute %v", w, zone, at, got, open)
				}
				seen[open]++
			}
		}
	}
	if seen[true] == 0 || seen[false] == 0 || !within(nil, t0) {
		t.Errorf("%v", seen)
	}
}

func zoneOf(z *time.Location) *time.Location {
	if z == nil {
		return time.UTC
	}
	return z
}
