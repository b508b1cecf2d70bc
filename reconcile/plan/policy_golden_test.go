package plan

import (
	"time"
)

// policyScenarios are whole rolls under the policies that bound them.
func policyScenarios() map[string]scenario {
	return map[string]scenario{
		"canary and bake": func() (Desired, Observed, time.Time) {
			d := wish(4, "docker")
			d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 2, 1, 30*time.Minute
			return d, fleetOf(d, oldDigest), t0
		},
		"canary has baked": func() (Desired, Observed, time.Time) {
			d := wish(4, "docker")
			d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 2, 1, 30*time.Minute
			o := fleetOf(d, oldDigest)
			o.VMs[0] = standing(d, d.VMs[0], newDigest)
			o.VMs[0].Record.Rolled = t0.Add(-30 * time.Minute)
			return d, o, t0
		},
		"canary fell ill": func() (Desired, Observed, time.Time) {
			d := wish(4, "docker")
			d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 2, 2, 30*time.Minute
			o := fleetOf(d, oldDigest)
			o.VMs[0] = standing(d, d.VMs[0], newDigest)
			o.VMs[0].Record.Rolled, o.VMs[0].Guest.Tools = t0.Add(-5*time.Minute), false
			return d, o, t0
		},
		"window closing in the middle of a roll": func() (Desired, Observed, time.Time) {
			d := wish(5, "docker")
			d.Rollout.MaxUnavailable = 2
			d.Rollout.Window = &Window{Days: []time.Weekday{time.Saturday, time.Sunday}, From: 22 * time.Hour, To: 5 * time.Hour, Zone: time.UTC}
			o := fleetOf(d, oldDigest)
			for _, s := range flat(Compute(d, o, t0.Add(-8*time.Hour)))[:3] { // wrk-01 to and with the swap
				o = o.After(s)
			}
			o = o.After(Claim{base: Of("wrk-02"), Owner: me, Epoch: 4, Started: t0.Add(-time.Minute), Expires: t0.Add(time.Minute)})
			o.VMs[3] = off(o.VMs[3])
			d.Rollout.NoBrake = true
			return d, o, t0
		},
		"roll back": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.OnFailure, d.Rollout.Drain = "rollback", true
			d.Image.Engine = "28.3.1"
			return d, rolledAndFailed(d, "28.3.1"), t0
		},
		"roll back stopped halfway": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.OnFailure = "rollback"
			o := rolledAndFailed(d, "")
			for _, s := range flat(Compute(d, o, t0))[:3] {
				o = o.After(s)
			}
			d.Claimer = other
			return d, o, t0.Add(time.Hour)
		},
		"roll back refused for the engine": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.OnFailure = "rollback"
			d.Image.Engine = "28.3.1"
			return d, rolledAndFailed(d, "27.5.0"), t0
		},
		"two may fail": func() (Desired, Observed, time.Time) {
			d := wish(5, "docker")
			d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = 2, 2
			return d, rolledAndFailed(d, ""), t0
		},
		"a roll takes too long": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.Progress = 30 * time.Minute
			o := fleetOf(d, oldDigest)
			for _, s := range flat(Compute(d, o, t0))[:4] {
				o = o.After(s)
			}
			return d, o, t0.Add(31 * time.Minute)
		},
		"too old": func() (Desired, Observed, time.Time) {
			d := wish(4, "docker")
			d.Rollout.MaxAge, d.Rollout.Drain = 90*24*time.Hour, true
			o := fleetOf(d, newDigest)
			o.VMs[1].Age, o.VMs[3].Age = 91*24*time.Hour, 400*24*time.Hour
			return d, o, t0
		},
		"first seen ill": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.Heal = 10 * time.Minute
			o := fleetOf(d, newDigest)
			o.VMs[1].Guest.State, o.VMs[1].Guest.Error = "failed", "dockerd exited"
			o.VMs[2].Record.Ill = t0.Add(-time.Minute)
			return d, o, t0
		},
		"heal": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.Heal, d.Rollout.Drain = 10*time.Minute, true
			o := fleetOf(d, newDigest)
			o.VMs[1].Guest.Tools, o.VMs[1].Record.Ill = false, t0.Add(-11*time.Minute)
			return d, o, t0
		},
		"brake": func() (Desired, Observed, time.Time) {
			d := wish(10, "docker")
			d.Rollout.Heal = 10 * time.Minute
			o := fleetOf(d, oldDigest)
			for _, s := range flat(Compute(d, o, t0))[:3] { // wrk-01 is halfway and is finished
				o = o.After(s)
			}
			for i := range 3 {
				o.VMs[i+5].Guest, o.VMs[i+5].Record.Ill = Guest{}, t0.Add(-time.Hour)
			}
			return d, o, t0.Add(time.Second)
		},
		"scale in": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			d.Rollout.ScaleIn, d.Rollout.Drain = 2, true
			o := fleetOf(wish(5, "docker"), newDigest)
			o.VMs[1] = standing(d, d.VMs[1], oldDigest)
			o.VMs[4] = off(o.VMs[4])
			return d, o, t0
		},
		"too much scale in": func() (Desired, Observed, time.Time) {
			d := wish(2, "docker")
			d.Rollout.ScaleIn = 2
			return d, fleetOf(wish(5, "docker"), newDigest), t0
		},
		"drain": func() (Desired, Observed, time.Time) {
			d := wish(2, "docker")
			d.Rollout.Drain = true
			o := fleetOf(d, oldDigest)
			o.VMs[1].Guest.Tools = false // its drain may fail
			d.Rollout.MaxUnavailable = 2
			return d, o, t0
		},
		"left drained by a failed roll": func() (Desired, Observed, time.Time) {
			d := wish(2, "docker")
			d.Rollout.Drain = true
			o := fleetOf(d, newDigest)
			o.VMs[0].Record.Drained = true
			return d, o, t0
		},
		"grow a disk": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			o := fleetOf(d, newDigest)
			for i := range d.VMs {
				d.VMs[i].Disks[0].Bytes = 20 << 30
			}
			o.VMs = o.VMs[:2] // wrk-03 is gone, its disk is not
			return d, o, t0
		},
		"targets": func() (Desired, Observed, time.Time) {
			d := wish(4, "docker")
			d.Targets = []string{"wrk-03"} // a run before this one, which stopped halfway
			o := fleetOf(d, oldDigest)
			for _, s := range flat(Compute(d, o, t0))[:2] {
				o = o.After(s)
			}
			d.Targets = []string{"wrk-02"}
			return d, o, t0.Add(time.Second)
		},
	}
}

// rolledAndFailed is a fleet of which the first VM was rolled, and its gate did not pass. Its disks were used by that
// engine before.
func rolledAndFailed(d Desired, engine string) Observed {
	o := fleetOf(d, oldDigest)
	o.VMs[0].Record.Engine = engine
	for _, s := range flat(Compute(d, o, t0.Add(-15*time.Minute))) {
		if _, ok := s.(AwaitReady); ok {
			break
		}
		o = o.After(s)
	}
	return o.After(Fail{Of("wrk-01"), "not ready after 10m0s: guest tools do not run"})
}
