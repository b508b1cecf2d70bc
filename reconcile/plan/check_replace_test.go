package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// spoilt breaks one rule of a blue-green plan for two VMs, of a removal, or of what else a person asks for.
type spoilt struct {
	name  string
	plan  string // which plan: HandOver, Fresh, "gc", "adopt", "forget", "pause"
	spoil func(p *Plan, o *Observed)
	says  string
}

// change replaces every step of a kind in the first roll; a nil result drops it.
func change[S Step](f func(S) Step) func(*Plan, *Observed) {
	return func(p *Plan, _ *Observed) {
		r := &p.Waves[0].Rolls[0]
		var out []Step
		for _, s := range r.Steps {
			if x, ok := s.(S); ok {
				if s = f(x); s == nil {
					continue
				}
			}
			out = append(out, s)
		}
		r.Steps = out
	}
}

// without drops every step of a kind from the first roll.
func without[S Step]() func(*Plan, *Observed) { return change(func(S) Step { return nil }) }

// later puts the first step of kind A right behind the first of kind B.
func later[A, B Step]() func(*Plan, *Observed) {
	return func(p *Plan, _ *Observed) {
		r := &p.Waves[0].Rolls[0]
		r.Steps = slices.Clone(r.Steps)
		i := slices.IndexFunc(r.Steps, func(s Step) bool { _, ok := s.(A); return ok })
		s := r.Steps[i]
		r.Steps = slices.Delete(r.Steps, i, i+1)
		j := slices.IndexFunc(r.Steps, func(s Step) bool { _, ok := s.(B); return ok })
		r.Steps = slices.Insert(r.Steps, j+1, s)
	}
}

func vm(name string, f func(v *VM)) func(*Plan, *Observed) {
	return func(_ *Plan, o *Observed) { f(o.find(name)) }
}

