package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNextGeneration: which blank disk a VM gets that takes another's place, and which number.
func TestNextGeneration(t *testing.T) {
	const base, first, second, third = "lkv-disks/workers/wrk-01-docker.vmdk", "lkv-disks/workers/wrk-01-docker-g1.vmdk", "lkv-disks/workers/wrk-01-docker-g2.vmdk", "lkv-disks/workers/wrk-01-docker-g3.vmdk"
	file := func(path string, bytes int64) DiskFile {
		return DiskFile{Path: "[ssd-2] " + path, UUID: "uuid-" + path, Bytes: bytes}
	}
	const size = 10 << 30
	gone := func(path string, record bool) VM {
		v := VM{Name: "wrk-01-retired-20260101-0000", ID: "r", Ref: "r", Fleet: "workers", Ordinal: 1, Power: Off, Record: Record{Retired: t0}}
		if record {
			v.Record.Disks = []DiskRecord{{Name: "docker", Path: "[ssd-2] " + path}}
		} else {
			v.Disks = []Disk{{Path: "[ssd-2] " + path, UUID: "uuid-" + path, Mode: DiskMode}}
		}
		return v
	}
	for name, c := range map[string]struct {
		more   Observed
		of     int
		reuses bool
	}{
		"nothing else":                  {Observed{}, 1, false},
		"left by a run that died":       {Observed{Files: []DiskFile{file(first, size)}}, 1, true},
		"of another size":               {Observed{Files: []DiskFile{file(first, size+1)}}, 2, false},
		"twice":                         {Observed{Files: []DiskFile{file(first, size), {Path: "[ssd-3] " + first, UUID: "b", Bytes: size}}}, 2, false},
		"used":                          {Observed{Files: []DiskFile{file(first, size)}, Made: []string{base, first}}, 2, false},
		"used, full path":               {Observed{Files: []DiskFile{file(first, size)}, Made: []string{"[ssd-2] " + first}}, 2, false},
		"used and gone":                 {Observed{Made: []string{first}}, 2, false},
		"a later one was used":          {Observed{Files: []DiskFile{file(first, size)}, Made: []string{third}}, 4, false},
		"left above what was used":      {Observed{Files: []DiskFile{file(first, size), file(second, size)}, Made: []string{first}}, 2, true},
		"on a retired VM":               {Observed{Files: []DiskFile{file(first, size)}, VMs: []VM{gone(first, false)}}, 2, false},
		"in a retired VM's record":      {Observed{Files: []DiskFile{file(second, size)}, VMs: []VM{gone(second, true)}}, 3, false},
		"a copy of a disk somebody has": {Observed{Files: []DiskFile{{Path: "[ssd-2] " + first, UUID: uuidOf(1, 0), Bytes: size}}}, 2, false},
		"another VM's":                  {Observed{Made: []string{"lkv-disks/workers/wrk-010-docker-g7.vmdk", "lkv-disks/others/wrk-01-docker-g7.vmdk", "lkv-disks/workers/wrk-01-docker-g7x.vmdk"}}, 1, false},
	} {
		d := bluegreen(wish(1, "docker"), Fresh)
		o := rolledBefore(fleetOf(d, oldDigest))
		o.VMs, o.Files, o.Made = append(o.VMs, c.more.VMs...), append(o.Files, c.more.Files...), c.more.Made
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s := only[CreateVM](t, flat(p))
		want := GenerationPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0], c.of)
		if s.Record.Generation != c.of || inDatastore(s.Record.Disks[0].Path) != inDatastore(want) || (s.Record.Disks[0].UUID != "") != c.reuses {
			t.Errorf("%s: generation %d, %+v", name, s.Record.Generation, s.Record.Disks)
		}
		if made := slices.ContainsFunc(flat(p), func(s Step) bool { return nameOf(s) == "createdisk" }); made == c.reuses {
			t.Errorf("%s: made %v", name, made)
		}
	}
}

