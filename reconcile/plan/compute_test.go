package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlanSaysWhatItIsHeldTo: the bounds that Check and the executor hold a plan to stand in it, with the smallest ones
// that make sense in place of none.
func TestPlanSaysWhatItIsHeldTo(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, o *Observed)
		want  Plan
	}{
		"as asked for":      {func(d *Desired, _ *Observed) { d.Rollout.MaxUnavailable, d.Rollout.MaxFailed = 3, 2 }, Plan{MaxUnavailable: 3, MaxFailed: 2}},
		"nothing asked for": {func(d *Desired, _ *Observed) { d.Rollout.MaxUnavailable, d.Rollout.MaxFailed = 0, 0 }, Plan{MaxUnavailable: 1, MaxFailed: 1}},
		"below nothing":     {func(d *Desired, _ *Observed) { d.Rollout.MaxUnavailable, d.Rollout.MaxFailed = -1, -1 }, Plan{MaxUnavailable: 1, MaxFailed: 1}},
		"a failed look":     {func(d *Desired, o *Observed) { o.Problem, d.Rollout.MaxUnavailable = "x", 2 }, Plan{MaxUnavailable: 2, MaxFailed: 1}},
	} {
		d, o := fleetWith(4, oldDigest)()
		c.spoil(&d, &o)
		p := Compute(d, o, t0)
		c.want.Fleet, c.want.Claimer = "workers", me
		if diff := cmp.Diff(c.want, Plan{Fleet: p.Fleet, Claimer: p.Claimer, MaxUnavailable: p.MaxUnavailable, MaxFailed: p.MaxFailed, Surge: p.Surge}); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestNothingStartsFromHere: what allows no step at all, and that everything there is to say is said at once.
func TestNothingStartsFromHere(t *testing.T) {
	tell(t, fleetWith(4, oldDigest), []tale{
		{"a failed look", func(_ *Desired, o *Observed) { o.Problem = "timeout" }, "R15"},
		{"a failed look hides everything else", func(d *Desired, o *Observed) {
			o.Problem, d.VMs = "timeout", nil
			each(o, func(v *VM) { v.Record.Paused = true }, 1)
		}, "R15"},
		{"nothing is wanted", func(d *Desired, _ *Observed) { d.VMs = nil }, "R14"},
		{"nothing is wanted, and it is paused", func(d *Desired, o *Observed) {
			d.VMs = nil
			each(o, func(v *VM) { v.Record.Paused = true }, 1)
		}, "R14"},
		{"one VM is paused", func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Record.Paused = true }, 3) }, "R13"},
		{"two VMs are paused", func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Record.Paused = true }, 1, 3) }, "R13"},
		{"paused, and one has failed: both are said", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Paused = true }, 3)
			each(o, func(v *VM) { v.Record.Failed = "not ready" }, 2)
		}, "R12 02 | R13"},
		{"the paused one has failed itself", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Paused, v.Record.Failed = true, "not ready" }, 2)
		}, "R12 02 | R13"},
		{"a paused VM that is not wanted any more pauses too", func(d *Desired, o *Observed) {
			d.VMs = d.VMs[:3]
			each(o, func(v *VM) { v.Record.Paused = true }, 4)
		}, "R13"},
		{"paused, and one of another fleet has failed", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Paused = true }, 3)
			*o = o.with(VM{Name: "db-1", Fleet: "db", Record: Record{Failed: "x"}})
		}, "R13"},
		{"a pause of another fleet is none of ours", func(d *Desired, o *Observed) {
			v := standing(*d, d.VMs[0], oldDigest)
			v.Name, v.Fleet, v.Record.Paused, v.Record.Failed, v.Disks, v.Record.Disks = "db-1", "db", true, "x", nil, nil
			*o = o.with(v)
		}, "roll 01 > roll 02 > roll 03 > roll 04"},
	})
}

