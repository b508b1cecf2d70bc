package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// TestPolicySuffixLaw is law 1 under every policy and with every trouble: after any prefix of a plan, the plan is
// exactly the rest. Check passes each of these plans.
func TestPolicySuffixLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		o := genTroubles(t, d)
		all := flat(Compute(d, o, t0))
		for i := range len(all) + 1 {
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Fatalf("after %d of %d steps: %v", i, len(all), err)
			}
			if diff := cmp.Diff(all[i:], flat(p), steps, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after %d of %d steps, the last %v of %s (-rest +computed):\n%s", i, len(all), all[max(0, i-1)], all[max(0, i-1)].VM(), diff)
			}
			if i < len(all) {
				o = o.After(all[i])
			}
		}
	})
}

// TestPolicySuffixLawInParallel is the same for waves whose rolls run at the same time.
func TestPolicySuffixLawInParallel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		o, left := genHalfway(t, d, genTroubles(t, d))
		got := map[string][]Step{}
		for _, s := range flat(Compute(d, o, t0)) {
			got[s.VM()] = append(got[s.VM()], s)
		}
		if diff := cmp.Diff(left, got, steps, cmpopts.EquateEmpty(), cmpopts.IgnoreMapEntries(func(_ string, s []Step) bool { return len(s) == 0 })); diff != "" {
			t.Fatalf("(-rest +computed):\n%s", diff)
		}
	})
}

// TestPolicyConvergence: a daemon that lives long enough gets to the same end, wherever a run before it died.
func TestPolicyConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		d.Rollout.NoBrake, d.Rollout.Progress = true, 0 // a crash may need a person for these two
		start := genTroubles(t, d)
		golden := liveOut(t, d, start, t0)
		o, _ := genHalfway(t, d, start)
		later := t0
		if rapid.Bool().Draw(t, "another run after the claims expired") {
			later, d.Claimer = t0.Add(30*time.Minute), other
		}
		end := liveOut(t, d, o, later)
		if diff := cmp.Diff(settle(golden), settle(end), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("other end state (-golden +after the crash):\n%s", diff)
		}
		for _, v := range end.VMs {
			if v.Record.Drained && v.Record.Started.IsZero() && v.Record.Failed == "" && Up(d, want(d, v.Name), v) == "" && slices.Contains(Compute(d, end, t0.AddDate(1, 0, 0)).Same, v.Name) {
				t.Fatalf("%s is still drained: %+v", v.Name, v.Record)
			}
		}
	})
}

func want(d Desired, name string) WantVM {
	if i := slices.IndexFunc(d.VMs, func(w WantVM) bool { return w.Name == name }); i >= 0 {
		return d.VMs[i]
	}
	return WantVM{Name: name}
}

// TestPolicyNever walks through whole rollouts, the rolls of a wave interleaved at random, and asserts after every step
// what no policy allows.
func TestPolicyNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		start := genTroubles(t, d)
		o, floor := start, min(servingOf(d, start), len(d.VMs)-d.Rollout.MaxUnavailable)
		failed, paused := 0, false
		for _, v := range start.VMs {
			if v.Record.Failed != "" || overdue(d, v, t0) {
				failed++
			}
			paused = paused || v.Record.Paused
		}
		p := Compute(d, start, t0)
		for _, w := range p.Waves {
			rolls := slices.Clone(w.Rolls)
			for len(rolls) > 0 {
				i := rapid.IntRange(0, len(rolls)-1).Draw(t, "whose turn")
				r, s := rolls[i], rolls[i].Steps[0]
				if rolls[i].Steps = rolls[i].Steps[1:]; len(rolls[i].Steps) == 0 {
					rolls = slices.Delete(rolls, i, i+1)
				}
				if why := forbidden(d, start, r, failed); why != "" {
					t.Fatalf("%s %s: %s: %s", r.Action, r.VM, s, why)
				}
				o = o.After(s)
				if n := servingOf(d, o); n < floor && r.Action != Rollback {
					t.Fatalf("after %s: %s: %d VMs serve, at least %d must", s.VM(), s, n, floor)
				}
			}
		}
		for _, v := range o.VMs {
			if v.Record.Drained && v.Record.Owner == me {
				t.Fatalf("%s is left drained", v.Name)
			}
		}
	})
}

