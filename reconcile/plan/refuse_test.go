package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// refusal is one way to be refused: spoil changes a fleet of three VMs on the old image with a docker disk each.
type refusal struct {
	name  string
	spoil func(d *Desired, o *Observed)
	vm    string // refused VM; "" is the fleet
	code  Code
	says  string // part of the reason
	clear string // part of how to clear it
	still bool   // no other VM may be touched either
}

func refusals() []refusal {
	second := func(f func(v *VM)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { f(&o.VMs[1]) }
	}
	image := func(f func(im *Image)) func(*Desired, *Observed) {
		return func(d *Desired, _ *Observed) { f(&d.Image) }
	}
	return []refusal{
		{"ISO not on the store", image(func(im *Image) { im.Paths = nil }), "wrk-01", R01, "not on store", "lkv push --image worker --store dc1", true},
		{"manifest missing", image(func(im *Image) { im.Known = false }), "wrk-01", R02, "manifest", "lkv build", true},
		{"nothing mounted", image(func(im *Image) { im.Mounts = nil }), "wrk-01", R02, "mounts nothing at /var/lib/docker", "lkv build", true},
		{"not gated", image(func(im *Image) { im.Mounts[0].Gated = false }), "wrk-01", R02, "even when /var/lib/docker is not mounted", "lkv build", true},
		{"mount for no disk", image(func(im *Image) {
			im.Mounts = append(im.Mounts, Mount{Path: "/data", Label: "data", Gated: true})
		}), "wrk-01", R02, "the fleet has none for it", "lkv build", true},
		{"found by order", image(func(im *Image) { im.Mounts[0].Label = "" }), "wrk-01", R02, "by order", "lkv build", true},
		{"one label for two", image(func(im *Image) {
			im.Mounts = append(im.Mounts, Mount{Path: "/data", Label: "docker", Gated: true})
		}), "wrk-01", R02, "the same disk", "lkv build", true},
		{"another label than on the disk", image(func(im *Image) { im.Mounts[0].Label = "data" }), "wrk-01", R02, "the disk was labelled docker", "lkv build", true},
		{"another file system than on the disk", image(func(im *Image) { im.Mounts[0].Filesystem = "xfs" }), "wrk-01", R02, "formatted with ext4", "lkv build", true},
		{"UUID of another disk", image(func(im *Image) { im.Mounts[0].UUID, im.Mounts[0].Label = uuidOf(2, 0), "" }), "wrk-01", R02, "looks for disk UUID", "lkv build", false},
		{"other firmware", image(func(im *Image) { im.Boot = []string{"uefi"} }), "wrk-01", R02, "firmware bios", "lkv build", true},
		{"firmware of the VM, not of the wish", second(func(v *VM) { v.Firmware = "efi" }), "", "", "", "", false},
		{"too little memory", image(func(im *Image) { im.RAM = 3 << 30 }), "wrk-01", R02, "needs 3072 MiB to boot, the VM gets 2048 MiB", "lkv build", true},
		{"force", image(func(im *Image) { im.Mounts[0].Force = true }), "wrk-01", R03, "by force", "lkv build", true},
		{"snapshot", second(func(v *VM) { v.Disks[0].Parent = true }), "wrk-02", R05, "snapshot", "remove the snapshots", false},
		{"multi-writer", second(func(v *VM) { v.Disks[0].Shared = true }), "wrk-02", R05, "multi-writer", "not shared", false},
		{"non-persistent", second(func(v *VM) { v.Disks[0].Mode = "independent_nonpersistent" }), "wrk-02", R05, "lose its writes", "independent persistent", false},
		{"recorded disk not attached", second(func(v *VM) { v.Disks = nil }), "wrk-02", R06, "recorded but not attached", "lkv disks attach --vm wrk-02 --disk docker", false},
		{"another disk attached", second(func(v *VM) { v.Disks[0].UUID = "6000C299" }), "wrk-02", R06, "attached but not recorded", "keeping its file", false},
		{"one disk too many", second(func(v *VM) {
			v.Disks = append(v.Disks, Disk{UUID: "6000C299", Path: "[ssd-1] else/x.vmdk", Mode: DiskMode})
		}), "wrk-02", R06, "attached but not recorded", "keeping its file", false},
		{"wanted disk never made", second(func(v *VM) { v.Disks, v.Record.Disks = nil, nil }), "wrk-02", R06, "made without it", "take the disk out", false},
		{"disk that would shrink", second(func(v *VM) { v.Disks[0].Bytes = 20 << 30 }), "wrk-02", R06, "has 20 GiB, the fleet wants 10 GiB", "write the size", false},
		{"disk lost in the middle of a roll", second(func(v *VM) {
			v.Disks, v.Record.Started, v.Record.Previous, v.Power = nil, t0, oldDigest, Off
		}), "wrk-02", R06, "recorded but not attached", "lkv disks attach --vm wrk-02 --disk docker", false},
		{"disk lost while it runs", second(func(v *VM) { v.Disks, v.Record.Started = nil, t0 }), "wrk-02", R06, "recorded but not attached", "lkv disks attach --vm wrk-02 --disk docker", false},
		{"file of a half-made VM is gone", func(_ *Desired, o *Observed) {
			v := &o.VMs[1]
			v.Disks, v.Record.Started, v.Power, v.Guest = nil, t0, Off, Guest{}
			o.Files = o.Files[:1]
		}, "wrk-02", R06, "its file", "put the file back", false},
		{"file of a missing VM is too large", func(_ *Desired, o *Observed) {
			o.VMs, o.Files[1].Bytes = append(o.VMs[:1:1], o.VMs[2]), 20<<30
		}, "wrk-02", R06, "has 20 GiB, the fleet wants 10 GiB", "write the size", false},
		{"file of a missing VM exists twice", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs[:1:1], o.VMs[2])
			o.Files = append(o.Files, DiskFile{Path: "[ssd-2] lkv-disks/workers/wrk-02-docker.vmdk", Bytes: 10 << 30})
		}, "wrk-02", R06, "exists twice", "rename the other", false},
		{"file of a missing VM is somebody's", func(_ *Desired, o *Observed) {
			path := o.VMs[1].Disks[0].Path
			o.VMs = append(o.VMs[:1:1], o.VMs[2])
			o.Files = o.Files[:1]
			o.VMs = append(o.VMs, VM{Name: "x", Record: Record{Disks: []DiskRecord{{Path: path}}}})
		}, "wrk-02", R06, "belongs to VM x", "keeping its file", false},
		{"a disk may lie where nobody can look", func(d *Desired, o *Observed) {
			o.VMs, o.Files = append(o.VMs[:1:1], o.VMs[2]), o.Files[:1]
			o.Hidden = []Hidden{{Datacenter: d.VMs[1].Place.Datacenter, Datastore: "old", Why: "not accessible"}}
		}, "wrk-02", R15, "may lie on datastore old, which is not accessible", "bring the datastore back", false},
		{"one UUID on two VMs", func(_ *Desired, o *Observed) {
			o.VMs[1].Disks[0].UUID = strings.ToLower(strings.ReplaceAll(o.VMs[2].Disks[0].UUID, "-", ""))
		}, "wrk-03", R07, "wrk-02 and wrk-03", "remove the disk from every VM but its own", false},
		{"a foreign VM has our disk", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Disks: o.VMs[1].Disks})
		}, "wrk-02", R07, "wrk-02 and x", "remove the disk from every VM but its own", false},
		{"question pending", second(func(v *VM) { v.Busy = []string{"a question is pending"} }), "wrk-02", R08, "a question is pending", "answer", false},
		{"suspended", second(func(v *VM) { v.Power = Suspended }), "wrk-02", R08, "suspended", "resume", false},
		{"a roll failed", second(func(v *VM) { v.Record.Failed = "not ready" }), "wrk-02", R12, "not ready", "lkv resume --fleet workers", true},
		{"too few serve", func(d *Desired, o *Observed) {
			*o = fleetOf(*d, newDigest)
			o.VMs[0].Record.Image, o.VMs[1].Guest.Tools = oldDigest, false
		}, "", R12, "1 of 3 do not serve", "max_unavailable", true},
		{"more are out of sight than may be", func(_ *Desired, o *Observed) { o.VMs[0].Guest, o.VMs[1].Guest = Guest{}, Guest{} }, "", R12, "2 of 3 do not serve", "max_unavailable", true},
		{"does not serve, nothing to do", func(d *Desired, o *Observed) {
			*o = fleetOf(*d, newDigest)
			o.VMs[1].Guest.Mounts = nil
		}, "wrk-02", R12, "has not mounted disk docker", "console", true},
		{"paused", second(func(v *VM) { v.Record.Paused = true }), "", R13, "paused", "lkv resume", true},
		{"nothing wanted", func(d *Desired, _ *Observed) { d.VMs = nil }, "", R14, "no VM at all", "remove its block", true},
		{"failed look", func(_ *Desired, o *Observed) { o.Problem = "timeout" }, "", R15, "timeout", "remove the cause", true},
		{"another live claim", second(func(v *VM) {
			v.Record.Owner, v.Record.Started, v.Record.Expires = other, t0.Add(-90*time.Second), t0.Add(30*time.Second)
		}), "wrk-02", R16, "claimed by lkv@there, epoch 3, started 1m30s ago, for another 30s", "wait", false},
		{"a foreign VM has the name", second(func(v *VM) { v.Fleet = "" }), "wrk-02", R22, "does not manage", "rename that VM", false},
		{"a VM of another fleet has the name", second(func(v *VM) { v.Fleet = "db" }), "wrk-02", R22, "belongs to fleet db", "name patterns", false},
		{"two VMs have the name", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "wrk-02", Ref: "vm-9"})
		}, "wrk-02", R22, "vm-9", "rename", false},
		{"renamed by hand", second(func(v *VM) { v.Name = "wrk-02-old" }), "wrk-02", R22, "wrk-02-old has its place", "rename it back to wrk-02", false},
	}
}

