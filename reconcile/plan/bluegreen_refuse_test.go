package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// interference is what a person, or HA, does to a pair in the middle of its roll.
type interference struct {
	name  string
	disk  string // variant
	last  Step   // the last step that was done, by kind and VM
	spoil func(o *Observed, blue, green *VM)
	code  Code // "": it goes on
	says  string
}

func interferences() []interference {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	gone := func(name string) func(*Observed, *VM, *VM) {
		return func(o *Observed, _, _ *VM) {
			o.VMs = slices.DeleteFunc(o.VMs, func(v VM) bool { return v.Name == name })
		}
	}
	third := func(o *Observed, _, _ *VM) { o.VMs = append(o.VMs, VM{Name: "x", Ref: "vm-x", Disks: diskOf(*o)}) }
	on := func(v *VM) { v.Power = On }
	blueOn := func(_ *Observed, blue, _ *VM) { on(blue) }
	greenOn := func(_ *Observed, _, green *VM) { on(green) }
	renamed := func(_ *Observed, blue, _ *VM) { blue.Name = "wrk-01-old" }
	again := "recorded but not attached"
	return []interference{
		{"green deleted before the shutdown", HandOver, CreateVM{base: g}, gone("wrk-01-green"), "", ""},
		{"green deleted after the detach", HandOver, DetachDisk{base: n}, gone("wrk-01-green"), R06, again},
		{"green deleted after the attach", HandOver, AttachDisk{base: g}, gone("wrk-01-green"), R06, again},
		{"green deleted after the record was cleared", HandOver, Disown{base: n}, gone("wrk-01-green"), R06, "made without it"},
		{"green deleted when it ran", HandOver, PowerOn{g}, gone("wrk-01-green"), R06, "made without it"},
		{"green let go before the shutdown", HandOver, CreateVM{base: g}, func(_ *Observed, _, v *VM) { v.Fleet, v.Record = "", Record{} }, R22, "does not replace this one"},
		{"green let go after the detach", HandOver, DetachDisk{base: n}, func(_ *Observed, _, v *VM) { v.Fleet, v.Record = "", Record{} }, R06, again},
		{"green renamed", HandOver, DetachDisk{base: n}, func(_ *Observed, _, v *VM) { v.Name = "green" }, R22, "VM green, which is to take the place, has another name"},
		{"green renamed to its place", HandOver, Retire{base: n}, func(_ *Observed, _, v *VM) { v.Name = "wrk-01" }, R22, "has another name"},
		{"two greens", HandOver, DetachDisk{base: n}, func(o *Observed, _, v *VM) {
			o.VMs = append(o.VMs, *v)
			o.VMs[len(o.VMs)-1].Name, o.VMs[len(o.VMs)-1].Ref = "clone", "vm-clone"
		}, R22, "2 VMs are to take its place"},
		{"green powered on before the detach", HandOver, Shutdown{base: n}, greenOn, R06, "wrk-01-green is on although it has not got all disks"},
		{"green powered on after the detach", HandOver, DetachDisk{base: n}, greenOn, R06, "wrk-01-green is on although it has not got all disks"},
		{"green has another disk too", HandOver, AttachDisk{base: g}, func(_ *Observed, _, v *VM) {
			v.Disks = append(v.Disks, Disk{UUID: "6000C2FF", Path: "[ssd-1] x/x.vmdk", Mode: DiskMode})
		}, R06, "attached to wrk-01-green but not recorded"},
		{"green lost its disk", HandOver, Disown{base: n}, func(_ *Observed, _, v *VM) { v.Disks = nil }, R06, "recorded for wrk-01-green but not attached"},
		{"green is busy", HandOver, DetachDisk{base: n}, func(_ *Observed, _, v *VM) { v.Busy = []string{"a question is pending"} }, R08, "wrk-01-green: the VM must not be touched"},
		{"green is claimed", HandOver, DetachDisk{base: n}, func(_ *Observed, _, v *VM) {
			v.Record.Owner, v.Record.Expires = other, t0.Add(time.Hour)
		}, R16, "wrk-01-green: claimed by lkv@there"},
		{"blue is claimed", HandOver, DetachDisk{base: n}, func(_ *Observed, v, _ *VM) {
			v.Record.Owner, v.Record.Expires = other, t0.Add(time.Hour)
		}, R16, "wrk-01: claimed by lkv@there"},
		{"blue renamed before the shutdown", HandOver, CreateVM{base: g}, renamed, R22, "wrk-01-old, which wrk-01-green is to replace, has another name"},
		{"blue renamed after the detach", HandOver, DetachDisk{base: n}, renamed, R22, "has another name"},
		{"another VM has blue's name", HandOver, DetachDisk{base: n}, func(_ *Observed, v, _ *VM) { v.ID = "else" }, R06, "not there any more (instance UUID id-wrk-01)"},
		{"blue deleted before the detach", HandOver, Shutdown{base: n}, gone("wrk-01"), R06, "not there any more"},
		{"blue deleted after the detach", HandOver, DetachDisk{base: n}, gone("wrk-01"), R06, "not there any more"},
		{"blue deleted after the record was cleared", HandOver, Disown{base: n}, gone("wrk-01"), R06, "not there any more"},
		{"blue deleted after its retirement", HandOver, Retire{base: n}, gone("wrk-01-retired-20260301-1200"), R06, "not there any more"},
		{"blue powered on before the detach", HandOver, Shutdown{base: n}, blueOn, "", ""},
		{"blue powered on after the detach", HandOver, DetachDisk{base: n}, blueOn, R06, "wrk-01 is on although its data disks are being handed over"},
		{"blue powered on after the attach", HandOver, AttachDisk{base: g}, blueOn, R06, "wrk-01 is on although its data disks are being handed over"},
		{"blue powered on after the record was cleared", HandOver, Disown{base: n}, blueOn, R06, "wrk-01 is on although its data disks are being handed over"},
		{"blue powered on while green boots", HandOver, PowerOn{g}, blueOn, R06, "wrk-01 is on although wrk-01-green has taken over"},
		{"blue powered on when green serves", HandOver, AwaitReady{base: g}, blueOn, R06, "wrk-01 is on although wrk-01-green has taken over"},
		{"blue has a snapshot", HandOver, Shutdown{base: n}, func(_ *Observed, v, _ *VM) { v.Disks[0].Parent = true }, R05, "snapshot"},
		{"blue's disk was moved", HandOver, CreateVM{base: g}, func(_ *Observed, v, _ *VM) { v.Disks[0].Path = "[ssd-9] wrk-01/wrk-01.vmdk" }, R06, "was moved to [ssd-9]"},
		{"blue has the disk again", HandOver, AttachDisk{base: g}, func(_ *Observed, v, green *VM) { v.Disks = green.Disks }, R07, "is on wrk-01 and wrk-01-green"},
		{"blue got the disk back", HandOver, Disown{base: n}, func(_ *Observed, v, green *VM) { v.Disks, green.Disks = green.Disks, nil }, R06, "attached to wrk-01 but not recorded"},
		{"a third VM has the disk before the detach", HandOver, Shutdown{base: n}, third, R07, "wrk-01 and x"},
		{"a third VM has the disk after the detach", HandOver, DetachDisk{base: n}, third, R07, "which goes from wrk-01 to wrk-01-green, is on x"},
		{"a third VM has the disk after the attach", HandOver, AttachDisk{base: g}, third, R07, "wrk-01-green and x"},
		{"a third VM has the disk in its record", HandOver, DetachDisk{base: n}, func(o *Observed, _, green *VM) {
			o.VMs = append(o.VMs, VM{Name: "x", Ref: "vm-x", Fleet: "workers", Ordinal: 9, Record: Record{Disks: green.Record.Takes}})
		}, R07, "is on x"},
		{"the file is gone", HandOver, DetachDisk{base: n}, func(o *Observed, _, _ *VM) { o.Files = nil }, R06, "is gone or another one"},
		{"the file is another one", HandOver, DetachDisk{base: n}, func(o *Observed, _, _ *VM) { o.Files[0].UUID = "6000C2FF" }, R06, "is gone or another one"},

		{"green deleted before the shutdown", Fresh, AwaitReady{base: g}, gone("wrk-01-green"), "", ""},
		{"green deleted after the shutdown", Fresh, Shutdown{base: n}, gone("wrk-01-green"), "", ""},
		{"green renamed", Fresh, PowerOn{g}, func(_ *Observed, _, v *VM) { v.Name = "green" }, R22, "has another name"},
		{"green lost its disk", Fresh, AttachDisk{base: g}, func(o *Observed, _, v *VM) { v.Disks, o.Files = nil, o.Files[:1] }, R06, "recorded for wrk-01-green but not attached"},
		{"green's disk is gone before it was attached", Fresh, CreateVM{base: g}, func(o *Observed, _, _ *VM) { o.Files = o.Files[:1] }, R06, "recorded for wrk-01-green but not attached"},
		{"green runs without its disk", Fresh, CreateVM{base: g}, greenOn, R06, "recorded for wrk-01-green but not attached"},
		{"blue renamed", Fresh, PowerOn{g}, renamed, R22, "has another name"},
		{"blue deleted", Fresh, PowerOn{g}, gone("wrk-01"), R06, "not there any more"},
		{"blue lost its disk", Fresh, PowerOn{g}, func(_ *Observed, v, _ *VM) { v.Disks = nil }, R06, "of wrk-01 is not where its record says"},
		{"blue has green's disk too", Fresh, AttachDisk{base: g}, func(_ *Observed, v, green *VM) { v.Disks = append(v.Disks, green.Disks...) }, R07, "is on wrk-01 and wrk-01-green"},
		{"blue powered on after the shutdown", Fresh, Shutdown{base: n}, blueOn, "", ""},
		{"a third VM has blue's disk", Fresh, PowerOn{g}, third, R07, "wrk-01 and x"},
	}
}

