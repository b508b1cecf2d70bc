package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// shared lists R07 by VM name: a disk UUID that two VMs have attached or recorded. Neither VM may be touched then.
func shared(o Observed) map[string]*Blocked {
	users, order := map[string][]string{}, []string{}
	use := func(uuid, path, vm string) {
		key := cmp.Or(SerialOf(uuid), path)
		if key == "" || slices.Contains(users[key], vm) {
			return
		}
		if users[key] == nil {
			order = append(order, key)
		}
		users[key] = append(users[key], vm)
	}
	for _, v := range o.VMs {
		name := v.Name
		for _, d := range v.Disks {
			use(d.UUID, d.Path, name)
		}
		for _, d := range v.Record.Disks {
			use(d.UUID, d.Path, name)
		}
	}
	out := map[string]*Blocked{}
	for _, key := range order {
		for _, name := range users[key] {
			if len(users[key]) > 1 && out[name] == nil {
				out[name] = &Blocked{VM: name, Code: R07,
					Reason: fmt.Sprintf("disk UUID %s is on %s", key, strings.Join(users[key], " and ")),
					Clear:  "in the vSphere client remove the disk from every VM but its own, keeping its file"}
			}
		}
	}
	return out
}

// diskTrouble returns why the data disks of an existing VM forbid every step (R05, R06), or nil.
func diskTrouble(o Observed, w WantVM, v VM) *Blocked {
	for _, d := range v.Disks {
		if why := diskState(d); why != "" {
			return &Blocked{VM: v.Name, Code: R05, Reason: fmt.Sprintf("disk %s %s", d.Path, why),
				Clear: "remove the snapshots, or set the disk to independent persistent, not shared"}
		}
	}
	if why, clear := mismatch(o, w, v); why != "" {
		return &Blocked{VM: v.Name, Code: R06, Reason: why, Clear: clear}
	}
	return nil
}

func diskState(d Disk) string {
	switch {
	case d.Parent:
		return "has a snapshot or a parent"
	case d.Shared:
		return "is shared between VMs (multi-writer)"
	case d.Mode != "persistent" && d.Mode != DiskMode:
		return fmt.Sprintf("has mode %s, so it would lose its writes", orNone(d.Mode))
	}
	return ""
}

// mismatch compares attached disks with recorded and wanted ones, and says what clears the difference.
func mismatch(o Observed, w WantVM, v VM) (why, clear string) {
	for _, d := range v.Disks {
		known := slices.ContainsFunc(v.Record.Disks, func(r DiskRecord) bool {
			a := attached(v, r)
			return a != nil && a.Path == d.Path && a.UUID == d.UUID
		})
		if !known {
			return fmt.Sprintf("disk %s (%s) is attached but not recorded", d.Path, d.UUID),
				"in the vSphere client remove it from the VM, keeping its file"
		}
	}
	for _, r := range v.Record.Disks {
		if attached(v, r) != nil {
			continue
		}
		if !creating(v) {
			return fmt.Sprintf("disk %s (%s, %s) is recorded but not attached", r.Name, orNone(r.UUID), r.Path), putBack(o, v, r)
		}
		if f := o.file(r.Path); f == nil || r.UUID != "" && SerialOf(f.UUID) != SerialOf(r.UUID) {
			return fmt.Sprintf("disk %s is recorded but its file %s is gone or another one", r.Name, r.Path),
				"put the file back where it was, in the vSphere client or from a backup; a second one is never made"
		}
	}
	for _, r := range v.Record.Takes {
		return fmt.Sprintf("disk %s (%s, %s), which it was to take over, is not attached", r.Name, orNone(r.UUID), r.Path),
			"in the vSphere client attach the recorded disk as an existing hard disk"
	}
	for _, d := range w.Disks {
		r := recorded(v.Record, d.Name)
		if r == nil {
			return fmt.Sprintf("the fleet wants disk %s, this VM was made without it", d.Name),
				"take the disk out of the fleet, or give it to a fleet of new VMs"
		}
		if a := attached(v, *r); a != nil && a.Bytes > d.Bytes {
			return fmt.Sprintf("disk %s has %s, the fleet wants %s", d.Name, sizeText(a.Bytes), sizeText(d.Bytes)),
				"write the size that the disk has, or a larger one, in the fleet: a disk is never made smaller"
		}
	}
	return "", ""
}

// creating tells whether the VM's first roll is still under way, so that its disks may not be attached yet.
func creating(v VM) bool {
	return !v.Record.Started.IsZero() && v.Record.Rolled.IsZero() && v.Record.Previous == "" && v.Record.PreviousISO == "" && v.Power == Off
}