func TestRefusals(t *testing.T) {
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			d := wish(3, "docker")
			o := fleetOf(d, oldDigest)
			r.spoil(&d, &o)
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Error(err)
			}
			for _, s := range flat(p) {
				if r.still || r.code != "" && s.VM() == r.vm {
					t.Fatalf("refused, but it would do %s: %s", s.VM(), s)
				}
			}
			if r.code == "" {
				if len(p.Blocked) > 0 {
					t.Fatalf("refused: %v", p.Blocked)
				}
				return
			}
			for _, b := range p.Blocked {
				if b.VM == r.vm && b.Code == r.code {
					if !strings.Contains(b.Reason, r.says) || !strings.Contains(b.Clear, r.clear) {
						t.Fatalf("it says: %s", b.Error())
					}
					return
				}
			}
			t.Fatalf("not refused with %s %q: %+v", r.code, r.vm, p.Blocked)
		})
	}
}

// TestHealthyNeighboursGoOn: a VM that is refused but serves does not keep the others from being rolled.
func TestHealthyNeighboursGoOn(t *testing.T) {
	d := wish(3, "docker")
	o := fleetOf(d, oldDigest)
	o.VMs[1].Disks[0].Parent = true
	var rolled []string
	for _, w := range Compute(d, o, t0).Waves {
		for _, r := range w.Rolls {
			rolled = append(rolled, r.VM)
		}
	}
	if fmt.Sprint(rolled) != "[wrk-01 wrk-03]" {
		t.Fatalf("rolled %v", rolled)
	}
}

