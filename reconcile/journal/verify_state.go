package journal

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// onVM returns what is known of the VM that a call is made on, nil when it is made on something else.
func (v *verifier) onVM(t Target) *vm {
	if t.Kind != "VirtualMachine" {
		return nil
	}
	key := t.VCenter + " " + t.Ref
	if v.vms[key] == nil {
		v.vms[key] = &vm{detached: map[string]bool{}}
	}
	return v.vms[key]
}

// seen takes in a look.
func (v *verifier) seen(n int, l *Look) {
	m := v.onVM(l.VM)
	if m == nil {
		return
	}
	m.line, m.failed = n, l.Error != ""
	if m.failed {
		return
	}
	v.unchanged(n, m, l)
	m.look, m.record, m.detached = l, l.Record, map[string]bool{}
	made := v.created[l.Fleet]
	if i := slices.Index(made, l.VM.VCenter+" "+l.VM.Name); i >= 0 {
		m.born, v.created[l.Fleet] = true, slices.Delete(made, i, i+1)
	}
	for _, d := range l.Disks {
		v.paths[d.Path] = d.UUID
	}
	if l.Record == nil {
		return
	}
	for _, d := range l.Record.Disks {
		if v.paths[d.Path] == "" {
			v.paths[d.Path] = canonical(d.UUID)
		}
	}
}

// unchanged is D4: a disk is what it was when it was first seen.
func (v *verifier) unchanged(n int, m *vm, l *Look) {
	for _, d := range l.Disks {
		v.last[d.UUID] = n
		f, known := v.first[d.UUID]
		if !known {
			v.first[d.UUID] = fact{d, n}
			continue
		}
		v.again++
		larger := d.Bytes > f.Bytes && d.Bytes <= max(v.grown[d.UUID], v.grown[d.Path])
		v.check("D4", n, d.Bytes == f.Bytes || larger, "disk %s of %s has %d bytes, and had %d (line %d)", d.Path, l.VM.Name, d.Bytes, f.Bytes, f.line)
		v.check("D4", n, !d.Parent || f.Parent, "disk %s of %s has a parent now", d.Path, l.VM.Name)
		v.check("D4", n, d.Mode == f.Mode, "disk %s of %s has mode %s, and had %s (line %d)", d.Path, l.VM.Name, d.Mode, f.Mode, f.line)
		v.check("D4", n, d.Shared == f.Shared, "disk %s of %s is shared otherwise than before (line %d)", d.Path, l.VM.Name, f.line)
		v.check("D4", n, d.Controller == f.Controller || d.Controller == "" || f.Controller == "",
			"disk %s of %s is on a %s, and was on a %s (line %d)", d.Path, l.VM.Name, d.Controller, f.Controller, f.line)
		if larger {
			f.Bytes = d.Bytes
			v.first[d.UUID] = f
		}
	}
	if m.look == nil {
		return
	}
	for _, was := range m.look.Disks {
		i := slices.IndexFunc(l.Disks, func(d Disk) bool { return d.Path == was.Path })
		v.check("D4", n, i < 0 || l.Disks[i].UUID == was.UUID, "disk %s of %s has another UUID than before", was.Path, l.VM.Name)
	}
}

// intend takes in a call after it was checked.
func (v *verifier) intend(l Line, c *call) {
	m := v.onVM(c.Target)
	v.checkDisks(c, m)
	v.checkRun(l, c, m)
	v.calls[c.line] = c
	if m != nil {
		m.open = c
	}
	switch c.Method {
	case "ShutdownGuest", "PowerOffVM_Task":
		m.take()
	case "CreateVirtualDisk_Task":
		for _, p := range c.Paths {
			v.made[p] = c.line
		}
	case "ExtendVirtualDisk_Task":
		for _, p := range c.Paths {
			v.grown[p] = max(v.grown[p], c.Bytes)
		}
	case "CreateVM_Task":
		f := c.fleet()
		v.created[f] = append(v.created[f], c.Target.VCenter+" "+c.Name)
	case deleteDisk:
		for _, p := range c.Paths {
			v.deleted[p] = v.out.Head.Command == deleteCommand
		}
	}
	for _, d := range c.Devices {
		if d.Kind == diskKind && d.Operation == "edit" {
			v.grown[canonical(d.UUID)], v.grown[d.Path] = d.Bytes, d.Bytes
		}
	}
}

func (m *vm) take() {
	if m != nil {
		m.down = true
	}
}

// became takes in what came of a call.
func (v *verifier) became(n int, r *Result) {
	c := v.calls[r.Call]
	if c == nil || r.State == Running {
		return
	}
	delete(v.calls, r.Call)
	m := v.onVM(c.Target)
	if m != nil {
		m.ended = max(m.ended, n)
		if m.open == c {
			m.open = nil
		}
	}
	if r.State == Failed {
		v.undo(c)
		return
	}
	v.happened(c, m)
}

// undo takes back what a call that failed did not do.
func (v *verifier) undo(c *call) {
	switch c.Method {
	case "CreateVirtualDisk_Task":
		for _, p := range c.Paths {
			delete(v.made, p)
		}
	case "CreateVM_Task":
		f := c.fleet()
		v.created[f] = slices.DeleteFunc(v.created[f], func(x string) bool { return x == c.Target.VCenter+" "+c.Name })
	case deleteDisk:
		for _, p := range c.Paths {
			delete(v.deleted, p)
		}
	}
}

