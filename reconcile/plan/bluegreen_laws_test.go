package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// TestPairSuffixLaw: after any prefix of a plan with blue-green rolls, the plan is exactly the rest.
func TestPairSuffixLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		o := genPairWorld(t, d)
		all := flat(Compute(d, o, t0))
		for i := range len(all) + 1 {
			got := flat(Compute(d, o, t0))
			if diff := cmp.Diff(all[i:], got, steps, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after %d of %d steps, the last %v (-rest +computed):\n%s", i, len(all), all[max(0, i-1)], diff)
			}
			if i < len(all) {
				o = o.After(all[i])
			}
		}
	})
}

// TestPairSuffixLawInParallel is that law for waves whose rolls run at the same time.
func TestPairSuffixLawInParallel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		o := genPairWorld(t, d)
		o, left := genCut(t, Compute(d, o, t0), o, func(Observed, Roll, Step) {})
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Fatal(err)
		}
		empty := cmpopts.IgnoreMapEntries(func(_ string, s []Step) bool { return len(s) == 0 })
		if diff := cmp.Diff(left, byRoll(p), steps, cmpopts.EquateEmpty(), empty); diff != "" {
			t.Fatalf("(-rest +computed):\n%s", diff)
		}
	})
}

// TestPairsConverge: however often runs die, in the middle of whatever step of however many rolls, and whoever goes on,
// the end is that of a run that did not die (A5), every data disk of the start can be found after every step (D1, D3 to
// D6), as many VMs serve as must (A1), and no more exist than may (A2).
func TestPairsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		start := genPairWorld(t, d)
		golden := run(t, d, start, t0)
		serving := servingPairs(d, start)
		floor := min(serving, len(d.VMs)-d.Rollout.MaxUnavailable)
		if d.Rollout.Disk == Fresh {
			floor = serving
		}
		each := func(o Observed, r Roll, s Step) {
			if why := lost(start, o); why != "" {
				t.Fatalf("after %s: %s: %s: %s", r.VM, s.VM(), s, why)
			}
			if n := servingPairs(d, o); n < floor {
				t.Fatalf("after %s: %s: %s: %d VMs serve, at least %d must (A1)", r.VM, s.VM(), s, n, floor)
			}
			if n := above(d, o); n > d.Rollout.Surge {
				t.Fatalf("after %s: %s: %s: %d VMs above the fleet's size (A2)", r.VM, s.VM(), s, n)
			}
		}
		o, now := start, t0
		for range rapid.IntRange(1, 4).Draw(t, "deaths") {
			p := Compute(d, o, now)
			if err := Check(p, o); err != nil {
				t.Fatal(err)
			}
			o, _ = genCut(t, p, o, each)
			if rapid.Bool().Draw(t, "another run after the claims expired") {
				now = now.Add(time.Hour)
				d.Claimer = map[string]string{me: other, other: me}[d.Claimer]
			}
		}
		end := run(t, d, o, now)
		if diff := cmp.Diff(pairOutcome(golden), pairOutcome(end), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("other end state (-golden +after the crashes):\n%s", diff)
		}
		for _, v := range end.VMs {
			if v.Record.Owner != "" || !v.Record.Started.IsZero() || v.Record.Drained || v.Record.Replaces != "" {
				t.Fatalf("%s is not released: %+v", v.Name, v.Record)
			}
		}
		if why := lost(start, end); why != "" {
			t.Fatal(why)
		}
		if p := Compute(d, end, now); len(flat(p)) != 0 {
			t.Fatalf("a second run would still do %v", flat(p))
		}
	})
}

// TestPairsNeedEveryGuard drops any one step of a blue-green roll: the plan must be refused, or the dropped step must be
// one that only makes the way shorter, never less safe.
func TestPairsNeedEveryGuard(t *testing.T) {
	harmless := map[string]bool{"awaittask": true, "resize": true, "insertiso": true, "enablesecureboot": true,
		"drain": true, "restore": true, "growdisk": true}
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		o := genPairWorld(t, d)
		p := Compute(d, o, t0)
		var rolls []*Roll
		for _, w := range p.Waves {
			for i := range w.Rolls {
				if w.Rolls[i].Action == Replace {
					rolls = append(rolls, &w.Rolls[i])
				}
			}
		}
		if len(rolls) == 0 {
			return
		}
		r := rapid.SampledFrom(rolls).Draw(t, "roll")
		i := rapid.IntRange(0, len(r.Steps)-1).Draw(t, "dropped")
		s := r.Steps[i]
		r.Steps = append(append([]Step{}, r.Steps[:i]...), r.Steps[i+1:]...)
		if err := Check(p, o); err == nil && !harmless[nameOf(s)] {
			t.Fatalf("without %s: %s the plan passes", s.VM(), s)
		}
	})
}
