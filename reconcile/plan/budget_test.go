package plan

import (
	"fmt"
	"github.com/google/go-cmp/cmp"
	"testing"
	"time"
)

// TestBudget: how many VMs that serve are rolled at the same time, with everything that does not serve counted first.
// Five VMs on the old image, max_unavailable 1.
func TestBudget(t *testing.T) {
	allow := func(n int) func(*Desired, *Observed) {
		return func(d *Desired, _ *Observed) { d.Rollout.MaxUnavailable = n }
	}
	with := func(n int, spoil func(v *VM), numbers ...int) func(*Desired, *Observed) {
		return func(d *Desired, o *Observed) {
			d.Rollout.MaxUnavailable = n
			each(o, spoil, numbers...)
		}
	}
	tell(t, fleetWith(5, oldDigest), []tale{
		{"one at a time", nil, "roll 01 > roll 02 > roll 03 > roll 04 > roll 05"},
		{"none is one, or nothing would ever be rolled", allow(0), "roll 01 > roll 02 > roll 03 > roll 04 > roll 05"},
		{"less than none is one", allow(-3), "roll 01 > roll 02 > roll 03 > roll 04 > roll 05"},
		{"two at a time, and the last alone", allow(2), "roll 01 + roll 02 > roll 03 + roll 04 > roll 05"},
		{"all but one", allow(4), "roll 01 + roll 02 + roll 03 + roll 04 > roll 05"},
		{"all: more than are started at once", allow(5), "roll 01 + roll 02 + roll 03 + roll 04 + roll 05"},
		{"more than there are", allow(50), "roll 01 + roll 02 + roll 03 + roll 04 + roll 05"},
		{"one is off: it first, then the rest", with(1, powerOff, 3), "roll 03 > roll 01 > roll 02 > roll 04 > roll 05"},
		{"one is silent: it first", with(1, silence, 2), "roll 02 > roll 01 > roll 03 > roll 04 > roll 05"},
		{"two may be silent: both first", with(2, silence, 4, 5), "roll 04 + roll 05 > roll 01 + roll 02 > roll 03"},
		{"one refused that serves costs nothing", with(1, snapshot, 2), "roll 01 > roll 03 > roll 04 > roll 05 | R05 02"},
		{"one refused that is silent costs all there is", func(_ *Desired, o *Observed) {
			each(o, snapshot, 2)
			each(o, silence, 2)
		}, "R12 | R05 02"},
		{"and half of two", func(d *Desired, o *Observed) {
			d.Rollout.MaxUnavailable = 2
			each(o, snapshot, 2)
			each(o, silence, 2)
		}, "roll 01 > roll 03 > roll 04 > roll 05 | R05 02"},
		{"another run has one: nothing is left of one", with(1, heldBy(other), 1), "R16 01 | later 02 | later 03 | later 04 | later 05"},
		{"another run has one, a third is silent: nothing comes of waiting", func(_ *Desired, o *Observed) {
			each(o, heldBy(other), 1)
			each(o, snapshot, 3)
			each(o, silence, 3)
		}, "R12 | R16 01 | R05 03"},
		{"another run has one of two, a third is silent: there will be room", func(d *Desired, o *Observed) {
			d.Rollout.MaxUnavailable = 2
			each(o, heldBy(other), 1)
			each(o, snapshot, 3)
			each(o, silence, 3)
		}, "R16 01 | R05 03 | later 02 | later 04 | later 05"},
		{"another run has one, and one is off: it is started all the same", func(_ *Desired, o *Observed) {
			each(o, heldBy(other), 1)
			each(o, powerOff, 3)
		}, "roll 03 | R16 01 | later 02 | later 04 | later 05"},
		{"another run has one, a second is ill for long enough: it waits for that run", func(d *Desired, o *Observed) {
			d.Rollout.Heal, d.Rollout.NoBrake = time.Minute, true
			each(o, heldBy(other), 1)
			each(o, silence, 3)
			each(o, illSince(time.Hour), 3)
		}, "R16 01 | later 02 | later 03 | later 04 | later 05"},
		{"another run has one, and two more are ill than there is room for", func(d *Desired, o *Observed) {
			d.Rollout.Heal, d.Rollout.NoBrake = time.Minute, true
			each(o, heldBy(other), 1)
			each(o, silence, 3, 4)
			each(o, illSince(time.Hour), 3, 4)
		}, "R12 | R16 01"},
		{"one fell ill a minute ago: the others wait for its power cycle", func(d *Desired, o *Observed) {
			d.Rollout.Heal = 10 * time.Minute
			each(o, renewed, 3)
			each(o, silence, 3)
			each(o, illSince(time.Minute), 3)
		}, "later 01 | later 02 | later 03 | later 04 | later 05"},
		{"another run has one of two", with(2, heldBy(other), 1), "roll 02 > roll 03 > roll 04 > roll 05 | R16 01"},
		{"we have one: it is finished first", with(1, heldBy(me), 3), "finish 03 > roll 01 > roll 02 > roll 04 > roll 05"},
		{"a dead run had claimed one", with(1, abandoned, 3), "finish 03 > roll 01 > roll 02 > roll 04 > roll 05"},
		{"dead runs had claimed two, for one there is room", with(1, abandoned, 2, 4), "release 04 > finish 02 > roll 01 > roll 03 > roll 04 > roll 05"},
		{"dead runs had claimed three, for two there is room", with(2, abandoned, 1, 2, 5), "release 05 > finish 01 + finish 02 > roll 03 + roll 04 > roll 05"},
		{"one was claimed, another is silent", func(_ *Desired, o *Observed) {
			each(o, abandoned, 1)
			each(o, silence, 2)
		}, "release 01 > roll 02 > roll 01 > roll 03 > roll 04 > roll 05"},
		{"what was taken down is finished whatever the budget", func(d *Desired, o *Observed) {
			each(o, abandoned, 1, 2, 3)
			each(o, powerOff, 1, 2, 3)
		}, "finish 01 + finish 02 + finish 03 > roll 04 > roll 05"},
		{"a file of a VM that is gone: it is made again first", func(_ *Desired, o *Observed) { vanish(o, 4) },
			"create 04 > roll 01 > roll 02 > roll 03 > roll 05"},
		{"its name has a stranger: it counts as not serving", func(_ *Desired, o *Observed) { o.VMs[0].Fleet = "" }, "R12 | R22 01"},
	})
}

