package plan

import (
	"strings"
	"testing"
	"time"
)

// rollsBack tells whether a plan puts the previous image back on wrk-01.
func rollsBack(p Plan) bool {
	return len(p.Waves) > 0 && p.Waves[0].Rolls[0].Action == Rollback
}

func TestRollback(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		back  bool
		says  string // part of the refusal when not
	}{
		"failed on the wanted image":   {func(*Desired, *VM) {}, true, ""},
		"nobody asked for it":          {func(d *Desired, _ *VM) { d.Rollout.OnFailure = "pause" }, false, "so the fleet stands still"},
		"another image is wanted now":  {func(d *Desired, _ *VM) { d.Image.Digest = strings.Repeat("c", 64) }, false, "so the fleet stands still"},
		"made with this image":         {func(_ *Desired, v *VM) { v.Record.Previous = "" }, false, "no image ran on it before"},
		"where it lies is not known":   {func(_ *Desired, v *VM) { v.Record.PreviousISO = "" }, false, "no image ran on it before"},
		"its ID is not known":          {func(_ *Desired, v *VM) { v.Record.PreviousID = "" }, false, "no image ran on it before"},
		"the image had passed before":  {func(_ *Desired, v *VM) { v.Record.Rolled = t0 }, false, "so the fleet stands still"},
		"rolled back before":           {func(_ *Desired, v *VM) { v.Record.Spurned = newDigest; v.Record.Image = oldDigest }, false, "image aaaaaaaaaaaa was put back"},
		"the roll back failed too":     {func(_ *Desired, v *VM) { v.Record.Spurned = newDigest; v.Record.Image = oldDigest; v.Record.Owner = "" }, false, "was put back"},
		"the engine is newer":          {func(d *Desired, v *VM) { d.Image.Engine, v.Record.Engine, v.Record.EngineWas = "28", "28", "27" }, false, "Docker Engine 28 has used its disks, the image before had 27 (R04)"},
		"the engine is the same":       {func(d *Desired, v *VM) { d.Image.Engine, v.Record.Engine, v.Record.EngineWas = "28", "28", "28.0" }, true, ""},
		"the engine is not said":       {func(d *Desired, v *VM) { v.Record.Engine, v.Record.EngineWas = "27", "27" }, false, "the image before had 27 (R04)"},
		"the engine before is unknown": {func(d *Desired, v *VM) { d.Image.Engine, v.Record.Engine = "28", "28" }, false, "the image before had an unknown one (R04)"},
		"claimed by another run": {func(_ *Desired, v *VM) {
			v.Record.Owner, v.Record.Expires = other, t0.Add(time.Minute)
		}, false, "so the fleet stands still"},
		"busy": {func(_ *Desired, v *VM) { v.Busy = []string{"a question"} }, false, "so the fleet stands still"},
	} {
		d := wish(3, "docker")
		d.Rollout.OnFailure = "rollback"
		o := rolledAndFailed(d, "")
		c.spoil(&d, &o.VMs[0])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if rollsBack(p) != c.back || len(flat(p)) > 0 && !c.back {
			t.Errorf("%s: %+v", name, p.Waves)
		}
		if len(p.Blocked) != 1 || p.Blocked[0].Code != R12 || !strings.Contains(p.Blocked[0].Reason, c.says) {
			t.Errorf("%s: %+v", name, p.Blocked)
		}
	}
}

