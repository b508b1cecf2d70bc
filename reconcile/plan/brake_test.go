package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBrake: what counts as lost, what does not, and how much is too much.
func TestBrake(t *testing.T) {
	gone := func(o *Observed, names ...string) {
		o.VMs = slices.DeleteFunc(o.VMs, func(v VM) bool { return slices.Contains(names, v.Name) })
	}
	silent := func(o *Observed, n ...int) {
		for _, i := range n {
			o.VMs[i].Guest = Guest{}
		}
	}
	for name, c := range map[string]struct {
		size  int
		disks []string
		world func(d *Desired, o *Observed)
		brake string // part of the reason; "" is none
	}{
		"nothing is wrong":       {5, []string{"docker"}, func(*Desired, *Observed) {}, ""},
		"one of five is silent":  {5, []string{"docker"}, func(_ *Desired, o *Observed) { silent(o, 1) }, ""},
		"two of five are silent": {5, []string{"docker"}, func(_ *Desired, o *Observed) { silent(o, 1, 2) }, "2 of 5 do not serve"},
		"two of six are silent":  {6, []string{"docker"}, func(_ *Desired, o *Observed) { silent(o, 1, 2) }, ""},
		"three of six are off": {6, []string{"docker"}, func(_ *Desired, o *Observed) {
			o.VMs[0], o.VMs[1], o.VMs[2] = off(o.VMs[0]), off(o.VMs[1]), off(o.VMs[2])
		}, "3 of 6 do not serve"},
		"max_unavailable is more": {5, nil, func(d *Desired, o *Observed) { d.Rollout.MaxUnavailable = 3; silent(o, 0, 1, 2) }, ""},
		"a person has looked":     {5, nil, func(d *Desired, o *Observed) { d.Rollout.NoBrake = true; silent(o, 0, 1, 2) }, ""},
		"two of five vanished":    {5, []string{"docker"}, func(_ *Desired, o *Observed) { gone(o, "wrk-01", "wrk-02") }, ""},
		"three of five vanished":  {5, []string{"docker"}, func(_ *Desired, o *Observed) { gone(o, "wrk-01", "wrk-02", "wrk-03") }, "3 of 5 do not serve"},
		"vanished with their files, known by markers": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			for _, f := range o.Files {
				o.Made = append(o.Made, inDatastore(f.Path))
			}
			o.Files = o.Files[3:]
			gone(o, "wrk-01", "wrk-02", "wrk-03")
		}, "3 of 5 do not serve"},
		"one vanished, one silent, one off": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			silent(o, 1)
			o.VMs[2] = off(o.VMs[2])
			gone(o, "wrk-01")
		}, "3 of 5 do not serve"},
		"scaled up, never made":            {9, []string{"docker"}, func(_ *Desired, o *Observed) { o.VMs, o.Files = o.VMs[:2], o.Files[:2] }, ""},
		"scaled up without disks":          {9, nil, func(_ *Desired, o *Observed) { o.VMs = o.VMs[:2] }, ""},
		"vanished without disks":           {5, nil, func(_ *Desired, o *Observed) { gone(o, "wrk-01", "wrk-02", "wrk-03") }, "3 of 5 do not serve"},
		"created for the first time":       {9, []string{"docker"}, func(_ *Desired, o *Observed) { *o = Observed{} }, ""},
		"died while making the first four": {9, []string{"docker"}, func(_ *Desired, o *Observed) { o.VMs, o.Files = nil, o.Files[:4] }, ""},
		"all vanished":                     {9, []string{"docker"}, func(_ *Desired, o *Observed) { o.VMs = nil }, "9 of 9 do not serve"},
		"the first is just made": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			o.VMs = o.VMs[:1]
			o.VMs[0].Record.Rolled, o.VMs[0].Record.Token = t0.Add(-time.Minute), Token(oldDigest, 1)
		}, ""},
		"the first was made long ago": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			o.VMs = o.VMs[:1]
			o.VMs[0].Record.Rolled = t0.Add(-time.Hour - time.Second)
		}, "4 of 5 do not serve"},
		"the first was just rolled": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			o.VMs = o.VMs[:1]
			o.VMs[0].Record.Rolled, o.VMs[0].Record.Previous = t0.Add(-time.Minute), oldDigest
		}, "4 of 5 do not serve"},
		"their rolls are under way": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			for i := range 3 {
				o.VMs[i] = off(o.VMs[i])
				o.VMs[i].Record.Started = t0.Add(-time.Minute)
			}
		}, ""},
		"others have claimed them": {5, []string{"docker"}, func(_ *Desired, o *Observed) {
			for i := range 3 {
				o.VMs[i] = off(o.VMs[i])
				o.VMs[i].Record.Owner, o.VMs[i].Record.Expires = other, t0.Add(time.Minute)
			}
		}, ""},
		"strangers have the names": {5, nil, func(_ *Desired, o *Observed) {
			for i := range 3 {
				o.VMs[i].Fleet = "else"
			}
		}, ""},
	} {
		d := wish(c.size, c.disks...)
		o := fleetOf(d, oldDigest)
		c.world(&d, &o)
		p, got := Compute(d, o, t0), ""
		for _, b := range p.Blocked {
			if b.VM == "" && b.Code == R12 && strings.Contains(b.Clear, "--ignore-brake") {
				got = b.Reason
			}
		}
		if (got == "") != (c.brake == "") || !strings.Contains(got, c.brake) {
			t.Errorf("%s: %q", name, got)
		}
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, s := range flat(p) {
			if v := o.find(s.VM()); got != "" && (v == nil || v.Record.Started.IsZero()) {
				t.Errorf("%s: it would do %s: %s", name, s.VM(), s)
			}
		}
	}
}

// TestBrakeNeverComesLater: a run that was let begin is not braked by what it does itself, wherever it dies, when the
// next one comes soon.
func TestBrakeNeverComesLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		d.Rollout.NoBrake = false
		start := genWorld(t, d)
		fleetWide := func(p Plan) bool {
			return slices.ContainsFunc(p.Blocked, func(b Blocked) bool { return b.VM == "" && b.Code == R12 })
		}
		if fleetWide(Compute(d, start, t0)) {
			return
		}
		o, _ := genHalfway(t, d, start)
		d.Claimer = other
		if p := Compute(d, o, t0.Add(30*time.Minute)); fleetWide(p) {
			t.Fatalf("braked: %+v", p.Blocked)
		}
	})
}
