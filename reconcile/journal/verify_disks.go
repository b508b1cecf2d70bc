package journal

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// harmless are the calls that by themselves leave every disk where it is. What they carry is looked at.
var harmless = []string{
	"MakeDirectory", "CreateDirectory", "CreateFolder", "CancelTask", "PUT",
	"MoveDatastoreFile_Task", "DeleteDatastoreFile_Task", "CopyDatastoreFile_Task",
	"CreateVM_Task", "ReconfigVM_Task", "Rename_Task", "PowerOnVM_Task", "PowerOffVM_Task", "ShutdownGuest",
	"CreateVirtualDisk_Task", "ExtendVirtualDisk_Task",
	"Destroy_Task", // see D2
	"library item create", "library item update", "library update-session create", "library update-session complete",
	"library update-session cancel", "library update-session delete", "library update-session keep-alive",
	"library update-session file add", "library update-session file remove", "library upload",
}

// dangerous are fields of a VM's specification that move, encrypt or revert disks.
var dangerous = []string{"Files", "VmProfile", "Crypto", "Flags", "RepConfig", "DeviceGroups", "FtInfo"}

// checkDisks is D1 to D7, for one call.
func (v *verifier) checkDisks(c *call, m *vm) {
	v.checkMethod(c)
	v.checkFiles(c)
	for _, d := range c.Devices {
		v.checkDevice(c, m, d)
	}
	switch c.Method {
	case "Destroy_Task":
		v.check("D2", c.line, c.Target.Kind == "VirtualMachine", "%s is no VM", c.on())
		fresh := m != nil && m.look != nil && !m.failed && m.line > m.ended && m.open == nil
		v.check("D2", c.line, fresh && len(m.look.Disks) == 0, "%s is destroyed, and no fresh read shows that it has no disk", c.on())
	case "CreateVirtualDisk_Task":
		v.checkNew(c)
	case "PowerOnVM_Task":
		v.checkPowerOn(c, m)
	}
	v.checkRecorded(c, m)
}

func (v *verifier) checkMethod(c *call) {
	v.check("D1", c.line, v.meant(c) || slices.Contains(harmless, c.Method), "%s of %s can lose a disk", c.Method, c.on())
	if c.Method == "ReconfigVM_Task" {
		i := slices.IndexFunc(c.Fields, func(f string) bool { return slices.Contains(dangerous, f) })
		v.check("D1", c.line, i < 0, "it sets fields of %s that move, encrypt or revert disks: %v", c.on(), c.Fields)
	}
}

// meant tells whether a call deletes one data disk on purpose, that no VM was seen with and no record names.
func (v *verifier) meant(c *call) bool {
	if c.Method != deleteDisk || v.out.Head.Command != deleteCommand || len(c.Paths) != 1 {
		return false
	}
	p := c.Paths[0]
	for _, m := range v.vms {
		if m.gone {
			continue
		}
		if m.record != nil && slices.ContainsFunc(m.record.Disks, func(d DiskRecord) bool { return d.Path == p }) ||
			m.look != nil && slices.ContainsFunc(m.look.Disks, func(d Disk) bool { return d.Path == p }) {
			return false
		}
	}
	_, rest, _ := strings.Cut(p, "] ")
	return inFolder(p, path.Base(path.Dir(rest)))
}

// frees tells whether a call removes what says that a disk was made, after that very disk was deleted on purpose.
func (v *verifier) frees(c *call) bool {
	if c.Method != "DeleteDatastoreFile_Task" || v.out.Head.Command != deleteCommand || len(c.Paths) != 1 {
		return false
	}
	disk, isMarker := strings.CutSuffix(c.Paths[0], markerExt)
	disk += ".vmdk"
	for _, open := range v.calls {
		if open.Method == deleteDisk && slices.Contains(open.Paths, disk) {
			return false // whether it is gone is not known
		}
	}
	return isMarker && v.deleted[disk]
}

// checkFiles is D1 for calls on files: the one that is deleted, moved or written over is no disk and holds none.
func (v *verifier) checkFiles(c *call) {
	touched := c.Paths
	if v.frees(c) {
		return
	}
	if name, ok := strings.CutPrefix(c.Method, "library "); ok {
		v.check("D1", c.line, path.Ext(c.Name) != ".vmdk", "%s touches the disk file %s", name, c.Name)
		return
	}
	switch c.Method {
	case "CopyDatastoreFile_Task":
		touched = c.Paths[min(1, len(c.Paths)):]
	case "MoveDatastoreFile_Task", "DeleteDatastoreFile_Task", http.MethodPut:
	default:
		return
	}
	for _, p := range touched {
		_, rest, _ := strings.Cut(p, "] ")
		ours := rest == plan.DiskFolder || strings.HasPrefix(rest, plan.DiskFolder+"/") || path.Ext(rest) == ".vmdk"
		v.check("D1", c.line, !ours, "%s touches the disk file %s", c.Method, p)
		for disk := range v.paths {
			v.check("D1", c.line, !strings.HasPrefix(disk, strings.TrimSuffix(p, "/")+"/"), "%s touches %s, in which disk %s lies", c.Method, p, disk)
		}
	}
}

