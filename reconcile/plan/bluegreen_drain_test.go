package plan

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// pairAt is a blue-green fleet of two with a drain, in which a run died right after a step of the first replacement.
func pairAt(t *testing.T, disk string, last Step) (Desired, Observed) {
	t.Helper()
	d := bluegreen(wish(2, "docker"), disk)
	d.Rollout.Drain = true
	o := rolledBefore(fleetOf(d, oldDigest))
	o = until(t, o, flat(Compute(d, o, t0)), last)
	o.find("wrk-01-green").ID = "id-green"
	return d, o
}

// kindsOf is what is done to the first VM and its green one, without claims.
func kindsOf(p Plan) string {
	var out []string
	for _, s := range byRoll(p)["wrk-01"] {
		if _, ok := s.(Claim); ok {
			continue
		}
		who := ""
		if strings.HasSuffix(s.VM(), "-green") {
			who = "green "
		}
		out = append(out, who+nameOf(s))
	}
	return strings.Join(out, ", ")
}

// TestGreenIsDrainedLikeAnyMember: a green VM that has to go down again may have work already, whatever it goes down for.
// It is drained first, and takes work again before the VM is drained that it replaces.
func TestGreenIsDrainedLikeAnyMember(t *testing.T) {
	g, b := Of("wrk-01-green"), Of("wrk-01")
	larger := func(d *Desired, _ *Observed) { d.VMs[0].CPUs = 8 }
	newer := func(d *Desired, _ *Observed) {
		d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
	}
	const leaves = ", drain, shutdown, retire, green rename, release"
	for _, c := range []struct {
		name, disk string
		last       Step
		then       func(d *Desired, o *Observed)
		does       string
	}{
		{"more CPUs when it serves", Fresh, AwaitReady{base: g}, larger, "green drain, green shutdown, green resize, green poweron, green awaitready, green restore" + leaves},
		{"more memory when it serves", Fresh, AwaitReady{base: g}, func(d *Desired, _ *Observed) { d.VMs[0].MemoryMiB = 8192 }, "green drain, green shutdown, green resize, green poweron, green awaitready, green restore" + leaves},
		{"a larger disk when it serves", Fresh, AwaitReady{base: g}, func(d *Desired, _ *Observed) { d.VMs[0].Disks[0].Bytes = 20 << 30 }, "green drain, green shutdown, green growdisk, green poweron, green awaitready, green restore" + leaves},
		{"another image when it serves", Fresh, AwaitReady{base: g}, newer, "green drain, green shutdown, green insertiso, green poweron, green awaitready, green restore" + leaves},
		{"more CPUs before it serves", Fresh, PowerOn{g}, larger, "green drain, green shutdown, green resize, green poweron, green awaitready, green restore" + leaves},
		{"more CPUs before it was ever on", Fresh, CreateVM{base: g}, larger, "green attachdisk, green resize, green poweron, green awaitready" + leaves},
		{"more CPUs when blue is drained", Fresh, Drain{base: b}, larger, "green drain, green shutdown, green resize, green poweron, green awaitready, green restore, shutdown, retire, green rename, release"},
		{"more CPUs when blue is off", Fresh, Shutdown{base: b}, larger, "green drain, green shutdown, green resize, green poweron, green awaitready, green restore, retire, green rename, release"},
		{"more CPUs when blue is retired", Fresh, Retire{base: b}, larger, "green drain, green shutdown, green resize, green poweron, green awaitready, green restore, green rename, release"},
		{"no drain any more", Fresh, AwaitReady{base: g}, func(d *Desired, o *Observed) { larger(d, o); d.Rollout.Drain = false }, "green shutdown, green resize, green poweron, green awaitready, shutdown, retire, green rename, release"},
		{"a node that was handed over is drained already", HandOver, AwaitReady{base: g}, larger, "green shutdown, green resize, green poweron, green awaitready, retire, green rename, restore, release"},
		{"a node that was handed over, and blue is retired", HandOver, Retire{base: b}, larger, "green shutdown, green resize, green poweron, green awaitready, green rename, restore, release"},
		{"a node that took work before the drain was there", HandOver, Retire{base: b}, func(d *Desired, o *Observed) { larger(d, o); o.find("wrk-01-green").Record.Drained = false },
			"green drain, green shutdown, green resize, green poweron, green awaitready, green rename, restore, release"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, o := pairAt(t, c.disk, c.last)
			c.then(&d, &o)
			start, p := o, Compute(d, o, t0)
			if got := kindsOf(p); got != c.does {
				t.Errorf("it does\n%s\nnot\n%s", got, c.does)
			}
			wholeWay(t, d, start)
		})
	}
}

