package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// spoiled is one rule of a plan under a policy, broken once.
type spoiled struct {
	name  string
	world func() (Desired, Observed)
	spoil func(p *Plan, o *Observed)
	says  string
}

// steps1 replaces the steps of the first roll.
func steps1(f func([]Step) []Step) func(*Plan, *Observed) {
	return func(p *Plan, _ *Observed) {
		r := &p.Waves[0].Rolls[0]
		r.Steps = f(slices.Clone(r.Steps))
	}
}

// lacking drops the steps of a kind from the first roll.
func lacking(kind Step) func(*Plan, *Observed) {
	return steps1(func(s []Step) []Step {
		return slices.DeleteFunc(s, func(x Step) bool { return nameOf(x) == nameOf(kind) })
	})
}

// changed changes one kind of step of the first roll.
func changed[S Step](f func(*S)) func(*Plan, *Observed) {
	return steps1(func(s []Step) []Step {
		for i := range s {
			if x, ok := s[i].(S); ok {
				f(&x)
				s[i] = x
			}
		}
		return s
	})
}

func drainingFleet() (Desired, Observed) {
	d := wish(2, "docker")
	d.Rollout.Drain = true
	return d, fleetOf(d, oldDigest)
}

func growingFleet() (Desired, Observed) {
	d := wish(1, "docker")
	o := fleetOf(d, newDigest)
	d.VMs[0].Disks[0].Bytes = 20 << 30
	return d, o
}

func returningFleet() (Desired, Observed) {
	d := wish(2, "docker")
	d.Rollout.OnFailure, d.Image.Engine = "rollback", "28.3.1"
	return d, rolledAndFailed(d, "28.3.1")
}

func illFleet() (Desired, Observed) {
	d := wish(2, "docker")
	d.Rollout.Heal = time.Minute
	o := fleetOf(d, newDigest)
	o.VMs[0].Guest.Tools = false
	return d, o
}

func shrinkingFleet() (Desired, Observed) {
	d := wish(2, "docker")
	d.Rollout.ScaleIn, d.Rollout.Drain = 1, true
	return d, fleetOf(wish(3, "docker"), newDigest)
}

func twoMayFail() (Desired, Observed) {
	d := wish(4, "docker")
	d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = 2, 2
	return d, rolledAndFailed(d, "")
}

