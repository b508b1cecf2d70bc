package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestBrakeEdges: how many of a fleet may be lost before nothing is begun: a fifth, rounded up, or max_unavailable when
// that is more. The VMs serve the wanted image; the last ones are off.
func TestBrakeEdges(t *testing.T) {
	for _, c := range []struct{ size, unavailable, bearable int }{
		{1, 1, 1}, {2, 1, 1}, {5, 1, 1}, {6, 1, 2}, {10, 1, 2}, {11, 1, 3}, {15, 1, 3}, {16, 1, 4}, {20, 1, 4}, {21, 1, 5},
		{5, 2, 2}, {5, 4, 4}, {10, 2, 2}, {10, 3, 3}, {11, 2, 3}, {4, 9, 9},
	} {
		for lost := 0; lost <= min(c.size, c.bearable+1); lost++ {
			d, o := fleetWith(c.size, newDigest)()
			d.Rollout.MaxUnavailable = c.unavailable
			for i := range lost {
				o.VMs[c.size-1-i] = off(o.VMs[c.size-1-i])
			}
			p := Compute(d, o, t0)
			if braked := len(p.Blocked) > 0; braked != (lost > c.bearable) || braked != (len(p.Waves) == 0 && lost > 0) {
				t.Errorf("%d of %d, max_unavailable %d: %s", lost, c.size, c.unavailable, outline(p))
			}
			if lost > c.bearable {
				says := fmt.Sprintf("%d of %d do not serve, and not because of a roll (wrk-%02d: it is powered off and should run); with more than %d, nothing is begun", lost, c.size, c.size-lost+1, c.bearable)
				if b := refusalOf(t, p, ""); b.Reason != says || b.Code != R12 {
					t.Errorf("it says %s, want %s", b.Reason, says)
				}
			}
		}
	}
}

// TestBrakeLeavesWhatIsHalfway: with the brake on, what was begun is ended, notes are written, and nothing else happens.
// Ten VMs on the new image, of which the last three are off.
func TestBrakeLeavesWhatIsHalfway(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(10, newDigest)()
		d.Rollout.ScaleIn = 5
		each(&o, powerOff, 8, 9, 10)
		return d, o
	}
	tell(t, start, []tale{
		{"nothing else is wrong", nil, "R12"},
		{"a person has looked", func(d *Desired, _ *Observed) { d.Rollout.NoBrake = true }, "start 08 + start 09 + start 10"},
		{"one is taken down already", func(_ *Desired, o *Observed) {
			each(o, abandoned, 1)
			each(o, powerOff, 1)
		}, "finish 01 | R12"},
		{"one was claimed and serves: given back", func(_ *Desired, o *Observed) {
			each(o, outdate, 1)
			each(o, abandoned, 1)
		}, "release 01 | R12"},
		{"an old image waits, and is not said to", func(_ *Desired, o *Observed) { each(o, outdate, 1) }, "R12"},
		{"one fell ill: that is noted", func(d *Desired, o *Observed) {
			d.Rollout.Heal = time.Hour
			each(o, silence, 1)
		}, "note 01 | R12"},
		{"one is ill for long: it is not healed now", func(d *Desired, o *Observed) {
			d.Rollout.Heal = time.Hour
			each(o, silence, 1)
			each(o, func(v *VM) { v.Record.Ill = t0.Add(-2 * time.Hour) }, 1)
		}, "R12"},
		{"one is not wanted any more: it stays", func(d *Desired, _ *Observed) { d.VMs = d.VMs[1:] }, "R12 | later 01"},
		{"one that is not wanted was claimed to go: given back", func(d *Desired, o *Observed) {
			d.VMs = d.VMs[1:]
			each(o, abandoned, 1)
		}, "release 01 | R12 | later 01"},
		{"one failed and goes back", func(d *Desired, o *Observed) {
			d.Rollout.OnFailure, d.Rollout.MaxFailed = "rollback", 2
			each(o, failedRoll, 1)
		}, "rollback 01 | R12"},
		{"a failed one is not among the lost", func(d *Desired, o *Observed) {
			d.Rollout.MaxFailed = 2
			o.VMs[7] = standing(*d, d.VMs[7], newDigest)
			each(o, func(v *VM) { v.Record.Failed = "x" }, 9)
			each(o, powerOff, 8)
		}, "start 08 + start 10 | R12 09"},
		{"nor is one whose roll takes too long", func(d *Desired, o *Observed) {
			d.Rollout.MaxFailed, d.Rollout.Progress = 2, time.Second
			each(o, abandoned, 9)
		}, "start 08 + start 10 | R12 09"},
		{"new ones are made next to one that is ill: as many as the brake would bear", func(d *Desired, o *Observed) {
			*o = fleetOf(*d, newDigest)
			o.VMs, o.Files = o.VMs[:7], o.Files[:7]
			each(o, silence, 1)
		}, "create 08 + create 09 > create 10 | R12 01"},
		{"made larger: as many at once as the brake would bear", func(d *Desired, o *Observed) {
			*o = fleetOf(*d, newDigest)
			o.VMs, o.Files = o.VMs[:2], o.Files[:2]
		}, "create 03 + create 04 + create 05 > create 06 + create 07 + create 08 > create 09 + create 10"},
		{"made larger, and a person has looked: as many as hosts bear", func(d *Desired, o *Observed) {
			*o = fleetOf(*d, newDigest)
			o.VMs, o.Files, d.Rollout.NoBrake = o.VMs[:2], o.Files[:2], true
		}, "create 03 + create 04 + create 05 + create 06 > create 07 + create 08 + create 09 + create 10"},
		{"nor is one that a roll has taken down", func(_ *Desired, o *Observed) { each(o, abandoned, 8) }, "finish 08 > start 09 + start 10"},
		{"nor is one that another run holds", func(_ *Desired, o *Observed) { each(o, heldBy(other), 8) }, "start 09 + start 10 | R16 08"},
		{"one that is refused for another reason is", func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Busy = []string{"a question"} }, 8) }, "R12 | R08 08"},
	})
}

