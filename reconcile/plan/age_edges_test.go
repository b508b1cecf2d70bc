package plan

import (
	"github.com/google/go-cmp/cmp"
	"testing"
	"time"
)

// TestAgeEdges: what max_age boots afresh. Three VMs on the new image, of which the second has run for 25 hours.
func TestAgeEdges(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(3, newDigest)()
		d.Rollout.MaxAge = 24 * time.Hour
		each(&o, func(v *VM) { v.Age = 25 * time.Hour }, 2)
		return d, o
	}
	vm := func(f func(v *VM)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { each(o, f, 2) }
	}
	tell(t, start, []tale{
		{"too old", nil, "reboot 02"},
		{"exactly as old as it may be", vm(func(v *VM) { v.Age = 24 * time.Hour }), ""},
		{"a nanosecond older", vm(func(v *VM) { v.Age = 24*time.Hour + 1 }), "reboot 02"},
		{"its age is not known", vm(func(v *VM) { v.Age = 0 }), ""},
		{"no max_age", func(d *Desired, _ *Observed) { d.Rollout.MaxAge = 0 }, ""},
		{"a max_age below none is none", func(d *Desired, _ *Observed) { d.Rollout.MaxAge = -time.Hour }, ""},
		{"all are too old: one at a time", func(_ *Desired, o *Observed) { each(o, func(v *VM) { v.Age = 9000 * time.Hour }, 1, 3) }, "reboot 01 > reboot 02 > reboot 03"},
		{"it has another image too: one boot for both", vm(outdate), "roll 02"},
		{"it has another size too: one boot for both", vm(smaller), "roll 02"},
		{"it is off: that is a boot", vm(func(v *VM) { age := v.Age; powerOff(v); v.Age = age }), "start 02"},
		{"it does not serve: that is looked at first", vm(silence), "R12 02"},
		{"it is refused", vm(snapshot), "R05 02"},
		{"it is no target", func(d *Desired, _ *Observed) { d.Targets = []string{"wrk-01"} }, "later 02"},
		{"another run has it", vm(heldBy(other)), "R16 02"},
		{"a dead run had it and was about to boot it", vm(func(v *VM) { abandoned(v); v.Record.Due = true }), "finish 02"},
		{"a dead run had it, for a reason that is gone: nothing is done under its claim", vm(abandoned), "finish 02 > reboot 02"},
		{"it failed", vm(func(v *VM) { v.Record.Failed = "x" }), "R12 02"},
		{"the image's file is gone from the store: it may not be booted", func(d *Desired, _ *Observed) { d.Image.Paths = nil }, "R01 02"},
		{"it is too old and drained by a roll that died", vm(drainedly), "reboot 02"},
	})
}

// TestAgeText: ages as people say them: days from two days on.
func TestAgeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * time.Second: "1m30s", 24 * time.Hour: "24h0m0s", 48*time.Hour - time.Second: "47h59m59s", 48 * time.Hour: "2d",
		71 * time.Hour: "2d", 90 * 24 * time.Hour: "90d", 1500 * time.Millisecond: "2s",
	} {
		if got := daysText(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	d, o := fleetWith(1, newDigest)()
	d.Rollout.MaxAge, o.VMs[0].Age = 90*24*time.Hour, 91*24*time.Hour
	if r := Compute(d, o, t0).Waves[0].Rolls[0]; r.Reason != "it has run for 91d, max_age is 90d" {
		t.Error(r.Reason)
	}
}

// TestHealEdges: what heal_after power cycles, and what is written down before. Three VMs on the new image, of which the
// second is silent; it was first seen so ten minutes ago, which is as long as is waited.
func TestHealEdges(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(3, newDigest)()
		d.Rollout.Heal = 10 * time.Minute
		each(&o, silence, 2)
		each(&o, illSince(10*time.Minute), 2)
		return d, o
	}
	vm := func(f func(v *VM)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { each(o, f, 2) }
	}
	tell(t, start, []tale{
		{"exactly long enough", nil, "heal 02"},
		{"a nanosecond short", vm(illSince(10*time.Minute - 1)), "later 02"},
		{"just seen", vm(func(v *VM) { v.Record.Ill = time.Time{} }), "note 02 | later 02"},
		{"just seen, and nobody heals", func(d *Desired, o *Observed) {
			d.Rollout.Heal = 0
			each(o, func(v *VM) { v.Record.Ill = time.Time{} }, 2)
		}, "R12 02"},
		{"seen long ago, and nobody heals any more", func(d *Desired, _ *Observed) { d.Rollout.Heal = 0 }, "R12 02"},
		{"it serves again", vm(func(v *VM) {
			ill := v.Record.Ill
			*v = fleetOf(wish(3, "docker"), newDigest).VMs[1]
			v.Record.Ill = ill
		}), "note 02"},
		{"it serves again, and nobody heals any more: noted all the same", func(d *Desired, o *Observed) {
			d.Rollout.Heal = 0
			*o = fleetOf(*d, newDigest)
			each(o, illSince(time.Hour), 2)
		}, "note 02"},
		{"it serves again, and is no target", func(d *Desired, o *Observed) {
			d.Targets = []string{"wrk-01"}
			*o = fleetOf(*d, newDigest)
			each(o, illSince(time.Hour), 2)
		}, ""},
		{"it is no target", func(d *Desired, _ *Observed) { d.Targets = []string{"wrk-01"} }, "R12 02"},
		{"just seen, and it is no target", func(d *Desired, o *Observed) {
			d.Targets = []string{"wrk-01"}
			each(o, func(v *VM) { v.Record.Ill = time.Time{} }, 2)
		}, "R12 02"},
		{"another is silent too: two are more than the brake bears", func(_ *Desired, o *Observed) { each(o, silence, 1) }, "note 01 | R12"},
		{"another is refused and silent: healing would take one more", func(d *Desired, o *Observed) {
			each(o, silence, 1)
			each(o, snapshot, 1)
			d.Rollout.NoBrake = true
		}, "R12 | R05 01"},
		{"another is off: it first", func(d *Desired, o *Observed) {
			d.Rollout.NoBrake = true
			each(o, powerOff, 3)
		}, "start 03 > heal 02"},
		{"a dead run was about to cycle it", vm(func(v *VM) { abandoned(v); v.Record.Due = true }), "finish 02"},
		{"it serves again in a roll that died: ended, which notes it too", func(d *Desired, o *Observed) {
			*o = fleetOf(*d, newDigest)
			each(o, illSince(time.Hour), 2)
			each(o, abandoned, 2)
		}, "finish 02"},
		{"it is off by now: just started", vm(powerOff), "start 02"},
		{"it has another size too: the roll is its cure", vm(smaller), "roll 02"},
		{"it failed", vm(func(v *VM) { v.Record.Failed = "x" }), "R12 02"},
		{"the image's file is gone from the store: it may not be booted", func(d *Desired, _ *Observed) { d.Image.Paths = nil }, "R01 02"},
	})
}

