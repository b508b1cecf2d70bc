package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// tale is one small world and what an operator sees of its plan, in one line (see outline).
type tale struct {
	name  string
	world func(d *Desired, o *Observed)
	plan  string
}

// tell plans every tale, each in a world of its own, and holds every plan against Check.
func tell(t *testing.T, start func() (Desired, Observed), tales []tale) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range tales {
		if seen[c.name] {
			t.Errorf("two tales are called %q", c.name)
		}
		seen[c.name] = true
		d, o := start()
		if c.world != nil {
			c.world(&d, &o)
		}
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := outline(p); got != c.plan {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.plan)
		}
	}
}

// fleetWith is how most tales start: n VMs with a docker disk, all on that image.
func fleetWith(n int, digest string) func() (Desired, Observed) {
	return func() (Desired, Observed) {
		d := wish(n, "docker")
		return d, fleetOf(d, digest)
	}
}

// outline is a plan in one line: its waves ("roll 01 + roll 02 > roll 03"), then what is refused ("R12 04", without a
// number for the fleet) and what waits ("later 05"). VMs are called by their numbers, and what is as wanted is left out.
func outline(p Plan) string {
	waves := make([]string, len(p.Waves))
	for i, w := range p.Waves {
		rolls := make([]string, len(w.Rolls))
		for j, r := range w.Rolls {
			rolls[j] = string(r.Action) + " " + number(r.VM)
		}
		waves[i] = strings.Join(rolls, " + ")
	}
	parts := []string{strings.Join(waves, " > ")}
	for _, b := range p.Blocked {
		parts = append(parts, strings.TrimSpace(string(b.Code)+" "+number(b.VM)))
	}
	for _, l := range p.Later {
		parts = append(parts, "later "+number(l.VM))
	}
	return strings.Trim(strings.Join(parts, " | "), " |")
}

func number(vm string) string { return strings.TrimPrefix(vm, "wrk-") }

// doing names the steps that a plan has for a VM, in order.
func doing(p Plan, vm string) string {
	var out []string
	for _, s := range flat(p) {
		if s.VM() == vm {
			out = append(out, nameOf(s))
		}
	}
	return strings.Join(out, " ")
}

// stepFor returns the first step of that kind that a plan has for a VM.
func stepFor[S Step](t *testing.T, p Plan, vm string) S {
	t.Helper()
	for _, s := range flat(p) {
		if x, ok := s.(S); ok && s.VM() == vm {
			return x
		}
	}
	var none S
	t.Fatalf("no %T for %s: %s", none, vm, outline(p))
	return none
}

// refusalOf returns the refusal of a VM, or of the fleet.
func refusalOf(t *testing.T, p Plan, vm string) Blocked {
	t.Helper()
	i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.VM == vm })
	if i < 0 {
		t.Fatalf("%q is not refused: %s", vm, outline(p))
	}
	return p.Blocked[i]
}

// done is the world after so many of a plan's steps; all of them when n is negative.
func done(d Desired, o Observed, n int) Observed {
	all := flat(Compute(d, o, t0))
	if n >= 0 {
		all = all[:n]
	}
	for _, s := range all {
		o = o.After(s)
	}
	return o
}

// each does the same to VMs by their numbers.
func each(o *Observed, f func(v *VM), numbers ...int) {
	for _, n := range numbers {
		f(o.find(fmt.Sprintf("wrk-%02d", n)))
	}
}

// vanish takes VMs away, but leaves their disk files.
func vanish(o *Observed, numbers ...int) {
	o.VMs = slices.DeleteFunc(o.VMs, func(v VM) bool { return slices.Contains(numbers, v.Ordinal) })
}

func silence(v *VM)   { v.Guest = Guest{} }
func powerOff(v *VM)  { *v = off(*v) }
func smaller(v *VM)   { v.CPUs = 1 }
func snapshot(v *VM)  { v.Disks[0].Parent = true }
func renewed(v *VM)   { onImage(v, newDigest, newISO, "sha256:new") }
func outdate(v *VM)   { onImage(v, oldDigest, oldISO, "sha256:old") }
func drainedly(v *VM) { v.Record.Drained = true }

func onImage(v *VM, digest, iso, id string) {
	v.ISO, v.Record.Image, v.Record.ImageID, v.Record.Token = iso, digest, id, Token(digest, v.Record.Epoch)
	v.Guest.ImageID, v.Guest.Token = id, v.Record.Token
}

// abandoned is a VM that a run claimed before it died, a minute ago.
func abandoned(v *VM) {
	v.Record.Owner, v.Record.Started, v.Record.Expires = other, t0.Add(-time.Minute), t0.Add(-time.Second)
}

// heldBy is a VM that a run is working on.
func heldBy(owner string) func(v *VM) {
	return func(v *VM) {
		v.Record.Owner, v.Record.Started, v.Record.Expires = owner, t0.Add(-time.Minute), t0.Add(time.Minute)
	}
}

// rolledAgo is a VM whose gate passed that long ago.
func rolledAgo(ago time.Duration) func(v *VM) {
	return func(v *VM) { v.Record.Rolled = t0.Add(-ago) }
}
