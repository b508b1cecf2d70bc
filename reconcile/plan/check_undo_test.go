package plan

import (
	"slices"
	"testing"
)

// wayBack is what is left of a replacement that is undone, and one thing that changes so that it must not be.
type wayBack struct {
	name  string
	disk  string
	next  string // kind of the step that the run died before; "": nothing was done yet
	spoil func(p *Plan, o *Observed)
	says  string // the whole complaint
}

func waysBack() []wayBack {
	const (
		over    = `check wave 1: wrk-01: step "record that its replacement failed: not ready, to take back docker logs": `
		retires = `check wave 1: wrk-01: step "retire as wrk-01-green-retired-20260301-1200, disks kept": `
		detach  = `check wave 1: wrk-01: step "detach disk, keep [ssd-1] lkv-disks/workers/wrk-01-docker.vmdk": `
		attach  = `check wave 1: wrk-01: step "attach disk [ssd-1] lkv-disks/workers/wrk-01-docker.vmdk": `
		disowns = `check wave 1: wrk-01: step "take the handed-over disks out of its record": `
		docker  = "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"
	)
	blue := func(f func(v *VM)) func(*Plan, *Observed) { return vm("wrk-01", f) }
	green := func(f func(v *VM)) func(*Plan, *Observed) { return vm("wrk-01-green", f) }
	file := func(f func(f *DiskFile)) func(*Plan, *Observed) {
		return func(_ *Plan, o *Observed) { f(o.file(docker)) }
	}
	return []wayBack{
		{"the failure of another image is noted", HandOver, "", change(func(s Recall) Step { s.Spurned = oldDigest; return s }), over + "no successor of it, or not with that image, is retired"},
		{"there is no green VM", HandOver, "recall", green(func(v *VM) { v.Record.Replaces = "id-x" }), "check wave 1: wrk-01: a roll back, but no roll failed"},
		{"no reason is noted", HandOver, "", change(func(s Recall) Step { s.Why = ""; return s }),
			`check wave 1: wrk-01: step "record that its replacement failed: , to take back docker logs": no reason: the fleet would not stand still (A7)`},
		{"a blank disk is taken along", Fresh, "", func(p *Plan, o *Observed) {
			change(func(s Recall) Step { s.Takes = o.find("wrk-01-green").Record.Disks; return s })(p, o)
		}, `check wave 1: wrk-01: step "record that its replacement failed: not ready, to take back docker logs": it takes back disks that were never its own`},
		{"green has not got every disk yet", HandOver, "", green(func(v *VM) { v.Record.Takes = v.Record.Disks[:1] }), over + "disks are on their way to wrk-01-green (D5)"},
		{"a disk is forgotten", HandOver, "", change(func(s Recall) Step { s.Takes = s.Takes[1:]; return s }),
			`check wave 1: wrk-01: step "record that its replacement failed: not ready, to take back logs": it does not take back disk docker (D5)`},
		{"another disk of that name is noted", HandOver, "", change(func(s Recall) Step {
			s.Takes = slices.Clone(s.Takes)
			s.Takes[0].UUID = uuidOf(2, 0)
			return s
		}), over + "it does not take back disk docker (D5)"},
		{"a disk's file is gone", HandOver, "", file(func(f *DiskFile) { f.Path = "[ssd-9] x.vmdk" }), over + "disk docker could not be found at " + docker + " (D5)"},
		{"a disk's file is another", HandOver, "", file(func(f *DiskFile) { f.UUID = "6000C2FF" }), over + "disk docker could not be found at " + docker + " (D5)"},
		{"a disk was moved", HandOver, "", green(func(v *VM) { v.Disks[0].Path = "[ssd-9] x.vmdk" }), over + "disk docker could not be found at " + docker + " (D5)"},
		{"nothing is noted", Fresh, "", without[Recall](), retires + "the record of wrk-01 does not say that it failed (A7)"},
		{"nothing is noted before a disk goes", HandOver, "", without[Recall](), detach + "no successor's record names the disk (D5)"},
		{"green is stopped without a claim on it", Fresh, "", func(p *Plan, _ *Observed) {
			p.Waves[0].Rolls[0].Steps = p.Waves[0].Rolls[0].Steps[1:]
		}, `check wave 1: wrk-01: step "shut down, power off after 2m0s": a change without a claim (A6)`},

		{"a disk goes while green runs", HandOver, "", without[Shutdown](), detach + "the VM is poweredOn"},
		{"blue's record names another file", HandOver, "detachdisk", blue(func(v *VM) { v.Record.Takes[0].Path = "[ssd-9] x.vmdk" }), detach + "no successor's record names the disk (D5)"},
		{"blue's record names another disk", HandOver, "detachdisk", blue(func(v *VM) { v.Record.Takes[0].UUID = "x" }), detach + "no successor's record names the disk (D5)"},
		{"attached to blue while green runs", HandOver, "attachdisk", green(func(v *VM) { v.Power = On }), attach + "the VM it comes from is not there, or not off (D3)"},
		{"attached to blue while green has it", HandOver, "detachdisk", func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Steps = slices.DeleteFunc(slices.Clone(r.Steps), func(s Step) bool { return nameOf(s) == "detachdisk" })
		}, attach + "the disk is attached to wrk-01-green (D3)"},
		{"attached to blue while blue runs", HandOver, "attachdisk", blue(func(v *VM) { v.Power = On }), attach + "the VM is poweredOn"},
		{"disowned before blue has it", HandOver, "disown", blue(func(v *VM) { v.Disks = v.Disks[1:] }), disowns + "disk docker is not with wrk-01 yet (D5)"},
		{"disowned before blue's record has it", HandOver, "disown", blue(func(v *VM) { v.Record.Disks = v.Record.Disks[1:] }), disowns + "disk docker is not with wrk-01 yet (D5)"},
		{"disowned for somebody else", HandOver, "disown", change(func(s Disown) Step { s.Successor = "id-wrk-02"; return s }), disowns + "it has no successor, or another one (D5)"},

		{"blue was retired meanwhile", Fresh, "retire", blue(func(v *VM) { v.Record.Retired = t0 }), retires + "what it was to replace is not in use"},
		{"blue is not there", Fresh, "retire", blue(func(v *VM) { v.ID = "x" }), retires + "what it was to replace is not in use"},
		{"blue's record does not say why", Fresh, "retire", blue(func(v *VM) { v.Record.Spurned = oldDigest }), retires + "the record of wrk-01 does not say that it failed (A7)"},
		{"blue has not got every disk", Fresh, "retire", blue(func(v *VM) { v.Record.Takes = v.Record.Disks[:1] }), retires + "a disk is on its way between the two (D5)"},
		{"green still awaits a disk", Fresh, "retire", green(func(v *VM) { v.Record.Takes = v.Record.Disks[:1] }), retires + "a disk is on its way between the two (D5)"},
		{"green still has a disk of blue", HandOver, "retire", func(_ *Plan, o *Observed) { o.find("wrk-01-green").Disks = o.find("wrk-01").Disks[:1] }, retires + "it has 1 disks of wrk-01 (D5)"},
		{"green never gave the disks out of its record", HandOver, "", without[Disown](), retires + "recorded disk docker is not attached (D5)"},
		{"a blank disk was detached", Fresh, "retire", green(func(v *VM) { v.Disks = v.Disks[1:] }), retires + "recorded disk docker is not attached (D5)"},
		{"a strange disk would go with green", Fresh, "retire", green(func(v *VM) { v.Disks = append(v.Disks, Disk{UUID: "x"}) }), retires + "3 disks are attached, 2 recorded (D5)"},
		{"green runs", Fresh, "retire", green(func(v *VM) { v.Power = On }), retires + "the VM is poweredOn"},
		{"blue is powered on before green is off", Fresh, "", func(p *Plan, o *Observed) {
			*o.find("wrk-01") = off(*o.find("wrk-01"))
			r := &p.Waves[0].Rolls[0]
			r.Steps = slices.Insert(slices.Clone(r.Steps), len(r.Steps)-1, Step(Shutdown{base: Of("wrk-01-green")}))
		}, `check wave 1: wrk-01: step "shut down, power off after 0s": the VM does not exist`},
		{"a person paused at green", Fresh, "", green(func(v *VM) { v.Record.Paused = true }), "check plan: it acts although wrk-01-green is paused (A7)"},
		{"a person paused at blue", Fresh, "", blue(func(v *VM) { v.Record.Paused = true }), "check plan: it acts although wrk-01 is paused (A7)"},
		{"it goes on as if nothing had failed", Fresh, "", func(p *Plan, _ *Observed) { p.Waves[0].Rolls[0].Action = Finish }, "check plan: it acts although wrk-01-green failed (A7)"},
		{"the failure is forgotten at the end", Fresh, "", func(p *Plan, _ *Observed) {
			r := &p.Waves[0].Rolls[0]
			r.Steps = slices.Insert(slices.Clone(r.Steps), len(r.Steps)-1, Step(Unblock{base: Of("wrk-01")}))
		}, `check wave 1: wrk-01: step "clear failure and pause": only a person lets a fleet go again (A7)`},
	}
}

