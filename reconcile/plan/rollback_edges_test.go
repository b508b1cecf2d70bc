package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWayBack: whether the image before is put back on a VM whose roll failed, and what an operator reads when it is not.
// Three VMs; the first was rolled to the new image and its gate did not pass.
func TestWayBack(t *testing.T) {
	const unknown = "the image before is not put back: no image ran on it before"
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		back  bool
		says  string // part of the refusal when it is not
		not   string // what the refusal does not speak of
	}{
		"asked for":                      {func(*Desired, *VM) {}, true, "", ""},
		"not asked for":                  {func(d *Desired, _ *VM) { d.Rollout.OnFailure = "pause" }, false, "so the fleet stands still: not ready", "put back"},
		"nothing failed":                 {func(_ *Desired, v *VM) { v.Record.Failed = "" }, false, "", ""},
		"it failed on another image":     {func(_ *Desired, v *VM) { v.Record.Image = strings.Repeat("c", 64) }, false, "stands still", "put back"},
		"the image had passed before":    {func(_ *Desired, v *VM) { rolledAgo(time.Hour)(v) }, false, "stands still", "put back"},
		"nothing ran before":             {func(_ *Desired, v *VM) { v.Record.Previous = "" }, false, unknown, ""},
		"the ISO before is not known":    {func(_ *Desired, v *VM) { v.Record.PreviousISO = "" }, false, unknown, ""},
		"the image ID before is unknown": {func(_ *Desired, v *VM) { v.Record.PreviousID = "" }, false, unknown, ""},
		"the engine is the same":         {func(d *Desired, v *VM) { engines(d, v, "28.3.1", "28.3.1", "28.3.1") }, true, "", ""},
		"the same, said otherwise":       {func(d *Desired, v *VM) { engines(d, v, "28.3", "v28.3.0", "28.3.0") }, true, "", ""},
		"no engine is known":             {func(d *Desired, v *VM) { engines(d, v, "", "", "") }, true, "", ""},
		"the engine went on":             {func(d *Desired, v *VM) { engines(d, v, "28.3.1", "28.3.1", "27.5.0") }, false, "Docker Engine 28.3.1 has used its disks, the image before had 27.5.0 (R04)", ""},
		"the engine before is unknown":   {func(d *Desired, v *VM) { engines(d, v, "28.3.1", "28.3.1", "") }, false, "Docker Engine 28.3.1 has used its disks, the image before had an unknown one (R04)", ""},
		"the new engine is unknown":      {func(d *Desired, v *VM) { engines(d, v, "", "28.3.1", "28.3.1") }, false, "Docker Engine 28.3.1 has used its disks, the image before had 28.3.1 (R04)", ""},
		"both unknown, one used it":      {func(d *Desired, v *VM) { engines(d, v, "", "29", "") }, true, "", ""},
		"a newer one used it long ago":   {func(d *Desired, v *VM) { engines(d, v, "28.3.1", "29.1", "28.3.1") }, false, "Docker Engine 29.1 has used its disks, the image before had 28.3.1 (R04)", ""},
		"it was put back, and failed":    {func(_ *Desired, v *VM) { wentBack(v) }, false, "image aaaaaaaaaaaa was put back", "not put back"},
		"it is being put back":           {func(_ *Desired, v *VM) { wentBack(v); v.Record.Owner = other }, true, "", ""},
		"somebody else puts it back":     {func(_ *Desired, v *VM) { heldBy(other)(v) }, false, "", ""},
		"it is refused for its disk":     {func(_ *Desired, v *VM) { snapshot(v) }, false, "stands still", ""},
		"two may fail, two be down": {func(d *Desired, v *VM) {
			d.Rollout.OnFailure, d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = "pause", 2, 2
		}, false, "its roll failed, and at 2 such VMs the fleet stands still: not ready", ""},
		"two may fail, one be down": {func(d *Desired, v *VM) { d.Rollout.OnFailure, d.Rollout.MaxFailed = "pause", 2 }, false, "its roll failed, and it keeps 1 of 1 places of max_unavailable: nothing else is rolled until lkv resume: not ready", "stands still"},
		"three may fail, two be down": {func(d *Desired, v *VM) {
			d.Rollout.OnFailure, d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = "pause", 3, 2
		}, false, "its roll failed, and it keeps 1 of 2 places of max_unavailable: at 2 such VMs nothing else is rolled until lkv resume: not ready", "stands still"},
	} {
		d, o := fleetWith(3, oldDigest)()
		d.Rollout.OnFailure = "rollback"
		each(&o, failedRoll, 1)
		c.spoil(&d, &o.VMs[0])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.HasPrefix(outline(p), "rollback 01"); got != c.back {
			t.Errorf("%s: %s", name, outline(p))
		}
		if c.says == "" {
			continue
		}
		b := refusalOf(t, p, "wrk-01")
		if !strings.Contains(b.Reason, c.says) || c.not != "" && strings.Contains(b.Reason, c.not) || b.Code != R12 && b.Code != R05 || !strings.Contains(b.Clear, "lkv resume --fleet workers") {
			t.Errorf("%s: %s", name, b.Error())
		}
	}
}