// TestWhyOthersWait: what an operator reads when there is no room: how many wait, and the first VM that does not serve.
func TestWhyOthersWait(t *testing.T) {
	d, o := fleetWith(6, oldDigest)()
	each(&o, snapshot, 2, 5)
	each(&o, silence, 2, 5)
	b := refusalOf(t, Compute(d, o, t0), "")
	if b.Reason != "4 VMs wait: 2 of 6 do not serve (wrk-02: guest tools do not run), max_unavailable is 1" || b.Code != R12 ||
		b.Clear != "bring the VMs back that do not serve, or raise max_unavailable" {
		t.Error(b.Error())
	}
}

// TestWaitingForSomebodyElse: VMs that have no room only because of another run, or of one that is about to be power
// cycled, wait for exactly that, and nobody is told to raise max_unavailable.
func TestWaitingForSomebodyElse(t *testing.T) {
	d, o := fleetWith(3, oldDigest)()
	each(&o, heldBy(other), 1)
	want := []Later{{VM: "wrk-02", Reason: "another run (lkv@there) is at wrk-01"}, {VM: "wrk-03", Reason: "another run (lkv@there) is at wrk-01"}}
	if diff := cmp.Diff(want, Compute(d, o, t0).Later); diff != "" {
		t.Error(diff)
	}
	d, o = fleetWith(2, oldDigest)()
	d.Rollout.Heal = 10 * time.Minute
	each(&o, renewed, 2)
	each(&o, silence, 2)
	each(&o, illSince(4*time.Minute), 2)
	l := Compute(d, o, t0).Later
	if len(l) != 2 || l[0].Reason != "wrk-02 does not serve, and is power cycled when it has not served for 10m0s" || l[0].Until != t0.Add(6*time.Minute) || l[0].Until != l[1].Until {
		t.Errorf("%+v", l)
	}
}

// TestBudgetIsKeptThroughout: whatever max_unavailable, no wave of a healthy fleet takes more down at once, all VMs get
// the image, and none of the room is left unused.
func TestBudgetIsKeptThroughout(t *testing.T) {
	for size := 1; size <= 7; size++ {
		for most := 1; most <= size+1; most++ {
			d, o := fleetWith(size, oldDigest)()
			d.Rollout.MaxUnavailable = most
			p := Compute(d, o, t0)
			rolled := 0
			for i, w := range p.Waves {
				if len(w.Rolls) > most || len(w.Rolls) < most && i < len(p.Waves)-1 {
					t.Errorf("%d of %d: wave %d has %d", most, size, i+1, len(w.Rolls))
				}
				rolled += len(w.Rolls)
			}
			if rolled != size || len(p.Waves) != (size+most-1)/most {
				t.Errorf("%d of %d: %s", most, size, outline(p))
			}
		}
	}
}