// TestIllnessIsSaid: what an operator reads about a VM that is on and does not serve, before anything is done about it.
func TestIllnessIsSaid(t *testing.T) {
	d, o := fleetWith(3, newDigest)()
	d.Rollout.Heal, d.Targets = time.Hour, []string{"wrk-01"}
	each(&o, silence, 2)
	if b := refusalOf(t, Compute(d, o, t0), "wrk-02"); b.Reason != "it does not serve: guest tools do not run" {
		t.Errorf("not noted, because it is no target: %s", b.Error())
	}
	each(&o, powerOff, 2)
	each(&o, illSince(2*time.Hour), 2)
	d.Targets = nil
	if got := doing(Compute(d, o, t0), "wrk-02"); got != "claim poweron awaitready release" {
		t.Errorf("off by now: %s", got)
	}
	for name, c := range map[string]struct {
		heal, ill     time.Duration // ill 0: not noted
		reason, clear string
	}{
		"nobody heals":          {0, 0, "it does not serve: guest tools do not run", "look at its console; cure the cause and restart it in the vSphere client, or push a repaired image; the fleet goes on when it serves again"},
		"nobody heals any more": {0, time.Hour, "it does not serve: guest tools do not run", "look at its console; cure the cause and restart it in the vSphere client, or push a repaired image; the fleet goes on when it serves again"},
	} {
		d, o := fleetWith(3, newDigest)()
		d.Rollout.Heal = c.heal
		each(&o, func(v *VM) { v.Guest.Tools = false }, 2)
		if c.ill > 0 {
			each(&o, illSince(c.ill), 2)
		}
		if b := refusalOf(t, Compute(d, o, t0), "wrk-02"); b.Reason != c.reason || b.Clear != c.clear || b.Code != R12 {
			t.Errorf("%s: %s", name, b.Error())
		}
	}
	d, o = fleetWith(3, newDigest)()
	d.Rollout.Heal = 10 * time.Minute
	each(&o, func(v *VM) { v.Guest.Tools = false }, 2)
	each(&o, illSince(9*time.Minute), 2)
	want := []Later{{VM: "wrk-02", Until: t0.Add(time.Minute), Reason: "it does not serve: guest tools do not run; it is power cycled when it has not served for 10m0s"}}
	if diff := cmp.Diff(want, Compute(d, o, t0).Later); diff != "" {
		t.Error(diff)
	}
}

// TestNotes: a note is one write without a claim, and says since when.
func TestNotes(t *testing.T) {
	d, o := fleetWith(3, newDigest)()
	d.Rollout.Heal = time.Hour
	each(&o, silence, 1)
	each(&o, illSince(time.Minute), 3)
	p := Compute(d, o, t0)
	if got := outline(p) + ": " + doing(p, "wrk-01") + " " + doing(p, "wrk-03"); got != "note 01 + note 03 | later 01: mark mark" {
		t.Error(got)
	}
	if ill, well := stepFor[Mark](t, p, "wrk-01"), stepFor[Mark](t, p, "wrk-03"); !ill.Ill.Equal(t0) || !well.Ill.IsZero() {
		t.Errorf("%+v %+v", ill, well)
	}
}

func illSince(ago time.Duration) func(v *VM) {
	return func(v *VM) { v.Record.Ill = t0.Add(-ago) }
}
