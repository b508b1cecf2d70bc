package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestScaleInLimits: how many may go, and that none goes when they are more. Seven VMs, of which the fleet wants fewer.
func TestScaleInLimits(t *testing.T) {
	for _, c := range []struct {
		wanted, most int
		plan, says   string
	}{
		{7, 0, "", ""},
		{7, 3, "", ""},
		{6, 0, "R14", "1 VMs are not wanted any more (wrk-07), and scale_in lets none go"},
		{6, 1, "retire 07", ""},
		{5, 1, "R14", "2 VMs are not wanted any more (wrk-06 wrk-07), and only 1 may go at once, so that none goes"},
		{5, 2, "retire 06 + retire 07", ""},
		{3, 3, "R14", "4 VMs are not wanted any more (wrk-04 wrk-05 wrk-06 wrk-07), and only 3 may go at once, so that none goes"},
		{3, 4, "retire 04 + retire 05 + retire 06 + retire 07", ""},
		{1, 6, "retire 02 + retire 03 + retire 04 + retire 05 > retire 06 + retire 07", ""},
		{1, 100, "retire 02 + retire 03 + retire 04 + retire 05 > retire 06 + retire 07", ""},
	} {
		d, o := wish(c.wanted, "docker"), fleetOf(wish(7, "docker"), newDigest)
		d.Rollout.ScaleIn = c.most
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Error(err)
		}
		if got := outline(p); got != c.plan {
			t.Errorf("%d wanted, %d may go: %s", c.wanted, c.most, got)
		}
		if c.says != "" {
			if b := refusalOf(t, p, ""); b.Reason != c.says || !strings.HasPrefix(b.Clear, "raise scale_in, shrink in smaller steps, or let") {
				t.Errorf("%d wanted, %d may go: %s", c.wanted, c.most, b.Error())
			}
		}
	}
}

