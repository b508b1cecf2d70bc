package plan

import (
	"strings"
	"testing"
	"time"
)

// TestCanaryEdges: six VMs on the old image, two canaries, an hour to bake, three may be down at once. What a plan cannot
// know is said as waiting, until when if that is a matter of time.
func TestCanaryEdges(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(6, oldDigest)()
		d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 3, 2, time.Hour
		return d, o
	}
	passed := func(ago time.Duration, n ...int) func(*Observed) {
		return func(o *Observed) {
			each(o, renewed, n...)
			each(o, rolledAgo(ago), n...)
		}
	}
	in := func(f ...func(*Observed)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) {
			for _, x := range f {
				x(o)
			}
		}
	}
	at := func(f func(v *VM), n ...int) func(*Observed) { return func(o *Observed) { each(o, f, n...) } }
	const rest = " > roll 04 + roll 05 + roll 06"
	tell(t, start, []tale{
		{"one after the other, then they bake", nil, "roll 01 > roll 02 | later 03 | later 04 | later 05 | later 06"},
		{"one has it for long: the second alone", in(passed(9*time.Hour, 1)), "roll 02 | later 03 | later 04 | later 05 | later 06"},
		{"the second a nanosecond short", in(passed(9*time.Hour, 1), passed(time.Hour-1, 2)), "later 03 | later 04 | later 05 | later 06"},
		{"the second just long enough", in(passed(9*time.Hour, 1), passed(time.Hour, 2)), "roll 03 + roll 04 + roll 05 > roll 06"},
		{"the time of the youngest of the two that are oldest counts", in(passed(time.Minute, 1), passed(2*time.Hour, 2), passed(3*time.Hour, 3)), "roll 04 + roll 05 + roll 06"},
		{"the same, with the oldest found first", in(passed(3*time.Hour, 1), passed(2*time.Hour, 2), passed(time.Minute, 3)), "roll 04 + roll 05 + roll 06"},
		{"three, of which one has baked", in(passed(3*time.Hour, 1), passed(time.Minute, 2, 3)), "later 04 | later 05 | later 06"},
		{"no canaries", func(d *Desired, _ *Observed) { d.Rollout.Canaries = 0 }, "roll 01 + roll 02 + roll 03" + rest},
		{"fewer than none", func(d *Desired, _ *Observed) { d.Rollout.Canaries = -1 }, "roll 01 + roll 02 + roll 03" + rest},
		{"one canary", func(d *Desired, _ *Observed) { d.Rollout.Canaries = 1 }, "roll 01 | later 02 | later 03 | later 04 | later 05 | later 06"},
		{"canaries without a time to bake: one by one, then all", func(d *Desired, _ *Observed) { d.Rollout.Bake = 0 }, "roll 01 > roll 02 > roll 03 + roll 04 + roll 05 > roll 06"},
		{"as many canaries as VMs: all one by one", func(d *Desired, _ *Observed) { d.Rollout.Canaries = 6 }, "roll 01 > roll 02 > roll 03 > roll 04 > roll 05 > roll 06"},
		{"more canaries than VMs", func(d *Desired, _ *Observed) { d.Rollout.Canaries = 60 }, "roll 01 > roll 02 > roll 03 > roll 04 > roll 05 > roll 06"},
		{"a canary that is off holds the rest up until it is back", in(passed(3*time.Hour, 1), at(powerOff, 1)), "start 01 > roll 02 | later 03 | later 04 | later 05 | later 06"},
		{"a canary that is silent holds the rest up", in(passed(3*time.Hour, 1), at(silence, 1)), "R12 01 | later 02 | later 03 | later 04 | later 05 | later 06"},
		{"a silent VM on the old image holds nobody up", in(passed(3*time.Hour, 1, 2), at(silence, 6)), "roll 06 > roll 03 + roll 04 + roll 05"},
		{"one that got the image and never passed is no canary", in(at(renewed, 1, 2, 3)), "roll 04 > roll 05 | later 06"},
		{"one that another run holds does not serve for now", in(passed(2*time.Hour, 1, 2), at(heldBy(other), 2)), "R16 02 | later 03 | later 04 | later 05 | later 06"},
		{"one that another run rolls may be the next canary", in(passed(2*time.Hour, 1), at(heldBy(other), 5)), "R16 05 | later 02 | later 03 | later 04 | later 06"},
		{"one that another run has at hand when canaries have baked holds nobody up", in(passed(2*time.Hour, 1, 2), at(heldBy(other), 5)), "roll 03 + roll 04 > roll 06 | R16 05"},
		{"a canary that is not wanted any more is none", func(d *Desired, o *Observed) {
			passed(2*time.Hour, 6, 5)(o)
			d.VMs, d.Rollout.ScaleIn = d.VMs[:5], 1
		}, "roll 01 | later 02 | later 03 | later 04 | later 06"},
		{"a VM that is made with the image is a canary when its gate has passed", func(_ *Desired, o *Observed) { vanish(o, 6) },
			"create 06 > roll 01 | later 02 | later 03 | later 04 | later 05"},
		{"a size waits for no canary", func(d *Desired, o *Observed) {
			passed(time.Minute, 1, 2)(o)
			each(o, smaller, 1, 2)
		}, "roll 01 + roll 02 | later 03 | later 04 | later 05 | later 06"},
		{"what is halfway to the image is finished, canary or not", in(passed(time.Minute, 1, 2), at(abandoned, 5), at(powerOff, 5)), "finish 05 | later 03 | later 04 | later 06"},
		{"no room is left by VMs that do not serve", func(d *Desired, o *Observed) {
			d.Rollout.MaxUnavailable = 1
			each(o, snapshot, 6)
			each(o, silence, 6)
		}, "R12 | R05 06"},
	})
}

// TestCanarySaysUntilWhen: the wait ends when the last of the canaries that are needed has baked, and a canary that is
// ill is named instead of a time.
func TestCanarySaysUntilWhen(t *testing.T) {
	for name, c := range map[string]struct {
		canaries int
		ago      []time.Duration // of wrk-01 on, since their gates passed
		sick     int
		until    time.Time
		says     string
	}{
		"one bakes":                   {1, []time.Duration{20 * time.Minute}, 0, t0.Add(40 * time.Minute), "the new image bakes on 1 VMs first, for 1h0m0s"},
		"two bake":                    {2, []time.Duration{50 * time.Minute, 20 * time.Minute}, 0, t0.Add(40 * time.Minute), "bakes on 2 VMs"},
		"two of three are needed":     {2, []time.Duration{10 * time.Minute, 50 * time.Minute, 20 * time.Minute}, 0, t0.Add(40 * time.Minute), "bakes on 2 VMs"},
		"one bakes, and one fell ill": {1, []time.Duration{20 * time.Minute, 50 * time.Minute}, 2, time.Time{}, "canary wrk-02 does not serve"},
	} {
		d, o := fleetWith(5, oldDigest)()
		d.Rollout.MaxUnavailable, d.Rollout.Canaries, d.Rollout.Bake = 2, c.canaries, time.Hour
		for i, ago := range c.ago {
			each(&o, renewed, i+1)
			each(&o, rolledAgo(ago), i+1)
		}
		if c.sick > 0 {
			each(&o, silence, c.sick)
		}
		p := Compute(d, o, t0)
		if len(p.Later) == 0 {
			t.Errorf("%s: nobody waits: %s", name, outline(p))
		}
		for _, l := range p.Later {
			if !strings.Contains(l.Reason, c.says) || !l.Until.Equal(c.until) {
				t.Errorf("%s: %+v", name, l)
			}
		}
	}
}