// diskOf is the first data disk of wrk-01, as a third VM would have it attached.
func diskOf(o Observed) []Disk {
	f := o.Files[0]
	return []Disk{{UUID: f.UUID, Path: f.Path, Bytes: f.Bytes, Mode: DiskMode}}
}

// until applies a plan up to and with the first step of that kind about that VM.
func until(t *testing.T, o Observed, all []Step, last Step) Observed {
	t.Helper()
	for _, s := range all {
		if o = o.After(s); nameOf(s) == nameOf(last) && s.VM() == last.VM() {
			return o
		}
	}
	t.Fatalf("no step %T of %s", last, last.VM())
	return o
}

func TestInterference(t *testing.T) {
	for _, c := range interferences() {
		t.Run(c.disk+" "+c.name, func(t *testing.T) {
			d := bluegreen(wish(1, "docker"), c.disk)
			start := rolledBefore(fleetOf(d, oldDigest))
			o := until(t, start, flat(Compute(d, start, t0)), c.last)
			blue, green := o.find("wrk-01"), o.find("wrk-01-green")
			c.spoil(&o, blue, green)
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Error(err)
			}
			if c.code == "" {
				if len(p.Waves) == 0 || len(p.Blocked) > 0 {
					t.Fatalf("it does not go on: %+v", p)
				}
				return
			}
			if len(p.Waves) > 0 {
				t.Fatalf("it would do %v; blocked: %v", flat(p), p.Blocked)
			}
			i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.VM == "wrk-01" })
			if i < 0 || p.Blocked[i].Code != c.code || !strings.Contains(p.Blocked[i].Reason, c.says) || p.Blocked[i].Clear == "" {
				t.Fatalf("it says %v", p.Blocked)
			}
		})
	}
}