// TestCheckOfGenerations: Check knows by itself which disks are blank, and which are a place's last ones.
func TestCheckOfGenerations(t *testing.T) {
	const first = "lkv-disks/workers/wrk-01-docker-g1.vmdk"
	t.Run("not blank", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), Fresh)
		o := rolledBefore(fleetOf(d, oldDigest))
		o.Files = append(o.Files, DiskFile{Path: "[ssd-1] " + first, UUID: "x", Bytes: 10 << 30})
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Error(err)
		}
		o.Made = []string{first}
		if err := Check(p, o); err == nil || !strings.Contains(err.Error(), "was used before, it is not blank (D7)") {
			t.Error(err)
		}
	})
	t.Run("not the last", func(t *testing.T) {
		d := wish(1, "docker", "docker-g1")
		d.Rollout.NoBrake = true
		o := fleetOf(d, oldDigest)
		o.VMs = nil
		p := Compute(d, o, t0)
		for made, refused := range map[string]bool{
			first: false, // it is the other disk
			"lkv-disks/workers/wrk-01-docker-g2.vmdk":          true,
			"[ssd-1] lkv-disks/workers/wrk-01-docker-g12.vmdk": true,
			"lkv-disks/workers/wrk-01-docker.vmdk":             false,
			"lkv-disks/workers/wrk-01-docker-gx.vmdk":          false,
			"lkv-disks/workers/wrk-02-docker-g2.vmdk":          false,
		} {
			o := o.Clone()
			o.Made = []string{made}
			if err := Check(p, o); (err != nil) != refused || refused && !strings.Contains(err.Error(), "is not the newest of its place") {
				t.Errorf("%s: %v", made, err)
			}
			o.VMs = []VM{{Name: "g", Fleet: "workers", Record: Record{Replaces: "x", Retired: t0, Disks: []DiskRecord{{Path: "[ssd-1] " + inDatastore(made)}}}}}
			if err := Check(p, o); err != nil && strings.Contains(err.Error(), "newest") {
				t.Errorf("%s, a spare: %v", made, err)
			}
		}
	})
}

// TestNamesLikeGenerations: a disk whose name ends like a generation is not one of another disk.
func TestNamesLikeGenerations(t *testing.T) {
	d := wish(1, "docker", "docker-g1")
	d.Rollout.NoBrake = true
	o := fleetOf(d, newDigest)
	o.VMs = nil
	for _, f := range o.Files {
		o.Made = append(o.Made, inDatastore(f.Path))
	}
	p := Compute(d, o, t0)
	if err := Check(p, o); err != nil {
		t.Error(err)
	}
	if s := only[CreateVM](t, flat(p)); s.Record.Generation != 0 || s.Record.Disks[1].UUID != uuidOf(1, 1) {
		t.Errorf("%+v", s.Record)
	}
}

// story is a fleet with blank disks through replacements, crashes, failures, and VMs that vanish or are collected.
type story struct {
	*rapid.T
	d    Desired
	o    Observed
	now  time.Time
	n    int
	used map[string]bool // disks that a VM ran with, without datastore
	last map[int]string  // the disk that a place's VM served with last
}

