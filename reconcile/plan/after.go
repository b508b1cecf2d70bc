package plan

import (
	"maps"
	"slices"
	"time"
)

// After returns the world as the step leaves it, without touching o. It is total: a step about a VM that is not
// there, or one that is already done, leaves the world as it is. It is what a step means; the executor's tests
// compare it with what vSphere shows after the real call.
func (o Observed) After(s Step) Observed {
	o = o.Clone()
	o.apply(s)
	return o
}

// apply is After on a world that belongs to the caller.
func (o *Observed) apply(s Step) {
	switch s := s.(type) {
	case CreateDisk:
		if !slices.ContainsFunc(o.Files, func(f DiskFile) bool { return f.Path == s.Path }) {
			o.Files = append(o.Files, DiskFile{Path: s.Path, Bytes: s.Disk.Bytes})
		}
	case CreateVM:
		if o.find(s.Name) == nil {
			o.VMs = append(o.VMs, o.created(s))
			o.made(s.Fleet, s.Want.Name, s.Record)
		}
	default:
		if v := o.find(s.VM()); v != nil {
			o.change(v, s)
		}
	}
}

// made notes that a record names these disks: none is ever made again (D7).
func (o *Observed) made(fleet, vm string, r Record) {
	for _, d := range r.Disks {
		if p := MadePath(fleet, vm, r.Generation, d); !slices.Contains(o.Made, p) {
			o.Made = append(o.Made, p)
			slices.Sort(o.Made)
		}
	}
}

func (o Observed) created(s CreateVM) VM {
	rec := s.Record.clone()
	for i := range rec.Disks {
		if f := o.file(rec.Disks[i].Path); f != nil && rec.Disks[i].UUID == "" {
			rec.Disks[i].UUID = f.UUID
		}
	}
	return VM{
		Name: s.Want.Name, Fleet: s.Fleet, Ordinal: s.Want.Ordinal, Power: Off, ISO: s.ISO,
		CPUs: s.Want.CPUs, MemoryMiB: s.Want.MemoryMiB, Firmware: s.Want.Firmware, SecureBoot: s.Want.SecureBoot, Record: rec,
	}
}

func (o *Observed) change(v *VM, s Step) {
	r := &v.Record
	switch s := s.(type) {
	case AwaitTask:
		v.Task = ""
	case AttachDisk:
		o.attach(v, s.Disk)
	case InstallKey:
		if k := KeyOf(s.Certificate); !slices.Contains(v.Keys, k) {
			v.Keys = append(v.Keys, k)
			slices.Sort(v.Keys)
		}
	case Claim:
		r.Owner, r.Epoch, r.Started, r.Expires = s.Owner, s.Epoch, s.Started, s.Expires
		r.Due = r.Due || s.Due
	case Release:
		free(r)
		r.Started, r.Due = time.Time{}, false
		if !s.At.IsZero() {
			r.Rolled, r.Ill = s.At, time.Time{}
		}
	case Unblock:
		free(r)
		r.Paused = false
		if !s.Pause {
			r.Started, r.Failed, r.Spurned, r.Due = s.Started, "", "", false
		}
	case Shutdown:
		v.Power, v.Guest, v.Age = Off, Guest{}, 0
	case InsertISO:
		v.ISO = s.ISO
		r.Image, r.ImageID, r.Token = s.Record.Image, s.Record.ImageID, s.Record.Token
		r.Previous, r.PreviousISO, r.Key = s.Record.Previous, s.Record.PreviousISO, s.Record.Key
		r.PreviousID, r.Engine, r.EngineWas = s.Record.PreviousID, s.Record.Engine, s.Record.EngineWas
		r.Rolled, r.Spurned, r.Due = s.Record.Rolled, s.Record.Spurned, false
	case Resize:
		v.CPUs, v.MemoryMiB = s.CPUs, s.MemoryMiB
	case EnableSecureBoot:
		v.SecureBoot = true
	case PowerOn:
		if v.Power != On {
			v.Power, v.Guest, v.Age = On, Guest{}, 0
		}
	case AwaitReady:
		if v.Power == On {
			v.Guest = Guest{
				Tools: true, IP: v.Guest.IP, Token: s.Token, ImageID: s.ImageID, BootID: v.Guest.BootID,
				State: running, Mounts: slices.Clone(s.Mounts),
			}
			v.Age = max(v.Age, s.Settle)
		}
	case Fail:
		free(r)
		r.Failed = s.Why
	default:
		o.changeRecord(v, s)
	}
}