// TestRandomInterference does to any VM of a half-done roll what people and HA do, and lets runs go on until they stand
// still: none ever attaches a disk that somebody else has, or powers on a VM without all its disks or beside its twin,
// and Check passes all of it.
func TestRandomInterference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genPairWish(t)
		o := genPairWorld(t, d)
		o, _ = genCut(t, Compute(d, o, t0), o, func(Observed, Roll, Step) {})
		for i := range o.VMs { // as vCenter would
			o.VMs[i].Ref = cmp.Or(o.VMs[i].Ref, fmt.Sprintf("vm-new-%d", i))
			o.VMs[i].ID = cmp.Or(o.VMs[i].ID, fmt.Sprintf("id-new-%d", i))
		}
		for range rapid.IntRange(1, 3).Draw(t, "deeds") {
			o = meddle(t, o)
		}
		for range 60 {
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Fatal(err)
			}
			if len(p.Waves) == 0 {
				return
			}
			for _, r := range p.Waves[0].Rolls {
				for _, s := range r.Steps {
					if why := wrong(o, s); why != "" {
						t.Fatalf("%s: %s: %s", s.VM(), s, why)
					}
					o = o.After(s)
				}
			}
		}
		t.Fatal("60 waves and no end")
	})
}

// meddle is one deed.
func meddle(t *rapid.T, o Observed) Observed {
	if len(o.VMs) == 0 {
		return o
	}
	o = o.Clone()
	i := rapid.IntRange(0, len(o.VMs)-1).Draw(t, "whose")
	j := rapid.IntRange(0, len(o.VMs)-1).Draw(t, "with")
	v, x := &o.VMs[i], &o.VMs[j]
	switch rapid.SampledFrom([]string{"delete", "delete with disks", "rename", "on", "off", "detach", "give disks", "share disks", "forget", "file"}).Draw(t, "deed") {
	case "delete with disks":
		for _, d := range v.Disks {
			o.Files = slices.DeleteFunc(o.Files, func(f DiskFile) bool { return f.Path == d.Path })
		}
		fallthrough
	case "delete":
		o.VMs = slices.Delete(o.VMs, i, i+1)
	case "rename":
		v.Name = rapid.SampledFrom([]string{v.Name + "-old", "wrk-01", "wrk-01-green", "wrk-02"}).Draw(t, "to")
	case "on":
		v.Power = On
	case "off":
		*v = off(*v)
	case "detach":
		v.Disks = nil
	case "give disks":
		if i != j {
			x.Disks, v.Disks = append(x.Disks, v.Disks...), nil
		}
	case "share disks":
		if i != j {
			x.Disks = append(x.Disks, v.Disks...)
		}
	case "forget":
		v.Fleet, v.Record = "", Record{}
	case "file":
		if len(o.Files) > 0 {
			o.Files = slices.Delete(o.Files, 0, 1)
		}
	}
	return o
}

// wrong says why a step must not be done in a world, judged without any of the planner's words.
func wrong(o Observed, s Step) string {
	v := o.find(s.VM())
	switch s := s.(type) {
	case AttachDisk:
		for _, x := range o.VMs {
			for _, d := range x.Disks {
				if d.Path == s.Disk.Path || d.UUID != "" && d.UUID == s.Disk.UUID {
					return "the disk is on " + x.Name
				}
			}
		}
	case PowerOn:
		if len(v.Disks) != len(v.Record.Disks) || len(v.Record.Takes) > 0 {
			return "it has not all its disks"
		}
		for _, x := range o.VMs {
			for _, d := range v.Disks {
				if x.Name != v.Name && slices.ContainsFunc(x.Disks, func(y Disk) bool { return y.Path == d.Path }) {
					return "it shares a disk with " + x.Name
				}
			}
		}
	case CreateDisk:
		if len(filesNamed(o, s.Path)) > 0 {
			return "the file exists"
		}
	}
	return ""
}
