package plan

import (
	"cmp"
	"fmt"
	"slices"
)

// returning tells whether a replacement whose gate failed is undone, or is being undone, and, when it is not although
// the fleet asks for it, why.
func (p pair) returning() (back bool, why string) {
	b, g := p.blue.Record, p.green.Record
	switch {
	case !p.inUse():
		return false, ""
	case p.undone():
		return true, ""
	case g.Failed == "" || b.Failed != "" || p.want.Rollout.OnFailure != backOnFailure || g.Image != p.want.Image.Digest || !g.Rolled.IsZero():
		return false, ""
	case b.Image == "" || p.blue.ISO == "":
		return false, "no image ran before"
	case b.Image == g.Image:
		return false, "it ran the same image"
	case !p.fresh() && (!sameEngine(p.want.Image.Engine, b.Engine) || older(b.Engine, g.Engine)):
		return false, fmt.Sprintf("Docker Engine %s has used the disks, the image before had %s (R04)", unknownOr(newest(g.Engine, p.want.Image.Engine)), unknownOr(b.Engine))
	}
	return true, ""
}

// undone tells whether the way back was begun. Nobody clears that before it is at its end (Resume).
func (p pair) undone() bool { return undone(*p.blue, *p.green) }

func undone(blue, green VM) bool {
	b, g := blue.Record, green.Record
	return b.Failed != "" && b.Spurned != "" && b.Spurned == g.Image && b.Retired.IsZero() && g.Retired.IsZero()
}

// undo plans the way back of a pair. It does not drain: the green VM's gate has not passed, so that it has no work yet.
func (p pair) undo(m member) member {
	m.up = false
	if m.blocked == nil {
		m.blocked = p.stuck()
	}
	if m.blocked != nil {
		m.reason = m.blocked.Reason
		return m
	}
	m.kind, m.action, m.steps = failed, Rollback, p.back()
	m.reason = fmt.Sprintf("its replacement failed: %s; %s stays with image %s",
		cmp.Or(p.blue.Record.Failed, p.green.Record.Failed), p.blue.Name, short(p.blue.Record.Image))
	return m
}

// back returns what is left until the green VM is retired and the blue one serves again with its own image. Failure and
// disks move to the blue VM's record first: a retired VM stops nothing, and a detached disk must be found (D5).
func (p pair) back() []Step {
	var steps []Step
	n, g, blue := Of(p.blue.Name), Of(p.green.Name), *p.blue
	for _, x := range []*VM{p.blue, p.green} {
		r := x.Record.clone()
		steps = append(steps, heads(p.want, *x, &r, false, p.now)...)
	}
	takes := blue.Record.Takes
	if !p.undone() {
		takes = p.returned()
		steps = append(steps, Recall{base: n, Why: p.green.Record.Failed, Spurned: p.green.Record.Image, Takes: takes})
	}
	if p.green.Power == On {
		steps = append(steps, Shutdown{base: g, Grace: p.want.Rollout.Grace})
	}
	for _, t := range takes {
		if attached(*p.green, t) != nil {
			steps = append(steps, DetachDisk{base: g, Disk: t})
		}
		steps = append(steps, AttachDisk{base: n, Disk: t})
	}
	if !p.fresh() && len(p.green.Record.Disks) > 0 {
		steps = append(steps, Disown{base: g, Successor: p.blue.ID})
	}
	steps = append(steps, Retire{base: g, To: p.have.retiredName(p.green.Name, p.now), At: p.now,
		Why: fmt.Sprintf("it was to take the place of %s in fleet %s, and its gate failed", p.blue.Name, p.want.Fleet)})

	// What follows is what is left when the blue VM is alone again.
	blue.Record = blue.Record.clone()
	blue.Task, blue.Record.Spurned, blue.Record.Takes = "", p.green.Record.Image, nil
	blue.Record.Disks = append(blue.Record.Disks, takes...)
	blue.Record.Owner, blue.Record.Expires = p.want.Claimer, p.now.Add(p.want.TTL)
	return append(steps, back(p.want, p.w, blue, p.now)...)
}

// returned lists the disks that the blue VM gets back, with the files they lie in now.
func (p pair) returned() []DiskRecord {
	if p.fresh() {
		return nil
	}
	var out []DiskRecord
	for _, r := range p.green.Record.Disks {
		if a := attached(*p.green, r); a != nil {
			r.UUID, r.Path = a.UUID, a.Path
		}
		out = append(out, r)
	}
	return out
}

// stuck says why a replacement cannot be undone now, or nil.
func (p pair) stuck() *Blocked {
	if b := p.untouchable(); b != nil {
		return b
	}
	if p.fresh() {
		if err := accounted(*p.green); err != nil {
			return p.refuse(R06, "in the vSphere client attach the recorded disk as an existing hard disk", "%s: %v", p.green.Name, err)
		}
		return firstOf(p.strangers, p.handed)
	}
	return firstOf(p.strangers, p.astray, p.mixed)
}

// astray holds the disks of a hand-over that is undone to where the way back can have brought them.
func (p pair) astray() *Blocked {
	b, g := p.blue, p.green
	if len(g.Record.Takes) > 0 {
		return p.refuse(R06, "in the vSphere client attach the disks that its record names", "VM %s has not got the disks it takes over", g.Name)
	}
	for _, v := range []*VM{b, g} {
		for _, d := range v.Disks {
			if !slices.ContainsFunc(v.Record.Disks, func(r DiskRecord) bool { return isDisk(d, r) }) {
				return p.refuse(R06, "in the vSphere client remove it from that VM, keeping its file", "disk %s (%s) is attached to %s but not recorded", d.Path, d.UUID, v.Name)
			}
		}
	}
	for _, r := range b.Record.Disks {
		if attached(*b, r) == nil {
			return p.refuse(R06, "in the vSphere client attach the recorded disk as an existing hard disk", "disk %s (%s) is recorded for %s but not attached", r.Name, orNone(r.UUID), b.Name)
		}
	}
	takes := b.Record.Takes
	if !p.undone() {
		takes = p.returned()
	}
	for _, t := range takes {
		if f := p.have.file(t.Path); f == nil || SerialOf(f.UUID) != SerialOf(t.UUID) || attached(*g, t) == nil && !p.undone() {
			return p.refuse(R06, "put the file back where it was, in the vSphere client or from a backup; a second one is never made",
				"disk %s goes back from %s to %s, and its file %s is gone or another one", t.Name, g.Name, b.Name, t.Path)
		}
		if a := attached(*g, t); a != nil && a.Path != t.Path {
			return p.refuse(R06, fmt.Sprintf("move the file back to %s", t.Path), "disk %s was moved to %s meanwhile", t.Name, a.Path)
		}
	}
	return nil
}

// mixed refuses what an HA restart or a person does in the middle: a VM is on that must be off.
func (p pair) mixed() *Blocked {
	b, g := p.blue, p.green
	switch {
	case b.Power == On:
		return p.refuse(R06, "power it off in the vSphere client", "VM %s is on although %s has taken over from it", b.Name, g.Name)
	case g.Power == On && accounted(*g) != nil:
		return p.refuse(R06, "power it off in the vSphere client", "VM %s is on although its data disks go back to %s", g.Name, b.Name)
	}
	return nil
}