// TestBrakeTellsVanishedFromNew: a missing VM counts when its disk is known, or, without disks, when a later one is there;
// one of them never counts, because that is what a run leaves that died while it made it.
func TestBrakeTellsVanishedFromNew(t *testing.T) {
	bare := func(n int, digest string) func() (Desired, Observed) {
		return func() (Desired, Observed) {
			d := wish(n)
			return d, fleetOf(d, digest)
		}
	}
	t.Run("without disks", func(t *testing.T) {
		tell(t, bare(6, newDigest), []tale{
			{"the last four: the fleet was made larger", func(_ *Desired, o *Observed) { vanish(o, 3, 4, 5, 6) }, "create 03 + create 04 + create 05 > create 06"},
			{"three in the middle: one more than may be, but one never counts", func(_ *Desired, o *Observed) { vanish(o, 2, 3, 4) }, "create 02 + create 03 + create 04"},
			{"four in the middle", func(_ *Desired, o *Observed) { vanish(o, 2, 3, 4, 5) }, "R12"},
			{"four in the middle, found in another order", func(_ *Desired, o *Observed) {
				vanish(o, 2, 3, 4, 5)
				o.VMs[0], o.VMs[1] = o.VMs[1], o.VMs[0]
			}, "R12"},
			{"a retired VM with a higher number proves nothing", func(_ *Desired, o *Observed) {
				vanish(o, 2, 3, 4, 5)
				o.VMs[1].Record.Retired, o.VMs[1].Name = t0, "wrk-06-retired-x"
			}, "create 02 + create 03 + create 04 > create 05 + create 06"},
			{"nor does one of another fleet", func(_ *Desired, o *Observed) {
				vanish(o, 2, 3, 4, 5)
				o.VMs[1].Fleet, o.VMs[1].Name = "db", "db-6"
			}, "create 02 + create 03 + create 04 > create 05 + create 06"},
		})
	})
	t.Run("with disks", func(t *testing.T) {
		tell(t, fleetWith(6, newDigest), []tale{
			{"two lost and one more", func(_ *Desired, o *Observed) { vanish(o, 4, 5, 6) }, "create 04 + create 05 + create 06"},
			{"two lost and two more", func(_ *Desired, o *Observed) { vanish(o, 3, 4, 5, 6) }, "R12"},
			{"files only of three of four: the fourth is new", func(_ *Desired, o *Observed) {
				vanish(o, 3, 4, 5, 6)
				o.Files = o.Files[:5]
			}, "create 03 + create 04 + create 05 > create 06"},
			{"four in the middle whose disks were never made: they are new", func(_ *Desired, o *Observed) {
				vanish(o, 2, 3, 4, 5)
				o.Files = []DiskFile{o.Files[0], o.Files[5]}
			}, "create 02 + create 03 + create 04 > create 05"},
			{"one is off: then two missing are all there may be", func(_ *Desired, o *Observed) {
				vanish(o, 4, 5)
				each(o, powerOff, 6)
			}, "start 06 > create 04 + create 05"},
			{"two are off and two missing", func(_ *Desired, o *Observed) {
				vanish(o, 3, 4)
				each(o, powerOff, 5, 6)
			}, "R12"},
		})
	})
}

