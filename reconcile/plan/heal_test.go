package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHealStory follows a VM that stops serving, minute by minute.
func TestHealStory(t *testing.T) {
	d := wish(3, "docker")
	d.Rollout.Heal = 10 * time.Minute
	o := fleetOf(d, newDigest)
	o.VMs[1].Guest.Tools = false
	story := ""
	do := func(minute int) {
		now := t0.Add(time.Duration(minute) * time.Minute)
		p := Compute(d, o, now)
		if err := Check(p, o); err != nil {
			t.Fatal(err)
		}
		did := "nothing"
		for _, w := range p.Waves {
			for _, r := range w.Rolls {
				did = fmt.Sprintf("%s %s", r.Action, r.VM)
				for _, s := range r.Steps {
					o = o.After(s)
				}
			}
		}
		for _, b := range p.Blocked {
			did += ", " + string(b.Code) + " " + b.Reason
		}
		for _, l := range p.Later {
			did += ", until minute " + fmt.Sprint(l.Until.Sub(t0).Minutes())
		}
		story += fmt.Sprintf("%d: %s\n", minute, did)
	}
	do(0)
	do(1)
	o.VMs[1].Guest.Tools = true // it comes back by itself
	do(2)
	do(3)
	o.VMs[1].Guest.Tools = false // and goes again
	do(4)
	do(13)
	do(14)
	do(15)
	want := `0: note wrk-02, until minute 10
1: nothing, until minute 10
2: note wrk-02
3: nothing
4: note wrk-02, until minute 14
13: nothing, until minute 14
14: heal wrk-02
15: nothing
`
	if story != want {
		t.Errorf("got:\n%swant:\n%s", story, want)
	}
	if r := o.VMs[1].Record; !r.Ill.IsZero() || r.Due || r.Rolled != t0.Add(14*time.Minute) || r.Token != Token(newDigest, 4) {
		t.Errorf("%+v", r)
	}
}

// TestHealOnly: what is power cycled, and what is not.
func TestHealOnly(t *testing.T) {
	long := t0.Add(-time.Hour)
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		does  Action
	}{
		"does not serve for long":       {func(_ *Desired, v *VM) { v.Guest = Guest{} }, HealVM},
		"serves":                        {func(*Desired, *VM) {}, Note},
		"nobody asked for it":           {func(d *Desired, v *VM) { v.Guest, d.Rollout.Heal = Guest{}, 0 }, ""},
		"not among the targets":         {func(d *Desired, v *VM) { v.Guest, d.Targets = Guest{}, []string{"wrk-01"} }, ""},
		"it is off":                     {func(_ *Desired, v *VM) { *v = off(*v) }, Start},
		"a new image waits":             {func(_ *Desired, v *VM) { v.Guest, v.Record.Image = Guest{}, oldDigest }, RollISO},
		"its heal failed":               {func(_ *Desired, v *VM) { v.Guest, v.Record.Failed = Guest{}, "not ready" }, ""},
		"the image's file is gone":      {func(d *Desired, v *VM) { v.Guest, d.Image.Paths = Guest{}, nil }, ""},
		"a person works on it":          {func(_ *Desired, v *VM) { v.Guest, v.Busy = Guest{}, []string{"a question"} }, ""},
		"its window is shut":            {func(d *Desired, v *VM) { v.Guest, d.Rollout.Window = Guest{}, tomorrow() }, HealVM},
		"a dead run was at it":          {func(_ *Desired, v *VM) { v.Guest, v.Record.Started, v.Record.Due = Guest{}, long, true }, Finish},
		"old, and does not serve":       {func(d *Desired, v *VM) { v.Guest, v.Age, d.Rollout.MaxAge = Guest{}, 1e18, time.Hour }, HealVM},
		"old, and noted as not serving": {func(d *Desired, v *VM) { v.Age, d.Rollout.MaxAge = 1e18, time.Hour }, Note},
	} {
		d := wish(2, "docker")
		d.Rollout.Heal = 10 * time.Minute
		o := fleetOf(d, newDigest)
		o.VMs[1].Record.Ill = long
		c.spoil(&d, &o.VMs[1])
		p, got := Compute(d, o, t0), Action("")
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(p.Waves) > 0 {
			got = p.Waves[0].Rolls[0].Action
		}
		if got != c.does {
			t.Errorf("%s: %q, %+v", name, got, p.Blocked)
		}
	}
}

// TestAge: a VM that is too old is booted afresh once, with the same image and a new token, in the window and the
// budget and without a canary.
func TestAge(t *testing.T) {
	d := wish(3, "docker")
	d.Rollout.MaxAge, d.Rollout.Canaries, d.Rollout.Bake = 24*time.Hour, 1, time.Hour
	o := fleetOf(d, newDigest)
	for i := range o.VMs {
		o.VMs[i].Age = 25 * time.Hour
	}
	p := Compute(d, o, t0)
	if len(p.Waves) != 3 || len(p.Waves[0].Rolls) != 1 || p.Waves[0].Rolls[0].Action != Reboot {
		t.Fatalf("%+v", p)
	}
	for _, s := range flat(p) {
		if in, ok := s.(InsertISO); ok && (in.ISO != newISO || in.Record.Token != Token(newDigest, 4)) {
			t.Errorf("%s, %+v", in, in.Record)
		}
		o = o.After(s)
	}
	if p := Compute(d, o, t0); len(p.Same) != 3 || len(p.Waves) > 0 {
		t.Errorf("again: %+v", p)
	}
	o.VMs[0].Age = 24 * time.Hour
	if p := Compute(d, o, t0); len(p.Same) != 3 {
		t.Errorf("exactly as old as it may be: %+v", p)
	}
	o.VMs[0].Age, d.Rollout.Window = 25*time.Hour, tomorrow()
	if p := Compute(d, o, t0); len(p.Waves) > 0 || len(p.Later) != 1 || p.Blocked[0].Code != R13 {
		t.Errorf("outside of the window: %+v", p)
	}
	if got := daysText(90 * time.Minute); !strings.HasPrefix(got, "1h30m") || daysText(72*time.Hour) != "3d" {
		t.Error(got)
	}
}