func (v *verifier) checkDevice(c *call, m *vm, d Device) {
	v.check("D1", c.line, d.FileOperation == "", "%s of a %s with file operation %s", d.Operation, d.Kind, d.FileOperation)
	if d.Kind != diskKind {
		v.check("D1", c.line, d.Operation != "remove", "it removes a %s, and what hangs on it", d.Kind)
		return
	}
	switch d.Operation {
	case "add":
		v.check("D4", c.line, !d.Parent && (d.Mode == plan.DiskMode || d.Mode == ""), "it attaches %s with mode %q, parent %v", d.Path, d.Mode, d.Parent)
		v.checkAttach(c, m, d)
	case "remove":
		v.checkDetach(c, m, d)
	case "edit":
		known := m != nil && m.look != nil && slices.ContainsFunc(m.look.Disks, func(x Disk) bool { return x.Path == d.Path && d.Bytes >= x.Bytes })
		v.check("D1", c.line, known, "it changes disk %s of %s to another file or to %d bytes", d.Path, c.on(), d.Bytes)
	default:
		v.check("D1", c.line, false, "unknown operation %q on disk %s", d.Operation, d.Path)
	}
}

// checkAttach is D3.
func (v *verifier) checkAttach(c *call, m *vm, d Device) {
	uuid := canonical(d.UUID)
	if uuid == "" && c.Record != nil {
		for _, r := range c.Record.Disks {
			if r.Path == d.Path {
				uuid = canonical(r.UUID)
			}
		}
	}
	for _, other := range v.vms {
		if other != m {
			v.check("D3", c.line, !other.holds(uuid), "disk %s is attached to %s, and %s has it", d.Path, c.on(), nameOf(other))
		}
	}
}

func nameOf(m *vm) string {
	if m.look == nil {
		return "a VM"
	}
	return m.look.VM.Name
}

// checkDetach is the first half of D5: before a disk is let go, a record names it.
func (v *verifier) checkDetach(c *call, m *vm, d Device) {
	if m == nil || m.look == nil {
		v.check("D5", c.line, false, "disk %s is detached from a VM that was never read", d.Path)
		return
	}
	uuid, ok := m.uuidOf(d), false
	for _, other := range v.vms {
		ok = ok || other.record.names(uuid, "") && !other.gone
	}
	if m.record.names(uuid, "") && c.Record != nil && !c.Record.names(uuid, "") {
		ok = false // the same call forgets it
	}
	v.check("D5", c.line, ok && uuid != "", "disk %s is detached from %s while no record names it", d.Path, c.on())
}

// checkRecorded is the second half of D5: a record forgets a disk only after it was seen on another VM whose record
// names it. A VM that is forgotten as a whole keeps it.
func (v *verifier) checkRecorded(c *call, m *vm) {
	if m == nil || c.Record == nil || m.record == nil {
		return
	}
	for _, d := range m.record.Disks {
		uuid := canonical(d.UUID)
		if uuid == "" || c.Record.names(uuid, "") {
			continue
		}
		moved := v.out.Head.Command == forgetCommand && c.forgets() && m.holds(uuid)
		for _, other := range v.vms {
			moved = moved || other != m && other.holds(uuid) && other.record.names(uuid, "")
		}
		v.check("D5", c.line, moved, "the record of %s forgets disk %s (%s), which was not seen on another VM", c.on(), d.Name, d.Path)
	}
}

// checkPowerOn is D6, and D3 for VMs that run.
func (v *verifier) checkPowerOn(c *call, m *vm) {
	if m == nil || m.look == nil {
		v.check("D6", c.line, false, "%s is powered on, and was never read", c.on())
		return
	}
	l, r := m.look, m.record
	v.check("D6", c.line, l.ISO != "", "%s is powered on without an ISO", c.on())
	if r == nil {
		v.check("D6", c.line, false, "%s is powered on without a record", c.on())
		return
	}
	if digest := digestRule.FindString(l.ISO); digest != "" && r.Image != "" {
		v.check("D6", c.line, digest == r.Image, "%s is powered on with ISO %s, its record says %s", c.on(), l.ISO, r.Image)
	}
	v.check("D6", c.line, len(l.Disks) == len(r.Disks), "%s is powered on with %d disks, %d are recorded", c.on(), len(l.Disks), len(r.Disks))
	for _, d := range r.Disks {
		v.check("D6", c.line, m.holds(canonical(d.UUID)), "%s is powered on without its disk %s (%s)", c.on(), d.Name, d.Path)
	}
	for _, d := range l.Disks {
		for _, other := range v.vms {
			if other != m {
				v.check("D3", c.line, !other.holds(d.UUID), "%s is powered on with disk %s, which %s has, too", c.on(), d.Path, nameOf(other))
			}
		}
	}
}

// checkNew is D7.
func (v *verifier) checkNew(c *call) {
	for _, p := range c.Paths {
		_, rest, _ := strings.Cut(p, "] ")
		v.check("D7", c.line, strings.HasPrefix(rest, plan.DiskFolder+"/"), "%s does not lie under %s", p, plan.DiskFolder)
		_, known := v.paths[p]
		v.check("D7", c.line, !known, "disk %s is made, and a VM or a record knows it", p)
		line, before := v.made[p]
		v.check("D7", c.line, !before, "disk %s is made again (line %d)", p, line)
	}
}

// atEnd is D5 for the whole run: every disk that was ever seen is attached or recorded, or was left as a file on purpose,
// by lkv gc; and D3.
func (v *verifier) atEnd() {
	for uuid, n := range v.last {
		if f := v.first[uuid]; uuid == "" || v.deleted[f.Path] {
			continue
		}
		holders, recorded := 0, false
		for _, m := range v.vms {
			if m.holds(uuid) {
				holders++
			}
			recorded = recorded || !m.gone && m.record.names(uuid, "")
		}
		v.check("D5", n, holders > 0 || recorded || v.left[uuid], "disk %s (%s) is attached to no VM at the end, and in no record", v.first[uuid].Path, uuid)
		v.check("D3", n, holders < 2, "disk %s (%s) is attached to %d VMs at the end", v.first[uuid].Path, uuid, holders)
	}
}
