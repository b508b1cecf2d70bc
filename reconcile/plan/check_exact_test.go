package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// editing changes every step of a kind in the first roll.
func editing[S Step](f func(s *S)) func(*Plan, *Observed) {
	return change(func(s S) Step { f(&s); return s })
}

// adding puts a step right before the first one of a kind in the first roll.
func adding(kind string, s Step) func(*Plan, *Observed) {
	return steps1(func(all []Step) []Step {
		i := slices.IndexFunc(all, func(x Step) bool { return nameOf(x) == kind })
		return slices.Insert(all, i, s)
	})
}

func exactOffences() []offence {
	const (
		iso    = "[iso] lkv/worker/" + newDigest + ".iso"
		make1  = `check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, ` + iso + `, claim epoch 1, record of docker": `
		disk1  = `check wave 1: wrk-01: step "create disk [ssd-1] lkv-disks/workers/wrk-01-docker.vmdk, 10 GiB thin": `
		swap1  = `check wave 1: wrk-01: step "insert ` + iso + `, token bbbbbbbbbbbb-4": `
		claim1 = `check wave 1: wrk-01: step "claim for lkv@here, epoch 4": `
		docker = "lkv-disks/workers/wrk-01-docker.vmdk"
		grow1  = `check wave 1: wrk-01: step "grow disk [ssd-1] lkv-disks/workers/wrk-01-docker.vmdk to 20 GiB": `
	)
	rolling := fleetLike(2, oldDigest, func(*Desired, *Observed) {})
	making := fleetLike(2, newDigest, func(_ *Desired, o *Observed) { *o = Observed{} })
	resizing := fleetLike(1, newDigest, func(d *Desired, _ *Observed) { d.VMs[0].CPUs = 8 })
	growing := fleetLike(1, newDigest, func(d *Desired, _ *Observed) { d.VMs[0].Disks[0].Bytes = 20 << 30 })
	over := func() (Desired, Observed) {
		d := bluegreen(wish(1, "docker"), HandOver)
		return d, rolledBefore(fleetOf(d, oldDigest))
	}
	again := func() (Desired, Observed) {
		d := bluegreen(wish(1, "docker"), Fresh)
		path := GenerationPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0], 2)
		return d, Observed{Made: []string{inDatastore(path)}, Files: []DiskFile{{Path: path, UUID: "two", Bytes: 10 << 30}}}
	}
	return []offence{
		{"claimed by nobody", rolling, editing(func(s *Claim) { s.Owner = "" }), `check wave 1: wrk-01: step "claim for , epoch 4": a claim without owner, start or expiry (A6)`},
		{"claimed since never", rolling, editing(func(s *Claim) { s.Started = time.Time{} }), claim1 + "a claim without owner, start or expiry (A6)"},
		{"claimed for ever", rolling, editing(func(s *Claim) { s.Expires = time.Time{} }), claim1 + "a claim without owner, start or expiry (A6)"},
		{"the same epoch again", rolling, editing(func(s *Claim) { s.Epoch = 3 }), `check wave 1: wrk-01: step "claim for lkv@here, epoch 3": epoch 3 after 3 of  (A6)`},
		{"an image swapped under a running guest", rolling, without[Shutdown](), swap1 + "the VM is poweredOn"},
		{"swapped to no ISO", rolling, editing(func(s *InsertISO) { s.ISO = "" }), `check wave 1: wrk-01: step "insert , token bbbbbbbbbbbb-4": no ISO, image or token (D6)`},
		{"swapped to no image", rolling, editing(func(s *InsertISO) { s.Record.Image = "" }), swap1 + "no ISO, image or token (D6)"},
		{"the claim's owner changed by the swap", rolling, editing(func(s *InsertISO) { s.Record.Owner = other }), swap1 + "it would change the claim (A6)"},
		{"resized while it runs", resizing, without[Shutdown](), `check wave 1: wrk-01: step "insert ` + iso + `, token bbbbbbbbbbbb-4": the VM is poweredOn`},
		{"nothing but a resize while it runs", resizing, steps1(func(all []Step) []Step {
			return slices.DeleteFunc(all, func(s Step) bool { return isShutdown(s) || nameOf(s) == "insertiso" })
		}), `check wave 1: wrk-01: step "resize to 8 CPUs, 2048 MiB": the VM is poweredOn`},
		{"a disk grown while it runs", growing, steps1(func(all []Step) []Step {
			return slices.DeleteFunc(all, func(s Step) bool { return isShutdown(s) || nameOf(s) == "insertiso" })
		}), grow1 + "the VM is poweredOn"},
		{"a disk grown to the size it has", growing, func(_ *Plan, o *Observed) { o.VMs[0].Disks[0].Bytes = 20 << 30 }, grow1 + "20 GiB is not more than 20 GiB (D4)"},
		{"a disk grown that the record knows elsewhere", growing, editing(func(s *GrowDisk) { s.Disk.Path = "[ssd-9] x.vmdk" }),
			`check wave 1: wrk-01: step "grow disk [ssd-9] x.vmdk to 20 GiB": the disk is not attached, or not the recorded one (D4)`},
		{"a shared disk grown", growing, func(_ *Plan, o *Observed) { o.VMs[0].Disks[0].Shared = true }, grow1 + "the disk has a snapshot or a parent, or is shared (D4)"},
		{"powered on twice", rolling, adding("awaitready", PowerOn{Of("wrk-01")}), `check wave 1: wrk-01: step "power on": the VM is poweredOn`},
		{"powered on with an empty CD-ROM", resizing, func(p *Plan, o *Observed) {
			o.VMs[0].ISO = ""
			without[InsertISO]()(p, o)
		}, `check wave 1: wrk-01: step "power on": no ISO in the CD-ROM or none in the record (D6)`},
		{"powered on without an image in the record", resizing, func(p *Plan, o *Observed) {
			o.VMs[0].Record.Image = ""
			without[InsertISO]()(p, o)
		}, `check wave 1: wrk-01: step "power on": no ISO in the CD-ROM or none in the record (D6)`},
		{"a released VM is touched again", rolling, func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Steps = append(slices.Clone(r.Steps), Restore{Of("wrk-01")}, Release{base: Of("wrk-01")})
		}, `check wave 1: wrk-01: step "let it take work again": a change without a claim (A6)`},
		{"two names in one plan", rolling, func(p *Plan, _ *Observed) {
			p.Waves[0].Rolls[0].Steps[0] = Claim{base: Of("wrk-01"), Owner: other, Epoch: 4, Started: t0, Expires: t0.Add(time.Minute)}
		}, `check wave 1: wrk-01: step "claim for lkv@there, epoch 4": it acts under the claims of lkv@here and lkv@there (A6)`},
		{"a fleet without a name", rolling, func(p *Plan, o *Observed) {
			p.Fleet = ""
			o.VMs[0].Fleet = ""
		}, `check wave 1: wrk-01: step "claim for lkv@here, epoch 4": the VM belongs to fleet "", not ""`},
		{"a suspended VM", rolling, func(_ *Plan, o *Observed) { o.VMs[0].Power = Suspended }, claim1 + "the VM is busy (R08)"},

		{"made without an ISO", making, editing(func(s *CreateVM) { s.ISO = "" }), `check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, , claim epoch 1, record of docker": no ISO, image or token (D6)`},
		{"made without an image", making, editing(func(s *CreateVM) { s.Record.Image = "" }), make1 + "no ISO, image or token (D6)"},
		{"made without a token", making, editing(func(s *CreateVM) { s.Record.Token = "" }), make1 + "no ISO, image or token (D6)"},
		{"made without a start", making, editing(func(s *CreateVM) { s.Record.Started = time.Time{} }), make1 + "the VM would be born without a claim (A6)"},
		{"made with a claim that has no end", making, editing(func(s *CreateVM) { s.Record.Expires = time.Time{} }), make1 + "the VM would be born without a claim (A6)"},
		{"made for another fleet", making, editing(func(s *CreateVM) { s.Fleet = "db" }), make1 + "it makes wrk-01 of fleet db"},
		{"made as another VM", making, editing(func(s *CreateVM) { s.Want.Name = "x" }), make1 + "it makes x of fleet workers"},
		{"made by somebody else", making, editing(func(s *CreateVM) { s.Record.Owner = other }), make1 + "it acts under the claims of lkv@here and lkv@there (A6)"},
		{"made where somebody has its disk's name", making, func(_ *Plan, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{Path: "[ssd-9] " + docker}}})
		}, disk1 + "VM x has this disk (D7)"},
		{"made without disks where a VM is", fleetLike(1, newDigest, func(d *Desired, o *Observed) {
			*d = wish(1)
			*o = Observed{}
		}), func(_ *Plan, o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-01", Fleet: "workers"}) },
			`check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, ` + iso + `, claim epoch 1, record of no disks": a VM of this name exists`},
		{"made where a marker has its disk's name", making, func(_ *Plan, o *Observed) { o.Made = []string{docker} }, disk1 + "the disk was made once (D7)"},
		{"a disk in another fleet's folder", making, editing(func(s *CreateDisk) { s.Path = "[ssd-1] lkv-disks/db/x.vmdk" }),
			`check wave 1: wrk-01: step "create disk [ssd-1] lkv-disks/db/x.vmdk, 10 GiB thin": the path is outside of lkv-disks/workers`},
		{"a disk that is no disk", making, editing(func(s *CreateDisk) { s.Path = "[ssd-1] lkv-disks/workers/x.made" }),
			`check wave 1: wrk-01: step "create disk [ssd-1] lkv-disks/workers/x.made, 10 GiB thin": the path is outside of lkv-disks/workers`},
		{"a disk made up for a VM that exists", rolling, adding("insertiso", CreateDisk{base: Of("wrk-01"), Path: "[ssd-1] lkv-disks/workers/wrk-01-x.vmdk", Disk: WantDisk{Bytes: 1 << 30}}),
			`check wave 1: wrk-01: step "create disk [ssd-1] lkv-disks/workers/wrk-01-x.vmdk, 1 GiB thick": the VM exists: what its record does not name must not be made up (D7)`},
		{"made again with an older generation than it had", again, func(_ *Plan, o *Observed) { o.Made = append(o.Made, "lkv-disks/workers/wrk-01-docker-g3.vmdk") },
			make1 + "disk [ssd-1] lkv-disks/workers/wrk-01-docker-g2.vmdk is not the newest of its place, lkv-disks/workers/wrk-01-docker-g3.vmdk was used (D7)"},
		{"made again with an older one than a retired VM had", again, func(_ *Plan, o *Observed) {
			o.Made = append(o.Made, "lkv-disks/workers/wrk-01-docker-g3.vmdk")
			o.VMs = append(o.VMs, VM{Name: "r", Fleet: "workers", Record: Record{Retired: t0, Disks: []DiskRecord{{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g3.vmdk"}}}})
		}, make1 + "disk [ssd-1] lkv-disks/workers/wrk-01-docker-g2.vmdk is not the newest of its place, lkv-disks/workers/wrk-01-docker-g3.vmdk was used (D7)"},
		{"made again with an older one than a green VM has", again, func(_ *Plan, o *Observed) {
			o.Made = append(o.Made, "lkv-disks/workers/wrk-01-docker-g3.vmdk")
			o.VMs = append(o.VMs, VM{Name: "g", Fleet: "workers", Record: Record{Replaces: "x", Disks: []DiskRecord{{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g3.vmdk"}}}})
		}, make1 + "disk [ssd-1] lkv-disks/workers/wrk-01-docker-g2.vmdk is not the newest of its place, lkv-disks/workers/wrk-01-docker-g3.vmdk was used (D7)"},
		{"a blank disk that was used", func() (Desired, Observed) {
			d := bluegreen(wish(1, "docker"), Fresh)
			return d, rolledBefore(fleetOf(d, oldDigest))
		}, func(p *Plan, o *Observed) {
			without[CreateDisk]()(p, o)
			o.Made = []string{"lkv-disks/workers/wrk-01-docker-g1.vmdk"}
			o.Files = append(o.Files, DiskFile{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk", UUID: "used"})
		}, `check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, ` + iso + `, claim epoch 1, record of docker": disk [ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk was used before, it is not blank (D7)`},

		{"a green VM that takes over nothing of a disk", over, editing(func(s *CreateVM) { s.Record.Takes = nil }),
			`check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, ` + iso + `, claim epoch 1, record of no disks": it takes over 0 of 1 disks (D5)`},
		{"a green VM of another place", over, editing(func(s *CreateVM) { s.Want.Ordinal = 7 }),
			`check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, ` + iso + `, claim epoch 1, record of no disks, to take over docker": it is to replace id-wrk-01, which is not the VM it stands beside`},
		{"a green VM under another name's claim", over, editing(func(s *CreateVM) { s.Record.Owner = other }),
			`check wave 1: wrk-01: step "create VM with 2 CPUs, 2048 MiB, ` + iso + `, claim epoch 1, record of no disks, to take over docker": a successor of wrk-01 without a claim on it (A6)`},
		{"a third VM runs on the disk, known by its path only", over, func(p *Plan, o *Observed) {
			adding("poweron", Disown{base: Of("wrk-01")})(p, o)
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{Path: "[ssd-1] " + docker}}})
		}, `check wave 1: wrk-01: step "attach disk [ssd-1] lkv-disks/workers/wrk-01-docker.vmdk": the disk is attached to x (D3)`},
		{"a disk that is known by its path only is on two VMs", func() (Desired, Observed) {
			d, o := resizing()
			o.VMs[0].Disks[0].UUID, o.VMs[0].Record.Disks[0].UUID, o.Files[0].UUID = "", "", ""
			return d, o
		}, func(_ *Plan, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{Path: "[ssd-1] " + docker}}})
		},
			`check wave 1: wrk-01: step "power on": x has disk [ssd-1] lkv-disks/workers/wrk-01-docker.vmdk too (D3)`},
	}
}

// TestCheckPassesOtherGenerations: what is not a newer disk of the place keeps no VM from being made again.
func TestCheckPassesOtherGenerations(t *testing.T) {
	for name, c := range map[string]struct {
		made string
		more VM
	}{
		"an older one": {"wrk-01-docker-g1.vmdk", VM{}},
		"the first":    {"wrk-01-docker.vmdk", VM{}},
		"another disk": {"wrk-01-docker-gx.vmdk", VM{}},
		"another VM's": {"wrk-02-docker-g7.vmdk", VM{}},
		"a green VM's that never got the place": {"wrk-01-docker-g3.vmdk", VM{Name: "g", Fleet: "workers",
			Record: Record{Replaces: "x", Retired: t0, Disks: []DiskRecord{{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g3.vmdk"}}}}},
	} {
		d := bluegreen(wish(1, "docker"), Fresh)
		path := GenerationPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0], 2)
		o := Observed{Made: []string{inDatastore(path)}, Files: []DiskFile{{Path: path, UUID: "two", Bytes: 10 << 30}}}
		p := Compute(d, o, t0)
		o.Made, o.VMs = append(o.Made, "lkv-disks/workers/"+c.made), append(o.VMs, c.more)
		if err := Check(p, o); err != nil || len(p.Waves) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckOfPeopleNeedsAVM: what a person asks for is about a VM that is there.
func TestCheckOfPeopleNeedsAVM(t *testing.T) {
	for _, kind := range []string{"adopt", "pause"} {
		p, o := planFor(kind)
		o = o.Clone()
		o.VMs = o.VMs[1:]
		if err := Check(p, o); err == nil || !strings.HasSuffix(err.Error(), "the VM does not exist") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestWhyRetired: what is written on a VM that goes, for whoever finds it in the vSphere client.
func TestWhyRetired(t *testing.T) {
	d := bluegreen(wish(1, "docker"), Fresh)
	if s := only[Retire](t, flat(Compute(d, rolledBefore(fleetOf(d, oldDigest)), t0))); s.Why != "another VM took its place in fleet workers, with image bbbbbbbbbbbb" || s.At != t0 {
		t.Errorf("%+v", s)
	}
	d, o := greenFailed(t, d)
	if s := only[Retire](t, flat(Compute(d, o, t0))); s.Why != "it was to take the place of wrk-01 in fleet workers, and its gate failed" || s.At != t0 {
		t.Errorf("%+v", s)
	}
}

// TestCheckSaysExactly: each plan is legal; then one thing changes, and Check says exactly what is wrong now, at the step
// where it is.
func TestCheckSaysExactly(t *testing.T) {
	for _, c := range exactOffences() {
		t.Run(c.name, func(t *testing.T) {
			d, o := c.world()
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil || len(p.Waves) == 0 {
				t.Fatalf("before: %v, %+v", err, p)
			}
			o = o.Clone()
			c.spoil(&p, &o)
			if err := Check(p, o); err == nil || err.Error() != c.says {
				t.Errorf("it says: %v", err)
			}
		})
	}
}
