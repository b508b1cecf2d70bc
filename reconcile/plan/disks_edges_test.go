package plan

import (
	"strings"
	"testing"
)

// TestWhoseDisk: which file a VM that has to be made again is given, and whose it must not be. One of two VMs is missing,
// its file is there.
func TestWhoseDisk(t *testing.T) {
	path := "[ssd-1] lkv-disks/workers/wrk-02-docker.vmdk"
	stranger := func(v VM) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { o.VMs = append(o.VMs, v) }
	}
	taken := func(n int) Disk { return Disk{UUID: uuidOf(n, 0), Path: "[ssd-9] x/x.vmdk", Mode: DiskMode} }
	for name, c := range map[string]struct {
		world func(d *Desired, o *Observed)
		says  string // "": it gets the file
		clear string
	}{
		"it is its own":                    {func(*Desired, *Observed) {}, "", ""},
		"a VM has it attached":             {stranger(VM{Name: "x", Disks: []Disk{{Path: path, Mode: DiskMode}}}), "disk file lkv-disks/workers/wrk-02-docker.vmdk belongs to VM x", "find out whose disk it is"},
		"on another datastore":             {stranger(VM{Name: "x", Disks: []Disk{{Path: "[hdd] lkv-disks/workers/wrk-02-docker.vmdk", Mode: DiskMode}}}), "belongs to VM x", "find out whose disk it is"},
		"a VM has it in its record":        {stranger(VM{Name: "x", Record: Record{Disks: []DiskRecord{{Path: path}}}}), "belongs to VM x", "find out whose disk it is"},
		"a VM is to take it over":          {stranger(VM{Name: "x", Record: Record{Takes: []DiskRecord{{Path: path}}}}), "belongs to VM x", "find out whose disk it is"},
		"a VM has its UUID from elsewhere": {stranger(VM{Name: "x", Disks: []Disk{taken(2)}}), "disk file " + path + " has the UUID of a disk of VM x", "rename the file when it is a copy"},
		"the UUID, spelt like a serial":    {stranger(VM{Name: "x", Disks: []Disk{{UUID: SerialOf(uuidOf(2, 0)), Path: "[a] b.vmdk"}}}), "has the UUID of a disk of VM x", "rename the file when it is a copy"},
		"a record has its UUID":            {stranger(VM{Name: "x", Record: Record{Disks: []DiskRecord{{UUID: uuidOf(2, 0)}}}}), "has the UUID of a disk of VM x", "rename the file when it is a copy"},
		"a record is to take its UUID":     {stranger(VM{Name: "x", Record: Record{Takes: []DiskRecord{{UUID: uuidOf(2, 0)}}}}), "has the UUID of a disk of VM x", "rename the file when it is a copy"},
		"another disk of another VM":       {stranger(VM{Name: "x", Disks: []Disk{taken(7)}}), "", ""},
		"its file has no UUID, others neither": {func(_ *Desired, o *Observed) {
			o.Files[1].UUID = ""
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{Path: "[a] b.vmdk"}}})
		}, "", ""},
		"its file lies on another datastore": {func(_ *Desired, o *Observed) { o.Files[1].Path = "[hdd] lkv-disks/workers/wrk-02-docker.vmdk" }, "", ""},
		"it lies on two": {func(_ *Desired, o *Observed) {
			o.Files = append(o.Files, DiskFile{Path: "[hdd] lkv-disks/workers/wrk-02-docker.vmdk", UUID: uuidOf(2, 0), Bytes: 10 << 30})
		}, "disk docker exists twice: " + path + " and [hdd] lkv-disks/workers/wrk-02-docker.vmdk", "rename the other"},
		"it is smaller than wanted":               {func(_ *Desired, o *Observed) { o.Files[1].Bytes-- }, "", ""},
		"it is larger than wanted":                {func(_ *Desired, o *Observed) { o.Files[1].Bytes++ }, "disk file " + path + " has 10737418241 bytes, the fleet wants 10 GiB", "write the size"},
		"a datastore elsewhere is hidden":         {func(_ *Desired, o *Observed) { o.Hidden = []Hidden{{Datacenter: "DC2", Datastore: "old", Why: "x"}} }, "", ""},
		"a datastore is hidden, its file is seen": {func(_ *Desired, o *Observed) { o.Hidden = []Hidden{{Datacenter: "DC1", Datastore: "old", Why: "x"}} }, "", ""},
	} {
		d, o := fleetWith(2, newDigest)()
		vanish(&o, 2)
		c.world(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" {
			if b := refusalOf(t, p, "wrk-02"); b.Code != R06 || !strings.Contains(b.Reason, c.says) || !strings.Contains(b.Clear, c.clear) || doing(p, "wrk-02") != "" {
				t.Errorf("%s: %s", name, b.Error())
			}
			continue
		}
		if got := doing(p, "wrk-02"); !strings.HasPrefix(got, "createvm attachdisk") {
			t.Errorf("%s: %s %+v", name, got, p.Blocked)
			continue
		}
		if a := stepFor[AttachDisk](t, p, "wrk-02"); a.Disk.Path != o.Files[1].Path || a.Disk.UUID != o.Files[1].UUID {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestDisksOfAVM: what about the disks of a VM that exists forbids every step, and what does not. Two VMs with disks
// docker and logs; the second is spoilt.
func TestDisksOfAVM(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *VM)
		code  Code
		says  string
	}{
		"as recorded":                        {func(*VM) {}, "", ""},
		"persistent is as good":              {func(v *VM) { v.Disks[1].Mode = "persistent" }, "", ""},
		"no mode":                            {func(v *VM) { v.Disks[1].Mode = "" }, R05, "has mode none, so it would lose its writes"},
		"non-persistent":                     {func(v *VM) { v.Disks[1].Mode = "nonpersistent" }, R05, "has mode nonpersistent, so it would lose its writes"},
		"undoable":                           {func(v *VM) { v.Disks[1].Mode = "undoable" }, R05, "has mode undoable"},
		"multi-writer":                       {func(v *VM) { v.Disks[1].Shared = true }, R05, "is shared between VMs (multi-writer)"},
		"a snapshot":                         {func(v *VM) { v.Disks[1].Parent = true }, R05, "has a snapshot or a parent"},
		"a snapshot, and not recorded":       {func(v *VM) { v.Disks[1].Parent, v.Record.Disks = true, nil }, R05, "has a snapshot or a parent"},
		"moved: known by its UUID":           {func(v *VM) { v.Disks[1].Path = "[hdd] moved/disk.vmdk" }, "", ""},
		"UUID never recorded: known by path": {func(v *VM) { v.Record.Disks[1].UUID = "" }, "", ""},
		"UUID never recorded, and moved":     {func(v *VM) { v.Record.Disks[1].UUID, v.Disks[1].Path = "", "[hdd] moved/disk.vmdk" }, R06, "is attached but not recorded"},
		"another disk under its path":        {func(v *VM) { v.Disks[1].UUID = uuidOf(9, 9) }, R06, "is attached but not recorded"},
		"attached twice, as two devices":     {func(v *VM) { d := v.Disks[1]; d.Path = "[hdd] copy.vmdk"; v.Disks = append(v.Disks, d) }, R06, "disk [hdd] copy.vmdk (" + uuidOf(2, 1) + ") is attached but not recorded"},
		"detached":                           {func(v *VM) { v.Disks = v.Disks[:1] }, R06, "disk logs (" + uuidOf(2, 1) + ", [ssd-1] lkv-disks/workers/wrk-02-logs.vmdk) is recorded but not attached"},
		"detached, UUID never recorded":      {func(v *VM) { v.Disks, v.Record.Disks[1].UUID = v.Disks[:1], "" }, R06, "disk logs (none, "},
		"detached, after its first roll":     {func(v *VM) { abandoned(v); powerOff(v); rolledAgo(1)(v); v.Disks = v.Disks[:1] }, R06, "is recorded but not attached"},
		"detached, in its second image":      {func(v *VM) { abandoned(v); powerOff(v); v.Record.Previous = oldDigest; v.Disks = v.Disks[:1] }, R06, "is recorded but not attached"},
		"detached, another ISO before":       {func(v *VM) { abandoned(v); powerOff(v); v.Record.PreviousISO = oldISO; v.Disks = v.Disks[:1] }, R06, "is recorded but not attached"},
		"detached, not claimed":              {func(v *VM) { powerOff(v); v.Disks = v.Disks[:1] }, R06, "is recorded but not attached"},
		"being made, not attached yet":       {func(v *VM) { abandoned(v); powerOff(v); v.Disks = v.Disks[:1] }, "", ""},
		"being made, its file is another":    {func(v *VM) { abandoned(v); powerOff(v); v.Disks = v.Disks[:1]; v.Record.Disks[1].UUID = uuidOf(9, 9) }, R06, "disk logs is recorded but its file [ssd-1] lkv-disks/workers/wrk-02-logs.vmdk is gone or another one"},
		"being made, its file spelt apart": {func(v *VM) {
			abandoned(v)
			powerOff(v)
			v.Disks = v.Disks[:1]
			v.Record.Disks[1].UUID = SerialOf(uuidOf(2, 1))
		}, "", ""},
		"being made, its file is nowhere":  {func(v *VM) { abandoned(v); powerOff(v); v.Disks = v.Disks[:1]; v.Record.Disks[1].Path = "[a] b.vmdk" }, R06, "is gone or another one"},
		"to take over one that never came": {func(v *VM) { v.Record.Takes = []DiskRecord{{Name: "x", UUID: uuidOf(9, 9), Path: "[a] b.vmdk"}} }, R06, "disk x (" + uuidOf(9, 9) + ", [a] b.vmdk), which it was to take over, is not attached"},
		"made without a disk":              {func(v *VM) { v.Disks, v.Record.Disks = v.Disks[:1], v.Record.Disks[:1] }, R06, "the fleet wants disk logs, this VM was made without it"},
		"larger than wanted":               {func(v *VM) { v.Disks[1].Bytes++ }, R06, "disk logs has 10737418241 bytes, the fleet wants 10 GiB"},
		"smaller than wanted: it grows":    {func(v *VM) { v.Disks[1].Bytes-- }, "", ""},
	} {
		d := wish(2, "docker", "logs")
		o := fleetOf(d, oldDigest)
		c.spoil(&o.VMs[1])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.code == "" {
			if len(p.Blocked) > 0 || doing(p, "wrk-02") == "" {
				t.Errorf("%s: %s %+v", name, outline(p), p.Blocked)
			}
			continue
		}
		if b := refusalOf(t, p, "wrk-02"); b.Code != c.code || !strings.Contains(b.Reason, c.says) || doing(p, "wrk-02") != "" {
			t.Errorf("%s: %s", name, b.Error())
		}
	}
}

