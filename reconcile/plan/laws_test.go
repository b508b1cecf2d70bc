package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// steps compares steps with their unexported embedded part.
var steps = cmp.AllowUnexported(AwaitTask{}, CreateDisk{}, CreateVM{}, AttachDisk{}, Claim{}, Release{}, Shutdown{},
	InsertISO{}, Resize{}, PowerOn{}, AwaitReady{}, Fail{}, Unblock{}, InstallKey{}, EnableSecureBoot{}, Drain{}, Restore{}, GrowDisk{}, DetachDisk{}, Disown{}, Recall{},
	Rename{}, Retire{}, DestroyVM{}, Mark{}, Pause{}, Adopt{}, Forget{})

// TestSuffixLaw is law 1 for a run that does one thing after the other: after any prefix of a plan, the plan is
// exactly the rest, in the same order.
func TestSuffixLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o := genWorld(t, d)
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

// TestSuffixLawInParallel is law 1 for waves whose rolls run at the same time.
func TestSuffixLawInParallel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, left := genHalfway(t, d, genWorld(t, d))
		got := map[string][]Step{}
		for _, s := range flat(Compute(d, o, t0)) {
			got[s.VM()] = append(got[s.VM()], s)
		}
		if diff := cmp.Diff(left, got, steps, cmpopts.EquateEmpty(), cmpopts.IgnoreMapEntries(func(_ string, s []Step) bool { return len(s) == 0 })); diff != "" {
			t.Fatalf("(-rest +computed):\n%s", diff)
		}
	})
}

// outcome strips from a world what may depend on how often a run died: epochs, tokens and what they caused.
func outcome(o Observed) Observed {
	o = o.Clone()
	for i := range o.VMs {
		v := &o.VMs[i]
		v.Record.Epoch, v.Record.Token, v.Guest.Token, v.Age, v.Record.Rolled = 0, "", "", 0, time.Time{}
	}
	slices.SortFunc(o.VMs, func(a, b VM) int { return a.Ordinal - b.Ordinal })
	slices.SortFunc(o.Files, func(a, b DiskFile) int { return strings.Compare(a.Path, b.Path) })
	return o
}

// run applies plans, one wave at a time, until there is nothing left to do.
func run(t *rapid.T, d Desired, o Observed, now time.Time) Observed {
	for range 100 {
		p := Compute(d, o, now)
		if err := Check(p, o); err != nil {
			t.Fatalf("Check refuses Compute's plan: %v", err)
		}
		if len(p.Waves) == 0 {
			if len(p.Same) != len(d.VMs) || len(p.Blocked) > 0 {
				t.Fatalf("it stands still without being done: same %v, blocked %v", p.Same, p.Blocked)
			}
			return o
		}
		for _, r := range p.Waves[0].Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
			}
		}
	}
	t.Fatal("100 waves and no end")
	return o
}

// TestConvergence: from wherever a run died, another one, also much later and under another name, gets to the same
// end as a run that did not die (A5), and then there is nothing left to do (A9).
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		start := genWorld(t, d)
		golden := run(t, d, start, t0)
		o, _ := genHalfway(t, d, start)
		later := t0
		if rapid.Bool().Draw(t, "another run after the claims expired") {
			later, d.Claimer = t0.Add(time.Hour), other
		}
		end := run(t, d, o, later)
		if diff := cmp.Diff(outcome(golden), outcome(end), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("other end state (-golden +after the crash):\n%s", diff)
		}
		for _, v := range end.VMs {
			if v.Record.Owner != "" || !v.Record.Started.IsZero() {
				t.Fatalf("%s is still claimed: %+v", v.Name, v.Record)
			}
		}
		if p := Compute(d, end, later); len(flat(p)) != 0 {
			t.Fatalf("a second run would still do %v", flat(p))
		}
	})
}

// TestEveryStepIsSafe walks through whole rollouts with the rolls of a wave interleaved at random, and asserts the
// disk invariants and the capacity after every single step.
func TestEveryStepIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		start := genWorld(t, d)
		o, serving := start, servingOf(d, start)
		floor := min(serving, len(d.VMs)-d.Rollout.MaxUnavailable)
		for _, w := range Compute(d, o, t0).Waves {
			rolls := slices.Clone(w.Rolls)
			for len(rolls) > 0 {
				i := rapid.IntRange(0, len(rolls)-1).Draw(t, "whose turn")
				s := rolls[i].Steps[0]
				if rolls[i].Steps = rolls[i].Steps[1:]; len(rolls[i].Steps) == 0 {
					rolls = slices.Delete(rolls, i, i+1)
				}
				o = o.After(s)
				if why := broken(start, o); why != "" {
					t.Fatalf("after %s: %s: %s", s.VM(), s, why)
				}
				if n := servingOf(d, o); n < floor {
					t.Fatalf("after %s: %s: %d VMs serve, at least %d must", s.VM(), s, n, floor)
				}
			}
		}
	})
}

