package plan

import (
	"slices"
	"testing"
	"time"
)

// offence is a plan that its policy allows, and one thing that changes so that it does not any more.
type offence struct {
	name  string
	world func() (Desired, Observed)
	spoil func(p *Plan, o *Observed)
	says  string // the whole complaint
}

// policyOf changes the policy that a plan was made under.
func policyOf(f func(d *Desired)) func(*Plan, *Observed) {
	return func(p *Plan, _ *Observed) { f(p.Want) }
}

// fleetLike is a fleet of n on that image, and what is peculiar about it.
func fleetLike(n int, digest string, f func(d *Desired, o *Observed)) func() (Desired, Observed) {
	return func() (Desired, Observed) {
		d := wish(n, "docker")
		o := rolledBefore(fleetOf(d, digest))
		f(&d, &o)
		return d, o
	}
}

// mute makes VMs run and not serve, since that long.
func mute(o *Observed, since time.Duration, vms ...int) {
	for _, i := range vms {
		o.VMs[i].Guest.State = "failed"
		if since > 0 {
			o.VMs[i].Record.Ill = t0.Add(-since)
		}
	}
}

// halfDone is a VM whose roll began that long ago under a claim that has expired; it runs and does not serve.
func halfDone(o *Observed, i int, ago time.Duration) {
	r := &o.VMs[i].Record
	r.Owner, r.Epoch, r.Started, r.Expires = other, 4, t0.Add(-ago), t0.Add(-time.Minute)
	mute(o, 0, i)
}