// TestPausedIsSaidOnce: one sentence for the fleet, however many of its VMs carry the pause.
func TestPausedIsSaidOnce(t *testing.T) {
	d, o := fleetWith(4, oldDigest)()
	each(&o, func(v *VM) { v.Record.Paused = true }, 1, 2, 4)
	want := []Blocked{{Code: R13, Reason: "the fleet is paused (noted on 3 of its 4 VMs)", Clear: "lkv resume --fleet workers"}}
	if diff := cmp.Diff(want, Compute(d, o, t0).Blocked); diff != "" {
		t.Error(diff)
	}
}

// TestAsWantedIsCountedAllTheSame: a fleet in which nothing is done still has VMs that are as wanted.
func TestAsWantedIsCountedAllTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		world func(d *Desired, o *Observed)
		same  string
	}{
		"paused":             {func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Record.Paused = true }, 2) }, "[wrk-01 wrk-02 wrk-03]"},
		"paused, one is old": {func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Record.Paused = true }, 2); each(o, outdate, 2) }, "[wrk-01 wrk-03]"},
		"one has failed":     {func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Record.Failed = "not ready" }, 2) }, "[wrk-01 wrk-03]"},
		"failed, two may": {func(d *Desired, o *Observed) {
			d.Rollout.MaxFailed = 2
			each(o, func(v *VM) { v.Record.Failed = "x" }, 2)
		}, "[wrk-01 wrk-03]"},
		"a failed look":         {func(_ *Desired, o *Observed) { o.Problem = "timeout" }, "[]"},
		"nothing is wanted":     {func(d *Desired, _ *Observed) { d.VMs = nil }, "[]"},
		"the brake holds":       {func(_ *Desired, o *Observed) { each(o, powerOff, 1, 2) }, "[wrk-03]"},
		"another run is at one": {func(_ *Desired, o *Observed) { each(o, heldBy(other), 1) }, "[wrk-02 wrk-03]"},
	} {
		d, o := fleetWith(3, newDigest)()
		c.world(&d, &o)
		if got := fmt.Sprint(Compute(d, o, t0).Same); got != c.same {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestWhoIsThereAndNotWanted: VMs above the fleet's size and retired ones are listed by name, whatever the order they
// were found in, and strangers are not.
func TestWhoIsThereAndNotWanted(t *testing.T) {
	d := wish(2)
	o := fleetOf(wish(7), newDigest)
	slices.Reverse(o.VMs)
	each(&o, func(v *VM) { v.Record.Retired = t0 }, 4, 6)
	each(&o, func(v *VM) { v.Fleet = "db" }, 5)
	o.VMs = append(o.VMs, VM{Name: "db-retired", Fleet: "db", Record: Record{Retired: t0}}, VM{Name: "somebody"})
	p := Compute(d, o, t0)
	if got := fmt.Sprint(p.Extra, p.Retired, p.Same); got != "[wrk-03 wrk-07] [wrk-04 wrk-06] [wrk-01 wrk-02]" {
		t.Error(got)
	}
}

// TestEveryVMGetsItsWave: a plan is as long as it must be: a fleet that has to do something to every VM in each of several
// stages is planned to its end at once.
func TestEveryVMGetsItsWave(t *testing.T) {
	for name, c := range map[string]struct {
		world func(d *Desired, o *Observed)
		waves int
	}{
		"rolled one by one": {nil, 30},
		"given back, then rolled": {func(d *Desired, o *Observed) {
			for i := range o.VMs {
				abandoned(&o.VMs[i])
			}
		}, 31},
		"retired, when the rest is rolled": {func(d *Desired, o *Observed) { d.VMs, d.Rollout.ScaleIn = d.VMs[:10], 20 }, 15},
		"noted, four by four, then rolled": {func(d *Desired, o *Observed) {
			for i := range o.VMs {
				o.VMs[i].Record.Ill = t0
			}
		}, 8 + 30},
	} {
		d, o := fleetWith(30, oldDigest)()
		if c.world != nil {
			c.world(&d, &o)
		}
		if p := Compute(d, o, t0); len(p.Waves) != c.waves || len(p.Later) > 0 || len(p.Blocked) > 0 {
			t.Errorf("%s: %d waves: %s", name, len(p.Waves), outline(p))
		}
	}
}
