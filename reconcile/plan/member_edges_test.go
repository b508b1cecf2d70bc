package plan

import (
	"strings"
	"testing"
)

// TestWhoIsWho: a place in a fleet is told by owner, name and ordinal, and what only looks like a VM of the fleet is none.
// Three VMs on the old image.
func TestWhoIsWho(t *testing.T) {
	const all = "roll 01 > roll 02 > roll 03"
	tell(t, fleetWith(3, oldDigest), []tale{
		{"a VM of another fleet that replaces one of its own, in the same place", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "db-02-green", Fleet: "db", Ordinal: 2, Record: Record{Replaces: "db"}})
		}, all},
		{"a stranger's leftovers look like ours", func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Ordinal: 2, Record: Record{Replaces: "y"}})
		}, all},
		{"a retired VM of another fleet has a wanted name", func(_ *Desired, o *Observed) {
			o.VMs[1].Fleet, o.VMs[1].Record.Retired = "db", t0
		}, "R12 | R22 02"},
		{"a retired VM has kept its name, and its place is free", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Retired = t0; powerOff(v) }, 2)
		}, "R12 | R22 02"},
		{"a retired VM has its own name, and its place is free", func(_ *Desired, o *Observed) {
			each(o, func(v *VM) { v.Record.Retired, v.Name = t0, RetiredName(v.Name, t0); powerOff(v) }, 2)
		}, "R12 | R06 02"},
		{"names were changed round in the spec: neither is touched", func(d *Desired, _ *Observed) {
			d.VMs[0].Ordinal, d.VMs[1].Ordinal = 2, 1
		}, "R12 | R22 02 | R22 01"},
		{"a new name was put before the others: each is in another's place", func(d *Desired, o *Observed) {
			w := wish(4, "docker").VMs[3]
			d.VMs = append([]WantVM{w}, d.VMs...)
			for i := range d.VMs {
				d.VMs[i].Ordinal = i + 1
			}
		}, "R12 | R22 01 | R22 02 | R22 03"},
	})
}

// TestFirstTrouble: of several things that are wrong with a VM an operator reads the one that has to be cured first, and
// of a VM that is down, why the others wait, that it is down.
func TestFirstTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *VM)
		says  string
	}{
		"a question on a suspended VM": {func(v *VM) { v.Power, v.Busy = Suspended, []string{"a question", "a task"} }, "R08 the VM must not be touched: a question, a task"},
		"suspended":                    {func(v *VM) { v.Power = Suspended }, "R08 the VM must not be touched: it is suspended"},
		"busy, and claimed":            {func(v *VM) { v.Busy = []string{"a question"}; heldBy(other)(v) }, "R16 claimed by"},
		"busy, and its disk is lost":   {func(v *VM) { v.Busy, v.Disks = []string{"a question"}, nil }, "R08 "},
		"a snapshot, and failed":       {func(v *VM) { snapshot(v); powerOff(v) }, "R05 "},
	} {
		d, o := fleetWith(2, oldDigest)()
		c.spoil(&o.VMs[0])
		b := refusalOf(t, Compute(d, o, t0), "wrk-01")
		if got := string(b.Code) + " " + b.Reason; !strings.HasPrefix(got, c.says) {
			t.Errorf("%s: %s", name, got)
		}
	}
	d, o := fleetWith(2, oldDigest)()
	each(&o, snapshot, 1)
	each(&o, powerOff, 1)
	if b := refusalOf(t, Compute(d, o, t0), ""); !strings.Contains(b.Reason, "(wrk-01: it is poweredOff)") {
		t.Error(b.Reason)
	}
}

// TestWhatIsLeft: the steps that remain for one VM, by what can be seen of it and nothing else.
func TestWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *VM)
		want  string
	}{
		"the CD-ROM holds nothing":             {func(v *VM) { v.ISO = "" }, "claim shutdown insertiso poweron awaitready release"},
		"off, the CD-ROM holds nothing":        {func(v *VM) { powerOff(v); v.ISO = "" }, "claim insertiso poweron awaitready release"},
		"off":                                  {powerOff, "claim poweron awaitready release"},
		"off, of another size":                 {func(v *VM) { powerOff(v); smaller(v) }, "claim insertiso resize poweron awaitready release"},
		"ours, booting":                        {func(v *VM) { heldBy(me)(v); silence(v) }, "awaitready release"},
		"ours, serves":                         {heldBy(me), "release"},
		"ours, serves, drained":                {func(v *VM) { heldBy(me)(v); drainedly(v) }, "restore release"},
		"ours, its token is of this boot":      {func(v *VM) { heldBy(me)(v); smaller(v) }, "shutdown resize poweron awaitready release"},
		"ours, a token of the boot before":     {func(v *VM) { heldBy(me)(v); smaller(v); v.Record.Epoch = 4 }, "shutdown insertiso resize poweron awaitready release"},
		"ours, off, a token of an older boot":  {func(v *VM) { heldBy(me)(v); powerOff(v); v.Record.Epoch = 4 }, "poweron awaitready release"},
		"ours, a task runs, to be booted soon": {func(v *VM) { heldBy(me)(v); v.Record.Due = true; v.Task = "t" }, "awaittask shutdown insertiso poweron awaitready release"},
	} {
		d, o := fleetWith(1, newDigest)()
		c.spoil(&o.VMs[0])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := doing(p, "wrk-01"); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestGrowKnowsEachFile: a disk that is not attached yet is grown by the size of its own file, whatever other files there
// are.
func TestGrowKnowsEachFile(t *testing.T) {
	d := wish(2, "docker", "logs")
	o := done(d, Observed{}, 4) // both disks and the VM are made, the first is attached
	o.Files = append([]DiskFile{{Path: "[ssd-1] else.vmdk", Bytes: 1 << 40}}, o.Files...)
	d.VMs[0].Disks[1].Bytes = 20 << 30
	if got := doing(Compute(d, o, t0), "wrk-01"); got != "attachdisk growdisk poweron awaitready release" {
		t.Error(got)
	}
}