// fileOf returns the data disk file of a VM that does not exist: found under its fixed name on any datastore, so that
// a changed placement cannot make a second, empty disk. file is nil when it must be created at path.
func fileOf(want Desired, o Observed, w WantVM, d WantDisk, generation int) (path string, file *DiskFile, trouble *Blocked) {
	path = GenerationPath(want.Fleet, w, d, generation)
	refuse := func(clear, format string, args ...any) *Blocked {
		return &Blocked{VM: w.Name, Code: R06, Reason: fmt.Sprintf(format, args...), Clear: clear}
	}
	if v := keeper(want, o, path); v != nil {
		return path, nil, refuse("lkv gc --vms --fleet "+want.Fleet+" --older-than 0s; it shows the retired VMs that it removes, asks first, and keeps their disks: the new VM gets this one",
			"VM %s, retired on %s, keeps data disk %s of this place", v.Name, v.Record.Retired.UTC().Format(time.DateOnly), inDatastore(path))
	}
	if user := userOf(o, path); user != "" {
		return path, nil, refuse("in the vSphere client find out whose disk it is; rename one of the VMs, or remove the disk from that VM, keeping its file",
			"disk file %s belongs to VM %s", inDatastore(path), user)
	}
	found := filesNamed(o, path)
	if len(found) == 0 {
		if trouble = Unseen(o.Hidden, w.Name, w.Place, d); trouble == nil && madeOnce(o, path) {
			trouble = refuse(bringBack(want, o, path), "disk %s was made once, and its file %s is not where it was", d.Name, inDatastore(path))
		}
		return path, nil, trouble
	}
	f := &found[0]
	switch {
	case len(found) > 1:
		trouble = refuse("in the vSphere client find out which one is the VM's disk, and rename the other",
			"disk %s exists twice: %s and %s", d.Name, f.Path, found[1].Path)
	case holderOf(o, f.UUID) != "":
		trouble = refuse("in the vSphere client find out whose disk it is; rename the file when it is a copy, or detach the disk from that VM, keeping its file",
			"disk file %s has the UUID of a disk of VM %s", f.Path, holderOf(o, f.UUID))
	case f.Bytes > d.Bytes:
		trouble = refuse("write the size that the file has, or a larger one, in the fleet, or rename the file in the vSphere client when it is not the VM's disk",
			"disk file %s has %s, the fleet wants %s", f.Path, sizeText(f.Bytes), sizeText(d.Bytes))
	}
	return f.Path, f, trouble
}

// keeper returns the retired VM of the fleet that has the disk of that path, when nobody else has it.
func keeper(want Desired, o Observed, path string) *VM {
	if v := o.find(userOf(o, path)); v != nil && v.Fleet == want.Fleet && !v.Record.Retired.IsZero() {
		return v
	}
	return nil
}

// madeOnce tells whether a disk of that path, on whatever datastore, was ever made (D7).
func madeOnce(o Observed, path string) bool {
	path = inDatastore(path)
	return slices.ContainsFunc(o.Made, func(m string) bool { return inDatastore(m) == path })
}

// Unseen refuses to make a disk of a VM while a datastore of the datacenter it is placed in, or a vCenter that the fleet
// may have been in, cannot be looked into: the disk may lie there, and not found is not gone (D7). An executor asks again
// with what it sees just before it makes one.
func Unseen(hidden []Hidden, vm string, at Placement, d WantDisk) *Blocked {
	i := slices.IndexFunc(hidden, func(h Hidden) bool { return h.VCenter != "" || h.Datacenter == at.Datacenter })
	if i < 0 {
		return nil
	}
	if h := hidden[i]; h.VCenter != "" {
		where := fmt.Sprintf("in vCenter %s, which cannot be looked at: %s", h.VCenter, h.Why)
		if h.Datastore != "" {
			where = fmt.Sprintf("on datastore %s of vCenter %s, which is %s", h.Datastore, h.VCenter, h.Why)
		}
		return &Blocked{VM: vm, Code: R15, Reason: fmt.Sprintf("disk %s may lie %s; no VM of the fleet is placed in that vCenter now", d.Name, where),
			Clear: "bring it back, or take the vcenter block out of the spec when the fleet never had anything there, and run lkv reconcile again"}
	}
	return &Blocked{VM: vm, Code: R15,
		Reason: fmt.Sprintf("disk %s may lie on datastore %s, which is %s", d.Name, hidden[i].Datastore, hidden[i].Why),
		Clear:  "bring the datastore back, or remove it from vCenter when it is gone for good, and run lkv reconcile again"}
}

// userOf names the VM that has the disk of that path, on whatever datastore, attached or in its record (D7).
func userOf(o Observed, path string) string {
	path = inDatastore(path)
	for _, v := range o.VMs {
		if slices.ContainsFunc(v.Disks, func(x Disk) bool { return inDatastore(x.Path) == path }) ||
			recordHas(v.Record, func(x DiskRecord) bool { return inDatastore(x.Path) == path }) {
			return v.Name
		}
	}
	return ""
}

// holderOf names the VM that has the disk of that UUID, wherever it lies, attached or in its record: a copied file has
// the UUID of its original, and two VMs must never have one (D3).
func holderOf(o Observed, uuid string) string {
	key := SerialOf(uuid)
	for _, v := range o.VMs {
		if key != "" && (slices.ContainsFunc(v.Disks, func(x Disk) bool { return SerialOf(x.UUID) == key }) ||
			recordHas(v.Record, func(x DiskRecord) bool { return SerialOf(x.UUID) == key })) {
			return v.Name
		}
	}
	return ""
}

// recordHas tells whether a record names such a disk, as the VM's or as one it is to take over.
func recordHas(r Record, such func(DiskRecord) bool) bool {
	return slices.ContainsFunc(r.Disks, such) || slices.ContainsFunc(r.Takes, such)
}

// inDatastore returns a datastore path without its datastore.
func inDatastore(path string) string {
	if _, rest, ok := strings.Cut(path, "] "); ok {
		return rest
	}
	return path
}
