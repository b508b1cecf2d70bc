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
// ones are what follows if every step does what After says. It never fails: what cannot be done is Blocked.
//
// Within a wave the order is by ordinal. Between waves: what is halfway first, then VMs that are down anyway, then
// missing VMs, then outdated VMs that serve, the last kind held to max_unavailable with everything that does not
// serve counted first, missing VMs and VMs claimed by others included.
func Compute(want Desired, have Observed, now time.Time) Plan {
	p := Plan{Fleet: want.Fleet, MaxUnavailable: max(1, want.Rollout.MaxUnavailable), Surge: surge(want)}
	if have.Problem != "" {
		p.Blocked = []Blocked{lookFailed(have)}
		return p
	}
	p.Extra = extra(want, have)
	if p.Blocked = halted(want, have); len(p.Blocked) > 0 {
		return p
	}
	first := look(want, have, now)
	for _, m := range first {
		switch {
		case m.blocked != nil:
			p.Blocked = append(p.Blocked, *m.blocked)
		case m.kind == same:
			p.Same = append(p.Same, m.want.Name)
		}
	}
	model := have.Clone()
	for members := first; len(p.Waves) <= 4*len(want.VMs); {
		wave := surging(want, model, next(members, p.MaxUnavailable), now)
		if len(wave.Rolls) == 0 {
			if b := brake(members, p.MaxUnavailable); b != nil {
				p.Blocked = append([]Blocked{*b}, p.Blocked...)
			}
			break
		}
		p.Waves = append(p.Waves, wave)
		for _, r := range wave.Rolls {
			for _, s := range r.Steps {
				model.apply(s)
			}
		}
		members = relook(want, model, members, wave, now)
	}
	return p
}

// relook is look after a wave. A VM is sorted by itself, the files and the disks of all; a wave that makes and attaches
// nothing leaves these two alone, so that only its own VMs are sorted again: a roll of n VMs has n waves, and looking
// at n VMs after each made planning quadratic. No VM of a wave shares a disk, or it would have been refused.
func relook(want Desired, o Observed, members []member, wave Wave, now time.Time) []member {
	rolled := map[string]bool{}
	for _, r := range wave.Rolls {
		if slices.ContainsFunc(r.Steps, furnishes) {
			return look(want, o, now)
		}
		rolled[r.VM] = true
	}
	for i, m := range members {
		if rolled[m.want.Name] {
			members[i] = sortOne(want, o, m.want, nil, now)
		}
	}
	return members
}

// furnishes tells the steps that change which VMs, disks and files there are.
func furnishes(s Step) bool {
	switch s.(type) {
	case CreateDisk, CreateVM, AttachDisk, DetachDisk, Disown, Rename, Retire:
		return true
	}
	return false
}

// halted returns what stops the whole fleet: nothing wanted, a pause, or a roll that failed (A7).
func halted(want Desired, have Observed) []Blocked {
	if len(want.VMs) == 0 {
		return []Blocked{{Code: R14, Reason: fmt.Sprintf("fleet %s wants no VM at all", want.Fleet),
			Clear: "give the fleet a size, or remove its block: its VMs stay as they are"}}
	}
	var out []Blocked
	for _, v := range have.VMs {
		if !inUse(want, v) {
			continue
		}
		if v.Record.Failed != "" {
			out = append(out, Blocked{VM: v.Name, Code: R12, Reason: "its roll failed, so the fleet stands still: " + v.Record.Failed,
				Clear: "look at the VM's console and cure the cause, then: lkv resume --fleet " + want.Fleet})
		}
		if v.Record.Paused {
			out = append(out, Blocked{VM: v.Name, Code: R13, Reason: "the fleet is paused", Clear: "lkv resume --fleet " + want.Fleet})
		}
	}
	return out
}

// extra names VMs of the fleet that are not wanted.
func extra(want Desired, have Observed) []string {
	var out []string
	for _, v := range have.VMs {
		if inUse(want, v) && v.Record.Replaces == "" && !slices.ContainsFunc(want.VMs, func(w WantVM) bool { return w.Name == v.Name }) {
			out = append(out, v.Name)
		}
	}
	slices.Sort(out)
	return out
}

// next chooses the wave: the first kind of work there is.
func next(members []member, limit int) Wave {
	budget := limit - unavailable(members)
	wave := halves(members, budget, max(parallel, limit))
	if len(wave.Rolls) > 0 {
		return wave
	}
	for _, m := range members {
		// A VM that is on but does not serve might only be out of our sight; when too many are, we are the
		// likelier cause, and nothing that runs is shut down.
		if m.kind == down && (m.vm.Power == Off || budget >= 0) && len(wave.Rolls) < parallel {
			wave.Rolls = append(wave.Rolls, m.roll())
		}
	}
	if len(wave.Rolls) > 0 {
		return wave
	}
	for _, m := range members {
		if m.kind == missing && len(wave.Rolls) < parallel {
			wave.Rolls = append(wave.Rolls, m.roll())
		}
	}
	if len(wave.Rolls) > 0 {
		return wave
	}
	for _, m := range members {
		if m.kind == outdated && len(wave.Rolls) < budget {
			wave.Rolls = append(wave.Rolls, m.roll())
		}
	}
	return wave
}

// halves finishes what is halfway. A VM that is claimed but still serves needs room in the budget; without it the
// claim is given back, because two runs that claimed at the same moment both see it taken.
func halves(members []member, budget, most int) Wave {
	var wave Wave
	for _, m := range members {
		if m.kind != halfway || len(wave.Rolls) >= most {
			continue
		}
		switch {
		case !m.calm:
			wave.Rolls = append(wave.Rolls, m.roll())
		case budget > 0:
			budget--
			wave.Rolls = append(wave.Rolls, m.roll())
		case m.mine:
			wave.Rolls = append(wave.Rolls, Roll{VM: m.want.Name, Action: GiveBack,
				Reason: "claimed but not touched, and too many others do not serve", Steps: []Step{Release{base: Of(m.want.Name)}}})
		}
	}
	return wave
}

func unavailable(members []member) int {
	n := 0
	for _, m := range members {
		if !m.up {
			n++
		}
	}
	return n
}

// brake says why outdated VMs must wait, or nil when none does.
func brake(members []member, limit int) *Blocked {
	waiting, why := 0, ""
	for _, m := range members {
		if m.kind == outdated || m.kind == down || m.kind == halfway {
			waiting++
		}
		if !m.up && why == "" {
			why = fmt.Sprintf("%s: %s", m.want.Name, m.reason)
		}
	}
	if waiting == 0 {
		return nil
	}
	return &Blocked{Code: R12, Reason: fmt.Sprintf("%d VMs wait: %d of %d do not serve (%s), max_unavailable is %d",
		waiting, unavailable(members), len(members), why, limit),
		Clear: "bring the VMs back that do not serve, or raise max_unavailable"}
}