// happened takes in what a call did, or may have done.
func (v *verifier) happened(c *call, m *vm) {
	if m == nil {
		return
	}
	if c.Method == "Destroy_Task" {
		m.gone = true
	}
	if c.Record != nil {
		m.record = c.Record
		if c.releases() {
			m.down = false
		}
	}
	for _, d := range c.Devices {
		if d.Kind == diskKind && d.Operation == "remove" {
			m.detached[m.uuidOf(d)] = true
			v.left[m.uuidOf(d)] = v.leaves(m, d)
		}
	}
}

// leaves tells whether a disk that is detached stays behind on purpose: lkv gc takes it off a retired VM, and its file
// lies where lkv disks list finds it without any VM.
func (v *verifier) leaves(m *vm, d Device) bool {
	if v.out.Head.Command != gcCommand || m.look == nil || m.record == nil || m.record.Retired.IsZero() {
		return false
	}
	uuid := m.uuidOf(d)
	i := slices.IndexFunc(m.look.Disks, func(x Disk) bool { return x.UUID == uuid })
	return i >= 0 && inFolder(m.look.Disks[i].Path, m.look.Fleet) && m.record.names(uuid, "")
}

// inFolder tells whether a disk lies in a fleet's folder.
func inFolder(disk, fleet string) bool {
	_, rest, _ := strings.Cut(disk, "] ")
	return fleet != "" && path.Dir(rest) == plan.DiskFolder+"/"+fleet && path.Ext(rest) == ".vmdk"
}

// releases tells whether a call ends a roll.
func (c *call) releases() bool {
	return c.Record != nil && c.Record.Owner == "" && c.Record.Started.IsZero() && c.Record.Failed == ""
}

// retires tells whether a call takes a VM out of use.
func (c *call) retires(m *vm) bool {
	return c.Record != nil && !c.Record.Retired.IsZero() && (m.record == nil || m.record.Retired.IsZero())
}

// value returns what a call writes under a key of extraConfig.
func (c *call) value(key string) (value string, written bool) {
	i := slices.IndexFunc(c.Extra, func(k Key) bool { return k.Key == key })
	if i < 0 {
		return "", false
	}
	return c.Extra[i].Value, true
}

// forgets tells whether a call takes everything that lkv wrote out of a VM.
func (c *call) forgets() bool {
	own, first := c.value(ownerKey)
	record, second := c.value(recordKey)
	return first && second && own == "" && record == ""
}

// adopts tells whether a call gives a VM an owner.
func (c *call) adopts() bool {
	own, written := c.value(ownerKey)
	return c.Method == "ReconfigVM_Task" && written && own != ""
}

// only tells whether a call changes nothing of a VM but these keys.
func (c *call) only(keys ...string) bool {
	return len(c.Devices) == 0 && c.Name == "" &&
		!slices.ContainsFunc(c.Fields, func(f string) bool { return f != "ChangeVersion" && f != "ExtraConfig" }) &&
		!slices.ContainsFunc(c.Extra, func(k Key) bool { return !slices.Contains(keys, k.Key) })
}

// pauses tells whether a call writes a pause and nothing else.
func (c *call) pauses(m *vm) bool {
	was := m.read()
	was.Paused = true
	return c.only(recordKey) && c.Record != nil && same(c.Record, &was)
}

// marks tells whether a call writes since when a VM does not serve, or that it does, and nothing else.
func (c *call) marks(m *vm) bool {
	if c.Record == nil || !c.only(recordKey) {
		return false
	}
	was := m.read()
	was.Ill = c.Record.Ill
	return !was.Ill.Equal(m.read().Ill) && same(c.Record, &was)
}

// read returns the record that the last look showed; one that is not there says nothing.
func (m *vm) read() Record {
	if m.look == nil || m.look.Record == nil {
		return *RecordOf(plan.Record{})
	}
	return *m.look.Record
}

// uuidOf finds the disk that a device change is about among those that the VM had at the last look.
func (m *vm) uuidOf(d Device) string {
	if d.UUID != "" {
		return canonical(d.UUID)
	}
	if m.look != nil {
		for _, x := range m.look.Disks {
			if x.Path == d.Path {
				return x.UUID
			}
		}
	}
	return ""
}

// holds tells whether a VM has a disk attached, as far as is known.
func (m *vm) holds(uuid string) bool {
	return m.look != nil && !m.gone && uuid != "" && !m.detached[uuid] &&
		slices.ContainsFunc(m.look.Disks, func(d Disk) bool { return d.UUID == uuid })
}

// names tells whether a VM's record names a disk by UUID and path. Without a path it is asked for the UUID alone.
func (r *Record) names(uuid, path string) bool {
	return r != nil && slices.ContainsFunc(r.Disks, func(d DiskRecord) bool {
		return canonical(d.UUID) == uuid && uuid != "" && (path == "" || d.Path == path)
	})
}

// canonical writes a UUID in the one way that looks have it.
func canonical(uuid string) string {
	hex := plan.SerialOf(uuid)
	if len(hex) != 32 {
		return strings.ToLower(uuid)
	}
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}

const (
	diskKind   = "VirtualDisk"
	deleteDisk = "DeleteVirtualDisk_Task"
	ownerKey   = "lkv.owner"
	recordKey  = "lkv.record"
	tokenKey   = "guestinfo.lkv.token"
	markerExt  = ".made"
)

// Commands that may do what no other may.
const (
	adoptCommand  = "adopt"
	deleteCommand = "delete" // lkv disks delete
	forgetCommand = "forget"
	gcCommand     = "gc"
	pauseCommand  = "pause"
)

// digestRule finds the digest in an ISO's path.
var digestRule = regexp.MustCompile(`[0-9a-f]{64}`)