// do is After, with what vCenter adds, and holds the disks of a VM that is made to what they were used for (D7).
func (s *story) do(step Step) {
	if c, ok := step.(CreateVM); ok {
		for _, r := range c.Record.Disks {
			path, last := inDatastore(r.Path), s.last[c.Want.Ordinal]
			switch {
			case c.Record.Replaces != "" && s.used[path]:
				s.Fatalf("%s gets %s for a blank disk", c.Name, path)
			case c.Record.Replaces == "" && last != "" && last != path:
				s.Fatalf("%s is made again with %s, it had %s", c.Name, path, last)
			}
		}
	}
	s.o = s.o.After(step)
	for i := range s.o.Files {
		if s.o.Files[i].UUID == "" {
			s.o.Files[i].UUID = "uuid-" + s.o.Files[i].Path
		}
	}
	name := step.VM()
	switch r := step.(type) {
	case Rename:
		name = r.To
	case Retire:
		name = r.To
	}
	v := s.o.find(name)
	if v == nil {
		return
	}
	if v.ID == "" {
		s.n++
		v.ID, v.Home = fmt.Sprintf("id-%d", s.n), "[ssd-1] "+v.Name
		v.Ref = v.ID
	}
	if _, ok := step.(Retire); ok { // from now on the place is served by the other, whatever that is called
		for _, g := range s.o.VMs {
			if g.Record.Replaces == v.ID && len(g.Disks) > 0 {
				s.last[v.Ordinal] = inDatastore(g.Disks[0].Path)
			}
		}
	}
	for _, d := range v.Disks {
		switch step.(type) {
		case PowerOn:
			s.used[inDatastore(d.Path)] = true
		case AwaitReady:
			if v.Record.Replaces == "" {
				s.last[v.Ordinal] = inDatastore(d.Path)
			}
		case Rename:
			s.last[v.Ordinal] = inDatastore(d.Path)
		}
	}
}

// go on does what a plan says, up to a step where the run dies.
func (s *story) goOn(die bool) {
	p := Compute(s.d, s.o, s.now)
	if err := Check(p, s.o); err != nil {
		s.Fatal(err)
	}
	all := flat(p)
	if die && len(all) > 0 {
		all = all[:rapid.IntRange(0, len(all)).Draw(s.T, "dies after")]
	}
	for _, step := range all {
		s.do(step)
		on, ok := step.(PowerOn)
		if v := s.o.find(step.VM()); ok && v.Record.Rolled.IsZero() && rapid.IntRange(0, 5).Draw(s.T, "its gate fails") == 0 {
			s.do(Fail{on.base, "not ready"})
			return
		}
	}
}

func (s *story) happen() {
	switch rapid.SampledFrom([]string{"goes on", "goes on", "dies", "dies", "new image", "resume", "vanishes", "all vanish", "gc"}).Draw(s.T, "then") {
	case "goes on":
		s.goOn(false)
	case "dies":
		s.goOn(true)
	case "new image":
		s.n++
		digest := strings.Repeat(string(rune('c'+s.n%4)), 40) + fmt.Sprintf("%024d", s.n)
		s.d.Image.Digest, s.d.Image.ID, s.d.Image.Paths = digest, "sha256:"+digest[30:], map[string]string{"dc1": "[iso] lkv/worker/" + digest + ".iso"}
	case "resume":
		for _, r := range Resume(s.d, s.o, s.now).Rolls {
			for _, step := range r.Steps {
				s.do(step)
			}
		}
	case "vanishes":
		if len(s.o.VMs) > 0 {
			i := rapid.IntRange(0, len(s.o.VMs)-1).Draw(s.T, "which")
			s.o = s.o.Clone()
			s.o.VMs = slices.Delete(s.o.VMs, i, i+1)
		}
	case "all vanish":
		s.o = s.o.Clone()
		s.o.VMs = nil
	case "gc":
		for _, r := range Collect(s.d, s.o, s.now, 0).Rolls {
			for _, step := range r.Steps {
				s.do(step)
			}
		}
	}
	s.now = s.now.Add(time.Hour)
}

// TestGenerationsNeverMixUp: whatever happens to a fleet with blank disks, no disk that a VM ever ran with is taken for
// a blank one, and a VM that is made again gets the very disk its place served with last, or none (D7).
func TestGenerationsNeverMixUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := bluegreen(wish(rapid.IntRange(1, 2).Draw(t, "size"), "docker"), Fresh)
		d.Rollout.NoBrake, d.Rollout.MaxFailed, d.Rollout.MaxUnavailable = true, 3, 2
		d.Rollout.OnFailure = rapid.SampledFrom([]string{"pause", backOnFailure}).Draw(t, "on_failure")
		s := story{T: t, d: d, now: t0, used: map[string]bool{}, last: map[int]string{}}
		for range rapid.IntRange(3, 25).Draw(t, "events") {
			s.happen()
		}
	})
}