func policySabotages() []spoiled {
	return []spoiled{
		{"drained twice", drainingFleet, func(_ *Plan, o *Observed) { o.VMs[0].Record.Drained = true }, "drained already"},
		{"not restored", drainingFleet, lacking(Restore{}), "left drained (A8)"},
		{"restored without a drain", drainingFleet, lacking(Drain{}), "not drained by lkv (A8)"},
		{"drained without a claim", drainingFleet, lacking(Claim{}), "without a claim"},
		{"grown while it runs", growingFleet, lacking(Shutdown{}), "is poweredOn"},
		{"made smaller", growingFleet, changed(func(s *GrowDisk) { s.Bytes = 5 << 30 }), "not more than 10 GiB (D4)"},
		{"another disk grown", growingFleet, changed(func(s *GrowDisk) { s.Disk.UUID = uuidOf(7, 7) }), "not the recorded one (D4)"},
		{"a disk with a snapshot grown", growingFleet, func(_ *Plan, o *Observed) { o.VMs[0].Disks[0].Parent = true }, "snapshot"},
		{"an engine forgotten", growingFleet, func(_ *Plan, o *Observed) { o.VMs[0].Record.Engine = "28" }, "has used the disks (R04)"},
		{"rolled back to something else", returningFleet, changed(func(s *InsertISO) { s.ISO = "[iso] x.iso" }), "did not run before"},
		{"rolled back to an image with another ID", returningFleet, changed(func(s *InsertISO) { s.Record.ImageID = "x" }), "did not run before"},
		{"rolled back without remembering", returningFleet, changed(func(s *InsertISO) { s.Record.Spurned = "" }), "rolled back again"},
		{"rolled back twice", returningFleet, func(_ *Plan, o *Observed) { o.VMs[0].Record.Spurned = oldDigest }, "rolled back again"},
		{"rolled back below the engine", returningFleet, func(_ *Plan, o *Observed) { o.VMs[0].Record.EngineWas = "27" }, "(R04)"},
		{"rolled back although nothing failed", returningFleet, func(_ *Plan, o *Observed) { o.VMs[0].Record.Failed = "" }, "no roll failed"},
		{"another VM touched beside a failure", returningFleet, func(p *Plan, _ *Observed) {
			p.Waves = append(p.Waves, Wave{Rolls: []Roll{{VM: "wrk-02", Action: RollISO, Steps: []Step{Release{base: Of("wrk-02")}}}}})
		}, "although wrk-01 failed (A7)"},
		{"rolled back although paused", returningFleet, func(_ *Plan, o *Observed) { o.VMs[1].Record.Paused = true }, "paused (A7)"},
		{"one more failed", twoMayFail, func(_ *Plan, o *Observed) { o.VMs[3].Record.Failed = "x" }, "although wrk-04 failed (A7)"},
		{"a failed VM touched", twoMayFail, func(p *Plan, _ *Observed) {
			p.Waves = []Wave{{Rolls: []Roll{{VM: "wrk-01", Action: RollISO, Steps: []Step{Release{base: Of("wrk-01")}}}}}}
		}, "left as it is (A7)"},
		{"a failed VM does not serve", twoMayFail, func(p *Plan, o *Observed) {
			o.VMs[0].Guest = standing(wish(1, "docker"), wish(1, "docker").VMs[0], oldDigest).Guest
			o.VMs[0].Guest.Token = o.VMs[0].Record.Token
			p.Waves[0].Rolls = append(p.Waves[0].Rolls, p.Waves[1].Rolls...)
		}, "(A1)"},
		{"a note and more", illFleet, steps1(func(s []Step) []Step { return append(s, s[0]) }), "middle of a roll"},
		{"a note under another name", illFleet, func(p *Plan, _ *Observed) { p.Waves[0].Rolls[0].Action = HealVM }, "does not end"},
		{"a note on a VM that is rolled", illFleet, func(_ *Plan, o *Observed) { o.VMs[0].Record.Started = t0 }, "under way (A6)"},
		{"a wanted VM retired", shrinkingFleet, func(p *Plan, _ *Observed) { p.Extra = nil }, "is wanted"},
		{"retired while another is down", shrinkingFleet, func(_ *Plan, o *Observed) { o.VMs[0] = off(o.VMs[0]) }, "1 VMs do not serve (A1)"},
		{"retired while it runs", shrinkingFleet, lacking(Shutdown{}), "is poweredOn"},
		{"retired without its disk", shrinkingFleet, func(_ *Plan, o *Observed) { o.VMs[2].Disks = nil }, "not attached (D5)"},
		{"retired without a claim", shrinkingFleet, lacking(Claim{}), "without a claim"},
		{"released instead of retired", shrinkingFleet, steps1(func(s []Step) []Step {
			s[len(s)-1] = Release{base: Of("wrk-03")}
			return s
		}), "does not end"},
	}
}

// TestCheckCatchesPolicies breaks one rule at a time of plans under policies: Check must refuse the plan and say why.
func TestCheckCatchesPolicies(t *testing.T) {
	for _, s := range policySabotages() {
		t.Run(s.name, func(t *testing.T) {
			d, o := s.world()
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil || len(p.Waves) == 0 {
				t.Fatalf("before: %v, %+v", err, p)
			}
			s.spoil(&p, &o)
			if err := Check(p, o); err == nil || !strings.Contains(err.Error(), s.says) {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

// TestCheckNeedsEveryGuardOfPolicies drops any one step of a roll under any policy: the plan must be refused, or the
// step be one without which nothing is less safe.
func TestCheckNeedsEveryGuardOfPolicies(t *testing.T) {
	harmless := map[string]bool{"awaittask": true, "awaitready": true, "resize": true, "insertiso": true, "poweron": true, "enablesecureboot": true,
		"growdisk": true, "drain": true}
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		o := genTroubles(t, d)
		p := Compute(d, o, t0)
		if len(p.Waves) == 0 {
			return
		}
		w := p.Waves[rapid.IntRange(0, len(p.Waves)-1).Draw(t, "wave")]
		r := &w.Rolls[rapid.IntRange(0, len(w.Rolls)-1).Draw(t, "roll")]
		i := rapid.IntRange(0, len(r.Steps)-1).Draw(t, "dropped")
		s := r.Steps[i]
		r.Steps = slices.Delete(slices.Clone(r.Steps), i, i+1)
		if err := Check(p, o); err == nil && !harmless[nameOf(s)] {
			t.Fatalf("without %s of %s %s the plan passes", s, r.Action, r.VM)
		}
	})
}