// TestMovedDisks: a disk keeps its identity wherever a storage migration puts its file (L9), and the file of a VM that
// vanished is used again from wherever it lies instead of making an empty one (L8).
func TestMovedDisks(t *testing.T) {
	d := wish(1, "docker")
	o := fleetOf(d, oldDigest)
	o.VMs[0].Disks[0].Path = "[ssd-9] wrk-01/wrk-01.vmdk"
	p := Compute(d, o, t0)
	if len(p.Blocked) > 0 || len(p.Waves) != 1 {
		t.Errorf("%+v", p)
	}
	o = fleetOf(d, oldDigest)
	o.VMs, o.Files[0].Path = nil, "[ssd-9] lkv-disks/workers/wrk-01-docker.vmdk"
	for _, s := range flat(Compute(d, o, t0)) {
		switch s := s.(type) {
		case CreateDisk:
			t.Errorf("a second disk: %s", s)
		case AttachDisk:
			if s.Disk.Path != o.Files[0].Path || s.Disk.UUID != o.Files[0].UUID {
				t.Errorf("attached %+v", s.Disk)
			}
		}
	}
}

func TestUp(t *testing.T) {
	d := wish(1, "docker")
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		says  string
	}{
		"fine":              {func(*Desired, *VM) {}, ""},
		"off":               {func(_ *Desired, v *VM) { v.Power = Off }, "poweredOff"},
		"no tools":          {func(_ *Desired, v *VM) { v.Guest.Tools = false }, "tools"},
		"tools not asked":   {func(d *Desired, v *VM) { v.Guest.Tools, d.Rollout.NoTools = false, true }, ""},
		"silent":            {func(_ *Desired, v *VM) { v.Guest.State = "" }, "not reported"},
		"booting":           {func(_ *Desired, v *VM) { v.Guest.State = "booting" }, "booting"},
		"failed":            {func(_ *Desired, v *VM) { v.Guest.State, v.Guest.Error = "failed", "no disk" }, "failed: no disk"},
		"the boot before":   {func(_ *Desired, v *VM) { v.Guest.Token = Token(newDigest, 2) }, "token"},
		"another image":     {func(_ *Desired, v *VM) { v.Guest.ImageID = "sha256:old" }, "image"},
		"not mounted":       {func(_ *Desired, v *VM) { v.Guest.Mounts = nil }, "not mounted"},
		"mount not asked":   {func(d *Desired, v *VM) { v.Guest.Mounts, d.Rollout.NoMounted = nil, true }, ""},
		"another disk":      {func(_ *Desired, v *VM) { v.Guest.Mounts[0].Serial = SerialOf(uuidOf(2, 0)) }, "not mounted"},
		"elsewhere":         {func(_ *Desired, v *VM) { v.Guest.Mounts[0].Path = "/mnt" }, "not mounted"},
		"upper case serial": {func(_ *Desired, v *VM) { v.Guest.Mounts[0].Serial = strings.ToUpper(v.Guest.Mounts[0].Serial) }, ""},
		"check failed":      {func(_ *Desired, v *VM) { v.Guest.Probes = []Probe{{"tcp 2375", false, "refused"}} }, "tcp 2375: refused"},
		"check passed":      {func(_ *Desired, v *VM) { v.Guest.Probes = []Probe{{"tcp 2375", true, ""}} }, ""},
	} {
		d, v := d, standing(d, d.VMs[0], newDigest)
		c.spoil(&d, &v)
		if why := Up(d, d.VMs[0], v); (why == "") != (c.says == "") || !strings.Contains(why, c.says) {
			t.Errorf("%s: %q", name, why)
		}
	}
	if why := Ready(d, d.VMs[0], standing(d, d.VMs[0], oldDigest)); !strings.Contains(why, "wanted is bbbbbbbbbbbb") {
		t.Errorf("the old image passes the gate: %q", why)
	}
}