// TestScaleInWaits: what is not wanted goes when every wanted VM serves and is as wanted. Four VMs on the new image, two
// wanted, two may go.
func TestScaleInWaits(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := wish(2, "docker"), fleetOf(wish(4, "docker"), newDigest)
		d.Rollout.ScaleIn, d.Rollout.MaxUnavailable = 2, 2
		return d, o
	}
	tell(t, start, []tale{
		{"nothing is in the way", nil, "retire 03 + retire 04"},
		{"found in another order", func(_ *Desired, o *Observed) { o.VMs[2], o.VMs[3] = o.VMs[3], o.VMs[2] }, "retire 03 + retire 04"},
		{"the same place in the fleet twice: by name", func(_ *Desired, o *Observed) {
			o.VMs[2].Ordinal, o.VMs[3].Ordinal = 9, 9
			o.VMs[2], o.VMs[3] = o.VMs[3], o.VMs[2]
		}, "retire 03 + retire 04"},
		{"by place, not by name", func(_ *Desired, o *Observed) { o.VMs[2].Ordinal = 9 }, "retire 04 + retire 03"},
		{"a wanted one has the old image: that first", func(_ *Desired, o *Observed) { each(o, outdate, 2) }, "roll 02 > retire 03 + retire 04"},
		{"a wanted one is off: that first", func(_ *Desired, o *Observed) { each(o, powerOff, 2) }, "start 02 > retire 03 + retire 04"},
		{"a wanted one is missing: that first", func(_ *Desired, o *Observed) { vanish(o, 2) }, "create 02 > retire 03 + retire 04"},
		{"a wanted one was renamed by hand: its place waits for it, and it does not go", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Name = "x" }, 2)
		}, "R22 02 | later 03 | later 04"},
		{"one that is not wanted was renamed by hand: it goes", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Name = "x" }, 4)
		}, "retire 03 + retire x"},
		{"a second VM has the place of one that is there: it goes", func(d *Desired, o *Observed) {
			each(o, func(v *VM) { v.Ordinal = 2 }, 4)
		}, "retire 04 + retire 03"},
		{"a wanted one is silent: they stay", func(_ *Desired, o *Observed) { each(o, silence, 2) }, "R12 02 | later 03 | later 04"},
		{"a wanted one is refused, and serves", func(_ *Desired, o *Observed) { each(o, snapshot, 2) }, "retire 03 + retire 04 | R05 02"},
		{"a wanted one waits for the window, and so do they", func(d *Desired, o *Observed) {
			d.Rollout.Window = tomorrow()
			each(o, outdate, 2)
		}, "R13 | later 02 | later 03 | later 04"},
		{"a wanted one has the old image, and is no target", func(d *Desired, o *Observed) {
			d.Targets = []string{"wrk-03"}
			each(o, outdate, 2)
		}, "retire 03 | later 02 | later 04"},
		{"a wanted one with the old image is a target, and waits for its canary", func(d *Desired, o *Observed) {
			d.Rollout.Canaries, d.Rollout.Bake = 1, time.Hour
			each(o, outdate, 2)
			each(o, rolledAgo(time.Minute), 1)
		}, "later 02 | later 03 | later 04"},
		{"one of them is halfway out: finished whatever else waits", func(_ *Desired, o *Observed) {
			each(o, silence, 2)
			each(o, abandoned, 4)
			each(o, powerOff, 4)
		}, "retire 04 | R12 02 | later 03"},
		{"one of them is halfway out, and more may not go: it stays", func(d *Desired, o *Observed) {
			d.Rollout.ScaleIn = 1
			each(o, abandoned, 4)
			each(o, powerOff, 4)
		}, "R14"},
		{"one of them was claimed, and a wanted one fell ill: given back", func(_ *Desired, o *Observed) {
			each(o, silence, 2)
			each(o, abandoned, 4)
		}, "release 04 | R12 02 | later 03 | later 04"},
		{"one of them was claimed, and more may not go now: given back", func(d *Desired, o *Observed) {
			d.Rollout.ScaleIn = 1
			each(o, abandoned, 4)
		}, "release 04 | R14"},
		{"one of them was claimed, and the window has closed: given back", func(d *Desired, o *Observed) {
			d.Rollout.Window = tomorrow()
			each(o, abandoned, 4)
		}, "release 04 | R13 | later 03 | later 04"},
		{"one of them was claimed, and may go", func(_ *Desired, o *Observed) { each(o, abandoned, 4) }, "retire 03 + retire 04"},
		{"one of them we hold", func(_ *Desired, o *Observed) { each(o, heldBy(me), 4) }, "retire 03 + retire 04"},
		{"one of them replaces a VM: the pair has rules of its own", func(_ *Desired, o *Observed) { o.VMs[3].Record.Replaces = "gone" }, "retire 03"},
	})
}

