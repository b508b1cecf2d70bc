package plan

import (
	"fmt"
	"slices"
)

// Adoption is an existing VM that a person gives to a fleet.
type Adoption struct {
	VM      string
	Ordinal int               // its place in the fleet
	Disks   map[string]string // data disk's name in the fleet -> UUID or path of the disk that the VM has attached
}

// AdoptVM plans to write owner key and record into a VM that is nobody's, which gets the name of its place. Power, ISO,
// size and disks stay; the next plan finds it outdated. Of the Observed it needs that VM too, whatever its name is.
func AdoptVM(want Desired, have Observed, a Adoption) Request {
	if have.Problem != "" {
		return Request{Blocked: []Blocked{have.Failed()}}
	}
	i := slices.IndexFunc(want.VMs, func(w WantVM) bool { return w.Ordinal == a.Ordinal })
	if i < 0 {
		return refusedOne(a.VM, R22, fmt.Sprintf("fleet %s has no place %d", want.Fleet, a.Ordinal), "name an ordinal of the fleet, or make the fleet larger first")
	}
	v, w := have.find(a.VM), want.VMs[i]
	if v == nil {
		return refusedOne(a.VM, R22, "there is no VM of this name", "name a VM that vCenter shows")
	}
	var disks []DiskRecord
	b := firstOf(
		func() *Blocked { return twice(have, *v) },
		func() *Blocked { return vacant(want, have, w, *v) },
		func() *Blocked { return busy(*v) },
		func() *Blocked { return unsafe(*v) },
		func() (b *Blocked) { disks, b = mapped(w, *v, a.Disks); return b },
		func() *Blocked { return unshared(want, have, w, *v, disks) })
	if b != nil {
		return Request{Blocked: []Blocked{*b}}
	}
	return Request{Rolls: []Roll{{VM: a.VM, Action: TakeOver, Reason: fmt.Sprintf("a person gives it to fleet %s", want.Fleet),
		Steps: []Step{Adopt{base: Of(a.VM), Fleet: want.Fleet, Ordinal: a.Ordinal, To: w.Name, Record: Record{Disks: disks}}}}}}
}

// vacant refuses a VM that belongs to a fleet, and a place that is taken.
func vacant(want Desired, o Observed, w WantVM, v VM) *Blocked {
	if v.Fleet != "" {
		return &Blocked{VM: v.Name, Code: R22, Reason: fmt.Sprintf("the VM belongs to fleet %s", v.Fleet),
			Clear: fmt.Sprintf("lkv forget --fleet %s --vm %s, when it should change hands", v.Fleet, v.Name)}
	}
	for _, x := range o.VMs {
		if x.Name == v.Name && x.Ref == v.Ref {
			continue
		}
		if x.Name == w.Name || inUse(want, x) && x.Ordinal == w.Ordinal {
			return &Blocked{VM: v.Name, Code: R22, Reason: fmt.Sprintf("VM %s has the name or the place (ordinal %d)", x.Name, w.Ordinal),
				Clear: "name another ordinal, or rename or forget that VM"}
		}
	}
	return nil
}

// mapped returns the record of the VM's disks: each of the fleet's disks is one that is attached, and none is left over.
func mapped(w WantVM, v VM, names map[string]string) ([]DiskRecord, *Blocked) {
	refuse := func(clear, format string, args ...any) ([]DiskRecord, *Blocked) {
		return nil, &Blocked{VM: v.Name, Code: R06, Reason: fmt.Sprintf(format, args...), Clear: clear}
	}
	var out []DiskRecord
	for _, d := range w.Disks {
		i := slices.IndexFunc(v.Disks, func(x Disk) bool {
			id := names[d.Name]
			return id != "" && (x.Path == id || x.UUID != "" && SerialOf(x.UUID) == SerialOf(id))
		})
		switch {
		case i < 0:
			return refuse("say which attached disk it is, by UUID or path", "the fleet's disk %s is none that the VM has attached", d.Name)
		case v.Disks[i].UUID == "":
			return refuse("wait until vCenter answers, and run the command again", "the UUID of disk %s is not known", v.Disks[i].Path)
		case v.Disks[i].Bytes > d.Bytes:
			return refuse("write the size that the disk has in the fleet: a disk is never made smaller", "disk %s has %s, the fleet wants %s", d.Name, sizeText(v.Disks[i].Bytes), sizeText(d.Bytes))
		}
		r := DiskRecord{Name: d.Name, UUID: v.Disks[i].UUID, Path: v.Disks[i].Path}
		if holdsRecord(out, r) {
			return refuse("name another disk for one of them", "disk %s would be two disks of the fleet", r.Path)
		}
		out = append(out, r)
	}
	for _, x := range v.Disks {
		if !slices.ContainsFunc(out, func(r DiskRecord) bool { return isDisk(x, r) }) {
			return refuse("give it a disk block and a name, or in the vSphere client remove it from the VM, keeping its file", "disk %s is attached and none of the fleet's", x.Path)
		}
	}
	return out, nil
}

// unshared refuses disks that another VM has (R07), and a place whose disk was made already (R06, D7).
func unshared(want Desired, o Observed, w WantVM, v VM, disks []DiskRecord) *Blocked {
	for _, r := range disks {
		for _, x := range o.VMs {
			if (x.Name != v.Name || x.Ref != v.Ref) && (attached(x, r) != nil || holdsRecord(slices.Concat(x.Record.Disks, x.Record.Takes), r)) {
				return &Blocked{VM: v.Name, Code: R07, Reason: fmt.Sprintf("disk %s (%s) is also on %s", r.Name, r.UUID, x.Name),
					Clear: "in the vSphere client remove the disk from every VM but its own, keeping its file"}
			}
		}
	}
	for _, d := range w.Disks {
		path := DiskPath(want.Fleet, w, d)
		r := disks[slices.IndexFunc(disks, func(r DiskRecord) bool { return r.Name == d.Name })]
		found := filesNamed(o, path)
		if i := slices.IndexFunc(found, func(f DiskFile) bool { return SerialOf(f.UUID) != SerialOf(r.UUID) }); i >= 0 || len(found) == 0 && slices.Contains(o.Made, inDatastore(path)) {
			return &Blocked{VM: v.Name, Code: R06, Reason: fmt.Sprintf("disk %s of this place was made already: %s", d.Name, inDatastore(path)),
				Clear: "name another ordinal, or rename that file in the vSphere client when nobody needs it here"}
		}
	}
	return nil
}
