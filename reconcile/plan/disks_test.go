package plan

import (
	"strings"
	"testing"
)

// TestMissingDisks: which file a VM that has to be made again gets, and when none may be made (D7).
func TestMissingDisks(t *testing.T) {
	const base, first, second = "lkv-disks/workers/wrk-01-docker.vmdk", "lkv-disks/workers/wrk-01-docker-g1.vmdk", "lkv-disks/workers/wrk-01-docker-g2.vmdk"
	file := func(path string) DiskFile {
		return DiskFile{Path: "[ssd-1] " + path, UUID: "6000C29-" + path, Bytes: 10 << 30}
	}
	retired := func(path string) VM {
		f := file(path)
		return VM{Name: "wrk-01-retired-20260101-0000", ID: "r", Fleet: "workers", Ordinal: 1, Power: Off,
			Disks:  []Disk{{UUID: f.UUID, Path: f.Path, Bytes: f.Bytes, Mode: DiskMode}},
			Record: Record{Retired: t0.AddDate(0, -1, 0), Disks: []DiskRecord{{Name: "docker", UUID: f.UUID, Path: f.Path}}}}
	}
	spare := func(path string) VM {
		v := retired(path)
		v.Record.Replaces = "somebody"
		return v
	}
	hidden := []Hidden{{Datacenter: "DC1", Datastore: "old", Why: "not accessible"}}
	for name, c := range map[string]struct {
		world    Observed
		attaches string // "": it is refused
		says     string
		made     bool // a new one
		of       int  // generation in the record
	}{
		"never made":                                       {Observed{}, base, "", true, 0},
		"its file is there":                                {Observed{Files: []DiskFile{file(base)}, Made: []string{base}}, base, "", false, 0},
		"its marker is not":                                {Observed{Files: []DiskFile{file(base)}}, base, "", false, 0},
		"made, and gone":                                   {Observed{Made: []string{base}}, "", "was made once, and its file lkv-disks/workers/wrk-01-docker.vmdk is not where it was", false, 0},
		"made, and gone, full path":                        {Observed{Made: []string{"[old] " + base}}, "", "was made once", false, 0},
		"another VM's was made":                            {Observed{Made: []string{"lkv-disks/workers/wrk-02-docker.vmdk"}}, base, "", true, 0},
		"an unmarked later one is blank":                   {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base}}, base, "", false, 0},
		"a used later one":                                 {Observed{Files: []DiskFile{file(second), file(first)}, Made: []string{base, second}}, second, "", false, 2},
		"two that were used":                               {Observed{Files: []DiskFile{file(base), file(second)}, Made: []string{base, second}}, "", "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk or [ssd-1] lkv-disks/workers/wrk-01-docker-g2.vmdk", false, 0},
		"the first before markers":                         {Observed{Files: []DiskFile{file(base), file(second)}, Made: []string{second}}, "", "which one it had last is not known", false, 0},
		"two without any marker":                           {Observed{Files: []DiskFile{file(base), file(first)}}, "", "which one it had last is not known", false, 0},
		"only a later one":                                 {Observed{Files: []DiskFile{file(first)}}, first, "", false, 1},
		"the newest is with the gone":                      {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base, first}, VMs: []VM{retired(first)}}, "", "VM wrk-01-retired-20260101-0000, retired on 2026-02-01, keeps data disk", false, 0},
		"a spare is with the gone":                         {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base, first}, VMs: []VM{spare(first)}}, base, "", false, 0},
		"a spare's copy":                                   {Observed{Files: []DiskFile{file(base)}, Made: []string{base, first}, VMs: []VM{spare(first)}}, base, "", false, 0},
		"an older one is with the gone":                    {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base, first}, VMs: []VM{retired(base)}}, first, "", false, 1},
		"blank, and the used one is with the gone":         {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base}, VMs: []VM{retired(base)}}, "", "VM wrk-01-retired-20260101-0000, retired on 2026-02-01, keeps data disk", false, 0},
		"a datastore is hidden, and never was a later one": {Observed{Files: []DiskFile{file(base)}, Hidden: hidden}, base, "", false, 0},
		"a datastore is hidden, and there was a later one": {Observed{Files: []DiskFile{file(base)}, Hidden: hidden, VMs: []VM{{Name: "x", Fleet: "workers", Ordinal: 9, Record: Record{Retired: t0, Generation: 1}}}}, "", "may lie on datastore old", false, 0},
		"a used one's copy":                                {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base, first}, VMs: []VM{{Name: "x", Disks: []Disk{{UUID: file(first).UUID, Path: "[z] z.vmdk"}}}}}, "", "has the UUID of a disk of VM x", false, 0},
		"a used one is in a record":                        {Observed{Files: []DiskFile{file(base), file(first)}, Made: []string{base, first}, VMs: []VM{{Name: "x", Record: Record{Disks: []DiskRecord{{Path: "[ssd-1] " + first}}}}}}, "", "belongs to VM x", false, 0},
		"generation 0 is no suffix":                        {Observed{Files: []DiskFile{file(base), file("lkv-disks/workers/wrk-01-docker-g0.vmdk")}}, base, "", false, 0},
		"the newest is gone":                               {Observed{Files: []DiskFile{file(base)}, Made: []string{base, first}}, "", "was made once", false, 0},
		"a record names a newer":                           {Observed{Files: []DiskFile{file(base)}, VMs: []VM{{Name: "x", Record: Record{Takes: []DiskRecord{{Path: "[a] " + second}}}}}}, "", "belongs to VM x", false, 0},
		"no number":                                        {Observed{Files: []DiskFile{file(base), file("lkv-disks/workers/wrk-01-docker-green.vmdk")}}, base, "", false, 0},
	} {
		d := wish(1, "docker")
		d.Rollout.NoBrake = true
		p := Compute(d, c.world, t0)
		if err := Check(p, c.world); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.attaches == "" {
			if len(p.Waves) > 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != R06 && c.world.Hidden == nil || !strings.Contains(p.Blocked[0].Reason, c.says) {
				t.Errorf("%s: %+v", name, p)
			}
			continue
		}
		made := false
		for _, s := range flat(p) {
			switch s := s.(type) {
			case CreateDisk:
				made = inDatastore(s.Path) == c.attaches
			case AttachDisk:
				if inDatastore(s.Disk.Path) != c.attaches {
					t.Errorf("%s: attaches %s", name, s.Disk.Path)
				}
			case CreateVM:
				if s.Record.Generation != c.of {
					t.Errorf("%s: generation %d", name, s.Record.Generation)
				}
			}
		}
		if made != c.made || len(flat(p)) == 0 {
			t.Errorf("%s: made %v: %+v", name, made, p)
		}
	}
}