// wholeWay goes on from a world as runs do that die after every single step: what is left is always the rest, Check
// passes it, every disk can be found, and in the end nobody is left drained or claimed.
func wholeWay(t *testing.T, d Desired, o Observed) {
	t.Helper()
	start, all := o, flat(Compute(d, o, t0))
	for i := range len(all) + 1 {
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Fatalf("after %d of %d steps: %v", i, len(all), err)
		}
		if diff := gocmp.Diff(all[i:], flat(p), steps, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("after %d of %d steps (-rest +computed):\n%s", i, len(all), diff)
		}
		if why := lost(start, o); why != "" {
			t.Fatalf("after %d of %d steps: %s", i, len(all), why)
		}
		if i < len(all) {
			o = o.After(all[i])
		}
	}
	for _, v := range o.VMs {
		if v.Record.Drained || v.Record.Owner != "" || !v.Record.Started.IsZero() {
			t.Errorf("left behind: %s %+v", v.Name, v.Record)
		}
	}
}

// TestPairsUnderAChangedWish: a run dies anywhere, and somebody edits the spec before the next one. What is left is the
// rest after every step, Check passes it, no disk is lost, as many VMs serve as must, and no node is left drained.
func TestPairsUnderAChangedWish(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		world := genPairWorld(t, d)
		o, _ := genCut(t, Compute(d, world, t0), world, func(Observed, Roll, Step) {})
		for i := range o.VMs {
			o.VMs[i].ID = cmp.Or(o.VMs[i].ID, "id-new-"+o.VMs[i].Name)
		}
		edited(t, &d)
		start, first := o, Compute(d, o, t0)
		all, left := flat(first), byRoll(first)
		floor := min(servingPairs(d, o), len(d.VMs)-d.Rollout.MaxUnavailable)
		empty := cmpopts.IgnoreMapEntries(func(_ string, s []Step) bool { return len(s) == 0 })
		for i := range len(all) + 1 {
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Fatalf("after %d of %d steps: %v", i, len(all), err)
			}
			if diff := gocmp.Diff(left, byRoll(p), steps, cmpopts.EquateEmpty(), empty); diff != "" { // which roll goes on first may change
				t.Fatalf("after %d of %d steps, the last %v (-rest +computed):\n%s", i, len(all), all[max(0, i-1)], diff)
			}
			if why := lost(start, o); why != "" {
				t.Fatalf("after %d of %d steps: %s", i, len(all), why)
			}
			if n := servingPairs(d, o); n < floor {
				t.Fatalf("after %d of %d steps %v: %d VMs serve, at least %d must (A1)", i, len(all), all[max(0, i-1)], n, floor)
			}
			if len(p.Waves) == 0 {
				break
			}
			r := p.Waves[0].Rolls[0]
			o, left[r.VM] = o.After(r.Steps[0]), left[r.VM][1:]
		}
		for _, v := range o.VMs {
			if v.Record.Drained && v.Record.Retired.IsZero() && v.Record.Owner == me {
				t.Fatalf("%s is left drained: %+v", v.Name, Compute(d, o, t0))
			}
		}
	})
}

// edited changes what is wanted of a fleet, as somebody does in the middle of a rollout.
func edited(t *rapid.T, d *Desired) {
	for i := range d.VMs {
		if rapid.IntRange(0, 2).Draw(t, d.VMs[i].Name+" gets more CPUs") == 0 {
			d.VMs[i].CPUs = 8
		}
	}
	if len(d.VMs[0].Disks) > 0 && rapid.Bool().Draw(t, "its disk grows") {
		d.VMs[0].Disks[0].Bytes *= 2
	}
	if rapid.IntRange(0, 3).Draw(t, "a newer image") == 0 {
		d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
	}
	r := &d.Rollout
	r.Drain = rapid.Bool().Draw(t, "drains now")
	r.Disk = rapid.SampledFrom([]string{HandOver, Fresh}).Draw(t, "disk now")
	r.MaxUnavailable = rapid.IntRange(1, 3).Draw(t, "max_unavailable now")
}