// TestSharedDisks: a disk that two VMs have, attached or recorded, by UUID or, where it has none, by path, keeps both
// from being touched, and only them. Three VMs on the old image.
func TestSharedDisks(t *testing.T) {
	tell(t, func() (Desired, Observed) {
		d, o := fleetWith(3, oldDigest)()
		d.Rollout.MaxUnavailable = 3
		return d, o
	}, []tale{
		{"none is shared", nil, "roll 01 + roll 02 + roll 03"},
		{"attached to two", func(_ *Desired, o *Observed) { o.VMs[1].Disks = append(o.VMs[1].Disks, o.VMs[2].Disks[0]) }, "roll 01 | R07 02 | R07 03"},
		{"attached to one and in the record of another", func(_ *Desired, o *Observed) {
			o.VMs[1].Record.Disks = append(o.VMs[1].Record.Disks, DiskRecord{Name: "x", UUID: uuidOf(3, 0)})
		}, "roll 01 | R07 02 | R07 03"},
		{"in two records, attached to none", func(_ *Desired, o *Observed) {
			for _, i := range []int{1, 2} {
				o.VMs[i].Record.Disks = append(o.VMs[i].Record.Disks, DiskRecord{Name: "x", UUID: uuidOf(9, 9)})
			}
		}, "roll 01 | R07 02 | R07 03"},
		{"in the record of a stranger", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Record: Record{Disks: []DiskRecord{{UUID: uuidOf(3, 0)}}}})
		}, "roll 01 + roll 02 | R07 03"},
		{"one path without a UUID", func(_ *Desired, o *Observed) {
			o.VMs[2].Disks[0].UUID, o.VMs[2].Record.Disks[0].UUID = "", ""
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{Path: o.VMs[2].Disks[0].Path}}})
		}, "roll 01 + roll 02 | R07 03"},
		{"one path and two UUIDs are two disks", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{UUID: uuidOf(9, 9), Path: o.VMs[2].Disks[0].Path}}})
		}, "roll 01 + roll 02 + roll 03"},
		{"disks without a UUID and a path are no one's", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{}}}, VM{Name: "y", Disks: []Disk{{}}})
		}, "roll 01 + roll 02 + roll 03"},
		{"among three", func(_ *Desired, o *Observed) {
			for i := range o.VMs[1:] {
				o.VMs[1+i].Record.Disks = append(o.VMs[1+i].Record.Disks, DiskRecord{Name: "x", UUID: uuidOf(1, 0)})
			}
		}, "R07 01 | R07 02 | R07 03"},
	})
	d, o := fleetWith(3, oldDigest)()
	for i := range o.VMs[1:] {
		o.VMs[1+i].Record.Disks = append(o.VMs[1+i].Record.Disks, DiskRecord{Name: "x", UUID: uuidOf(1, 0)})
	}
	if b := refusalOf(t, Compute(d, o, t0), "wrk-02"); b.Reason != "disk UUID "+SerialOf(uuidOf(1, 0))+" is on wrk-01 and wrk-02 and wrk-03" {
		t.Error(b.Reason)
	}
}
