package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// greenFailed is a fleet of two whose first replacement's gate failed, to be undone.
func greenFailed(t interface {
	Helper()
	Fatalf(string, ...any)
}, d Desired) (Desired, Observed) {
	d.Rollout.OnFailure = backOnFailure
	o := rolledBefore(fleetOf(d, oldDigest))
	all := flat(Compute(d, o, t0))
	i := slices.IndexFunc(all, func(s Step) bool { return s == PowerOn{Of("wrk-01-green")} })
	if i < 0 {
		t.Fatalf("no green VM is started: %v", all)
	}
	for _, s := range all[:i+1] {
		o = o.After(s)
	}
	o.find("wrk-01-green").ID = "id-green"
	return d, o.After(Fail{Of("wrk-01-green"), "not ready"})
}

// TestUndo: what a replacement that failed is followed by, and when it is left as it is.
func TestUndo(t *testing.T) {
	fresh := "wrk-01-green: shutdown; wrk-01-green: retire; wrk-01: release"
	over := "wrk-01: recall; wrk-01-green: shutdown; wrk-01-green: detachdisk; wrk-01: attachdisk; wrk-01-green: disown; wrk-01-green: retire; wrk-01: poweron; wrk-01: awaitready; wrk-01: release"
	blue, green := func(o *Observed) *VM { return o.find("wrk-01") }, func(o *Observed) *VM { return o.find("wrk-01-green") }
	for name, c := range map[string]struct {
		disk  string
		spoil func(d *Desired, o *Observed)
		does  string // steps after the claims; "": none
		says  string // of the refusal otherwise
	}{
		"blank disks": {Fresh, func(*Desired, *Observed) {}, "wrk-01: recall; " + fresh, ""},
		"hand-over":   {HandOver, func(*Desired, *Observed) {}, over, ""},
		"blank disks, blue was stopped": {Fresh, func(_ *Desired, o *Observed) { *blue(o) = off(*blue(o)); blue(o).Record.Drained = true },
			"wrk-01: recall; wrk-01-green: shutdown; wrk-01-green: retire; wrk-01: poweron; wrk-01: awaitready; wrk-01: restore; wrk-01: release", ""},
		"green was stopped":       {HandOver, func(_ *Desired, o *Observed) { *green(o) = off(*green(o)) }, strings.Replace(over, "wrk-01-green: shutdown; ", "", 1), ""},
		"nobody asked for it":     {Fresh, func(d *Desired, _ *Observed) { d.Rollout.OnFailure = "pause" }, "", "not ready"},
		"another image is wanted": {Fresh, func(d *Desired, _ *Observed) { d.Image.Digest = strings.Repeat("c", 64) }, "", "not ready"},
		"it had passed its gate":  {Fresh, func(_ *Desired, o *Observed) { green(o).Record.Rolled = t0 }, "", "not ready"},
		"blue failed by itself":   {Fresh, func(_ *Desired, o *Observed) { blue(o).Record.Failed = "broken" }, "", "broken"},
		"blue was retired": {Fresh, func(_ *Desired, o *Observed) {
			*blue(o) = off(*blue(o))
			blue(o).Record.Retired = t0
			blue(o).Name = "x"
		}, "", "not ready"},
		"the same image":           {Fresh, func(_ *Desired, o *Observed) { blue(o).Record.Image = newDigest }, "", "it ran the same image"},
		"blue never ran anything":  {Fresh, func(_ *Desired, o *Observed) { blue(o).Record.Image = "" }, "", "no image ran before"},
		"blue has an empty CD-ROM": {HandOver, func(_ *Desired, o *Observed) { blue(o).ISO = "" }, "", "no image ran before"},
		"the engine is newer": {HandOver, func(d *Desired, o *Observed) {
			d.Image.Engine, green(o).Record.Engine, blue(o).Record.Engine = "28", "28", "27"
		}, "", "Docker Engine 28 has used the disks, the image before had 27 (R04)"},
		"the engine was newer": {HandOver, func(_ *Desired, o *Observed) { green(o).Record.Engine = "28" }, over, ""},
		"an engine between": {HandOver, func(d *Desired, o *Observed) {
			d.Image.Engine, green(o).Record.Engine, blue(o).Record.Engine = "27", "28", "27"
		}, "", "Docker Engine 28"},
		"the engine of a blank disk": {Fresh, func(d *Desired, o *Observed) {
			d.Image.Engine, green(o).Record.Engine, blue(o).Record.Engine = "28", "28", "27"
		},
			"wrk-01: recall; " + fresh, ""},
		"the engine is the same": {HandOver, func(d *Desired, o *Observed) {
			d.Image.Engine, green(o).Record.Engine, blue(o).Record.Engine = "28", "28", "28.0"
		}, over, ""},
		"claimed by another run": {HandOver, func(_ *Desired, o *Observed) { claimedBy(other)(green(o)) }, "", "not ready"},
		"blue is busy":           {HandOver, func(_ *Desired, o *Observed) { asking(blue(o)) }, "", "not ready"},
		"blue is on":             {HandOver, func(_ *Desired, o *Observed) { blue(o).Power = On }, "", "not ready"},
		"a disk was moved":       {HandOver, func(_ *Desired, o *Observed) { green(o).Disks[0].Path = "[ssd-9] x/x.vmdk" }, "", "not ready"},
		"a disk was detached":    {HandOver, func(_ *Desired, o *Observed) { green(o).Disks = nil }, "", "not ready"},
		"a blank was detached":   {Fresh, func(_ *Desired, o *Observed) { green(o).Disks = nil }, "", "not ready"},
		"its file is another":    {HandOver, func(_ *Desired, o *Observed) { o.file(green(o).Disks[0].Path).UUID = "x" }, "", "not ready"},
		"a foreign disk on blue": {HandOver, func(_ *Desired, o *Observed) { blue(o).Disks = []Disk{{UUID: "f", Path: "[a] f.vmdk", Mode: DiskMode}} }, "", "not ready"},
		"blue's own is missing":  {HandOver, func(_ *Desired, o *Observed) { blue(o).Record.Disks = []DiskRecord{{Name: "x", UUID: "x", Path: "x"}} }, "", "not ready"},
		"a third VM has the disk": {HandOver, func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Ref: "x", Disks: slices.Clone(green(o).Disks)})
		}, "", "not ready"},
		"a snapshot":          {HandOver, func(_ *Desired, o *Observed) { green(o).Disks[0].Parent = true }, "", "not ready"},
		"green awaits a disk": {HandOver, func(_ *Desired, o *Observed) { green(o).Record.Takes = []DiskRecord{{Name: "y"}} }, "", "not ready"},
	} {
		d, o := greenFailed(t, bluegreen(wish(2, "docker"), c.disk))
		c.spoil(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var does []string
		for _, s := range flat(p) {
			if _, ok := s.(Claim); !ok {
				does = append(does, s.VM()+": "+nameOf(s))
			}
		}
		if got := strings.Join(does, "; "); got != c.does {
			t.Errorf("%s: does %q", name, got)
		}
		if i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.Code == R12 && strings.Contains(b.Reason, c.says) }); i < 0 {
			t.Errorf("%s: says %v", name, p.Blocked)
		}
		if len(does) > 0 && !rollsBack(p) {
			t.Errorf("%s: %+v", name, p.Waves)
		}
	}
}

