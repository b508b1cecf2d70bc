package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sabotage breaks one safety rule of a plan that rolls three VMs, or creates one.
type sabotage struct {
	name  string
	spoil func(p *Plan, o *Observed)
	says  string
}

func sabotages() []sabotage {
	first := func(p *Plan) *Roll { return &p.Waves[0].Rolls[0] }
	drop := func(kind Step) func(*Plan, *Observed) {
		return func(p *Plan, _ *Observed) {
			for i := range p.Waves {
				for j := range p.Waves[i].Rolls {
					r := &p.Waves[i].Rolls[j]
					r.Steps = slices.DeleteFunc(slices.Clone(r.Steps), func(s Step) bool { return nameOf(s) == nameOf(kind) })
				}
			}
		}
	}
	edit := func(f func(s Step) Step) func(*Plan, *Observed) {
		return func(p *Plan, _ *Observed) {
			r := first(p)
			r.Steps = slices.Clone(r.Steps)
			for i, s := range r.Steps {
				r.Steps[i] = f(s)
			}
		}
	}
	// found spoils a VM that exists.
	found := func(f func(v *VM)) func(*Plan, *Observed) {
		return func(_ *Plan, o *Observed) {
			if len(o.VMs) > 0 {
				f(&o.VMs[0])
			}
		}
	}
	return []sabotage{
		{"no claim", drop(Claim{}), "without a claim"},
		{"no release", drop(Release{}), "does not end with a release"},
		{"no shutdown", drop(Shutdown{}), "is poweredOn"},
		{"not created by a claim", edit(func(s Step) Step {
			if c, ok := s.(CreateVM); ok {
				c.Record.Owner = ""
				return c
			}
			return s
		}), "without a claim"},
		{"no attachment", drop(AttachDisk{}), "is not attached (D6)"},
		{"no disk file", drop(CreateDisk{}), "does not exist (D5)"},
		{"disk forgotten in the record", edit(func(s Step) Step {
			if c, ok := s.(CreateVM); ok {
				c.Record.Disks = nil
				return c
			}
			return s
		}), "names 0 of 1 disks"},
		{"disk forgotten by the swap", edit(func(s Step) Step {
			if c, ok := s.(InsertISO); ok {
				c.Record.Disks = nil
				return c
			}
			return s
		}), "change the disks in the record"},
		{"swap without a token", edit(func(s Step) Step {
			if c, ok := s.(InsertISO); ok {
				c.Record.Token = ""
				return c
			}
			return s
		}), "no ISO, image or token"},
		{"stale epoch", edit(func(s Step) Step {
			if c, ok := s.(Claim); ok {
				c.Epoch = 2
				return c
			}
			return s
		}), "epoch 2 after 3"},
		{"disk in the VM's folder", edit(func(s Step) Step {
			if c, ok := s.(CreateDisk); ok {
				c.Path = "[ssd-1] wrk-01/wrk-01.vmdk"
				return c
			}
			return s
		}), "outside of lkv-disks/workers"},
		{"disk that exists", func(p *Plan, o *Observed) {
			o.Files = append(o.Files, DiskFile{Path: "[ssd-3] lkv-disks/workers/wrk-01-docker.vmdk"})
		}, "D7"},
		{"disk that a VM has recorded", func(p *Plan, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Record: Record{Disks: []DiskRecord{{Path: "[ssd-3] lkv-disks/workers/wrk-01-docker.vmdk"}}}})
		}, "D7"},
		{"disk that a VM is to take over", func(p *Plan, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "x", Record: Record{Takes: []DiskRecord{{Path: "[ssd-3] lkv-disks/workers/wrk-01-docker.vmdk"}}}})
		}, "D7"},
		{"a failure is planned", edit(func(s Step) Step {
			if _, ok := s.(PowerOn); ok {
				return Fail{Of("wrk-01"), "x"}
			}
			return s
		}), "cannot be planned"},
		{"step about another VM", edit(func(s Step) Step {
			if _, ok := s.(PowerOn); ok {
				return PowerOn{Of("wrk-02")}
			}
			return s
		}), "is about wrk-02"},
		{"all at once", func(p *Plan, _ *Observed) {
			for _, w := range p.Waves[1:] {
				p.Waves[0].Rolls = append(p.Waves[0].Rolls, w.Rolls...)
			}
		}, "max_unavailable is 1"},
		{"twice in a wave", func(p *Plan, _ *Observed) {
			p.Waves[0].Rolls = append(p.Waves[0].Rolls, p.Waves[0].Rolls[0])
			p.MaxUnavailable = 9
		}, "in one wave twice"},
		{"an empty roll", func(p *Plan, _ *Observed) { first(p).Steps = nil }, "without steps"},
		{"a foreign VM", found(func(v *VM) { v.Fleet = "" }), "belongs to fleet"},
		{"a busy VM", found(func(v *VM) { v.Busy = []string{"question"} }), "busy"},
		{"a running task", found(func(v *VM) { v.Task = "task-7" }), "still running"},
		{"a VM that vanished", found(func(v *VM) { v.Name = "else" }), "does not exist"},
		{"a VM in the way", func(_ *Plan, o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-01"}) }, "exists"},
		{"after a failure", found(func(v *VM) { v.Record.Failed = "x" }), "A7"},
		{"clearing a failure unasked", edit(func(s Step) Step {
			if r, ok := s.(Shutdown); ok {
				return Unblock{base: r.base}
			}
			return s
		}), "only a person"},
		{"a failed look", func(_ *Plan, o *Observed) { o.Problem = "x" }, "D8"},
		{"a disk is not attached", found(func(v *VM) { v.Disks = nil }), "is not attached (D6)"},
		{"a disk too many", found(func(v *VM) { v.Disks = append(v.Disks, Disk{UUID: "x"}) }), "2 disks are attached, 1 recorded"},
		{"the claims of two runs", func(p *Plan, o *Observed) {
			if len(o.VMs) > 0 {
				o.VMs[1].Record.Owner, o.VMs[1].Record.Expires, o.VMs[1].Record.Epoch = other, t0, 4
				p.Waves[1].Rolls[0].Steps = p.Waves[1].Rolls[0].Steps[1:]
			}
		}, "the claims of lkv@here and lkv@there"},
		{"epoch changed by the swap", edit(func(s Step) Step {
			if c, ok := s.(InsertISO); ok {
				c.Record.Epoch = 99
				return c
			}
			return s
		}), "change the claim"},
	}
}

