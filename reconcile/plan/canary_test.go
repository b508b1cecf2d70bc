package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCanaries: how many VMs get the new image in the first wave, and what the others wait for.
func TestCanaries(t *testing.T) {
	on := func(d Desired, o *Observed, i int, ago time.Duration) {
		o.VMs[i] = standing(d, d.VMs[i], newDigest)
		o.VMs[i].Record.Rolled = t0.Add(-ago)
	}
	for name, c := range map[string]struct {
		world func(d *Desired, o *Observed)
		rolls string // names in the first wave
		waits string // why the last VM waits
	}{
		"nothing has it":        {func(*Desired, *Observed) {}, "wrk-01", "the new image bakes first, until wrk-01 and wrk-02 have served for 1h0m0s"},
		"no canaries":           {func(d *Desired, _ *Observed) { d.Rollout.Canaries = 0 }, "wrk-01 wrk-02 wrk-03", ""},
		"no time to bake":       {func(d *Desired, _ *Observed) { d.Rollout.Bake = 0 }, "wrk-01", ""},
		"as many as VMs":        {func(d *Desired, _ *Observed) { d.Rollout.Canaries = 9 }, "wrk-01", ""},
		"one has it":            {func(d *Desired, o *Observed) { on(*d, o, 0, 3*time.Hour) }, "wrk-02", "bakes first, until wrk-01 and wrk-02 have"},
		"one has it, not first": {func(d *Desired, o *Observed) { on(*d, o, 3, 3*time.Hour) }, "wrk-01", "bakes"},
		"two bake":              {func(d *Desired, o *Observed) { on(*d, o, 0, 3*time.Hour); on(*d, o, 1, 59*time.Minute) }, "", "bakes on 2 VMs first, for 1h0m0s"},
		"two have baked":        {func(d *Desired, o *Observed) { on(*d, o, 0, 3*time.Hour); on(*d, o, 1, time.Hour) }, "wrk-03 wrk-04 wrk-05", ""},
		"two have, one bakes": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 3*time.Hour)
			on(*d, o, 1, time.Hour)
			on(*d, o, 2, time.Minute)
		}, "wrk-04 wrk-05 wrk-06", ""},
		"one fell ill": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 3*time.Hour)
			o.VMs[0].Guest.Tools = false
		}, "", "canary wrk-01 does not serve"},
		"one fell ill, two have baked": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 3*time.Hour)
			on(*d, o, 1, 2*time.Hour)
			on(*d, o, 2, time.Hour)
			o.VMs[0].Guest.Tools = false
		}, "wrk-04 wrk-05", ""},
		"its gate never passed": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 3*time.Hour)
			o.VMs[0].Record.Rolled = time.Time{}
		}, "wrk-02", "bakes"},
		"what is down does not wait": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 0)
			on(*d, o, 1, 0)
			o.VMs[4] = off(o.VMs[4])
		}, "wrk-05", "bakes"},
		"what is missing does not wait": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 0)
			on(*d, o, 1, 0)
			o.VMs = slices.Delete(o.VMs, 4, 5)
		}, "wrk-05", "bakes"},
		"what only has another size does not wait": {func(d *Desired, o *Observed) {
			on(*d, o, 0, 0)
			on(*d, o, 1, 0)
			o.VMs[1].CPUs = 1
		}, "wrk-02", "bakes"},
	} {
		d := wish(6, "docker")
		d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 3, 2, time.Hour
		o := fleetOf(d, oldDigest)
		c.world(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var rolls []string
		if len(p.Waves) > 0 {
			for _, r := range p.Waves[0].Rolls {
				rolls = append(rolls, r.VM)
			}
		}
		if strings.Join(rolls, " ") != c.rolls {
			t.Errorf("%s: it rolls %v", name, rolls)
		}
		why := ""
		for _, l := range p.Later {
			if l.VM == "wrk-06" {
				if why = l.Reason; strings.Contains(why, " have served") != l.Until.IsZero() && strings.Contains(why, "bakes") {
					t.Errorf("%s: until %s", name, l.Until)
				}
			}
		}
		if (why == "") != (c.waits == "") || !strings.Contains(why, c.waits) {
			t.Errorf("%s: wrk-06 waits: %q", name, why)
		}
	}
}

// TestCanaryStory follows a new image through a fleet, by the clock.
func TestCanaryStory(t *testing.T) {
	d := wish(5, "docker")
	d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 2, 2, time.Hour
	d.Rollout.Window = &Window{From: 11 * time.Hour, To: 13*time.Hour + 30*time.Minute}
	o, now := fleetOf(d, oldDigest), t0
	var story []string
	for range 12 {
		p := Compute(d, o, now)
		if err := Check(p, o); err != nil {
			t.Fatal(err)
		}
		line := now.Format("Mon 15:04")
		if len(p.Waves) == 0 && len(p.Later) > 0 {
			line += " waits: " + p.Later[0].Reason
			now = p.Later[0].Until
		} else if len(p.Waves) == 0 {
			story = append(story, line+fmt.Sprintf(" %d are as wanted", len(p.Same)))
			break
		} else {
			for _, r := range p.Waves[0].Rolls {
				line += " " + r.VM
				for _, s := range r.Steps {
					if rel, ok := s.(Release); ok {
						rel.At = now.Add(15 * time.Minute)
						s = rel
					}
					o = o.After(s)
				}
			}
			now = now.Add(15 * time.Minute)
		}
		story = append(story, line)
	}
	want := []string{
		"Sun 12:00 wrk-01",
		"Sun 12:15 wrk-02",
		"Sun 12:30 waits: the new image bakes on 2 VMs first, for 1h0m0s",
		"Sun 13:30 waits: outside of the window",
		"Mon 11:00 wrk-03 wrk-04",
		"Mon 11:15 wrk-05",
		"Mon 11:30 5 are as wanted",
	}
	if !slices.Equal(story, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(story, "\n"), strings.Join(want, "\n"))
	}
}