// genUndone draws a fleet in which a replacement failed at its gate, whatever else goes on.
func genUndone(t *rapid.T) (Desired, Observed) {
	d := genPairWish(t)
	d.Rollout.OnFailure, d.Rollout.MaxFailed = backOnFailure, rapid.IntRange(1, 3).Draw(t, "max_failed")
	o := genPairWorld(t, d)
	for i := range o.VMs { // each is its own
		o.VMs[i].Record.Engine = ""
	}
	p := Compute(d, o, t0)
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
				if c, ok := s.(CreateVM); ok {
					o.find(c.Name).ID = "id-" + c.Name
				}
				if n, ok := s.(PowerOn); ok && strings.HasSuffix(n.Name, "-green") && rapid.IntRange(0, 2).Draw(t, n.Name) == 0 {
					return d, o.After(Fail{n.base, "not ready"})
				}
			}
		}
	}
	return d, o
}

// TestUndoSuffixLaw: after any prefix of a plan that undoes a replacement, the plan is exactly the rest.
func TestUndoSuffixLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := genUndone(t)
		start, all := o, flat(Compute(d, o, t0))
		for i := range len(all) + 1 {
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Fatalf("after %d of %d steps: %v", i, len(all), err)
			}
			if diff := cmp.Diff(all[i:], flat(p), steps, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after %d of %d steps, the last %v (-rest +computed):\n%s", i, len(all), all[max(0, i-1)], diff)
			}
			if i < len(all) {
				o = o.After(all[i])
			}
			if why := lost(start, o); why != "" {
				t.Fatalf("after %v: %s", all[:min(i+1, len(all))], why)
			}
		}
	})
}

