package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// today is a window around t0, and tomorrow one that opens a day later.
func today() *Window { return &Window{From: 11 * time.Hour, To: 13 * time.Hour} }
func tomorrow() *Window {
	return &Window{Days: []time.Weekday{time.Monday}, From: 11 * time.Hour, To: 13 * time.Hour}
}

// genPolicies draws everything that bounds the roll of a fleet, on top of genWish.
func genPolicies(t *rapid.T) Desired {
	d := genWish(t)
	r := &d.Rollout
	r.Canaries = rapid.IntRange(0, 2).Draw(t, "canaries")
	r.Bake = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "bake")
	r.Drain = rapid.Bool().Draw(t, "drain")
	r.MaxAge = rapid.SampledFrom([]time.Duration{0, 24 * time.Hour}).Draw(t, "max_age")
	r.Heal = rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "heal")
	r.MaxFailed = rapid.IntRange(0, 3).Draw(t, "max_failed")
	r.OnFailure = rapid.SampledFrom([]string{"pause", "rollback"}).Draw(t, "on_failure")
	r.Progress = rapid.SampledFrom([]time.Duration{0, 30 * time.Minute}).Draw(t, "progress")
	r.ScaleIn = rapid.IntRange(0, 2).Draw(t, "scale_in")
	r.Window = rapid.SampledFrom([]*Window{nil, nil, today(), tomorrow()}).Draw(t, "window")
	r.NoBrake = rapid.IntRange(0, 3).Draw(t, "brake") > 0
	d.Image.Engine = rapid.SampledFrom([]string{"", "28.3.1"}).Draw(t, "engine")
	if rapid.IntRange(0, 3).Draw(t, "targets") == 0 {
		d.Targets = []string{"wrk-01", "wrk-03", "wrk-08"}
	}
	return d
}

// genTroubles draws a world for such a fleet: what genWorld draws, and VMs that are old, ill, recovered, drained, left
// by a dead run, failed, rolled back, on a small disk, or not wanted any more.
func genTroubles(t *rapid.T, d Desired) Observed {
	o := genWorld(t, d)
	for i := range o.VMs {
		v := &o.VMs[i]
		v.Record.Rolled = rapid.SampledFrom([]time.Time{{}, t0.Add(-24 * time.Hour), t0.Add(-10 * time.Minute)}).Draw(t, v.Name+" rolled")
		v.Record.Engine = rapid.SampledFrom([]string{"", "27.1", "28.3.1", "29"}).Draw(t, v.Name+" engine")
		trouble(v, rapid.SampledFrom(troubles).Draw(t, v.Name+" has"))
	}
	for n := rapid.IntRange(0, 2).Draw(t, "not wanted"); n > 0; n-- {
		w := d.VMs[0].clone()
		w.Ordinal = len(d.VMs) + n
		w.Name = fmt.Sprintf("wrk-%02d", w.Ordinal)
		v := standing(d, w, oldDigest)
		trouble(&v, rapid.SampledFrom([]string{"", "", "silent", "claimed", "failed"}).Draw(t, w.Name+" has"))
		o = o.with(v)
	}
	return o
}

var troubles = []string{"", "", "", "old", "silent", "ill", "dying", "recovered", "drained", "claimed", "stuck", "failed", "failed roll", "failed back", "spurned", "small disk"}

// trouble makes a VM one that has it. Most of them are only seen on a VM that is on.
func trouble(v *VM, what string) {
	r := &v.Record
	switch what {
	case "old":
		v.Age = 100 * 24 * time.Hour
	case "silent", "ill", "dying":
		if v.Power == On {
			v.Guest.State = "failed"
			r.Ill = map[string]time.Time{"ill": t0.Add(-time.Minute), "dying": t0.Add(-time.Hour)}[what]
		}
	case "recovered":
		r.Ill = t0.Add(-time.Hour)
	case "drained":
		r.Drained = true
	case "claimed", "stuck":
		r.Owner, r.Epoch, r.Started, r.Expires = other, r.Epoch+1, t0.Add(-10*time.Minute), t0.Add(-time.Minute)
		if what == "stuck" {
			r.Started, r.Drained, r.Due = t0.Add(-time.Hour), true, true
		}
	case "failed":
		r.Failed, r.Started = "not ready", t0.Add(-5*time.Minute)
	case "failed roll":
		failedRoll(v)
	case "failed back":
		failedRoll(v)
		r.Image, r.ImageID, r.Spurned, r.Previous, r.PreviousISO, r.PreviousID = r.Previous, r.PreviousID, r.Image, "", "", ""
		v.ISO = oldISO
	case "spurned":
		r.Spurned = newDigest
	case "small disk":
		for i := range v.Disks {
			v.Disks[i].Bytes /= 2
		}
	}
}

// failedRoll makes a VM one that was rolled from the old to the new image, and whose gate did not pass.
func failedRoll(v *VM) {
	r := &v.Record
	v.ISO, r.Image, r.ImageID = newISO, newDigest, "sha256:new"
	r.Previous, r.PreviousISO, r.PreviousID, r.EngineWas = oldDigest, oldISO, "sha256:old", r.Engine
	r.Rolled, r.Failed, r.Started = time.Time{}, "not ready", t0.Add(-5*time.Minute)
	v.Guest.ImageID = "sha256:old"
}

// settle is outcome without what depends on when things happened.
func settle(o Observed) Observed {
	o = outcome(o)
	for i := range o.VMs {
		v := &o.VMs[i]
		v.Record.Ill, v.Record.Started = time.Time{}, time.Time{}
		if !v.Record.Retired.IsZero() {
			v.Record.Retired = t0
			v.Name, _, _ = strings.Cut(v.Name, retiredInfix)
		}
	}
	return o
}

// live out runs a fleet as a daemon does, one wave after the other and waiting in between, until nothing happens for
// two weeks.
func liveOut(t *rapid.T, d Desired, o Observed, now time.Time) Observed {
	for range 400 {
		p := Compute(d, o, now)
		if err := Check(p, o); err != nil {
			t.Fatalf("Check refuses Compute's plan: %v", err)
		}
		if len(p.Waves) == 0 {
			next := awakes(d, o, p, now)
			if next.IsZero() {
				return o
			}
			now = next
			continue
		}
		for _, r := range p.Waves[0].Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
			}
		}
		now = now.Add(time.Minute)
	}
	t.Fatal("400 looks and no end")
	return o
}

// awakes is when a fleet in which nothing can be done now goes on by itself; zero when it does not.
func awakes(d Desired, o Observed, p Plan, now time.Time) time.Time {
	var at []time.Time
	for _, l := range p.Later {
		at = append(at, l.Until)
	}
	for _, v := range o.VMs {
		at = append(at, v.Record.Expires)
		if !v.Record.Ill.IsZero() {
			at = append(at, v.Record.Ill.Add(d.Rollout.Heal))
		}
	}
	at = slices.DeleteFunc(at, func(t time.Time) bool { return !t.After(now) })
	if len(at) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(at, time.Time.Compare)
}
