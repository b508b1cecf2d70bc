package plan

import (
	"fmt"
	"slices"
	"time"
)

// parallel bounds how many VMs are created, started or finished in one wave. None of these takes a serving VM away,
// so max_unavailable says nothing about them; the bound spares hosts and datastores a boot storm.
const parallel = 4

// Compute decides what is to be done, as waves in order. The engine runs the first wave and looks again; the later
// ones are what follows if every step does what After says. It never fails: what cannot be done is Blocked, what must
// wait is in Later.
//
// Within a wave the order is by ordinal. Between waves: rolls back, then claims to give back, then what is halfway,
// then notes, then VMs that are off, then missing VMs, then VMs that are on and do not serve, then VMs that serve and are
// not as wanted (first those on the wanted image, then those on another), then VMs that are not wanted any more. VMs that serve are held to max_unavailable, with everything that
// does not serve counted first, missing VMs and VMs claimed by others included.
func Compute(want Desired, have Observed, now time.Time) Plan {
	p := Plan{Fleet: want.Fleet, Claimer: want.Claimer, MaxUnavailable: max(1, want.Rollout.MaxUnavailable), MaxFailed: max(1, want.Rollout.MaxFailed), Surge: surge(want), Want: &want, Now: now}
	if have.Problem != "" {
		p.Blocked = []Blocked{have.Failed()}
		return p
	}
	p.Extra, p.Retired = extra(want, have), retired(want, have)
	if p.Blocked = stopped(want, have); len(p.Blocked) > 0 {
		return p
	}
	model := have.Clone()
	f := fleet{want: want, have: &model, now: now, limit: p.MaxUnavailable}
	f.look()
	if p.Blocked = failures(want, have, now); len(p.Blocked) >= p.MaxFailed {
		f.still = true
	} else {
		p.Blocked, p.Same = f.sorted()
	}
	for len(p.Waves) <= 4*(len(want.VMs)+len(p.Extra)) {
		wave := f.next()
		if want.Rollout.Strategy == BlueGreen {
			wave = surging(want, model, wave, now)
		}
		if len(wave.Rolls) == 0 {
			break
		}
		p.Waves = append(p.Waves, wave)
		for _, r := range wave.Rolls {
			for _, s := range r.Steps {
				model.apply(s)
			}
		}
		f.relook(wave)
	}
	later, blocked := f.left()
	p.Later, p.Blocked = later, append(blocked, p.Blocked...)
	return p
}

// stopped returns what allows no step at all: nothing wanted, or a pause.
func stopped(want Desired, have Observed) []Blocked {
	if len(want.VMs) == 0 {
		return []Blocked{{Code: R14, Reason: fmt.Sprintf("fleet %s wants no VM at all", want.Fleet),
			Clear: "give the fleet a size, or remove its block: its VMs stay as they are"}}
	}
	var out []Blocked
	paused := func(v VM) bool { return inUse(want, v) && v.Record.Paused }
	if !slices.ContainsFunc(have.VMs, paused) {
		return nil
	}
	for _, v := range have.VMs {
		if inUse(want, v) && v.Record.Failed != "" {
			out = append(out, failure(want, v))
		}
		if paused(v) {
			out = append(out, Blocked{VM: v.Name, Code: R13, Reason: "the fleet is paused", Clear: "lkv resume --fleet " + want.Fleet})
		}
	}
	return out
}

// extra names VMs of the fleet that are not wanted.
func extra(want Desired, have Observed) []string {
	wanted := map[string]bool{}
	for _, w := range want.VMs {
		wanted[w.Name] = true
	}
	var out []string
	for _, v := range have.VMs {
		if inUse(want, v) && v.Record.Replaces == "" && !wanted[v.Name] {
			out = append(out, v.Name)
		}
	}
	slices.Sort(out)
	return out
}

// retired names VMs of the fleet that wait for lkv gc.
func retired(want Desired, have Observed) []string {
	var out []string
	for _, v := range have.VMs {
		if v.Fleet == want.Fleet && !v.Record.Retired.IsZero() {
			out = append(out, v.Name)
		}
	}
	slices.Sort(out)
	return out
}