// TestUndoConverges: wherever runs die on the way back, whoever goes on, and whenever a person resumes, the disks can
// be found, and in the end the VM before serves with its disks, its image and the failure in its record; resumed, the
// fleet is rolled to the end.
func TestUndoConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := genUndone(t)
		i := slices.IndexFunc(o.VMs, func(v VM) bool { return v.Record.Replaces != "" && v.Record.Failed != "" && v.Record.Retired.IsZero() })
		if i < 0 {
			return
		}
		green, start, now := o.VMs[i], o, t0
		blue := *replacedBy(o, green)
		if Up(d, d.VMs[green.Ordinal-1], blue) == "" && d.Rollout.Disk == HandOver {
			t.Fatal("a hand-over whose blue VM serves")
		}
		each := func(o Observed, r Roll, s Step) {
			if why := lost(start, o); why != "" {
				t.Fatalf("after %s: %s: %s: %s", r.VM, s.VM(), s, why)
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "deaths") {
			p := Compute(d, o, now)
			if err := Check(p, o); err != nil {
				t.Fatal(err)
			}
			o, _ = genCut(t, p, o, each)
			if rapid.Bool().Draw(t, "another run after the claims expired") {
				now, d.Claimer = now.Add(time.Hour), map[string]string{me: other, other: me}[d.Claimer]
			}
			if rapid.IntRange(0, 3).Draw(t, "a person resumes too early") == 0 {
				for _, r := range Resume(d, o, now).Rolls {
					for _, s := range r.Steps {
						o = o.After(s)
						each(o, r, s)
					}
				}
			}
		}
		for range 40 { // run and resume until nothing stands still
			p := Compute(d, o, now)
			if err := Check(p, o); err != nil {
				t.Fatal(err)
			}
			for _, s := range flat(p) {
				o = o.After(s)
			}
			now = now.Add(time.Hour)
			for _, r := range Resume(d, o, now).Rolls {
				for _, s := range r.Steps {
					o = o.After(s)
					each(o, r, s)
				}
			}
			d.Rollout.OnFailure = "pause"
		}
		for _, w := range d.VMs {
			if v := o.find(w.Name); v == nil || Up(d, w, *v) != "" || v.Record.Image != newDigest || v.Record.Owner != "" || len(v.Record.Takes) > 0 {
				t.Fatalf("%s: %+v", w.Name, v)
			}
		}
		if why := lost(start, o); why != "" {
			t.Fatal(why)
		}
	})
}

// TestUndone: the world after a replacement was undone, and what a person may do in the middle.
func TestUndone(t *testing.T) {
	for _, disk := range []string{HandOver, Fresh} {
		d, o := greenFailed(t, bluegreen(wish(2, "docker", "logs"), disk))
		before := fleetOf(d, oldDigest)
		all := flat(Compute(d, o, t0))
		for i, s := range all {
			o = o.After(s)
			begun := slices.ContainsFunc(all[:i+1], func(s Step) bool { return nameOf(s) == "recall" })
			ended := slices.ContainsFunc(all[:i+1], func(s Step) bool { return nameOf(s) == "retire" })
			res := Resume(d, o, t0)
			if refused := len(res.Blocked) == 2 && res.Blocked[0].Code == R08; refused != (begun && !ended) {
				t.Errorf("%s: after %s, a resume says %+v", disk, s, res)
			}
			paused := o.After(Pause{Of("wrk-01")})
			for _, r := range Resume(d, paused, t0).Rolls {
				for _, s := range r.Steps {
					paused = paused.After(s)
				}
			}
			if v := paused.find("wrk-01"); v.Record.Paused || begun && !ended && v.Record.Failed == "" {
				t.Errorf("%s: after %s, a pause and a resume: %+v", disk, s, v.Record)
			}
		}
		v := o.find("wrk-01")
		if Up(d, d.VMs[0], *v) != "" || v.Record.Image != oldDigest || v.Record.Spurned != newDigest || v.Record.Failed != "not ready" || v.Record.Owner != "" {
			t.Errorf("%s: %+v", disk, v)
		}
		if diff := cmp.Diff(before.VMs[0].Disks, v.Disks); diff != "" {
			t.Errorf("%s: other disks:\n%s", disk, diff)
		}
		if diff := cmp.Diff(before.VMs[0].Record.Disks, v.Record.Disks); diff != "" {
			t.Errorf("%s: other disks in the record:\n%s", disk, diff)
		}
		g := o.find(RetiredName("wrk-01-green", t0))
		if g == nil || g.Power != Off || g.Record.Failed != "not ready" || (len(g.Disks) == 0) != (disk == HandOver) || len(g.Disks) != len(g.Record.Disks) {
			t.Errorf("%s: %+v", disk, g)
		}
		if p := Compute(d, o, t0); len(p.Waves) > 0 || len(p.Blocked) != 1 || !strings.Contains(p.Blocked[0].Reason, "not ready; image aaaaaaaaaaaa was put back") {
			t.Errorf("%s: it goes on: %+v", disk, p)
		}
		for _, r := range Resume(d, o, t0).Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
			}
		}
		o.find(g.Name).Home = "[ssd-1] wrk-01-green"
		if r := Collect(d, o, t0.Add(week), week); len(r.Rolls) != 1 || len(r.Blocked) > 0 {
			t.Errorf("%s: it stays for ever: %+v", disk, r)
		}
		p := Compute(d, o, t0.Add(time.Hour))
		if err := Check(p, o); err != nil {
			t.Error(err)
		}
		if c := p.Waves[0].Rolls[0]; c.VM != "wrk-01" || c.Action != Replace {
			t.Errorf("%s: resumed: %+v", disk, c)
		}
		if disk == Fresh {
			if s := p.Waves[0].Rolls[0].Steps; !slices.ContainsFunc(s, func(s Step) bool { c, ok := s.(CreateVM); return ok && c.Record.Generation == 2 }) {
				t.Errorf("the disk of the VM that failed is used again: %v", s)
			}
		}
	}
}
