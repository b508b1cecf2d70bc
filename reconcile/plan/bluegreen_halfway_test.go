package plan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCheckHalfwayPairs breaks one rule of what is left of a hand-over that a run died in.
func TestCheckHalfwayPairs(t *testing.T) {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	for _, c := range []struct {
		name  string
		last  Step
		spoil func(o *Observed)
		says  string
	}{
		{"blue on when its disk is attached to green", DetachDisk{base: n}, func(o *Observed) { o.find("wrk-01").Power = On }, "not off (D3)"},
		{"blue gone when its disk is attached to green", DetachDisk{base: n}, func(o *Observed) { o.find("wrk-01").ID = "x" }, "is not there"},
		{"a third VM has the disk when green is powered on", Disown{base: n}, func(o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", ID: "x", Disks: diskOf(*o)})
		}, "x has disk"},
		{"green has not every disk when blue retires", AwaitReady{base: g}, func(o *Observed) {
			o.find("wrk-01-green").Record.Takes = []DiskRecord{{Name: "logs", Path: "x"}}
		}, "has not got every disk (D5)"},
		{"green does not serve when it gets the name", Retire{base: n}, func(o *Observed) { o.find("wrk-01-green").Guest.State = "failed" }, "it does not serve (A4)"},
		{"a retired VM is powered on", Disown{base: n}, func(o *Observed) { o.find("wrk-01-green").Record.Retired = t0 }, "it is retired"},
	} {
		d := bluegreen(wish(1, "docker"), HandOver)
		o := rolledBefore(fleetOf(d, oldDigest))
		o = until(t, o, flat(Compute(d, o, t0)), c.last)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil || len(p.Waves) == 0 {
			t.Fatal(c.name, err, p)
		}
		c.spoil(&o)
		if err := Check(p, o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Check says %v", c.name, err)
		}
	}
}

// TestHalfwayPairs: what a pair waits for, and what it is refused for, besides interference.
func TestHalfwayPairs(t *testing.T) {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	at := func(disk string, last Step) (Desired, Observed) {
		d := bluegreen(wish(2, "docker"), disk)
		o := rolledBefore(fleetOf(d, oldDigest))
		return d, until(t, o, flat(Compute(d, o, t0)), last)
	}
	t.Run("the image cannot boot any more", func(t *testing.T) {
		d, o := at(HandOver, DetachDisk{base: n})
		d.Image.Known = false
		p := Compute(d, o, t0)
		i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.VM == "wrk-01" && b.Code == R02 })
		if i < 0 || len(p.Waves) > 0 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("another run saw it ready, for too short", func(t *testing.T) {
		for _, disk := range []string{HandOver, Fresh} {
			d, o := at(disk, AwaitReady{base: g})
			o.find("wrk-01-green").Age = time.Second
			p := Compute(d, o, t0)
			if all := byRoll(p)["wrk-01"]; len(all) == 0 || nameOf(all[0]) != "awaitready" || all[0].VM() != "wrk-01-green" || Check(p, o) != nil {
				t.Errorf("%s: %v", disk, all)
			}
		}
	})
	t.Run("another VM does not serve", func(t *testing.T) {
		d, o := at(HandOver, CreateVM{base: g})
		o.find("wrk-02").Guest.State = "failed"
		if p := Compute(d, o, t0); len(p.Waves) == 0 || p.Waves[0].Rolls[0].VM != "wrk-02" || Check(p, o) != nil {
			t.Errorf("a serving VM goes although another is down: %+v", p.Waves)
		}
		d, o = at(Fresh, CreateVM{base: g})
		o.find("wrk-02").Guest.State = "failed"
		if p := Compute(d, o, t0); len(p.Waves) == 0 || p.Waves[0].Rolls[0].VM != "wrk-01" || Check(p, o) != nil {
			t.Errorf("blank disks take nothing away, and it waits: %+v", p)
		}
	})
	t.Run("the newest engine is remembered", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), HandOver)
		o := rolledBefore(fleetOf(d, oldDigest))
		o.VMs[0].Record.Engine = "28.3.1"
		if s := only[CreateVM](t, flat(Compute(d, o, t0))); s.Record.Engine != "28.3.1" {
			t.Errorf("%+v", s.Record)
		}
		d.Rollout.Disk = Fresh
		if s := only[CreateVM](t, flat(Compute(d, o, t0))); s.Record.Engine != "" {
			t.Errorf("blank disks: %+v", s.Record)
		}
	})
}