func engines(d *Desired, v *VM, image, used, was string) {
	d.Image.Engine, v.Record.Engine, v.Record.EngineWas = image, used, was
}

// wentBack is a VM on which the image before was put back after its roll had failed.
func wentBack(v *VM) {
	r := &v.Record
	r.Spurned, r.Image, r.ImageID, r.Previous, r.PreviousISO, r.PreviousID = r.Image, r.Previous, r.PreviousID, "", "", ""
	v.ISO = oldISO
}

// TestStepsBack: what is left of a roll back, from wherever a run died, and that nothing is done twice.
func TestStepsBack(t *testing.T) {
	d, o := fleetWith(2, oldDigest)()
	d.Rollout.OnFailure, d.Rollout.Drain = "rollback", true
	each(&o, failedRoll, 1)
	each(&o, drainedly, 1)
	start := o
	all := []string{"claim", "shutdown", "insertiso", "poweron", "awaitready", "restore", "release"}
	for n := range all {
		o := done(d, start, n)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("after %d: %v", n, err)
		}
		if got, want := doing(p, "wrk-01"), strings.Join(all[n:], " "); got != want {
			t.Errorf("after %d: %s, want %s", n, got, want)
		}
		if got := doing(p, "wrk-02"); got != "" {
			t.Errorf("after %d: wrk-02 does %s", n, got)
		}
		why := "its roll failed: not ready; image bbbbbbbbbbbb → aaaaaaaaaaaa"
		if n > 2 {
			why = "a roll back to image aaaaaaaaaaaa stopped halfway"
		}
		if r := p.Waves[0].Rolls[0]; r.Reason != why || r.Action != Rollback {
			t.Errorf("after %d: %+v", n, r)
		}
	}
	end := done(d, start, len(all)).VMs[0]
	want := start.VMs[0].Record.clone()
	want.Image, want.ImageID, want.Token, want.Epoch, want.Spurned = oldDigest, "sha256:old", "aaaaaaaaaaaa-4", 4, newDigest
	want.Previous, want.PreviousISO, want.PreviousID, want.Rolled, want.Started = "", "", "", t0, time.Time{}
	want.Drained = false
	if diff := cmp.Diff(want, end.Record); diff != "" || end.ISO != oldISO || end.Power != On {
		t.Errorf("(-want +got):\n%s\n%+v", diff, end)
	}
	if p := Compute(d, done(d, start, len(all)), t0); outline(p) != "R12 01" || !strings.Contains(p.Blocked[0].Reason, "image aaaaaaaaaaaa was put back") {
		t.Errorf("afterwards: %s %+v", outline(p), p.Blocked)
	}
}

// TestStepsBackOfOneThatIsOff: it is not shut down, a running task is waited for, and work is only given back to a VM
// that was drained.
func TestStepsBackOfOneThatIsOff(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *VM)
		steps string
	}{
		"off":                       {powerOff, "claim insertiso poweron awaitready release"},
		"a task runs":               {func(v *VM) { v.Task = "task-1" }, "awaittask claim shutdown insertiso poweron awaitready release"},
		"ours":                      {heldBy(me), "shutdown insertiso poweron awaitready release"},
		"to be booted, by a claim":  {func(v *VM) { v.Record.Due = true }, "claim shutdown insertiso poweron awaitready release"},
		"put back, off":             {func(v *VM) { wentBack(v); heldBy(me)(v); powerOff(v) }, "poweron awaitready release"},
		"put back, booting":         {func(v *VM) { wentBack(v); heldBy(me)(v); silence(v) }, "awaitready release"},
		"put back, serves":          {func(v *VM) { wentBack(v); heldBy(me)(v); onImage(v, oldDigest, oldISO, "sha256:old") }, "release"},
		"put back, serves, drained": {func(v *VM) { wentBack(v); heldBy(me)(v); drainedly(v); onImage(v, oldDigest, oldISO, "sha256:old") }, "restore release"},
	} {
		d, o := fleetWith(2, oldDigest)()
		d.Rollout.OnFailure = "rollback"
		each(&o, failedRoll, 1)
		c.spoil(&o.VMs[0])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := doing(p, "wrk-01"); got != c.steps {
			t.Errorf("%s: %s", name, got)
			continue
		}
		if rel := stepFor[Release](t, p, "wrk-01"); !rel.At.Equal(t0) {
			t.Errorf("%s: %+v", name, rel)
		}
		if strings.Contains(c.steps, "insertiso") {
			if in := stepFor[InsertISO](t, p, "wrk-01"); in.Record.Due || in.Record.Failed != "not ready" || in.Record.Token != Token(oldDigest, in.Record.Epoch) {
				t.Errorf("%s: %+v", name, in.Record)
			}
		}
	}
}