func spoils() []spoilt {
	record := func(f func(r *Record)) func(*Plan, *Observed) {
		return change(func(s CreateVM) Step { s.Record = s.Record.clone(); f(&s.Record); return s })
	}
	retired := "wrk-01-retired-20260201-1200"
	return []spoilt{
		{"no claim on blue", HandOver, without[Claim](), "without a claim on it (A6)"},
		{"green born without a claim", HandOver, record(func(r *Record) { r.Owner = "" }), "A6"},
		{"green stands beside another VM", HandOver, record(func(r *Record) { r.Replaces = "id-wrk-02" }), "not the VM it stands beside"},
		{"green replaces nobody", HandOver, record(func(r *Record) { r.Replaces = "id-x" }), "not the VM it stands beside"},
		{"one disk is not taken over", HandOver, record(func(r *Record) { r.Takes = r.Takes[:1] }), "takes over 1 of 2 disks (D5)"},
		{"another's disk is taken over", HandOver, record(func(r *Record) { r.Takes[0].UUID = uuidOf(2, 0) }), "not wrk-01's"},
		{"a disk lies where nobody looks", HandOver, func(_ *Plan, o *Observed) { o.Files = o.Files[1:] }, "not at [ssd-1]"},
		{"generation goes back", HandOver, vm("wrk-01", func(v *VM) { v.Record.Generation = 3 }), "generation 0 after 3 (D7)"},
		{"a second green", HandOver, func(_ *Plan, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "y", ID: "y", Fleet: "workers", Record: Record{Replaces: "id-wrk-01"}})
		}, "A2"},
		{"more greens than surge", HandOver, func(p *Plan, _ *Observed) {
			p.Waves[0].Rolls = append(p.Waves[0].Rolls, p.Waves[1].Rolls...)
			p.MaxUnavailable = 2
		}, "2 VMs above the fleet's size, surge is 1 (A2)"},
		{"too many taken down", HandOver, func(p *Plan, _ *Observed) {
			p.Waves[0].Rolls = append(p.Waves[0].Rolls, p.Waves[1].Rolls...)
			p.Surge = 2
		}, "max_unavailable is 1 (A1)"},
		{"detached while on", HandOver, without[Shutdown](), "is poweredOn"},
		{"detached before anybody says where to", HandOver, later[CreateVM, DetachDisk](), "no successor's record names the disk (D5)"},
		{"detached by another path", HandOver, change(func(s DetachDisk) Step { s.Disk.Path = "[ssd-1] x.vmdk"; return s }), "lies elsewhere"},
		{"attached before it is detached", HandOver, later[DetachDisk, AttachDisk](), "is attached to wrk-01 (D3)"},
		{"not attached", HandOver, without[AttachDisk](), "D5"},
		{"another disk attached", HandOver, change(func(s AttachDisk) Step { s.Disk.UUID = uuidOf(2, 0); return s }), "not one the record says it takes over (D5)"},
		{"not detached", HandOver, without[DetachDisk](), "is attached to wrk-01 (D3)"},
		{"disowned too early", HandOver, later[AttachDisk, Disown](), "is not with wrk-01-green yet (D5)"},
		{"disowned in favour of another", HandOver, change(func(s Disown) Step { s.Successor = "id-wrk-02"; return s }), "or another one (D5)"},
		{"never disowned", HandOver, without[Disown](), "is not attached (D5)"},
		{"green powered on before its disks are there", HandOver, later[AttachDisk, PowerOn](), "D5"},
		{"green powered on while it lacks a disk", HandOver, func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			i := slices.IndexFunc(r.Steps, func(s Step) bool { _, ok := s.(DetachDisk); return ok })
			r.Steps = slices.Insert(slices.Clone(r.Steps), i, Step(PowerOn{Of("wrk-01-green")}))
		}, "2 disks that it takes over are not attached (D6)"},
		{"blue powered on again beside green", HandOver, func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			i := slices.IndexFunc(r.Steps, func(s Step) bool { _, ok := s.(AwaitReady); return ok })
			r.Steps = slices.Insert(slices.Clone(r.Steps), i, Step(PowerOn{Of("wrk-01")}))
		}, "has the same place and is poweredOn (D3)"},
		{"retired without a gate", HandOver, without[AwaitReady](), "no successor serves (A4)"},
		{"retired without a time", HandOver, change(func(s Retire) Step { s.At = time.Time{}; return s }), "no time, or no free name"},
		{"retired under a strange name", HandOver, change(func(s Retire) Step { s.To = "x"; return s }), "no time, or no free name"},
		{"retired under a name that is taken", HandOver, func(_ *Plan, o *Observed) { o.VMs = append(o.VMs, VM{Name: RetiredName("wrk-01", t0)}) }, "no time, or no free name"},
		{"not retired", HandOver, without[Retire](), "what it is to replace is in use"},
		{"renamed before the retirement", HandOver, later[Retire, Rename](), "what it is to replace is in use"},
		{"renamed to another place", HandOver, change(func(s Rename) Step { s.To = "wrk-09"; return s }), "not its place's"},
		{"not renamed", HandOver, without[Rename](), "does not exist"},
		{"not released", HandOver, without[Release](), "does not end with a release (A5)"},
		{"a green's step in another roll", HandOver, func(p *Plan, _ *Observed) { p.Waves[0].Rolls[0].Action = RollISO }, "is about wrk-01-green"},
		{"a third VM has the disk", HandOver, func(_ *Plan, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", ID: "x", Disks: o.VMs[0].Disks[:1]})
		}, "is attached to x (D3)"},
		{"after a failure", HandOver, vm("wrk-02", func(v *VM) { v.Record.Failed = "x" }), "A7"},
		{"acting on a retired VM", HandOver, vm("wrk-01", func(v *VM) { v.Record.Retired = t0 }), "is retired, or has a successor"},

		{"shut down before green serves", Fresh, later[AwaitReady, Shutdown](), "does not serve yet (A1)"},
		{"retired while on", Fresh, without[Shutdown](), "is poweredOn"},
		{"the old disk is lost from the record", Fresh, vm("wrk-01", func(v *VM) { v.Record.Disks = v.Record.Disks[:1] }), "2 disks are attached, 1 recorded (D5)"},
		{"blank disk where one has been", Fresh, func(_ *Plan, o *Observed) {
			o.Files = append(o.Files, DiskFile{Path: "[ssd-7] lkv-disks/workers/wrk-01-docker-g1.vmdk"})
		}, "the file exists"},
		{"blank disk not attached", Fresh, without[AttachDisk](), "is not attached (D6)"},
		{"the old disk as a new one", Fresh, record(func(r *Record) { r.Disks[0].Path = "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk" }), "VM wrk-01 has disk"},
		{"blank disks and others", Fresh, record(func(r *Record) { r.Takes = r.Disks }), "with blank disks takes over disks"},

		{"removed with its disks", "gc", without[DetachDisk](), "2 disks are attached (D2)"},
		{"removed without a claim", "gc", without[Claim](), "without a claim (A6)"},
		{"removed while in use", "gc", vm(retired, func(v *VM) { v.Record.Retired = time.Time{} }), "is not retired"},
		{"removed while on", "gc", vm(retired, func(v *VM) { v.Power = On }), "is poweredOn"},
		{"removed by a rollout", "gc", func(p *Plan, _ *Observed) {
			p.Waves[0].Rolls[0].Action = Retiring
		}, "does not end"},
		{"destroyed in the middle of a rollout", "gc", func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Action, r.Steps = Finish, append(slices.DeleteFunc(slices.Clone(r.Steps), func(s Step) bool { _, ok := s.(DetachDisk); return ok }), Release{base: Of(r.VM)})
		}, "only a person removes a VM (D1)"},
		{"somebody's disk lies in its folder", "gc", vm("wrk-02", func(v *VM) { v.Record.Takes = []DiskRecord{{Path: "[ssd-1] old/x.vmdk"}} }), "lies in its folder (D2)"},
		{"a data disk file lies in its folder", "gc", func(_ *Plan, o *Observed) { o.Files = append(o.Files, DiskFile{Path: "[ssd-1] old/x.vmdk"}) }, "lies in its folder (D2)"},
		{"somebody's attached disk lies in its folder", "gc", vm("wrk-02", func(v *VM) { v.Disks[0].Path = "[ssd-1] old/x.vmdk" }), "lies in its folder (D2)"},
		{"its folder is not known", "gc", vm(retired, func(v *VM) { v.Home = "" }), "folder is not known"},
		{"its disk could not be found afterwards", "gc", func(_ *Plan, o *Observed) { o.Files = nil }, "could not be found afterwards (D5)"},
		{"its successor has not got the place", "gc", vm("wrk-02", func(v *VM) { v.Record.Replaces = "id-wrk-01" }), "its successor has not got its place"},

		{"adopted by a rollout", "adopt", func(p *Plan, _ *Observed) { p.Waves[0].Rolls[0].Action = Finish }, "does not end"},
		{"adopted into another fleet", "adopt", change(func(s Adopt) Step { s.Fleet = "db"; return s }), "only a person gives a VM to a fleet"},
		{"adopted from a fleet", "adopt", vm("old", func(v *VM) { v.Fleet = "db" }), "belongs to fleet db"},
		{"adopted under a name that is taken", "adopt", change(func(s Adopt) Step { s.To = "wrk-02"; return s }), "not free"},
		{"adopted with a disk forgotten", "adopt", change(func(s Adopt) Step { s.Record.Disks = s.Record.Disks[:1]; return s }), "2 disks are attached, 1 recorded"},
		{"forgotten without a claim", "forget", without[Claim](), "without a claim (A6)"},
		{"forgotten by a rollout", "forget", func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Action, r.Steps = Finish, append(slices.Clone(r.Steps), Release{base: Of(r.VM)})
		}, "only a person lets a VM go"},
		{"paused by a rollout", "pause", func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Action, r.Steps = Finish, append(slices.Clone(r.Steps), Release{base: Of(r.VM)})
		}, "only a person pauses"},
	}
}

