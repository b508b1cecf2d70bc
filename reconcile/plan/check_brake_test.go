package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCheckBrakeCounts: one VM of a fleet is off and is to be started; what else counts as lost, and what does not.
func TestCheckBrakeCounts(t *testing.T) {
	gone := func(traces bool, vms ...int) func(*Plan, *Observed) {
		return func(_ *Plan, o *Observed) {
			for _, i := range slices.Backward(vms) {
				if !traces {
					path := o.VMs[i].Disks[0].Path
					o.Files = slices.DeleteFunc(o.Files, func(f DiskFile) bool { return f.Path == path })
				}
				o.VMs = slices.Delete(o.VMs, i, i+1)
			}
		}
	}
	mutedAnd := func(f func(v *VM), vms ...int) func(*Plan, *Observed) {
		return func(_ *Plan, o *Observed) {
			mute(o, 0, vms...)
			for _, i := range vms {
				f(&o.VMs[i])
			}
		}
	}
	as := func(*VM) {}
	for _, c := range []struct {
		name  string
		size  int
		most  int // max_unavailable
		spoil func(p *Plan, o *Observed)
		says  string // how many are lost and how many may; "": it passes
	}{
		{"nobody else", 5, 1, mutedAnd(as), ""},
		{"one more is silent", 5, 1, mutedAnd(as, 1), "2 of 5, 1"},
		{"one more, and two may be unavailable", 5, 2, mutedAnd(as, 1), ""},
		{"two more, and two may be unavailable", 5, 2, mutedAnd(as, 1, 2), "3 of 5, 2"},
		{"a fifth of a fleet of 11", 11, 1, mutedAnd(as, 1, 2), ""},
		{"more than a fifth of it", 11, 1, mutedAnd(as, 1, 2, 3), "4 of 11, 3"},
		{"a fifth of a fleet of 10", 10, 1, mutedAnd(as, 1), ""},
		{"one above a fifth of it", 10, 1, mutedAnd(as, 1, 2), "3 of 10, 2"},
		{"its roll is under way", 5, 1, mutedAnd(func(v *VM) { v.Record.Started = t0 }, 1), ""},
		{"its roll failed", 5, 1, mutedAnd(func(v *VM) { v.Record.Failed = "x" }, 1), ""},
		{"another run has it", 5, 1, mutedAnd(claimedBy(other), 1), ""},
		{"we have it", 5, 1, mutedAnd(claimedBy(me), 1), "2 of 5, 1"},
		{"another run had it", 5, 1, mutedAnd(func(v *VM) { v.Record.Owner, v.Record.Expires = other, t0 }, 1), "2 of 5, 1"},
		{"it is retired", 5, 1, mutedAnd(func(v *VM) { v.Record.Retired = t0 }, 1), ""},
		{"another fleet's VM has the name", 5, 1, mutedAnd(func(v *VM) { v.Fleet = "db" }, 1), ""},
		{"it is not wanted any more", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 4)
			unwish(p.Want, 4)
			p.Extra = []string{"wrk-05"}
		}, ""},
		{"one vanished, as while it was made", 5, 1, gone(true, 2), ""},
		{"two vanished", 5, 1, gone(true, 2, 3), "2 of 5, 1"},
		{"two were never there", 5, 1, gone(false, 2, 3), ""},
		{"of two only a marker tells", 5, 1, func(p *Plan, o *Observed) {
			gone(false, 2, 3)(p, o)
			o.Made = []string{"lkv-disks/workers/wrk-03-docker.vmdk", "lkv-disks/workers/wrk-04-docker.vmdk"}
		}, "2 of 5, 1"},
		{"two vanished, their disks lie elsewhere", 5, 1, func(p *Plan, o *Observed) {
			gone(true, 2, 3)(p, o)
			for i := range o.Files {
				o.Files[i].Path = strings.Replace(o.Files[i].Path, "[ssd-1]", "[ssd-9]", 1)
			}
		}, "2 of 5, 1"},
		{"one vanished and one is silent", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 1)
			gone(true, 2)(p, o)
		}, "2 of 5, 1"},
		{"two vanished, and green VMs are there", 5, 1, func(p *Plan, o *Observed) {
			for _, i := range []int{2, 3} {
				o.VMs[i].Name, o.VMs[i].Record.Replaces = GreenName(o.VMs[i].Name), "id"
			}
		}, ""},
		{"a new fleet, in its first hour", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 1, 2, 3)
			for i := range o.VMs {
				o.VMs[i].Record.Rolled = t0.Add(-time.Hour)
			}
		}, ""},
		{"all of a new fleet", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 1, 2, 3, 4)
			for i := range o.VMs {
				o.VMs[i].Record.Rolled = t0.Add(-time.Hour)
			}
		}, "5 of 5, 4"},
		{"a new fleet, of which one VM is older", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 1, 2)
			for i := range o.VMs {
				o.VMs[i].Record.Rolled = t0.Add(-time.Hour)
			}
			o.VMs[4].Record.Rolled = t0.Add(-time.Hour - 1)
		}, "3 of 5, 1"},
		{"a new fleet, of which one VM was adopted", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 1, 2)
			for i := range o.VMs {
				o.VMs[i].Record.Rolled = t0.Add(-time.Hour)
			}
			o.VMs[4].Record.Rolled = time.Time{}
		}, "3 of 5, 1"},
		{"a new fleet, of which one VM is being made", 5, 1, func(p *Plan, o *Observed) {
			mute(o, 0, 1, 2)
			for i := range o.VMs {
				o.VMs[i].Record.Rolled = t0.Add(-time.Hour)
			}
			o.VMs[4].Record.Rolled, o.VMs[4].Record.Started = time.Time{}, t0
		}, ""},
	} {
		d := wish(c.size, "docker")
		d.Rollout.MaxUnavailable, d.Rollout.MaxFailed = c.most, 2
		o := rolledBefore(fleetOf(d, newDigest))
		o.VMs[0] = off(o.VMs[0])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil || p.Waves[0].Rolls[0].Action != Start {
			t.Fatalf("%s: before: %v", c.name, err)
		}
		c.spoil(&p, &o)
		says, err := "", Check(p, o)
		if err != nil {
			var lost, of, most int
			if _, scan := fmt.Sscanf(err.Error(), "check wave 1: wrk-01: it is begun although %d of %d do not serve, and not because of a roll; %d may (R12)", &lost, &of, &most); scan != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			says = fmt.Sprintf("%d of %d, %d", lost, of, most)
		}
		if says != c.says {
			t.Errorf("%s: %q, %v", c.name, says, err)
		}
	}
}

