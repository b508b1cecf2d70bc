package ui

import (
	"cmp"
	"slices"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// parts lists the VMs a roll is about, its own first. A VM that is renamed halfway is one part.
func parts(r plan.Roll) []Part {
	list := []Part{{Name: r.VM, Becomes: r.VM}}
	at := func(name string) *Part {
		i := slices.IndexFunc(list, func(p Part) bool { return p.Name == name })
		if i < 0 {
			i = slices.IndexFunc(list, func(p Part) bool { return p.Becomes == name })
		}
		if i < 0 {
			list, i = append(list, Part{Name: name, Becomes: name}), len(list)
		}
		return &list[i]
	}
	for _, s := range r.Steps {
		switch s := s.(type) {
		case plan.CreateVM:
			at(s.VM()).New = true
		case plan.Rename:
			at(s.VM()).Becomes = s.To
		case plan.Retire:
			p := at(s.VM())
			p.Becomes, p.Retired = s.To, true
		default:
			if s.VM() != r.VM { // after a rename the roll's own name is another VM's
				at(s.VM())
			}
		}
	}
	if own := list[0]; own.Becomes == r.VM && slices.ContainsFunc(list[1:], func(p Part) bool { return p.Becomes == r.VM }) {
		return list[1:] // the place's old VM has left it already
	}
	return list
}

// dataDisks lists the data disks of the VMs that a roll is about and what it does to each, those it creates included.
func dataDisks(want plan.Desired, have plan.Observed, r plan.Roll) []DataDisk {
	list := []DataDisk{}
	for _, p := range parts(r) {
		for _, vm := range have.VMs {
			if vm.Name != p.Name || vm.Fleet != want.Fleet {
				continue
			}
			for _, disk := range vm.Disks {
				list = append(list, DataDisk{Name: nameOf(vm.Record, disk), VM: vm.Name, UUID: disk.UUID, Path: disk.Path, Bytes: disk.Bytes})
			}
		}
	}
	for _, s := range r.Steps {
		switch s := s.(type) {
		case plan.CreateDisk:
			list = append(list, DataDisk{Name: s.Disk.Name, Path: s.Path, Bytes: s.Disk.Bytes})
		case plan.AttachDisk:
			if !slices.ContainsFunc(list, func(d DataDisk) bool { return d.is(s.Disk) }) {
				list = append(list, DataDisk{Name: s.Disk.Name, UUID: s.Disk.UUID, Path: s.Disk.Path, Bytes: sizeOf(have, s.Disk.Path)})
			}
		}
	}
	for i := range list {
		list[i].Mount = mountOf(want, list[i].Name)
		list[i].follow(r)
	}
	return list
}

// is tells whether a record means this disk.
func (d DataDisk) is(r plan.DiskRecord) bool {
	if d.UUID != "" && r.UUID != "" {
		return plan.SerialOf(d.UUID) == plan.SerialOf(r.UUID)
	}
	return d.Path == r.Path
}

// follow counts the roll's detaches of the disk and says in words what becomes of it.
func (d *DataDisk) follow(r plan.Roll) {
	created, grown, to, at := false, int64(0), "", d.VM
	retired := ""
	for _, s := range r.Steps {
		switch s := s.(type) {
		case plan.CreateDisk:
			created = created || s.Path == d.Path
		case plan.GrowDisk:
			if d.is(s.Disk) {
				grown = s.Bytes
			}
		case plan.DetachDisk:
			if d.is(s.Disk) {
				d.Detaches, at = d.Detaches+1, ""
			}
		case plan.AttachDisk:
			if d.is(s.Disk) {
				to, at = s.VM(), s.VM()
			}
		case plan.Retire:
			if at != "" && s.VM() == at {
				retired = s.To
			}
		}
	}
	switch {
	case created:
		d.What = "made new and empty"
	case d.Detaches > 0 && to != "":
		d.What = "handed over to " + to + ", the file stays where it is"
	case d.Detaches > 0:
		d.What = "detached, the file stays where it is"
	case retired != "":
		d.What = "stays attached to " + retired
	case to != "":
		d.What = "attached as it is"
	default:
		d.What = "attached throughout"
	}
	if grown > 0 {
		d.What += ", grows to " + Bytes(grown)
	}
}

func nameOf(r plan.Record, d plan.Disk) string {
	for _, x := range slices.Concat(r.Disks, r.Takes) {
		if x.Path == d.Path || x.UUID != "" && plan.SerialOf(x.UUID) == plan.SerialOf(d.UUID) {
			return x.Name
		}
	}
	return ""
}

func sizeOf(have plan.Observed, path string) int64 {
	i := slices.IndexFunc(have.Files, func(f plan.DiskFile) bool { return f.Path == path })
	if i < 0 {
		return 0
	}
	return have.Files[i].Bytes
}

// mountOf returns where the fleet mounts a disk of that name. All of its VMs have the same disks.
func mountOf(want plan.Desired, name string) string {
	mount := ""
	for _, w := range want.VMs {
		for _, d := range w.Disks {
			if d.Name == name {
				mount = cmp.Or(mount, d.Mount)
			}
		}
	}
	return mount
}
