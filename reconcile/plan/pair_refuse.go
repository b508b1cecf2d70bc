package plan

import (
	"fmt"
	"slices"
	"time"
)

// refuse is a refusal of the member whose place the pair is about.
func (p pair) refuse(c Code, clear, format string, args ...any) *Blocked {
	return &Blocked{VM: p.w.Name, Code: c, Reason: fmt.Sprintf(format, args...), Clear: clear}
}

// unfit says why a replacement must not begin, or nil.
func (p pair) unfit() *Blocked {
	name := GreenName(p.w.Name)
	for _, v := range p.have.VMs {
		if v.Name == name {
			return p.refuse(R22, "rename or remove that VM in the vSphere client", "a VM %s exists, and it does not replace this one", name)
		}
	}
	if p.blue.ID == "" {
		return p.refuse(R15, "wait until vCenter answers, and run the command again", "its instance UUID is not known")
	}
	if p.fresh() {
		for _, d := range p.w.Disks {
			if b := Unseen(p.have.Hidden, p.w.Name, p.w.Place, d); b != nil {
				return b
			}
		}
		return nil
	}
	for _, t := range p.takes() {
		if f := p.have.file(t.Path); f == nil || SerialOf(f.UUID) != SerialOf(t.UUID) {
			return p.refuse(R06, fmt.Sprintf("move the file to %s/%s on its datastore, or roll this fleet in place", DiskFolder, p.want.Fleet),
				"disk %s lies at %s, where it could not be found between the two VMs", t.Name, t.Path)
		}
	}
	return nil
}

// replaced finds the VM that the green one replaces. named is the VM that has the wanted name, or nil.
func (p pair) replaced(named *VM) (*VM, *Blocked) {
	green, n := p.green, 0
	var blue *VM
	for i := range p.have.VMs {
		v := &p.have.VMs[i]
		if v.ID == green.Record.Replaces && v.Fleet == p.want.Fleet {
			blue = v
		}
		if v.Fleet == p.want.Fleet && v.Ordinal == p.w.Ordinal && v.Record.Replaces != "" && v.Record.Retired.IsZero() {
			n++
		}
	}
	again := fmt.Sprintf("put it back, or, when %s has all data disks: lkv forget %s, rename it to %s, and lkv adopt it", green.Name, green.Name, p.w.Name)
	switch {
	case n > 1:
		return nil, p.refuse(R22, "in the vSphere client find out which one has the data disks, and lkv forget the other", "%d VMs are to take its place, one is %s", n, green.Name)
	case blue == nil:
		return nil, p.refuse(R06, again, "VM %s was made to replace a VM that is not there any more (instance UUID %s)", green.Name, green.Record.Replaces)
	case named != nil && named.ID != blue.ID:
		return nil, p.refuse(R22, "rename the one that does not belong to the fleet", "VM %s was made to replace %s, and another VM has the name", green.Name, blue.Name)
	case blue.Record.Retired.IsZero() && blue.Name != p.w.Name:
		return blue, p.refuse(R22, fmt.Sprintf("rename it back to %s in the vSphere client", p.w.Name), "VM %s, which %s is to replace, has another name", blue.Name, green.Name)
	case nameTaken(p.want, p.have, p.w, named) != nil:
		return blue, nameTaken(p.want, p.have, p.w, named)
	case green.Name != GreenName(p.w.Name):
		return blue, p.refuse(R22, fmt.Sprintf("rename it back to %s in the vSphere client", GreenName(p.w.Name)), "VM %s, which is to take the place, has another name", green.Name)
	}
	return blue, nil
}

// nameTaken refuses a wanted name that a VM has which is not in use: a retired one that somebody named back. own is the
// VM that may have it.
func nameTaken(want Desired, o Observed, w WantVM, own *VM) *Blocked {
	for i := range o.VMs {
		v := &o.VMs[i]
		if v.Name == w.Name && v != own && v.Fleet == want.Fleet && !inUse(want, *v) {
			return &Blocked{VM: w.Name, Code: R22, Reason: fmt.Sprintf("a VM that was retired on %s has its name", v.Record.Retired.UTC().Format(time.DateOnly)),
				Clear: fmt.Sprintf("in the vSphere client rename it back to %s", RetiredName(w.Name, v.Record.Retired))}
		}
	}
	return nil
}

