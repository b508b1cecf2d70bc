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
// not as wanted (first those on the wanted image, then those on another), then VMs that are not wanted any more. VMs that
// serve are held to max_unavailable, with everything that does not serve counted first, missing VMs and VMs claimed by
// others included.
func Compute(want Desired, have Observed, now time.Time) Plan {
	p := Plan{Fleet: want.Fleet, Claimer: want.Claimer, MaxUnavailable: max(1, want.Rollout.MaxUnavailable), MaxFailed: max(1, want.Rollout.MaxFailed), Surge: surge(want), Want: &want, Now: now}
	if have.Problem != "" {
		p.Blocked = []Blocked{have.Failed()}
		return p
	}
	p.Extra, p.Retired = extra(want, have), retired(want, have)
	model := have.Clone()
	f := fleet{want: want, have: &model, now: now, limit: p.MaxUnavailable, planned: map[string]bool{}}
	f.look()
	blocked, done := f.sorted()
	p.Same = done
	if p.Blocked = stopped(want, have); len(p.Blocked) > 0 {
		return p
	}
	if p.Blocked = failures(want, have, now); len(p.Blocked) >= p.MaxFailed {
		f.still = true
	} else {
		p.Blocked = blocked
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
			f.planned[r.VM] = true
			for _, s := range r.Steps {
				model.apply(s)
			}
		}
		f.relook(wave)
	}
	later, held := f.left()
	p.Later, p.Blocked = later, append(held, p.Blocked...)
	return p
}

// stopped returns what allows no step at all: nothing wanted, or a pause.
func stopped(want Desired, have Observed) []Blocked {
	if len(want.VMs) == 0 {
		return []Blocked{{Code: R14, Reason: fmt.Sprintf("fleet %s wants no VM at all", want.Fleet),
			Clear: "give the fleet a size, or remove its block: its VMs stay as they are"}}
	}
	var out []Blocked
	paused, all := 0, 0
	for _, v := range have.VMs {
		if !inUse(want, v) {
			continue
		}
		if all++; v.Record.Paused {
			paused++
		}
		if v.Record.Failed != "" {
			out = append(out, failure(want, v))
		}
	}
	if paused == 0 {
		return nil
	}
	return append(out, Blocked{Code: R13, Reason: fmt.Sprintf("the fleet is paused (noted on %d of its %d VMs)", paused, all),
		Clear: "lkv resume --fleet " + want.Fleet})
}

// extra names VMs of the fleet that are not wanted. One that only lost its name is none: its place waits for it (R22).
func extra(want Desired, have Observed) []string {
	wanted, places, named := map[string]bool{}, map[int]string{}, map[string]bool{}
	for _, w := range want.VMs {
		wanted[w.Name], places[w.Ordinal] = true, w.Name
	}
	for _, v := range have.VMs {
		named[v.Name] = named[v.Name] || inUse(want, v)
	}
	var out []string
	for _, v := range have.VMs {
		place, lost := places[v.Ordinal]
		lost = lost && !named[place]
		if inUse(want, v) && v.Record.Replaces == "" && !wanted[v.Name] && !lost {
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