// planFor is a plan with that in it, which Check passes.
func planFor(kind string) (Plan, Observed) {
	d := bluegreen(wish(2, "docker", "logs"), HandOver)
	o := rolledBefore(fleetOf(d, oldDigest))
	of := func(r Request) Plan {
		return Plan{Fleet: d.Fleet, MaxUnavailable: 1, Waves: []Wave{{Rolls: r.Rolls}}}
	}
	switch kind {
	case HandOver, Fresh:
		d.Rollout.Disk = kind
		return Compute(d, o, t0), o
	case "gc":
		v := o.find("wrk-01")
		*v = off(*v)
		v.Name, v.Home, v.Record.Retired = "wrk-01-retired-20260201-1200", "[ssd-1] old", t0.Add(-28*24*time.Hour)
		return of(Collect(d, o, t0, 168*time.Hour)), o
	case "adopt":
		v := o.find("wrk-01")
		a := Adoption{VM: "old", Ordinal: 1, Disks: map[string]string{"docker": v.Disks[0].UUID, "logs": v.Disks[1].Path}}
		v.Name, v.Fleet, v.Record = "old", "", Record{}
		return of(AdoptVM(d, o, a)), o
	case "forget":
		return of(ForgetVM(d, o, "wrk-01", t0)), o
	}
	return of(Halt(d, o)), o
}

// TestCheckCatchesReplacements breaks one rule at a time.
func TestCheckCatchesReplacements(t *testing.T) {
	for _, s := range spoils() {
		t.Run(s.plan+" "+s.name, func(t *testing.T) {
			p, o := planFor(s.plan)
			if err := Check(p, o); err != nil || len(p.Waves) == 0 || len(p.Waves[0].Rolls) == 0 {
				t.Fatal(err, p)
			}
			o = o.Clone()
			s.spoil(&p, &o)
			if err := Check(p, o); err == nil || !strings.Contains(err.Error(), s.says) {
				t.Errorf("Check says %v, not %q", err, s.says)
			}
		})
	}
}