func nameOf(s Step) string { return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", s), "plan.")) }

// TestCheckCatches breaks one rule at a time: Check must refuse the spoiled roll or the spoiled creation and say why.
func TestCheckCatches(t *testing.T) {
	for _, s := range sabotages() {
		t.Run(s.name, func(t *testing.T) {
			caught := 0
			for _, start := range []func(Desired) Observed{
				func(d Desired) Observed { return fleetOf(d, oldDigest) },
				func(Desired) Observed { return Observed{} },
			} {
				d := wish(3, "docker")
				o := start(d)
				p := Compute(d, o, t0)
				if err := Check(p, o); err != nil {
					t.Fatal(err)
				}
				s.spoil(&p, &o)
				if err := Check(p, o); err != nil && strings.Contains(err.Error(), s.says) {
					caught++
				} else if err != nil {
					t.Logf("other reason: %v", err)
				}
			}
			if caught == 0 {
				t.Errorf("Check lets it pass, or does not say %q", s.says)
			}
		})
	}
}

// TestCheckAttachments: a VM is half made, and what it is about to get attached is not what it was, or not free.
func TestCheckAttachments(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(o *Observed)
		says  string
	}{
		"as planned":        {func(*Observed) {}, ""},
		"attached by path":  {func(o *Observed) { o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{Path: o.Files[0].Path}}}) }, "attached to x (D3)"},
		"attached by UUID":  {func(o *Observed) { o.VMs = append(o.VMs, VM{Name: "x", Disks: []Disk{{UUID: "6000c29abc"}}}) }, "attached to x (D3)"},
		"another file":      {func(o *Observed) { o.Files[0].UUID = "6000C29-FFF" }, "another disk (D7)"},
		"file gone":         {func(o *Observed) { o.Files = nil }, "not there"},
		"not in the record": {func(o *Observed) { o.VMs[0].Record.Disks = nil }, "not in the VM's record (D5)"},
		"powered on":        {func(o *Observed) { o.VMs[0].Power = On }, "is poweredOn"},
	} {
		d := wish(1, "docker")
		var o Observed
		for _, s := range flat(Compute(d, o, t0))[:2] {
			o = o.After(s)
			o.Files[0].UUID = "6000C29-ABC"
		}
		p := Compute(d, o, t0)
		c.spoil(&o)
		err := Check(p, o)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckCreationOnAnothersDisk: a VM is to be made on a disk file that exists, and somebody has it meanwhile.
func TestCheckCreationOnAnothersDisk(t *testing.T) {
	for name, c := range map[string]struct {
		other VM
		says  string
	}{
		"nobody":      {VM{Name: "x"}, ""},
		"recorded":    {VM{Name: "x", Record: Record{Disks: []DiskRecord{{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"}}}}, "VM x has disk"},
		"taken over":  {VM{Name: "x", Record: Record{Takes: []DiskRecord{{UUID: "6000c29abc"}}}}, "VM x has disk"},
		"its UUID":    {VM{Name: "x", Record: Record{Disks: []DiskRecord{{UUID: "6000c29abc"}}}}, "VM x has disk"},
		"attached":    {VM{Name: "x", Disks: []Disk{{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"}}}, "VM x has disk"},
		"moved since": {VM{Name: "x", Disks: []Disk{{UUID: "6000c29abc", Path: "[ds] x/x.vmdk"}}}, "VM x has disk"},
	} {
		d := wish(1, "docker")
		o := Observed{Files: []DiskFile{{Path: DiskPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0]), UUID: "6000C29-ABC", Bytes: d.VMs[0].Disks[0].Bytes}}}
		p := Compute(d, o, t0)
		if len(p.Waves) != 1 || len(o.Files) != 1 || o.Files[0].Path != "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk" {
			t.Fatalf("%+v on %+v", p, o)
		}
		// Only the creation is left in the plan, so that no later step is refused for it.
		p.Waves[0].Rolls[0].Steps = slices.DeleteFunc(slices.Clone(p.Waves[0].Rolls[0].Steps), func(s Step) bool {
			n := nameOf(s)
			return n != "createvm" && n != "release"
		})
		o.VMs = append(o.VMs, c.other)
		if again := Compute(d, o, t0); (len(again.Waves) == 0) != (c.says != "") {
			t.Errorf("%s: Compute makes %d waves, blocked %v", name, len(again.Waves), again.Blocked)
		}
		err := Check(p, o)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckNeedsEveryGuard drops any one step of a roll at random: the plan must be refused, or the dropped step must
// be one that only makes the VM's way shorter, never less safe.
func TestCheckNeedsEveryGuard(t *testing.T) {
	harmless := map[string]bool{"awaittask": true, "awaitready": true, "resize": true, "insertiso": true, "poweron": true, "enablesecureboot": true}
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o := genWorld(t, d)
		p := Compute(d, o, t0)
		if len(p.Waves) == 0 {
			return
		}
		w := p.Waves[rapid.IntRange(0, len(p.Waves)-1).Draw(t, "wave")]
		r := &w.Rolls[rapid.IntRange(0, len(w.Rolls)-1).Draw(t, "roll")]
		i := rapid.IntRange(0, len(r.Steps)-1).Draw(t, "dropped")
		s := r.Steps[i]
		r.Steps = slices.Delete(slices.Clone(r.Steps), i, i+1)
		if err := Check(p, o); err == nil && !harmless[nameOf(s)] {
			t.Fatalf("without %s: %s the plan passes", s.VM(), s)
		}
	})
}