func offences() []offence {
	rolling := fleetLike(5, oldDigest, func(d *Desired, _ *Observed) { d.Rollout.MaxUnavailable, d.Rollout.MaxFailed = 2, 2 })
	starting := fleetLike(5, newDigest, func(_ *Desired, o *Observed) { o.VMs[0] = off(o.VMs[0]) })
	baked := fleetLike(3, oldDigest, func(d *Desired, o *Observed) {
		d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 2, 1, time.Hour
		o.VMs[0] = standing(*d, d.VMs[0], newDigest)
		o.VMs[0].Record.Rolled = t0.Add(-time.Hour)
	})
	healing := fleetLike(5, newDigest, func(d *Desired, o *Observed) {
		d.Rollout.Heal = 10 * time.Minute
		mute(o, 10*time.Minute, 0)
	})
	shrinking := fleetLike(3, newDigest, func(d *Desired, _ *Observed) { d.VMs, d.Rollout.ScaleIn = d.VMs[:2], 1 })
	halfway := fleetLike(5, oldDigest, func(d *Desired, o *Observed) {
		d.Rollout.Progress, d.Rollout.MaxFailed = 30*time.Minute, 2
		halfDone(o, 0, 30*time.Minute)
	})
	aging := fleetLike(2, newDigest, func(d *Desired, o *Observed) {
		d.Rollout.MaxAge = time.Hour
		o.VMs[0].Age = 2 * time.Hour
	})
	returning := fleetLike(2, oldDigest, func(d *Desired, o *Observed) {
		o.VMs[0].Record.Owner, o.VMs[0].Record.Started, o.VMs[0].Record.Expires = me, t0, t0.Add(time.Minute)
		d.Rollout.Window = tomorrow()
	})
	return []offence{
		{"the window shuts", rolling, policyOf(func(d *Desired) { d.Rollout.Window = tomorrow() }), "check wave 1: wrk-01: it serves, and the window is shut (R13)"},
		{"the window shuts before a VM retires", shrinking, policyOf(func(d *Desired) { d.Rollout.Window = tomorrow() }), "check wave 1: wrk-03: it serves, and the window is shut (R13)"},
		{"the window shuts before a VM that is off retires", func() (Desired, Observed) {
			d, o := shrinking()
			o.VMs[2] = off(o.VMs[2])
			return d, o
		}, policyOf(func(d *Desired) { d.Rollout.Window = tomorrow() }), "check wave 1: wrk-03: it serves, and the window is shut (R13)"},
		{"the window shuts before a green VM is made", func() (Desired, Observed) {
			d := bluegreen(wish(2, "docker"), Fresh)
			return d, rolledBefore(fleetOf(d, oldDigest))
		}, policyOf(func(d *Desired) { d.Rollout.Window = tomorrow() }), "check wave 1: wrk-01: it serves, and the window is shut (R13)"},
		{"given back, and shut down all the same", returning, func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Steps = slices.Insert(slices.Clone(r.Steps), 0, Step(Shutdown{base: Of("wrk-01")}))
		}, "check wave 1: wrk-01: more is done than to give its claim back"},

		{"two canaries at once", rolling, policyOf(func(d *Desired) { d.Rollout.Canaries = 2 }), "check wave 1: 2 VMs would get the image at once, and only 0 of 2 canaries have"},
		{"the canary has not baked", baked, func(p *Plan, _ *Observed) { p.Now = t0.Add(-time.Second) }, "check wave 1: 0 of 1 canaries have run the image for 1h0m0s, and 2 more VMs would get it"},
		{"more canaries are asked for", baked, policyOf(func(d *Desired) { d.Rollout.Canaries = 2 }), "check wave 1: 2 VMs would get the image at once, and only 1 of 2 canaries have"},
		{"the canary's gate never passed", baked, func(_ *Plan, o *Observed) { o.VMs[0].Record.Rolled = time.Time{} }, "check wave 1: 2 VMs would get the image at once, and only 0 of 1 canaries have"},
		{"the canary fell ill", func() (Desired, Observed) {
			d, o := baked()
			d.Rollout.MaxUnavailable = 3
			return d, o
		}, func(_ *Plan, o *Observed) { mute(o, 0, 0) }, "check wave 1: canary wrk-01 does not serve, and 2 more VMs would get the image"},
		{"the canary is not wanted any more", baked, func(p *Plan, _ *Observed) { unwish(p.Want, 0) }, "check wave 1: 2 VMs would get the image at once, and only 0 of 1 canaries have"},

		{"two more fell silent before one is started", starting, func(_ *Plan, o *Observed) { mute(o, 0, 1, 2) },
			"check wave 1: wrk-01: it is begun although 3 of 5 do not serve, and not because of a roll; 1 may (R12)"},
		{"two more vanished before one is started", starting, func(_ *Plan, o *Observed) { o.VMs = slices.Delete(o.VMs, 2, 4) },
			"check wave 1: wrk-01: it is begun although 2 of 5 do not serve, and not because of a roll; 1 may (R12)"},
		{"an hour has passed since the fleet was made", func() (Desired, Observed) {
			d, o := starting()
			mute(&o, 0, 1, 2)
			for i := range o.VMs {
				v := &o.VMs[i]
				v.Record.Rolled, v.Record.Token, v.Guest.Token = t0.Add(-time.Hour), Token(v.Record.Image, 1), Token(v.Record.Image, 1)
			}
			return d, o
		}, func(p *Plan, _ *Observed) { p.Now = t0.Add(time.Second) },
			"check wave 1: wrk-01: it is begun although 3 of 5 do not serve, and not because of a roll; 1 may (R12)"},
		{"a person's word is not there", func() (Desired, Observed) {
			d, o := starting()
			mute(&o, 0, 1, 2)
			d.Rollout.NoBrake = true
			return d, o
		}, policyOf(func(d *Desired) { d.Rollout.NoBrake = false }),
			"check wave 1: wrk-01: it is begun although 3 of 5 do not serve, and not because of a roll; 1 may (R12)"},

		{"the roll takes too long", halfway, func(p *Plan, _ *Observed) { p.Now = t0.Add(time.Second) },
			"check wave 1: wrk-01: its roll began 30m1s ago, progress_deadline is 30m0s: it must be left as it is (A7)"},
		{"another roll takes too long", func() (Desired, Observed) {
			d, o := halfway()
			d.Rollout.MaxFailed = 1
			o.VMs[4] = off(o.VMs[4])
			return d, o
		}, func(p *Plan, o *Observed) {
			p.Waves = p.Waves[1:]
			o.VMs[0].Record.Started = t0.Add(-time.Hour)
		}, "check plan: it acts although wrk-01 failed (A7)"},
		{"a person pauses", rolling, func(_ *Plan, o *Observed) { o.VMs[4].Record.Paused = true }, "check plan: it acts although wrk-05 is paused (A7)"},
		{"as many failed as stop the fleet", rolling, func(_ *Plan, o *Observed) { o.VMs[3].Record.Failed, o.VMs[4].Record.Failed = "x", "x" },
			"check plan: it acts although wrk-05 failed (A7)"},
		{"another run claims it", rolling, func(_ *Plan, o *Observed) {
			o.VMs[0].Record.Owner, o.VMs[0].Record.Expires = other, t0.Add(time.Second)
		},
			`check wave 1: wrk-01: step "claim for lkv@here, epoch 4": the claim of lkv@there is alive for another 1s (A6)`},

		{"more would go than may", shrinking, policyOf(func(d *Desired) { d.Rollout.ScaleIn = 0 }), "check wave 1: wrk-03: 1 VMs are not wanted any more, and 0 may go at once (R14)"},
		{"one more is not wanted", shrinking, policyOf(func(d *Desired) { d.VMs = d.VMs[:1] }), "check wave 1: wrk-03: 2 VMs are not wanted any more, and 1 may go at once (R14)"},
		{"one that is wanted would go", shrinking, func(p *Plan, o *Observed) {
			p.Want.VMs = append(p.Want.VMs, wish(3, "docker").VMs[2])
		}, `check wave 1: wrk-03: step "retire as wrk-03-retired-20260301-1200, disks kept": the VM is wanted`},

		{"it has not been silent for long enough", healing, func(p *Plan, _ *Observed) { p.Now = t0.Add(-time.Second) }, "check wave 1: wrk-01: it has not failed to serve for 10m0s (heal_after)"},
		{"nobody noted since when it is silent", healing, func(_ *Plan, o *Observed) { o.VMs[0].Record.Ill = time.Time{} }, "check wave 1: wrk-01: it has not failed to serve for 10m0s (heal_after)"},
		{"healing is off", healing, policyOf(func(d *Desired) { d.Rollout.Heal = 0 }), "check wave 1: wrk-01: it has not failed to serve for 0s (heal_after)"},
		{"it serves again", healing, func(_ *Plan, o *Observed) { o.VMs[0].Guest.State = running }, "check wave 1: wrk-01: it serves, and would be healed (A1)"},
		{"another is silent too", func() (Desired, Observed) {
			d, o := healing()
			d.Rollout.NoBrake = true
			return d, o
		}, func(_ *Plan, o *Observed) { mute(o, 0, 1) }, "check wave 1: wrk-01: 2 VMs do not serve, max_unavailable is 1: they may only be out of sight (R12)"},

		{"it is no target", rolling, policyOf(func(d *Desired) { d.Targets = []string{"wrk-02"} }), "check wave 1: wrk-01: it is not among the targets"},
		{"one that is missing is no target", fleetLike(2, newDigest, func(_ *Desired, o *Observed) { *o = Observed{} }), policyOf(func(d *Desired) { d.Targets = []string{"wrk-02"} }), "check wave 1: wrk-01: it is not among the targets"},
		{"the image was rolled back on it", rolling, func(_ *Plan, o *Observed) { o.VMs[0].Record.Spurned = newDigest }, "check wave 1: wrk-01: image bbbbbbbbbbbb was rolled back here (A7)"},
		{"it is not that old", aging, func(_ *Plan, o *Observed) { o.VMs[0].Age = time.Hour }, "check wave 1: wrk-01: it has run for 1h0m0s, max_age is 1h0m0s"},
		{"age does not matter", aging, policyOf(func(d *Desired) { d.Rollout.MaxAge = 0 }), "check wave 1: wrk-01: it has run for 2h0m0s, max_age is 0s"},

		{"nobody knows what it was made for", rolling, func(p *Plan, _ *Observed) { p.Want = nil }, "check plan: it does not say for which fleet or when it was made"},
		{"nobody knows when it was made", rolling, func(p *Plan, _ *Observed) { p.Now = time.Time{} }, "check plan: it does not say for which fleet or when it was made"},
	}
}

// unwish takes one VM out of what is wanted, so that nobody calls it extra.
func unwish(d *Desired, i int) { d.VMs = slices.Delete(slices.Clone(d.VMs), i, i+1) }

// TestCheckHoldsPolicies: each plan is one that its policy allows; then one thing changes, and Check says exactly what is
// wrong now.
func TestCheckHoldsPolicies(t *testing.T) {
	for _, c := range offences() {
		t.Run(c.name, func(t *testing.T) {
			d, o := c.world()
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil || len(p.Waves) == 0 {
				t.Fatalf("before: %v, %+v", err, p)
			}
			c.spoil(&p, &o)
			if err := Check(p, o); err == nil || err.Error() != c.says {
				t.Errorf("it says: %v", err)
			}
		})
	}
}
