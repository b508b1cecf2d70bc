package plan

import (
	"fmt"
	"slices"
)

// handed holds the disks of a pair to where a roll can have brought them: what a VM has attached stands in its record,
// and what the blue VM's record names is with the green VM, on its way there, or, with blank disks, still in its place.
func (p pair) handed() *Blocked {
	b, g := p.blue, p.green
	for _, v := range []*VM{b, g} {
		for _, d := range v.Disks {
			if !slices.ContainsFunc(v.Record.Disks, func(r DiskRecord) bool { return isDisk(d, r) }) {
				return p.refuse(R06, "in the vSphere client remove it from that VM, keeping its file", "disk %s (%s) is attached to %s but not recorded", d.Path, d.UUID, v.Name)
			}
		}
	}
	if len(b.Record.Takes) > 0 {
		return p.refuse(R06, "in the vSphere client attach the disks that its record names", "VM %s has not got all disks that it takes over", b.Name)
	}
	if len(g.Record.Takes) > 0 && (p.fresh() || !p.inUse()) {
		return p.refuse(R06, "in the vSphere client attach the disks that its record names", "VM %s has not got the disks it takes over, and %s does not hold them for it", g.Name, b.Name)
	}
	if !p.inUse() {
		return nil
	}
	for _, r := range b.Record.Disks {
		handed := holdsRecord(g.Record.Takes, r) || holdsRecord(g.Record.Disks, r)
		if handed == p.fresh() || p.fresh() && attached(*b, r) == nil {
			return p.refuse(R06, "in the vSphere client attach the disk to the VM whose it is", "disk %s (%s) of %s is not where its record says", r.Name, orNone(r.UUID), b.Name)
		}
	}
	if p.fresh() {
		return nil
	}
	return firstOf(p.powered, p.between)
}

// powered refuses what an HA restart or a person does in the middle of a hand-over: a VM is on that must be off.
func (p pair) powered() *Blocked {
	b, g := p.blue, p.green
	begun := len(g.Record.Disks) > 0 || slices.ContainsFunc(b.Record.Disks, func(r DiskRecord) bool { return attached(*b, r) == nil })
	off := "power it off in the vSphere client"
	switch {
	case g.Power == On && len(g.Record.Takes) > 0:
		return p.refuse(R06, off, "VM %s is on although it has not got all disks from %s", g.Name, b.Name)
	case b.Power == On && g.Power == On:
		return p.refuse(R06, off, "VM %s is on although %s has taken over from it", b.Name, g.Name)
	case b.Power == On && begun:
		return p.refuse(R06, off, "VM %s is on although its data disks are being handed over to %s", b.Name, g.Name)
	}
	return nil
}

// between asks for every disk that is on neither VM that its file is where the record says.
func (p pair) between() *Blocked {
	for _, t := range p.green.Record.Takes {
		if a := attached(*p.blue, t); a != nil && a.Path != t.Path {
			return p.refuse(R06, fmt.Sprintf("move the file back to %s", t.Path), "disk %s was moved to %s since %s was made for it", t.Name, a.Path, p.green.Name)
		}
		if f := p.have.file(t.Path); f == nil || SerialOf(f.UUID) != SerialOf(t.UUID) {
			return p.refuse(R06, "put the file back where it was, in the vSphere client or from a backup; a second one is never made",
				"disk %s goes from %s to %s, and its file %s is gone or another one", t.Name, p.blue.Name, p.green.Name, t.Path)
		}
	}
	return nil
}

// equipped asks for the green VM's own disks.
func (p pair) equipped() *Blocked {
	g := p.green
	for _, r := range g.Record.Disks {
		if attached(*g, r) != nil {
			continue
		}
		f := p.have.file(r.Path)
		if g.Power != Off || !p.fresh() || f == nil || r.UUID != "" && SerialOf(f.UUID) != SerialOf(r.UUID) {
			return p.refuse(R06, "in the vSphere client attach the recorded disk as an existing hard disk",
				"disk %s (%s, %s) is recorded for %s but not attached", r.Name, orNone(r.UUID), r.Path, g.Name)
		}
	}
	whole := p.complete()
	for _, d := range p.w.Disks {
		r := recorded(whole.Record, d.Name)
		if r == nil {
			return p.refuse(R06, "take the disk out of the fleet, or give it to a fleet of new VMs", "the fleet wants disk %s, VM %s was made without it", d.Name, g.Name)
		}
		if a := attached(*whole, *r); a != nil && a.Bytes > d.Bytes {
			return p.refuse(R06, "write the size that the disk has in the fleet: a disk is never made smaller", "disk %s has %s, the fleet wants %s", d.Name, sizeText(a.Bytes), sizeText(d.Bytes))
		}
	}
	return nil
}

// unbootable is the gate between the image and the green VM as it will be. A VM that runs the wanted image has passed.
func (p pair) unbootable() *Blocked {
	whole := p.complete()
	if whole.Power == On && len(differences(p.want, p.w, *whole)) == 0 {
		return nil
	}
	return compatible(p.want, p.w, whole)
}