// TestStages: what comes before what, told pair by pair. Four VMs on the new image; a person has said that they may be
// brought back.
func TestStages(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(4, newDigest)()
		d.Rollout.NoBrake, d.Rollout.MaxFailed, d.Rollout.OnFailure, d.Rollout.Heal = true, 2, "rollback", 10*time.Minute
		return d, o
	}
	back := func(o *Observed, n int) { each(o, failedRoll, n) }
	ill := func(o *Observed, n int) {
		each(o, silence, n)
		each(o, func(v *VM) { v.Record.Ill = t0.Add(-time.Hour) }, n)
	}
	do := func(f ...func(*Observed)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) {
			for _, x := range f {
				x(o)
			}
		}
	}
	at := func(f func(v *VM), n int) func(*Observed) { return func(o *Observed) { each(o, f, n) } }
	tell(t, start, []tale{
		{"rolls back come before what is halfway", do(func(o *Observed) { back(o, 4) }, at(abandoned, 1), at(powerOff, 1)), "rollback 04 > finish 01"},
		{"what is given back comes before what is finished", do(at(abandoned, 1), at(smaller, 1), at(abandoned, 2), at(smaller, 2)), "release 02 > finish 01 > roll 02"},
		{"what is halfway comes before notes", do(at(abandoned, 4), at(silence, 1)), "finish 04 > note 01 | later 01"},
		{"notes come before what is off", do(at(powerOff, 1), at(silence, 4)), "note 04 > start 01 | later 04"},
		{"what is off comes before what is missing", do(at(powerOff, 4), func(o *Observed) { vanish(o, 1) }), "start 04 > create 01"},
		{"what is missing comes before what is silent", do(func(o *Observed) { ill(o, 1); vanish(o, 4) }), "create 04 > heal 01"},
		{"what is silent comes before what serves", do(at(smaller, 1), func(o *Observed) { ill(o, 4) }), "heal 04 > roll 01"},
		{"another size comes before another image", do(at(outdate, 1), at(smaller, 4)), "roll 04 > roll 01"},
		{"an older boot comes before another image", func(d *Desired, o *Observed) {
			d.Rollout.MaxAge = time.Hour
			each(o, outdate, 1)
			each(o, func(v *VM) { v.Age = 2 * time.Hour }, 4)
		}, "reboot 04 > roll 01"},
		{"what is not wanted goes last", func(d *Desired, o *Observed) {
			d.VMs, d.Rollout.ScaleIn = d.VMs[1:], 1
			each(o, outdate, 3)
		}, "roll 03 > retire 01"},
		{"within a stage by ordinal, whatever the order in vCenter", func(_ *Desired, o *Observed) {
			o.VMs[0], o.VMs[3] = o.VMs[3], o.VMs[0]
			each(o, outdate, 1, 2, 3, 4)
		}, "roll 01 > roll 02 > roll 03 > roll 04"},
		{"within a stage by ordinal, whatever the order in the file", func(d *Desired, o *Observed) {
			d.VMs[0], d.VMs[2] = d.VMs[2], d.VMs[0]
			each(o, outdate, 1, 2, 3, 4)
		}, "roll 01 > roll 02 > roll 03 > roll 04"},
	})
}

// TestBootStorms: what is started, made, finished, put back or retired goes four at a time, so that hosts and datastores
// are spared; only what max_unavailable lets be down at once is finished in larger waves.
func TestBootStorms(t *testing.T) {
	sizes := func(p Plan) string {
		var out []int
		for _, w := range p.Waves {
			out = append(out, len(w.Rolls))
		}
		return fmt.Sprint(out)
	}
	for name, c := range map[string]struct {
		world func(d *Desired, o *Observed)
		waves string
	}{
		"made for the first time": {func(_ *Desired, o *Observed) { *o = Observed{} }, "[4 4 3]"},
		"started":                 {func(_ *Desired, o *Observed) { each(o, powerOff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) }, "[4 4 3]"},
		"put back":                {func(_ *Desired, o *Observed) { each(o, failedRoll, 1, 2, 3, 4, 5) }, "[4 1]"},
		"noted": {func(d *Desired, o *Observed) {
			d.Rollout.Heal = time.Hour
			each(o, silence, 1, 2, 3, 4, 5)
		}, "[4 1]"},
		"healed": {func(d *Desired, o *Observed) {
			d.Rollout.Heal, d.Rollout.MaxUnavailable = time.Minute, 6
			each(o, silence, 1, 2, 3, 4, 5, 6)
			each(o, func(v *VM) { v.Record.Ill = t0.Add(-time.Hour) }, 1, 2, 3, 4, 5, 6)
		}, "[4 2]"},
		"retired": {func(d *Desired, _ *Observed) { d.VMs, d.Rollout.ScaleIn = d.VMs[:2], 9 }, "[4 4 1]"},
		"finished": {func(_ *Desired, o *Observed) {
			each(o, abandoned, 1, 2, 3, 4, 5, 6)
			each(o, powerOff, 1, 2, 3, 4, 5, 6)
		}, "[4 2]"},
		"finished, six may be down": {func(d *Desired, o *Observed) {
			d.Rollout.MaxUnavailable = 6
			each(o, abandoned, 1, 2, 3, 4, 5, 6, 7)
			each(o, powerOff, 1, 2, 3, 4, 5, 6, 7)
		}, "[6 1]"},
	} {
		d, o := fleetWith(11, newDigest)()
		d.Rollout.NoBrake, d.Rollout.MaxFailed, d.Rollout.OnFailure = true, 9, "rollback"
		c.world(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := sizes(p); got != c.waves {
			t.Errorf("%s: %s, %s", name, got, outline(p))
		}
	}
}