// changeRecord is what the steps mean that are about more than one roll of one VM.
func (o *Observed) changeRecord(v *VM, s Step) {
	r := &v.Record
	switch s := s.(type) {
	case Drain:
		r.Drained = true
	case Restore:
		r.Drained = false
	case Mark:
		r.Ill = s.Ill
	case Pause:
		r.Paused = true
	case GrowDisk:
		o.grow(v, s)
	case DetachDisk:
		v.Disks = slices.DeleteFunc(v.Disks, func(d Disk) bool { return isDisk(d, s.Disk) })
	case Disown:
		r.Disks = slices.DeleteFunc(r.Disks, func(d DiskRecord) bool { return o.handed(*v, s.Successor, d) })
	case Recall:
		r.Failed, r.Spurned, r.Takes = s.Why, s.Spurned, slices.Clone(s.Takes)
	case Rename:
		v.Name, r.Replaces = s.To, ""
	case Retire:
		free(r)
		v.Name, r.Retired, r.Started, r.Drained, r.Due = s.To, s.At, time.Time{}, false, false
	case DestroyVM:
		name, id := v.Name, v.ID // v moves while others do
		o.VMs = slices.DeleteFunc(o.VMs, func(x VM) bool { return x.Name == name && x.ID == id })
	case Adopt:
		v.Name, v.Fleet, v.Ordinal, v.Record = s.To, s.Fleet, s.Ordinal, s.Record.clone()
		o.made(s.Fleet, s.To, s.Record)
	case Forget:
		v.Fleet, v.Ordinal, v.Record = "", 0, Record{}
	}
}

func (o *Observed) grow(v *VM, s GrowDisk) {
	for i := range v.Disks {
		if isDisk(v.Disks[i], s.Disk) {
			v.Disks[i].Bytes = max(v.Disks[i].Bytes, s.Bytes)
		}
	}
	for i := range o.Files {
		if o.Files[i].Path == s.Disk.Path {
			o.Files[i].Bytes = max(o.Files[i].Bytes, s.Bytes)
		}
	}
}

// handed tells whether the VM's successor has the disk attached.
func (o *Observed) handed(v VM, successor string, d DiskRecord) bool {
	return slices.ContainsFunc(o.VMs, func(x VM) bool {
		is := x.ID == successor
		if successor == "" {
			is = v.ID != "" && x.Record.Replaces == v.ID
		}
		return is && attached(x, d) != nil
	})
}

// isDisk tells whether a record means the attached disk.
func isDisk(d Disk, r DiskRecord) bool {
	if r.UUID == "" {
		return d.Path == r.Path
	}
	return sameUUID(d.UUID, r.UUID)
}

// attach adds the disk unless it is there, and completes the record's UUID from the file.
func (o Observed) attach(v *VM, d DiskRecord) {
	if slices.ContainsFunc(v.Disks, func(x Disk) bool { return x.Path == d.Path }) {
		return
	}
	if i := slices.IndexFunc(v.Record.Takes, func(x DiskRecord) bool { return x.Path == d.Path }); i >= 0 {
		v.Record.Disks = append(v.Record.Disks, v.Record.Takes[i])
		v.Record.Takes = slices.Delete(v.Record.Takes, i, i+1)
	}
	disk := Disk{UUID: d.UUID, Path: d.Path, Mode: DiskMode}
	if f := o.file(d.Path); f != nil {
		disk.UUID, disk.Bytes = f.UUID, f.Bytes
	}
	v.Disks = append(v.Disks, disk)
	for i := range v.Record.Disks {
		if v.Record.Disks[i].Path == d.Path && v.Record.Disks[i].UUID == "" {
			v.Record.Disks[i].UUID = disk.UUID
		}
	}
}

// free drops the claim.
func free(r *Record) {
	r.Owner, r.Expires = "", time.Time{}
}

// Clone returns a copy that shares nothing with o.
func (o Observed) Clone() Observed {
	o.VMs = slices.Clone(o.VMs)
	for i := range o.VMs {
		v := &o.VMs[i]
		v.Record = v.Record.clone()
		v.Disks = slices.Clone(v.Disks)
		v.Busy = slices.Clone(v.Busy)
		v.Keys = slices.Clone(v.Keys)
		v.Guest.Mounts = slices.Clone(v.Guest.Mounts)
		v.Guest.Probes = slices.Clone(v.Guest.Probes)
	}
	o.Files = slices.Clone(o.Files)
	o.Hidden = slices.Clone(o.Hidden)
	o.Made = slices.Clone(o.Made)
	return o
}

func (r Record) clone() Record {
	r.Disks, r.Takes = slices.Clone(r.Disks), slices.Clone(r.Takes)
	return r
}

// clone returns a copy that shares nothing with w.
func (w WantVM) clone() WantVM {
	w.Networks = slices.Clone(w.Networks)
	w.Disks = slices.Clone(w.Disks)
	w.ExtraConfig = maps.Clone(w.ExtraConfig)
	return w
}

func (o Observed) find(name string) *VM {
	for i := range o.VMs { // a VM is large: it is not copied to look at its name
		if o.VMs[i].Name == name {
			return &o.VMs[i]
		}
	}
	return nil
}

func (o Observed) file(path string) *DiskFile {
	if i := slices.IndexFunc(o.Files, func(f DiskFile) bool { return f.Path == path }); i >= 0 {
		return &o.Files[i]
	}
	return nil
}
