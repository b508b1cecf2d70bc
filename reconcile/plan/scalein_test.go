package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestScaleIn: who goes, and what keeps the others.
func TestScaleIn(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, o *Observed)
		goes  string // names of the VMs that are retired
		says  string // why the others do not: a refusal's code, or part of a reason to wait
	}{
		"one of one":                 {func(d *Desired, o *Observed) { o.VMs = o.VMs[:3] }, "wrk-03", ""},
		"two of two":                 {func(*Desired, *Observed) {}, "wrk-03 wrk-04", ""},
		"more than may go":           {func(d *Desired, _ *Observed) { d.Rollout.ScaleIn = 1 }, "", "R14"},
		"none may go":                {func(d *Desired, _ *Observed) { d.Rollout.ScaleIn = 0 }, "", "R14"},
		"none may go, one has gone":  {func(d *Desired, o *Observed) { d.Rollout.ScaleIn = 0; o.VMs[3].Record.Retired = t0 }, "", "R14"},
		"one target":                 {func(d *Desired, _ *Observed) { d.Targets, d.Rollout.ScaleIn = []string{"wrk-04"}, 1 }, "wrk-04", "not among the targets"},
		"no target":                  {func(d *Desired, _ *Observed) { d.Targets, d.Rollout.ScaleIn = []string{"wrk-01"}, 1 }, "", "not among the targets"},
		"window shut":                {func(d *Desired, _ *Observed) { d.Rollout.Window = tomorrow() }, "", "outside of the window"},
		"a wanted VM does not serve": {func(_ *Desired, o *Observed) { o.VMs[0].Guest = Guest{} }, "", "when every wanted VM"},
		"a wanted VM is refused":     {func(_ *Desired, o *Observed) { o.VMs[0].Disks[0].Parent = true }, "wrk-03 wrk-04", "R05"},
		"a wanted VM bakes":          {baking, "", "when every wanted VM"},
		"another run has it":         {func(_ *Desired, o *Observed) { o.VMs[2].Record.Owner, o.VMs[2].Record.Expires = other, t0.Add(1) }, "wrk-04", "R16"},
		"busy":                       {func(_ *Desired, o *Observed) { o.VMs[2].Busy = []string{"a question"} }, "wrk-04", "R08"},
		"its disk is not attached":   {func(_ *Desired, o *Observed) { o.VMs[2].Disks = nil }, "wrk-04", "R06"},
		"another VM has its disk":    {func(_ *Desired, o *Observed) { o.VMs = append(o.VMs, VM{Name: "x", Disks: o.VMs[2].Disks}) }, "wrk-04", "R07"},
		"a stranger has its name":    {func(_ *Desired, o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-03", Ref: "vm-9"}) }, "wrk-04", "R22"},
		"its roll failed":            {func(d *Desired, o *Observed) { d.Rollout.MaxFailed = 2; o.VMs[2].Record.Failed = "x" }, "wrk-04", "R12"},
		"its roll takes too long": {func(d *Desired, o *Observed) {
			d.Rollout.MaxFailed, d.Rollout.Progress = 2, 1
			o.VMs[2].Record.Started = t0.Add(-1e9)
		}, "wrk-04", "R12"},
		"its roll failed, all stands":  {func(_ *Desired, o *Observed) { o.VMs[2].Record.Failed = "x" }, "", "R12"},
		"a dead run had claimed it":    {func(_ *Desired, o *Observed) { o.VMs[2].Record.Owner, o.VMs[2].Record.Started = other, t0.Add(-1e12) }, "wrk-03 wrk-04", ""},
		"it is off in a dead run":      {func(_ *Desired, o *Observed) { o.VMs[2] = off(o.VMs[2]); o.VMs[2].Record.Started = t0.Add(-1e12) }, "wrk-03 wrk-04", ""},
		"a VM that replaces is no one": {func(_ *Desired, o *Observed) { o.VMs[2].Record.Replaces, o.VMs[2].Ordinal = "id", 9 }, "wrk-04", ""},
	} {
		d := wish(2, "docker")
		d.Rollout.ScaleIn = 2
		o := fleetOf(wish(4, "docker"), newDigest)
		c.spoil(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var goes []string
		for _, s := range flat(p) {
			if r, ok := s.(Retire); ok {
				goes = append(goes, r.VM())
				if r.To != r.VM()+"-retired-20260301-1200" || r.Why == "" || !r.At.Equal(t0) {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
		if strings.Join(goes, " ") != c.goes {
			t.Errorf("%s: %v go: %+v", name, goes, p)
		}
		if all := fmt.Sprint(p.Blocked, p.Later); !strings.Contains(all, c.says) {
			t.Errorf("%s: it says %s", name, all)
		}
	}
}

// baking is a fleet whose first VM bakes a new image.
func baking(d *Desired, o *Observed) {
	d.Rollout.Canaries, d.Rollout.Bake = 1, time.Hour
	o.VMs[0].Record.Rolled = t0.Add(-time.Minute)
	o.VMs[1] = standing(*d, d.VMs[1], oldDigest)
}

// TestRetiredDoNotCount: what is retired has no place, no name, no failure and no pause in its fleet, and keeps its disks.
func TestRetiredDoNotCount(t *testing.T) {
	d := wish(2, "docker")
	d.Rollout.ScaleIn = 2
	o := fleetOf(wish(4, "docker"), newDigest)
	for _, s := range flat(Compute(d, o, t0)) {
		o = o.After(s)
	}
	for i := range o.VMs[2:] {
		o.VMs[2+i].Record.Failed, o.VMs[2+i].Record.Paused = "x", true
	}
	p := Compute(d, o, t0)
	if len(p.Same) != 2 || len(p.Extra) > 0 || len(p.Blocked) > 0 || fmt.Sprint(p.Retired) != "[wrk-03-retired-20260301-1200 wrk-04-retired-20260301-1200]" {
		t.Errorf("%+v", p)
	}
	if len(Resume(d, o, t0).Rolls) > 0 {
		t.Error("resumed")
	}
	if p := Compute(wish(3, "docker"), o, t0); len(p.Waves) > 0 || p.Blocked[0].Code != R06 || !strings.Contains(p.Blocked[0].Reason, "VM wrk-03-retired-20260301-1200, retired on 2026-03-01, keeps data disk lkv-disks/workers/wrk-03-docker.vmdk") {
		t.Errorf("its disk is not free: %+v", p)
	}
}

// TestBackToTheOldSize: a VM that is wanted again does not get a second disk while the retired one has its own. What a
// person is told to do gives it back: the retired VM goes, its disk stays, and the new VM has that disk.
func TestBackToTheOldSize(t *testing.T) {
	large, small := wish(4, "docker"), wish(2, "docker")
	small.Rollout.ScaleIn = 2
	o := fleetOf(large, newDigest)
	disk := o.VMs[2].Disks[0]
	o = done(small, o, -1)
	each(&o, outdate, 1)
	p := Compute(large, o, t0)
	if err := Check(p, o); err != nil || outline(p) != "R12 | R06 03 | R06 04" {
		t.Fatalf("%s, %v", outline(p), err)
	}
	if b := refusalOf(t, p, ""); !strings.HasPrefix(b.Reason, "1 VMs wait") { // they were let go: no brake
		t.Error(b.Error())
	}
	if b := refusalOf(t, p, "wrk-03"); !strings.HasPrefix(b.Clear, "lkv gc --vms --fleet workers --older-than 0s; it shows the retired VMs that it removes") {
		t.Error(b.Error())
	}
	for i := range o.VMs {
		o.VMs[i].Home = "[ssd-1] " + o.VMs[i].Name
	}
	gc := Collect(large, o, t0, 0)
	for i := range gc.Rolls {
		for _, s := range gc.Rolls[i].Steps {
			o = o.After(s)
		}
	}
	if err := Check(Compute(large, o, t0), o); err != nil || len(gc.Rolls) != 2 {
		t.Fatalf("%+v, %v", gc, err)
	}
	o = done(large, o, -1)
	v := o.find("wrk-03")
	if v == nil || v.Power != On || len(v.Disks) != 1 || v.Disks[0].UUID != disk.UUID || v.Disks[0].Path != disk.Path || len(Compute(large, o, t0).Same) != 4 {
		t.Errorf("%+v", v)
	}
}

// TestLetGoIsNotLost: VMs that were retired and are wanted again are waited for, and no brake takes them for a host that
// died.
func TestLetGoIsNotLost(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(5, newDigest)()
		small := d
		small.VMs, small.Rollout.ScaleIn = d.VMs[:2], 3
		return d, done(small, o, -1)
	}
	tell(t, start, []tale{
		{"nothing else is wrong", nil, "R06 03 | R06 04 | R06 05"},
		{"another is off: it is started", func(_ *Desired, o *Observed) { each(o, powerOff, 1) }, "start 01 | R06 03 | R06 04 | R06 05"},
		{"their VMs were deleted, and their disks are there: that is a loss", func(_ *Desired, o *Observed) {
			vanish(o, 3, 4, 5)
			each(o, powerOff, 1)
		}, "R12"},
	})
}