// TestRecordOfARoll: the way back is remembered, and a roll keeps its start however often it is claimed.
func TestRecordOfARoll(t *testing.T) {
	d := wish(1)
	o := fleetOf(d, oldDigest)
	inserted := func(o Observed, now time.Time) Record {
		for _, s := range flat(Compute(d, o, now)) {
			if in, ok := s.(InsertISO); ok {
				return in.Record
			}
		}
		t.Fatal("no swap planned")
		return Record{}
	}
	if r := inserted(o, t0); r.Previous != oldDigest || r.PreviousISO != oldISO || r.Started != t0 {
		t.Errorf("%+v", r)
	}
	o.VMs[0].Record.Started = t0
	if r := inserted(o, t0.Add(time.Hour)); r.Started != t0 || r.Epoch != 4 {
		t.Errorf("claimed again: %+v", r)
	}
	o = fleetOf(d, newDigest)
	o.VMs[0].CPUs, o.VMs[0].Record.Previous, o.VMs[0].Record.PreviousISO = 1, oldDigest, oldISO
	if r := inserted(o, t0); r.Previous != oldDigest || r.PreviousISO != oldISO {
		t.Errorf("resized: the way back is lost: %+v", r)
	}
}

func TestNames(t *testing.T) {
	d := wish(1, "docker")
	w := d.VMs[0]
	for _, c := range []struct{ got, want string }{
		{DiskPath("workers", w, w.Disks[0]), "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"},
		{DiskPath("workers", w, WantDisk{Name: "x", Datastore: "/DC1/datastore/fast"}), "[fast] lkv-disks/workers/wrk-01-x.vmdk"},
		{Token("sha256:"+newDigest, 7), "bbbbbbbbbbbb-7"},
		{SerialOf("6000C291-aaaa-BBBB"), "6000c291aaaabbbb"},
		{sizeText(1536 << 20), "1536 MiB"},
		{sizeText(1000), "1000 bytes"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