func servingOf(d Desired, o Observed) int {
	n := 0
	for _, w := range d.VMs {
		if v := o.find(w.Name); v != nil && Up(d, w, *v) == "" {
			n++
		}
	}
	return n
}

// TestHalfwayFirst is law 4: while a VM is down because of us, no other one is begun.
func TestHalfwayFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		p := Compute(d, o, t0)
		begun := func(name string) bool {
			v := o.find(name)
			return v != nil && !v.Record.Started.IsZero()
		}
		if len(p.Waves) == 0 || !slices.ContainsFunc(o.VMs, func(v VM) bool { return begun(v.Name) }) {
			return
		}
		for _, r := range p.Waves[0].Rolls {
			if !begun(r.VM) {
				t.Fatalf("%s is begun while others are halfway", r.VM)
			}
		}
	})
}

// TestFailedLook is law 6: nothing follows from a look that failed, whatever it shows.
func TestFailedLook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		o.Problem = "datastore ssd-1 is not accessible"
		p := Compute(d, o, t0)
		if len(p.Waves) > 0 || len(p.Same) > 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != R15 {
			t.Fatalf("%+v", p)
		}
		whole := o
		whole.Problem = ""
		if q := Compute(d, whole, t0); len(q.Waves) > 0 && Check(q, o) == nil {
			t.Fatal("Check lets a plan act on a failed look")
		}
	})
}

// TestStrangersAreNotTouched is law 3: only the owner key counts, and other runs' claims are respected.
func TestStrangersAreNotTouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		alien := map[string]bool{}
		for i := range o.VMs {
			v := &o.VMs[i]
			switch rapid.SampledFrom([]string{"ours", "foreign", "other fleet", "claimed", "busy", "suspended"}).Draw(t, v.Name) {
			case "ours":
				continue
			case "foreign":
				v.Fleet, v.Record = "", Record{}
			case "other fleet":
				v.Fleet = "managers"
			case "claimed":
				v.Record.Owner, v.Record.Expires = other, t0.Add(time.Second)
			case "busy":
				v.Busy = []string{"a question is pending"}
			case "suspended":
				v.Power = Suspended
			}
			alien[v.Name] = true
		}
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Fatal(err)
		}
		for _, s := range flat(p) {
			if alien[s.VM()] {
				t.Fatalf("%s is not ours to touch: %s", s.VM(), s)
			}
		}
		for name := range alien {
			if !slices.ContainsFunc(p.Blocked, func(b Blocked) bool { return b.VM == name && b.Clear != "" }) {
				t.Fatalf("%s is skipped silently: %v", name, p.Blocked)
			}
		}
	})
}

// TestOneBucket: every wanted VM is in exactly one place of the first look: same, blocked, in a wave, or waiting
// behind the brake.
func TestOneBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		p, places := Compute(d, o, t0), map[string]int{}
		for _, name := range p.Same {
			places[name]++
		}
		for _, b := range p.Blocked {
			places[b.VM]++
		}
		rolled := map[string]bool{}
		for _, s := range flat(p) {
			rolled[s.VM()] = true
		}
		for name := range rolled {
			places[name]++
		}
		for _, w := range d.VMs {
			if places[w.Name] != 1 {
				t.Fatalf("%s is in %d places: %s", w.Name, places[w.Name], fmt.Sprintf("%+v", p))
			}
		}
	})
}

// TestAfterIsTotalAndPure: any step can be applied to any world, and the world it is applied to stays as it was.
func TestAfterIsTotalAndPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		all := append(flat(Compute(d, genWorld(t, d), t0)), Fail{Of("wrk-01"), "no"}, AwaitTask{Of("wrk-01"), "task-1"}, Release{base: Of("nobody")}, Unblock{base: Of("wrk-01")},
			InstallKey{Of("wrk-01"), certificate}, EnableSecureBoot{Of("wrk-01")}, Drain{base: Of("wrk-01")}, Restore{Of("wrk-01")}, Mark{Of("wrk-01"), t0},
			GrowDisk{Of("wrk-01"), DiskRecord{UUID: uuidOf(1, 0)}, 1 << 40}, Retire{base: Of("wrk-01"), To: "wrk-01-retired-20260301-1200", At: t0})
		s := rapid.SampledFrom(all).Draw(t, "step")
		before := o.Clone()
		once := o.After(s)
		if diff := cmp.Diff(before, o); diff != "" {
			t.Fatalf("After(%s) changed its input:\n%s", s, diff)
		}
		if diff := cmp.Diff(once, once.After(s)); diff != "" {
			t.Fatalf("After(%s) twice is not After once:\n%s", s, diff)
		}
	})
}