// forbidden says why a roll must not be planned from that world, written from the policies' words.
func forbidden(d Desired, start Observed, r Roll, failed int) string {
	v := start.find(r.VM)
	begun := v != nil && !v.Record.Started.IsZero()
	serving := v != nil && v.Power == On && Up(d, want(d, r.VM), *v) == ""
	if failed >= max(1, d.Rollout.MaxFailed) && r.Action != Rollback {
		return "the fleet stands still"
	}
	switch r.Action {
	case Finish, GiveBack:
		if !begun && !v.Record.Drained {
			return "nothing was begun"
		}
	case Rollback:
		if d.Rollout.OnFailure != "rollback" || v.Record.Failed == "" || v.Record.Spurned != "" {
			return "nobody asked for it, nothing failed, or it was done before"
		}
	case RollISO, Reboot, Retiring:
		if begun {
			return "" // a claim that a dead run left
		}
		if len(d.Targets) > 0 && !slices.Contains(d.Targets, r.VM) {
			return "it is no target"
		}
		if d.Rollout.Window != nil && len(d.Rollout.Window.Days) > 0 && serving {
			return "the window is shut"
		}
		if r.Action == RollISO && v.Record.Spurned == d.Image.Digest && v.Record.Image != d.Image.Digest {
			return "the image was rolled back here"
		}
	case HealVM:
		if d.Rollout.Heal == 0 || serving || t0.Sub(v.Record.Ill) < d.Rollout.Heal {
			return "it serves, or not for long enough"
		}
	}
	return ""
}

// TestPolicyOneBucket: every VM of the fleet is in exactly one place: as wanted, refused, in a wave, waiting, or held up
// with the whole fleet.
func TestPolicyOneBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		o, _ := genHalfway(t, d, genTroubles(t, d))
		p := Compute(d, o, t0)
		places := map[string]int{}
		for _, w := range p.Waves {
			for _, r := range w.Rolls {
				places[r.VM] = 1
			}
		}
		waits := false
		for _, b := range p.Blocked {
			if waits = waits || b.VM == "" && b.Code != R13; b.Clear == "" {
				t.Fatalf("nothing clears %+v", b)
			}
			places[b.VM]++
		}
		for _, l := range p.Later {
			if l.Reason == "" || !l.Until.IsZero() && !l.Until.After(t0) {
				t.Fatalf("%+v", l)
			}
			if places[l.VM]++; places[l.VM] > 1 && !planned(p, l.VM) {
				t.Fatalf("%s waits and is refused: %+v", l.VM, p)
			}
		}
		for _, name := range p.Same {
			if places[name]++; places[name] > 1 && !planned(p, name) {
				t.Fatalf("%s is as wanted, and more: %+v", name, p)
			}
		}
		still := len(failures(d, o, t0)) >= p.MaxFailed
		for _, w := range d.VMs {
			if places[w.Name] == 0 && !waits && !still {
				t.Fatalf("%s is nowhere: %s", w.Name, fmt.Sprintf("%+v", p))
			}
		}
	})
}

func planned(p Plan, name string) bool {
	return slices.ContainsFunc(p.Waves, func(w Wave) bool {
		return slices.ContainsFunc(w.Rolls, func(r Roll) bool { return r.VM == name })
	})
}

// TestPolicyRelook: what relook keeps is what a whole look would say.
func TestPolicyRelook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPolicies(t)
		o, _ := genHalfway(t, d, genTroubles(t, d))
		relooks(t, d, o)
	})
}