// TestTargets: only they get anything but the rest of what was begun, and the first of them is a canary too.
func TestTargets(t *testing.T) {
	d := wish(6, "docker")
	d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.NoBrake = 6, 1, true
	d.Targets = []string{"wrk-03", "wrk-04", "wrk-06", "nobody"}
	o := fleetOf(d, oldDigest)
	o.VMs[0] = off(o.VMs[0]) // would be started
	o.VMs[4] = standing(d, d.VMs[4], newDigest)
	o.VMs[5].Disks[0].Parent = true
	o.VMs = slices.Delete(o.VMs, 1, 2) // would be created
	p := Compute(d, o, t0)
	if err := Check(p, o); err != nil {
		t.Error(err)
	}
	got := ""
	for _, w := range p.Waves {
		got += "|"
		for _, r := range w.Rolls {
			got += " " + r.VM
		}
	}
	if got != "| wrk-03| wrk-04" {
		t.Errorf("it rolls %s", got)
	}
	want := []Later{{VM: "wrk-01", Reason: "not among the targets"}, {VM: "wrk-02", Reason: "not among the targets"}}
	if !slices.Equal(p.Later, want) || fmt.Sprint(p.Same) != "[wrk-05]" || len(p.Blocked) != 1 || p.Blocked[0].Code != R05 {
		t.Errorf("%+v", p)
	}
}

// TestGivenBack: a claim under which nothing was done is given back when there is no room, with the node's work.
func TestGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, o *Observed)
		steps string
	}{
		"there is room":              {func(*Desired, *Observed) {}, "claim shutdown insertiso poweron awaitready release"},
		"drained, and there is room": {func(_ *Desired, o *Observed) { o.VMs[0].Record.Drained = true }, "claim shutdown insertiso poweron awaitready restore release"},
		"another VM fell ill":        {func(_ *Desired, o *Observed) { o.VMs[1].Guest = Guest{} }, "claim release"},
		"drained, another fell ill":  {func(_ *Desired, o *Observed) { o.VMs[0].Record.Drained = true; o.VMs[1].Guest = Guest{} }, "claim restore release"},
		"the window closed":          {func(d *Desired, _ *Observed) { d.Rollout.Window = tomorrow() }, "claim release"},
		"a task runs, window closed": {func(d *Desired, o *Observed) { d.Rollout.Window = tomorrow(); o.VMs[0].Task = "task-7" }, "awaittask claim release"},
		"it is ours, window closed":  {func(d *Desired, o *Observed) { d.Rollout.Window = tomorrow(); d.Claimer = other }, "release"},
		"off already, window closed": {func(d *Desired, o *Observed) { d.Rollout.Window = tomorrow(); o.VMs[0] = off(o.VMs[0]) }, "claim insertiso poweron awaitready release"},
		"nothing differs any more":   {func(_ *Desired, o *Observed) { claimedOn(o, newDigest) }, "claim release"},
		"to be booted, window closed": {func(d *Desired, o *Observed) {
			claimedOn(o, newDigest)
			d.Rollout.Window = tomorrow()
			o.VMs[0].Record.Due = true
		}, "claim release"},
		"to be booted": {func(_ *Desired, o *Observed) { claimedOn(o, newDigest); o.VMs[0].Record.Due = true }, "claim shutdown insertiso poweron awaitready release"},
	} {
		d := wish(3, "docker")
		o := fleetOf(d, oldDigest)
		r := &o.VMs[0].Record
		r.Owner, r.Started, r.Expires = other, t0.Add(-time.Minute), t0.Add(-time.Second)
		c.spoil(&d, &o)
		if d.Claimer == other {
			o.VMs[0].Record.Expires = t0.Add(time.Minute)
		}
		p, got := Compute(d, o, t0), ""
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(p.Waves) > 0 && p.Waves[0].Rolls[0].VM == "wrk-01" {
			for _, s := range p.Waves[0].Rolls[0].Steps {
				got += nameOf(s) + " "
			}
		}
		if strings.TrimSpace(got) != c.steps {
			t.Errorf("%s: %s, %+v", name, got, p.Blocked)
		}
		for _, s := range flat(p) {
			o = o.After(s)
		}
		if r := o.VMs[0].Record; r.Owner != "" || !r.Started.IsZero() || r.Due || r.Drained {
			t.Errorf("%s: afterwards %+v", name, r)
		}
	}
}

// claimedOn is the first VM, with its claim, on another image.
func claimedOn(o *Observed, digest string) {
	d := wish(1, "docker")
	r := o.VMs[0].Record
	o.VMs[0] = standing(d, d.VMs[0], digest)
	o.VMs[0].Record.Owner, o.VMs[0].Record.Started, o.VMs[0].Record.Expires = r.Owner, r.Started, r.Expires
}