// TestCheckBrakeWithoutDisks: nothing tells that a VM without data disks was there but a higher place that is taken.
func TestCheckBrakeWithoutDisks(t *testing.T) {
	for _, c := range []struct {
		gone    []int
		refused bool
	}{{nil, false}, {[]int{1}, false}, {[]int{1, 2}, true}, {[]int{3, 4}, false}, {[]int{2, 4}, false}} {
		d := wish(5)
		o := rolledBefore(fleetOf(d, newDigest))
		o.VMs[0] = off(o.VMs[0])
		p := Compute(d, o, t0)
		for _, i := range slices.Backward(c.gone) {
			o.VMs = slices.Delete(o.VMs, i, i+1)
		}
		if err := Check(p, o); (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "2 of 5 do not serve") {
			t.Errorf("without %v: %v", c.gone, err)
		}
	}
}

// TestCheckWindowEdges: a window is open from its first second to its last, and what is no rolling of VMs that serve
// goes on outside of it.
func TestCheckWindowEdges(t *testing.T) {
	for _, c := range []struct {
		window Window
		at     string
		open   bool
	}{
		{Window{From: 9 * time.Hour, To: 17 * time.Hour}, "09:00:00", true},
		{Window{From: 9 * time.Hour, To: 17 * time.Hour}, "08:59:59", false},
		{Window{From: 9 * time.Hour, To: 17 * time.Hour}, "16:59:59", true},
		{Window{From: 9 * time.Hour, To: 17 * time.Hour}, "17:00:00", false},
		{Window{From: 9 * time.Hour, To: 9 * time.Hour}, "08:59:59", true},
		{Window{From: 22 * time.Hour, To: 5 * time.Hour}, "22:00:00", true},
		{Window{From: 22 * time.Hour, To: 5 * time.Hour}, "04:59:59", true},
		{Window{From: 22 * time.Hour, To: 5 * time.Hour}, "05:00:00", false},
		{Window{From: 22 * time.Hour, To: 5 * time.Hour}, "21:59:59", false},
		{Window{Days: []time.Weekday{time.Saturday}, From: 22 * time.Hour, To: 5 * time.Hour}, "04:00:00", true}, // a Sunday
		{Window{Days: []time.Weekday{time.Sunday}, From: 22 * time.Hour, To: 5 * time.Hour}, "04:00:00", false},
		{Window{Days: []time.Weekday{time.Saturday}, From: 9 * time.Hour, To: 17 * time.Hour}, "10:00:00", false},
		{Window{Days: []time.Weekday{time.Saturday}, From: 9 * time.Hour, To: 9 * time.Hour}, "09:00:00", false},
		{Window{Days: []time.Weekday{time.Saturday}, From: 9 * time.Hour, To: 9 * time.Hour}, "08:59:59", true},
	} {
		at, err := time.Parse(time.DateTime, "2026-03-01 "+c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := c.window.open(at); within(&c.window, at) != c.open || got != c.open {
			t.Errorf("%+v at %s: Check says %v, Compute %v", c.window, c.at, within(&c.window, at), got)
		}
	}
	for name, world := range map[string]func(d *Desired, o *Observed){
		"a VM is off":                             func(_ *Desired, o *Observed) { o.VMs[0] = off(o.VMs[0]) },
		"a VM is missing":                         func(_ *Desired, o *Observed) { *o = Observed{} },
		"a VM does not serve on the old image":    func(_ *Desired, o *Observed) { mute(o, 0, 0) },
		"a VM that is not wanted was going":       func(d *Desired, o *Observed) { leaving1(d, o, off) },
		"a VM that is not wanted is only claimed": func(d *Desired, o *Observed) { leaving1(d, o, func(v VM) VM { return v }) },
	} {
		d, o := fleetLike(2, oldDigest, world)()
		d.Rollout.Window = tomorrow()
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil || len(p.Waves) == 0 {
			t.Errorf("%s: %v, %+v", name, err, p)
		}
	}
	d, o := fleetLike(2, oldDigest, func(*Desired, *Observed) {})()
	p := Compute(d, o, t0)
	p.Want.Rollout.Window = tomorrow()
	p.MaxUnavailable = 2
	for _, stray := range []VM{{Name: "wrk-01-green"}, {Name: "wrk-01-green", Fleet: "workers"}, {Name: "wrk-01-green", Fleet: "db", Record: Record{Replaces: "x"}}} {
		stray.Power = On
		w := o.with(stray)
		w.VMs[2].Guest = w.VMs[0].Guest
		if err := Check(p, w); err == nil || err.Error() != "check wave 1: wrk-01: it serves, and the window is shut (R13)" {
			t.Errorf("beside %+v: %v", stray, err)
		}
	}
}

// leaving1 is a fleet whose second VM is not wanted any more and was claimed to go by a run that died.
func leaving1(d *Desired, o *Observed, f func(VM) VM) {
	unwish(d, 1)
	d.Rollout.ScaleIn = 1
	o.VMs[1] = f(o.VMs[1])
	r := &o.VMs[1].Record
	r.Owner, r.Epoch, r.Started, r.Expires = other, 4, t0.Add(-time.Hour), t0.Add(-time.Minute)
}