// TestDeparture: what is done to a VM until it is retired, whatever state it is in. It goes with its disks.
func TestDeparture(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		steps string
	}{
		"it serves":                      {func(*Desired, *VM) {}, "claim shutdown retire"},
		"it is off":                      {func(_ *Desired, v *VM) { powerOff(v) }, "claim retire"},
		"it is silent":                   {func(_ *Desired, v *VM) { silence(v) }, "claim shutdown retire"},
		"a task runs":                    {func(_ *Desired, v *VM) { v.Task = "task-9" }, "awaittask claim shutdown retire"},
		"we hold it":                     {func(_ *Desired, v *VM) { heldBy(me)(v) }, "shutdown retire"},
		"we hold it, and it is off":      {func(_ *Desired, v *VM) { heldBy(me)(v); powerOff(v) }, "retire"},
		"we held it":                     {func(_ *Desired, v *VM) { abandoned(v); v.Record.Owner = me }, "claim shutdown retire"},
		"it has work":                    {func(d *Desired, _ *VM) { d.Rollout.Drain = true }, "claim drain shutdown retire"},
		"its work is gone":               {func(d *Desired, v *VM) { d.Rollout.Drain = true; drainedly(v) }, "claim shutdown retire"},
		"it has work, and is off":        {func(d *Desired, v *VM) { d.Rollout.Drain = true; powerOff(v) }, "claim retire"},
		"it was being made, one disk on": {func(_ *Desired, v *VM) { abandoned(v); powerOff(v); v.Disks = v.Disks[:1] }, "claim attachdisk retire"},
		"it was being made, no disk on":  {func(_ *Desired, v *VM) { abandoned(v); powerOff(v); v.Disks = nil }, "claim attachdisk attachdisk retire"},
	} {
		d := wish(1, "docker", "logs")
		d.Rollout.ScaleIn, d.Rollout.Grace = 1, 7*time.Minute
		o := fleetOf(wish(2, "docker", "logs"), newDigest)
		c.spoil(&d, &o.VMs[1])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := doing(p, "wrk-02"); got != c.steps {
			t.Errorf("%s: %s, %+v", name, got, p.Blocked)
			continue
		}
		want := Retire{base: Of("wrk-02"), To: "wrk-02-retired-20260301-1200", At: t0, Why: "fleet workers does not want it any more"}
		if diff := cmp.Diff(want, stepFor[Retire](t, p, "wrk-02"), steps); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if strings.Contains(c.steps, "shutdown") && stepFor[Shutdown](t, p, "wrk-02").Grace != 7*time.Minute {
			t.Errorf("%s: %+v", name, stepFor[Shutdown](t, p, "wrk-02"))
		}
		if strings.Contains(c.steps, "drain") && stepFor[Drain](t, p, "wrk-02") != (Drain{base: Of("wrk-02"), Next: "keep"}) {
			t.Errorf("%s: %+v", name, stepFor[Drain](t, p, "wrk-02"))
		}
		if strings.Contains(c.steps, "claim") && stepFor[Claim](t, p, "wrk-02").Due {
			t.Errorf("%s: it would be booted afresh", name)
		}
		before := o.VMs[1].Record.Disks
		for _, s := range flat(p) {
			o = o.After(s)
		}
		v := o.find(want.To)
		if v == nil || v.Power != Off || len(v.Disks) != 2 || fmt.Sprint(v.Record.Disks) != fmt.Sprint(before) || v.Record.Owner != "" {
			t.Errorf("%s: afterwards %+v", name, v)
		}
	}
}

// TestDrainOfTheSilent: the drain of a VM that has to go and whose guest says nothing may fail; that of one that serves
// may not, because then its work would be lost.
func TestDrainOfTheSilent(t *testing.T) {
	d := wish(1)
	d.Rollout.ScaleIn, d.Rollout.Drain = 2, true
	o := fleetOf(wish(3), newDigest)
	each(&o, func(v *VM) { v.Guest.State = "booting" }, 2)
	p := Compute(d, o, t0)
	if drain := stepFor[Drain](t, p, "wrk-02"); !drain.Try {
		t.Errorf("%+v", drain)
	}
	if drain := stepFor[Drain](t, p, "wrk-03"); drain.Try {
		t.Errorf("%+v", drain)
	}
}

// TestDepartureGivenBack: one that was claimed to go and must not go yet is freed under a claim of ours, the one we have or
// a new one.
func TestDepartureGivenBack(t *testing.T) {
	for want, hold := range map[string]func(v *VM){
		"release": heldBy(me), "claim release": abandoned,
		"claim restore release":   func(v *VM) { abandoned(v); drainedly(v) },
		"awaittask claim release": func(v *VM) { abandoned(v); v.Task = "task-5" },
	} {
		d, o := wish(2, "docker"), fleetOf(wish(4, "docker"), newDigest)
		d.Rollout.ScaleIn = 1
		each(&o, hold, 4)
		p := Compute(d, o, t0)
		if got := doing(p, "wrk-04"); got != want || outline(p) != "release 04 | R14" {
			t.Errorf("%s, want %s: %s", got, want, outline(p))
		}
		if strings.HasPrefix(want, "awaittask") && stepFor[AwaitTask](t, p, "wrk-04").Task != "task-5" {
			t.Error("it waits for another task")
		}
	}
}