// TestGreenThatServesAloneNeedsRoom: when the VM before it does not serve any more, a green VM that goes down takes its
// place's service away: max_unavailable holds for it too (A1).
func TestGreenThatServesAloneNeedsRoom(t *testing.T) {
	g, b := Of("wrk-01-green"), Of("wrk-01")
	for _, c := range []struct {
		name  string
		disk  string
		last  Step
		waits bool
	}{
		{"blue serves too", Fresh, AwaitReady{base: g}, false},
		{"blue is off", Fresh, Shutdown{base: b}, true},
		{"blue is retired", Fresh, Retire{base: b}, true},
		{"blue was handed over", HandOver, AwaitReady{base: g}, true},
		{"green stays on", HandOver, Disown{base: b}, false},
		{"green serves and stays on", Fresh, Retire{base: b}, false},
	} {
		d, o := pairAt(t, c.disk, c.last)
		if !strings.Contains(c.name, "stays on") {
			d.VMs[0].CPUs = 8
		}
		legal := Compute(d, o, t0)
		down := slices.IndexFunc(o.VMs, func(v VM) bool { return v.Name == "wrk-02" })
		mute(&o, 0, down)
		asking(&o.VMs[down])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if waits := kindsOf(p) == ""; waits != c.waits {
			t.Errorf("%s: it does %q", c.name, kindsOf(p))
		}
		held := slices.ContainsFunc(p.Blocked, func(b Blocked) bool { return b.Code == R12 && strings.Contains(b.Reason, "max_unavailable is 1") })
		if held != c.waits {
			t.Errorf("%s: it says %v", c.name, p.Blocked)
		}
		const says = "check wave 1: 1 VMs do not serve and 1 more would be shut down, max_unavailable is 1 (A1)"
		if err := Check(legal, o); c.waits && (err == nil || err.Error() != says) {
			t.Errorf("%s: of the plan before Check says %v", c.name, err)
		}
	}
}

// TestNodeIsRestoredWhoeverDrainedIt: a hand-over keeps the node. Whatever the record of its VM before said about a
// drain, the VM after it takes work again in the end.
func TestNodeIsRestoredWhoeverDrainedIt(t *testing.T) {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	born := func(drain bool, last Step) (Desired, Observed) {
		d := bluegreen(wish(1, "docker"), HandOver)
		d.Rollout.Drain = drain
		o := rolledBefore(fleetOf(d, oldDigest))
		o = until(t, o, flat(Compute(d, o, t0)), last)
		o.find("wrk-01-green").ID = "id-green"
		return d, o
	}
	for _, c := range []struct {
		name  string
		world func() (Desired, Observed)
		does  string // from the green VM's gate on
	}{
		{"the fleet got a drain after green was made", func() (Desired, Observed) {
			d, o := born(false, CreateVM{base: g})
			d.Rollout.Drain = true
			return d, o
		}, "green awaitready, green drain, retire, green rename, restore, release"},
		{"the fleet got a drain when blue was off", func() (Desired, Observed) {
			d, o := born(false, Shutdown{base: n})
			d.Rollout.Drain = true
			return d, o
		}, "green awaitready, retire, green rename, release"},
		{"blue was drained by a run that died, and the fleet has none any more", func() (Desired, Observed) {
			d := bluegreen(wish(1, "docker"), HandOver)
			o := rolledBefore(fleetOf(d, oldDigest))
			o.VMs[0].Record.Drained = true
			return d, o
		}, "green awaitready, retire, green rename, restore, release"},
		{"the fleet has no drain any more", func() (Desired, Observed) {
			d, o := born(true, Drain{base: n})
			d.Rollout.Drain = false
			return d, o
		}, "green awaitready, retire, green rename, restore, release"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, o := c.world()
			got := kindsOf(Compute(d, o, t0))
			if _, rest, _ := strings.Cut(got, "green poweron, "); rest != c.does {
				t.Errorf("it does %s", got)
			}
			wholeWay(t, d, o)
		})
	}
}

// TestCheckAsksForTheNodesRestore: Check lets no VM retire whose node lives on drained, with nobody's record saying so.
func TestCheckAsksForTheNodesRestore(t *testing.T) {
	d, o := pairAt(t, HandOver, AwaitReady{base: Of("wrk-01-green")})
	p := Compute(d, o, t0)
	if err := Check(p, o); err != nil {
		t.Fatal(err)
	}
	o.find("wrk-01-green").Record.Drained = false
	const says = `check wave 1: wrk-01: step "retire as wrk-01-retired-20260301-1200, disks kept": its node lives on with wrk-01-green and would be left drained (A8)`
	if err := Check(p, o); err == nil || err.Error() != says {
		t.Errorf("Check says %v", err)
	}
	d, o = pairAt(t, Fresh, Shutdown{base: Of("wrk-01")})
	if err := Check(Compute(d, o, t0.Add(time.Second)), o); err != nil {
		t.Errorf("a node with blank disks is another one: %v", err)
	}
}
