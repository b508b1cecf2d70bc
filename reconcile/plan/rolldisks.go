package plan

import "slices"

// RollDisk is one data disk that a roll is about.
type RollDisk struct {
	UUID     string // empty for a disk that the roll makes
	Path     string // its file
	From, To string // VMs that have it attached before and after, by the names they have then; empty: none
	Detaches int    // how often the roll detaches it; its file stays every time
}

// DataDisks lists the data disks of every VM that the roll touches, those on their way between two VMs and those it
// makes, in the order of the VMs' records. o is the world the roll was planned for.
func (r Roll) DataDisks(o Observed) []RollDisk {
	names := []string{r.VM}
	after := o.Clone()
	detached := []DiskRecord{}
	made := []string{}
	for _, s := range r.Steps {
		if !slices.Contains(names, s.VM()) {
			names = append(names, s.VM())
		}
		switch s := s.(type) {
		case DetachDisk:
			detached = append(detached, s.Disk)
		case CreateDisk:
			made = append(made, s.Path)
		}
		after.apply(s)
	}
	var out []RollDisk
	add := func(d DiskRecord) {
		if slices.ContainsFunc(out, func(x RollDisk) bool { return sameDisk(DiskRecord{UUID: x.UUID, Path: x.Path}, d) }) {
			return
		}
		x := RollDisk{UUID: d.UUID, Path: d.Path, From: having(o, d), To: having(after, d)}
		for _, y := range detached {
			if sameDisk(y, d) {
				x.Detaches++
			}
		}
		out = append(out, x)
	}
	for _, v := range o.VMs {
		if !slices.Contains(names, v.Name) || v.Fleet == "" {
			continue
		}
		for _, d := range v.Disks {
			add(DiskRecord{UUID: d.UUID, Path: d.Path})
		}
		for _, d := range slices.Concat(v.Record.Disks, v.Record.Takes) {
			if attached(v, d) == nil && having(o, d) == "" {
				add(d)
			}
		}
	}
	for _, path := range made {
		add(DiskRecord{Path: path})
	}
	return out
}

// having names the VM that has the disk attached.
func having(o Observed, d DiskRecord) string {
	i := slices.IndexFunc(o.VMs, func(v VM) bool { return attached(v, d) != nil })
	if i < 0 {
		return ""
	}
	return o.VMs[i].Name
}