// TestOnlyAWayBackRecalls: a roll that goes forward says nothing of a failure.
func TestOnlyAWayBackRecalls(t *testing.T) {
	d, o := pairAt(t, Fresh, AwaitReady{base: Of("wrk-01-green")})
	p := Compute(d, o, t0)
	adding("retire", Recall{base: Of("wrk-01"), Why: "x", Spurned: newDigest})(&p, &o)
	const says = `check wave 1: wrk-01: step "record that its replacement failed: x": no successor of it, or not with that image, is retired`
	if err := Check(p, o); err == nil || err.Error() != says {
		t.Errorf("Check says %v", err)
	}
}

// TestCheckHoldsWaysBack: what is left of a way back is legal wherever a run died in it; then one thing changes, and
// Check says exactly what is wrong now.
func TestCheckHoldsWaysBack(t *testing.T) {
	for _, c := range waysBack() {
		t.Run(c.disk+" "+c.name, func(t *testing.T) {
			d, o := greenFailed(t, bluegreen(wish(2, "docker", "logs"), c.disk))
			p := Compute(d, o, t0)
			for c.next != "" && nameOf(flat(p)[0]) != c.next {
				o = o.After(flat(p)[0])
				p = Compute(d, o, t0)
			}
			if err := Check(p, o); err != nil || !rollsBack(p) {
				t.Fatalf("before: %v, %+v", err, p)
			}
			c.spoil(&p, &o)
			if err := Check(p, o); err == nil || err.Error() != c.says {
				t.Errorf("it says: %v", err)
			}
		})
	}
}