// TestFailureLimits: how many VMs may fail before the others are left alone too. Six VMs on the old image.
func TestFailureLimits(t *testing.T) {
	fail := func(most int, n ...int) func(*Desired, *Observed) {
		return func(d *Desired, o *Observed) {
			d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = most, 3
			each(o, func(v *VM) { v.Record.Failed = "x" }, n...)
		}
	}
	tell(t, fleetWith(6, oldDigest), []tale{
		{"one, and none is allowed for", fail(0, 2), "R12 02"},
		{"one of one", fail(1, 2), "R12 02"},
		{"one of two: it costs of the budget like any that does not serve", fail(2, 2), "roll 01 + roll 03 > roll 04 + roll 05 > roll 06 | R12 02"},
		{"two of two", fail(2, 2, 5), "R12 02 | R12 05"},
		{"two of three", fail(3, 2, 5), "roll 01 > roll 03 > roll 04 > roll 06 | R12 02 | R12 05"},
		{"three, and no more may be down", fail(4, 1, 2, 3), "R12 | R12 01 | R12 02 | R12 03"},
		{"one that is not wanted any more counts", func(d *Desired, o *Observed) {
			d.VMs = d.VMs[:5]
			each(o, func(v *VM) { v.Record.Failed = "x" }, 6)
		}, "R12 06"},
		{"one of another fleet does not", func(d *Desired, o *Observed) {
			*o = o.with(VM{Name: "db-1", Fleet: "db", Record: Record{Failed: "x"}})
		}, "roll 01 > roll 02 > roll 03 > roll 04 > roll 05 > roll 06"},
		{"a retired one does not", func(d *Desired, o *Observed) {
			*o = o.with(VM{Name: "wrk-07-retired-x", Fleet: "workers", Ordinal: 7, Record: Record{Failed: "x", Retired: t0}})
		}, "roll 01 > roll 02 > roll 03 > roll 04 > roll 05 > roll 06"},
		{"one that failed and one that takes too long are two", func(d *Desired, o *Observed) {
			fail(2, 2)(d, o)
			d.Rollout.Progress = time.Minute
			each(o, func(v *VM) { v.Record.Started = t0.Add(-2 * time.Minute) }, 4)
		}, "R12 02 | R12 04"},
		{"one that failed a long time ago is one, not two", func(d *Desired, o *Observed) {
			fail(2, 2)(d, o)
			d.Rollout.Progress = time.Minute
			each(o, func(v *VM) { v.Record.Started = t0.Add(-2 * time.Minute) }, 2)
		}, "roll 01 + roll 03 > roll 04 + roll 05 > roll 06 | R12 02"},
		{"one rolled back, and the image is still wanted: it counts", func(d *Desired, o *Observed) {
			each(o, failedRoll, 2)
			each(o, wentBack, 2)
		}, "R12 02"},
		{"one on which the image is spurned and whose failure is cleared: only it is left alone", func(d *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Spurned = newDigest }, 2)
		}, "roll 01 > roll 03 > roll 04 > roll 05 > roll 06 | R12 02"},
		{"one that spurned another image is rolled", func(d *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Spurned = strings.Repeat("c", 64) }, 2)
		}, "roll 01 > roll 02 > roll 03 > roll 04 > roll 05 > roll 06"},
	})
}

// TestProgressEdges: when a roll has taken too long, to the nanosecond, and what is said of it.
func TestProgressEdges(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(3, oldDigest)()
		d.Rollout.Progress = 30 * time.Minute
		each(&o, abandoned, 2)
		return d, o
	}
	began := func(ago time.Duration) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Started = t0.Add(-ago) }, 2)
		}
	}
	tell(t, start, []tale{
		{"a minute ago", nil, "finish 02 > roll 01 > roll 03"},
		{"exactly as long as it may", began(30 * time.Minute), "finish 02 > roll 01 > roll 03"},
		{"a nanosecond longer", began(30*time.Minute + 1), "R12 02"},
		{"no deadline", func(d *Desired, o *Observed) {
			began(1000*time.Hour)(d, o)
			d.Rollout.Progress = 0
		}, "finish 02 > roll 01 > roll 03"},
		{"a deadline below none is none", func(d *Desired, o *Observed) { began(time.Hour)(d, o); d.Rollout.Progress = -1 }, "finish 02 > roll 01 > roll 03"},
		{"two may fail: the others go on, with one less that may be down", func(d *Desired, o *Observed) {
			began(time.Hour)(d, o)
			d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = 2, 2
		}, "roll 01 > roll 03 | R12 02"},
		{"two may fail, one may be down: it is counted as down even though it serves", func(d *Desired, o *Observed) {
			began(time.Hour)(d, o)
			d.Rollout.MaxFailed = 2
		}, "R12 | R12 02"},
		{"another run is at it, for too long", func(d *Desired, o *Observed) {
			each(o, heldBy(other), 2)
			began(time.Hour)(d, o)
			d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = 2, 2
		}, "roll 01 > roll 03 | R16 02"},
	})
	d, o := start()
	began(2*time.Hour)(&d, &o)
	d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = 2, 2
	b := refusalOf(t, Compute(d, o, t0), "wrk-02")
	if b.Reason != "its roll began 2h0m0s ago and is not done, progress_deadline is 30m0s: it counts as failed" ||
		b.Clear != "look at the VM's console and cure the cause, then: lkv resume --fleet workers" || b.Code != R12 {
		t.Error(b.Error())
	}
}