// TestBrakeLetsAFleetBeMade: of a fleet that no hour has been in use, as many as are made at once may be missing, so that
// a first run that died is gone on with.
func TestBrakeLetsAFleetBeMade(t *testing.T) {
	for name, c := range map[string]struct {
		first  func(v *VM) // what there is, with five files of VMs that are missing
		braked bool
	}{
		"its gate passed an hour ago":              {rolledAgo(time.Hour), false},
		"its gate passed a moment longer ago":      {rolledAgo(time.Hour + 1), true},
		"it is being made now":                     {func(v *VM) { v.Record.Started = t0 }, false},
		"made before times were noted":             {func(*VM) {}, true},
		"it is being rolled, not made":             {func(v *VM) { v.Record.Started, v.Record.Previous = t0, oldDigest; again(v) }, true},
		"it is booted afresh, and had passed":      {func(v *VM) { v.Record.Started = t0; rolledAgo(2 * time.Hour)(v); again(v) }, true},
		"just rolled, so that it is an old one":    {func(v *VM) { v.Record.Previous = oldDigest; rolledAgo(time.Minute)(v); again(v) }, true},
		"just booted afresh, so an old one too":    {func(v *VM) { rolledAgo(time.Minute)(v); again(v) }, true},
		"made by two runs, a moment ago":           {func(v *VM) { rolledAgo(time.Minute)(v); v.Record.Epoch = 2 }, false},
		"another run boots it, and it had passed":  {func(v *VM) { heldBy(other)(v); rolledAgo(2 * time.Hour)(v) }, true},
		"another run rolls it to its second image": {func(v *VM) { heldBy(other)(v); v.Record.Previous = oldDigest; again(v) }, true},
		"another run makes it":                     {heldBy(other), false},
		"retired, so that it proves nothing":       {func(v *VM) { v.Record.Retired, v.Name = t0, "wrk-01-retired-x" }, false},
		"of another fleet, that proves nothing":    {func(v *VM) { v.Fleet, v.Name = "db", "db-1" }, false},
		"failed while it was made, that is none":   {func(v *VM) { v.Record.Started, v.Record.Failed = t0, "x" }, false},
	} {
		d, o := fleetWith(6, newDigest)()
		d.Rollout.MaxFailed = 9
		vanish(&o, 2, 3, 4, 5, 6)
		o.Files = o.Files[:6]
		d.VMs = d.VMs[:6]
		o.VMs[0].Record.Epoch, o.VMs[0].Record.Token, o.VMs[0].Guest.Token = 1, Token(newDigest, 1), Token(newDigest, 1)
		c.first(&o.VMs[0])
		if o.VMs[0].Name != "wrk-01" { // its place is free: five are lost, not six
			d.VMs = d.VMs[1:]
		}
		p := Compute(d, o, t0)
		if braked := slices.ContainsFunc(p.Blocked, func(b Blocked) bool { return b.VM == "" && b.Code == R12 }); braked != c.braked {
			t.Errorf("%s: %s", name, outline(p))
		}
	}
}

// again makes a VM one that has booted after another ISO swap than the one it was made with.
func again(v *VM) {
	v.Record.Epoch, v.Record.Token, v.Guest.Token = 2, Token(v.Record.Image, 2), Token(v.Record.Image, 2)
}

// TestBrakeOfALargeNewFleet: what is made at once is never less than what an old fleet may lose.
func TestBrakeOfALargeNewFleet(t *testing.T) {
	d, o := fleetWith(30, newDigest)()
	o.VMs, o.Files = o.VMs[:20], o.Files[:27] // seven are missing, one of which never counts, and three were never made
	for i := range o.VMs {
		v := &o.VMs[i]
		v.Record.Rolled, v.Record.Token, v.Guest.Token = t0, Token(newDigest, 1), Token(newDigest, 1)
	}
	if p := Compute(d, o, t0); len(p.Blocked) > 0 || len(p.Waves) != 3 {
		t.Error(outline(p))
	}
}