// TestRollbackOnce follows an image that fails: rolled back, left alone, tried again after a resume, rolled back again.
func TestRollbackOnce(t *testing.T) {
	d := wish(2, "docker")
	d.Rollout.OnFailure = "rollback"
	o := rolledAndFailed(d, "")
	rolled := func() {
		t.Helper()
		p := Compute(d, o, t0)
		if !rollsBack(p) || len(p.Waves) != 1 {
			t.Fatalf("%+v", p)
		}
		for _, s := range flat(p) {
			o = o.After(s)
		}
		v := o.VMs[0]
		if v.ISO != oldISO || v.Record.Image != oldDigest || v.Record.Spurned != newDigest || v.Record.Failed == "" ||
			v.Record.Owner != "" || Up(d, d.VMs[0], v) != "" || v.Record.Previous != "" {
			t.Fatalf("rolled back: %+v", v)
		}
		if p := Compute(d, o, t0); len(p.Waves) > 0 || !strings.Contains(p.Blocked[0].Reason, "image aaaaaaaaaaaa was put back") {
			t.Fatalf("it goes on: %+v", p)
		}
	}
	rolled()

	cleared := o.After(Unblock{base: Of("wrk-01")})
	cleared.VMs[0].Record.Spurned = newDigest // as if something but a resume had cleared the failure
	if p := Compute(d, cleared, t0); len(p.Waves) != 1 || p.Waves[0].Rolls[0].VM != "wrk-02" || !strings.Contains(p.Blocked[0].Reason, "image bbbbbbbbbbbb failed on it and was rolled back") {
		t.Fatalf("%+v", p)
	}

	for _, r := range Resume(d, o, t0).Rolls {
		for _, s := range r.Steps {
			o = o.After(s)
		}
	}
	again := flat(Compute(d, o, t0))
	for _, s := range again[:4] { // the same image, up to and with the power on
		o = o.After(s)
	}
	if r := o.VMs[0].Record; r.Image != newDigest || r.Previous != oldDigest {
		t.Fatalf("rolled again: %+v", r)
	}
	o = o.After(Fail{Of("wrk-01"), "again"})
	rolled()
}

// TestWayBackIsWhatWorked: an image that never passed its gate is not what is put back after the next one failed.
func TestWayBackIsWhatWorked(t *testing.T) {
	d := wish(1)
	o := rolledAndFailed(d, "").After(Unblock{base: Of("wrk-01")})
	d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
	for _, s := range flat(Compute(d, o, t0)) {
		if in, ok := s.(InsertISO); ok {
			if in.Record.Previous != oldDigest || in.Record.PreviousISO != oldISO || in.Record.PreviousID != "sha256:old" {
				t.Errorf("%+v", in.Record)
			}
			return
		}
	}
	t.Error("no swap planned")
}

// TestProgress: a roll that takes too long counts as failed, for this and for every other run, until a person resumes.
func TestProgress(t *testing.T) {
	d := wish(3, "docker")
	d.Rollout.Progress = 30 * time.Minute
	for n, name := range map[int]string{1: "claimed", 2: "off", 3: "swapped", 4: "booting"} {
		o := rolledBefore(fleetOf(d, oldDigest))
		for _, s := range flat(Compute(d, o, t0))[:n] {
			o = o.After(s)
		}
		if p := Compute(d, o, t0.Add(30*time.Minute)); len(p.Waves) == 0 {
			t.Errorf("%s: stopped in time: %+v", name, p.Blocked)
		}
		now := t0.Add(30*time.Minute + time.Second)
		p := Compute(d, o, now)
		if len(p.Waves) > 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != R12 || p.Blocked[0].VM != "wrk-01" {
			t.Errorf("%s: %+v", name, p)
		}
		d.Rollout.MaxFailed = 2
		if p := Compute(d, o, now); len(p.Waves) > 0 && p.Waves[0].Rolls[0].VM == "wrk-01" {
			t.Errorf("%s: touched: %+v", name, p)
		}
		d.Rollout.MaxFailed = 0
		for _, r := range Resume(d, o, now).Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
			}
		}
		if p := Compute(d, o, now); len(p.Waves) == 0 && n < 4 || !o.VMs[0].Record.Started.IsZero() {
			t.Errorf("%s: after the resume: %+v", name, p)
		}
	}
}

// TestProgressOfACreation: a person who resumes does not keep a half-made VM from its disks.
func TestProgressOfACreation(t *testing.T) {
	d := wish(1, "docker")
	d.Rollout.Progress = 30 * time.Minute
	var o Observed
	for _, s := range flat(Compute(d, o, t0))[:2] {
		o = o.After(s)
	}
	now := t0.Add(time.Hour)
	if p := Compute(d, o, now); len(p.Waves) > 0 || p.Blocked[0].Code != R12 {
		t.Fatalf("%+v", p)
	}
	for _, r := range Resume(d, o, now).Rolls {
		for _, s := range r.Steps {
			o = o.After(s)
		}
	}
	d.Claimer = other
	p := Compute(d, o, now.Add(d.TTL))
	if err := Check(p, o); err != nil || len(p.Blocked) > 0 || len(p.Waves) != 1 {
		t.Errorf("%v, %+v", err, p)
	}
}
