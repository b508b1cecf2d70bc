package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// hostnameKey is report.HostnameKey: what the guest calls itself. A plan imports nothing.
const hostnameKey = "guestinfo.lkv.hostname"

// replacing plans a blue-green roll of a member: of one that is outdated, or, when a green VM exists, of the pair.
// Nothing of a pair need be judged before: between its two VMs other rules hold for claims and disks (a disk may
// stand in both records, and be attached to neither VM).
//
// m.vm is the VM that has the wanted name, or nil when it was retired already and the green VM is about to take its
// name. A member without a green VM comes with everything filled in that an in-place roll needs; identity, claim,
// disks and image were judged.
func replacing(want Desired, o Observed, m member, now time.Time) member {
	p := pair{want: want, have: o, w: m.want, blue: m.vm, green: m.green, now: now}
	if m.green == nil {
		return p.begin(m)
	}
	return p.proceed(m)
}

// pair is a VM and the one that takes its place. Which variant it is follows from the two records, once both exist, so
// that a roll is finished the way it began whatever the fleet's file says by then.
type pair struct {
	want        Desired
	have        Observed
	w           WantVM
	blue, green *VM
	now         time.Time
}

// begin plans the roll of a VM that has no successor yet.
func (p pair) begin(m member) member {
	if p.fresh() {
		m.reason += "; another VM takes its place with blank data disks, what is on the old ones stays there"
	} else {
		m.reason += "; another VM takes its place and its data disks"
	}
	if m.blocked = p.unfit(); m.blocked != nil {
		m.kind = refused
		return m
	}
	generation := p.blue.Record.Generation
	if p.fresh() {
		generation = p.generation()
	}
	disks, takes, made := p.disksOf(generation)
	v := p.bornAs(generation, disks, takes)
	born := CreateVM{base: Of(v.Name), Want: p.greenWant(generation), Fleet: p.want.Fleet, Record: v.Record, ISO: v.ISO}
	green := v
	green.Record = v.Record.clone()
	p.green = &green
	if m.blocked = compatible(p.want, p.w, p.complete()); m.blocked != nil {
		m.kind = refused
		return m
	}
	if m.kind != halfway {
		m.action = Replace
	}
	m.steps = append(append(p.heads(), made...), born)
	m.steps = append(m.steps, p.rest()...)
	return m
}

// proceed plans the rest of a roll whose green VM exists.
func (p pair) proceed(m member) member {
	m.kind, m.mine, m.action = refused, false, Finish
	p.blue, m.blocked = p.replaced(m.vm)
	if p.blue == nil {
		m.up = Up(p.want, p.w, *p.green) == ""
		m.reason = m.blocked.Reason
		return m
	}
	if back, _ := p.returning(); back {
		return p.undo(m)
	}
	m.up = Up(p.want, p.w, *p.green) == "" || p.inUse() && Up(p.want, p.w, *p.blue) == ""
	if m.blocked == nil {
		m.blocked = p.trouble()
	}
	if p.green.Record.Failed != "" {
		m.up = false // it is left as it is until a person has looked
	}
	if m.blocked != nil {
		m.up = m.up && m.blocked.Code != R16
		m.reason = m.blocked.Reason
		return m
	}
	m.kind, m.reason = halfway, "its replacement stopped halfway"
	if r := p.green.Record; live(r, p.now) && r.Owner == p.want.Claimer {
		m.reason = "its replacement is under way"
	}
	m.reason = strings.Join(append([]string{m.reason}, differences(p.want, p.w, *p.green)...), "; ")
	m.steps = append(p.heads(), p.rest()...)
	m.calm = m.up && (!p.fresh() && p.inUse() && p.blue.Power == On || p.relied() && slices.ContainsFunc(m.steps, p.stopsGreen))
	return m
}

// relied tells whether the green VM is the only one of the two that serves.
func (p pair) relied() bool {
	return Up(p.want, p.w, *p.green) == "" && (!p.inUse() || Up(p.want, p.w, *p.blue) != "")
}

func (p pair) stopsGreen(s Step) bool { return isShutdown(s) && s.VM() == p.green.Name }

// fresh tells whether the green VM has, or will have, disks of its own.
func (p pair) fresh() bool {
	if p.green == nil {
		return p.want.Rollout.Disk == Fresh
	}
	return p.blue == nil || p.green.Record.Generation != p.blue.Record.Generation
}

// inUse tells whether the blue VM has not been retired.
func (p pair) inUse() bool { return p.blue.Record.Retired.IsZero() }

// heads returns what must come before everything else: the waits for tasks, and the claims of both VMs.
func (p pair) heads() []Step {
	var steps []Step
	vms := []*VM{p.green}
	if p.inUse() {
		vms = []*VM{p.blue, p.green}
	}
	for _, v := range vms {
		if v.Task != "" {
			steps = append(steps, AwaitTask{base: Of(v.Name), Task: v.Task})
		}
		if !live(v.Record, p.now) || v.Record.Owner != p.want.Claimer {
			c := claim(p.want, Of(v.Name), v.Record, p.now)
			// Nothing but its age tells between the claim and the birth of the green VM that this one is to go.
			c.Due = v == p.blue && len(differences(p.want, p.w, *v)) == 0
			steps = append(steps, c)
		}
	}
	return steps
}