// trouble says why the pair's roll may not go on, or nil.
func (p pair) trouble() *Blocked {
	return firstOf(
		func() *Blocked { return p.untouchable(func(v VM) *Blocked { return broke(p.want, v, p.now) }) },
		p.strangers, p.handed, p.equipped, p.unbootable)
}

// untouchable says why nothing may be done with a VM of the pair, or nil. more are further rules for each.
func (p pair) untouchable(more ...func(VM) *Blocked) *Blocked {
	vms := []*VM{p.green}
	if p.inUse() {
		vms = []*VM{p.blue, p.green}
	}
	for _, v := range vms {
		b := firstOf(
			func() *Blocked { return twice(p.have, *v) },
			func() *Blocked { return claimed(p.want, *v, p.now) },
			func() *Blocked { return busy(*v) },
			func() *Blocked { return unsafe(*v) })
		for _, rule := range more {
			if b == nil {
				b = rule(*v)
			}
		}
		if b != nil {
			return p.refuse(b.Code, b.Clear, "%s: %s", v.Name, b.Reason)
		}
	}
	return nil
}

// unsafe is R05: a disk whose writes could be lost.
func unsafe(v VM) *Blocked {
	for _, d := range v.Disks {
		if why := diskState(d); why != "" {
			return &Blocked{VM: v.Name, Code: R05, Reason: fmt.Sprintf("disk %s %s", d.Path, why),
				Clear: "remove the snapshots, or set the disk to independent persistent, not shared"}
		}
	}
	return nil
}

// strangers is R07: a disk of the pair that a third VM has, or that both have attached.
func (p pair) strangers() *Blocked {
	clear := "in the vSphere client remove the disk from every VM but its own, keeping its file"
	for _, r := range p.disks() {
		var users []string
		for _, v := range p.have.VMs {
			mine := v.Ref == p.blue.Ref && v.Name == p.blue.Name || v.Ref == p.green.Ref && v.Name == p.green.Name
			if attached(v, r) != nil || !mine && slices.ContainsFunc(v.Record.Disks, func(x DiskRecord) bool { return sameDisk(x, r) }) {
				users = append(users, v.Name)
			}
		}
		switch {
		case len(users) > 1:
			return p.refuse(R07, clear, "disk %s (%s) is on %s and %s", r.Name, orNone(r.UUID), users[0], users[1])
		case len(users) == 1 && users[0] != p.blue.Name && users[0] != p.green.Name:
			return p.refuse(R07, clear, "disk %s (%s), which goes from %s to %s, is on %s", r.Name, orNone(r.UUID), p.blue.Name, p.green.Name, users[0])
		}
	}
	return nil
}

// disks returns every disk that stands in the records of the pair.
func (p pair) disks() []DiskRecord {
	var out []DiskRecord
	for _, list := range [][]DiskRecord{p.blue.Record.Disks, p.blue.Record.Takes, p.green.Record.Disks, p.green.Record.Takes} {
		for _, r := range list {
			if !slices.ContainsFunc(out, func(x DiskRecord) bool { return sameDisk(x, r) }) {
				out = append(out, r)
			}
		}
	}
	return out
}

// sameDisk tells whether two records mean one disk.
func sameDisk(a, b DiskRecord) bool {
	if a.UUID == "" || b.UUID == "" {
		return a.Path == b.Path
	}
	return SerialOf(a.UUID) == SerialOf(b.UUID)
}

func holdsRecord(list []DiskRecord, r DiskRecord) bool {
	return slices.ContainsFunc(list, func(x DiskRecord) bool { return sameDisk(x, r) })
}