// TestHiddenGeneration: while a datastore is hidden, a fleet with blank disks makes no VM again, not even around a file
// that is there: a later one may lie where nobody sees it.
func TestHiddenGeneration(t *testing.T) {
	for strategy, refused := range map[string]bool{Fresh: true, HandOver: false} {
		d := bluegreen(wish(1, "docker"), strategy)
		d.Rollout.NoBrake = true
		o := fleetOf(d, oldDigest)
		o.VMs, o.Hidden = nil, []Hidden{{Datacenter: "DC1", Datastore: "old", Why: "not accessible"}}
		p := Compute(d, o, t0)
		if (len(p.Waves) == 0) != refused || refused && p.Blocked[0].Code != R15 {
			t.Errorf("%s: %+v", strategy, p)
		}
	}
}

// TestGrow: a disk grows while its VM is off and before it starts, once, whatever else is to be done to the VM.
func TestGrow(t *testing.T) {
	d := wish(1, "docker", "logs")
	o := fleetOf(d, oldDigest)
	d.VMs[0].Disks[1].Bytes = 30 << 30
	d.VMs[0].CPUs = 8
	var at []string
	for _, s := range flat(Compute(d, o, t0)) {
		if at = append(at, nameOf(s)); nameOf(s) == "growdisk" && s.(GrowDisk).Disk != o.VMs[0].Record.Disks[1] {
			t.Errorf("%+v", s)
		}
		o = o.After(s)
	}
	if got := strings.Join(at, " "); got != "claim shutdown insertiso resize growdisk poweron awaitready release" {
		t.Error(got)
	}
	if o.VMs[0].Disks[0].Bytes != 10<<30 || o.VMs[0].Disks[1].Bytes != 30<<30 || o.file(o.VMs[0].Disks[1].Path).Bytes != 30<<30 {
		t.Errorf("%+v", o.VMs[0].Disks)
	}
	if p := Compute(d, o, t0); len(p.Same) != 1 {
		t.Errorf("again: %+v", p)
	}
}

// TestGrowWhatIsMade: a disk that is larger in the fleet by the time a half-made VM gets it grows in the same roll.
func TestGrowWhatIsMade(t *testing.T) {
	d := wish(1, "docker")
	var o Observed
	for _, s := range flat(Compute(d, o, t0))[:2] {
		o = o.After(s)
	}
	d.VMs[0].Disks[0].Bytes = 20 << 30
	var at []string
	for _, s := range flat(Compute(d, o, t0)) {
		at = append(at, nameOf(s))
	}
	if got := strings.Join(at, " "); got != "attachdisk growdisk poweron awaitready release" {
		t.Error(got)
	}
}