// rest returns the steps after the claims and the green VM's birth. What the green VM needs by itself is what an
// in-place roll would do to it, as if it had its disks, and it is drained as one that may have work already; around that
// the two VMs change places. A green VM with blank disks takes work again before the blue one is drained.
func (p pair) rest() []Step {
	var furnish, boot, restore []Step
	whole, gated, drained := *p.complete(), false, false
	for _, s := range rest(p.want, p.w, whole, p.now, p.have.Files...) {
		switch s.(type) {
		case AwaitTask, Claim, Release:
		case Restore:
			if drained = !p.fresh(); p.fresh() {
				restore = append(restore, s)
			}
		case AttachDisk, InstallKey:
			furnish = append(furnish, s)
		case AwaitReady:
			boot, gated = append(boot, s), true
		default:
			boot = append(boot, s)
		}
	}
	// What retires the blue VM must not be a gate that another run saw, and perhaps for too short (A4).
	if !gated && p.inUse() && whole.Age < p.want.Rollout.Settle {
		boot = append(boot, gateOf(p.want, p.w, whole, whole.Record))
	}
	// It was made before the fleet had a drain: only its own record says, when the blue one is gone, that the node is drained.
	if !drained && !p.fresh() && p.inUse() && (p.blue.Record.Drained || p.want.Rollout.Drain && p.blue.Power == On) {
		boot, drained = append(boot, Drain{base: Of(p.green.Name), Next: "keep", Try: true}), true
	}
	boot = append(boot, restore...)
	steps := furnish
	switch {
	case !p.inUse():
		steps = append(steps, boot...)
	case p.fresh():
		steps = append(append(steps, boot...), p.stop("delete")...)
	default:
		steps = append(append(steps, p.handOver()...), boot...)
	}
	return append(steps, p.succeed(drained)...)
}

// stop drains the blue VM and shuts it down.
func (p pair) stop(next string) []Step {
	var steps []Step
	n, on := Of(p.blue.Name), p.blue.Power == On
	if p.want.Rollout.Drain && !p.blue.Record.Drained && (on || p.fresh()) {
		steps = append(steps, Drain{base: n, Next: next, Try: !on})
	}
	if on {
		steps = append(steps, Shutdown{base: n, Grace: p.want.Rollout.Grace})
	}
	return steps
}

// succeed returns the steps by which the green VM takes the place. A hand-over drained the node that lives on, so that
// the green VM was born drained; a node with blank disks is another one.
func (p pair) succeed(drained bool) []Step {
	var steps []Step
	if p.inUse() {
		steps = append(steps, Retire{base: Of(p.blue.Name), To: p.have.retiredName(p.w.Name, p.now), At: p.now,
			Why: fmt.Sprintf("another VM took its place in fleet %s, with image %s", p.want.Fleet, short(p.want.Image.Digest))})
	}
	steps = append(steps, Rename{base: Of(p.green.Name), To: p.w.Name})
	if drained {
		steps = append(steps, Restore{Of(p.w.Name)})
	}
	return append(steps, Release{base: Of(p.w.Name), At: p.now})
}

// room tells how many replacements may begin besides those under way: as many as surge allows (A2), with those counted
// that other runs have claimed. That it must also be no more than A1 leaves holds for both variants: blank disks take
// nothing away, but nothing is begun while too many VMs do not serve.
func room(want Desired, o Observed, now time.Time) int {
	free := surge(want)
	for _, w := range want.VMs {
		found, green := places(want, o, w)
		if green != nil || len(found) == 1 && claimed(want, *found[0], now) != nil {
			free--
		}
	}
	return max(0, free)
}

// surging leaves out of a wave the replacements for which there is no room. What of them was claimed already is given
// back: other runs have claimed too many at the same moment, or one that died left too many claims behind. That comes
// first and alone: when a replacement under way is done there is room again, and what is given back would not be.
func surging(want Desired, o Observed, wave Wave, now time.Time) Wave {
	free := room(want, o, now)
	var out, back Wave
	for _, r := range wave.Rolls {
		if slices.ContainsFunc(r.Steps, isGreen) {
			if free--; free < 0 && r.Action == Replace {
				continue
			}
			if v := o.find(r.VM); free < 0 && v != nil {
				m := member{want: WantVM{Name: r.VM}, vm: v, mine: live(v.Record, now) && v.Record.Owner == want.Claimer}
				back.Rolls = append(back.Rolls, givenBack(want, m, now, "as many others are being replaced as surge allows"))
				continue
			}
		}
		out.Rolls = append(out.Rolls, r)
	}
	if len(back.Rolls) > 0 {
		return back
	}
	return out
}

// isGreen tells whether a step makes a VM that is to take another's place.
func isGreen(s Step) bool {
	c, ok := s.(CreateVM)
	return ok && c.Record.Replaces != ""
}

// surge is how many green VMs there may be.
func surge(want Desired) int {
	if want.Rollout.Strategy != BlueGreen {
		return 0
	}
	return max(1, want.Rollout.Surge)
}
