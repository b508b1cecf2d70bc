package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// stranger is a step this package has never heard of.
type stranger struct{ plan.Step }

func (stranger) String() string { return "something new" }

func example() (plan.Desired, plan.Observed, plan.Plan) {
	roll := plan.Roll{VM: "wrk-01", Action: plan.RollISO, Reason: "runs 9ac2, wanted b1f0", Steps: []plan.Step{
		step(func(s *plan.Claim) { s.Name = "wrk-01" }), step(func(s *plan.Shutdown) { s.Name, s.Grace = "wrk-01", 2*time.Minute }), step(func(s *plan.PowerOn) { s.Name = "wrk-01" }),
		step(func(s *plan.AwaitReady) { s.Name, s.Timeout, s.Settle = "wrk-01", 10*time.Minute, 30*time.Second }),
	}}
	create := plan.Roll{VM: "wrk-02", Action: plan.Create, Reason: "is missing", Steps: []plan.Step{
		step(func(s *plan.CreateDisk) {
			s.Name, s.Path, s.Disk = "wrk-02", "[ds1] lkv-disks/workers/wrk-02-docker.vmdk", plan.WantDisk{Name: "docker", Bytes: 10 << 30}
		}),
	}}
	p := plan.Plan{
		Waves:   []plan.Wave{{Rolls: []plan.Roll{roll}}, {Rolls: []plan.Roll{create}}},
		Blocked: []plan.Blocked{{VM: "wrk-07", Code: "R06", Reason: "disk 6000C29a is recorded, none is attached", Clear: "lkv disks attach --vm wrk-07"}, {Code: "R12", Reason: "too many failed"}},
		Same:    []string{"wrk-03", "wrk-04"},
		Extra:   []string{"wrk-09"},
		Retired: []string{"wrk-08-retired-20260102-0304"},
		Later:   []plan.Later{{VM: "wrk-05", Reason: "outside the window", Until: time.Date(2026, 1, 2, 21, 0, 0, 0, time.UTC)}, {VM: "wrk-06", Reason: "not among the targets"}},
	}
	o := plan.Observed{VMs: []plan.VM{
		{
			Name: "wrk-01", Fleet: "workers", Disks: []plan.Disk{{UUID: "6000C291", Path: "[ds1] lkv-disks/workers/wrk-01-docker.vmdk", Bytes: 10 << 30}},
			Record: plan.Record{Disks: []plan.DiskRecord{{Name: "docker", UUID: "6000C291"}}},
		},
		{Name: "wrk-02", Disks: []plan.Disk{{UUID: "foreign", Path: "[ds1] other/disk.vmdk"}}},
	}}
	want := plan.Desired{
		Fleet: "workers", Image: plan.Image{Name: "worker", Digest: strings.Repeat("b1f0", 16)},
		VMs:     []plan.WantVM{{Name: "wrk-01", Disks: []plan.WantDisk{{Name: "docker", Mount: "/var/lib/docker"}}}},
		Rollout: plan.Rollout{Strategy: plan.InPlace, MaxUnavailable: 1, Bake: 5 * time.Minute, Drain: true, Grace: 2 * time.Minute, Timeout: 10 * time.Minute, Settle: 30 * time.Second},
	}
	return want, o, p
}

func step[S plan.Step](fill func(*S)) plan.Step {
	var s S
	fill(&s)
	return s
}

func TestPlanText(t *testing.T) {
	d := NewPlanDoc()
	d.Add(example())
	d.Add(plan.Desired{Fleet: "quiet"}, plan.Observed{}, plan.Plan{})
	for i := range d.Fleets[0].Waves { // steps speak for themselves elsewhere
		for j := range d.Fleets[0].Waves[i].Rolls {
			d.Fleets[0].Waves[i].Rolls[j].Steps = []string{"first step", "second step"}
		}
	}
	var plain, colour bytes.Buffer
	if err := errors.Join(d.Write(&plain, Style{}), d.Write(&colour, Style{Color: true})); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/plan.golden", plain.String())
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(colour.String(), "\x1b[31mrefused R06:") {
		t.Error("colours where there should be none, or none where there should be some")
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/plan.golden.json", string(b)+"\n")
	if !d.Pending() || !d.Refused() {
		t.Error("neither pending nor refused")
	}
}

func TestEmptyPlanIsNeitherPendingNorRefused(t *testing.T) {
	d := NewPlanDoc()
	d.Add(plan.Desired{Fleet: "quiet"}, plan.Observed{}, plan.Plan{Same: []string{"a"}})
	if d.Pending() || d.Refused() || d.MutatingCalls != 0 {
		t.Errorf("%+v", d)
	}
	b, err := json.Marshal(d)
	if err != nil || strings.Contains(string(b), "null") {
		t.Errorf("%s, %v: lists must be [] in JSON", b, err)
	}
}

func TestUnknownStepsCountAsDestructive(t *testing.T) {
	want, o, _ := example()
	odd := stranger{step(func(s *plan.PowerOn) { s.Name = "wrk-01" })}
	d := NewPlanDoc()
	d.Add(want, o, plan.Plan{Waves: []plan.Wave{{Rolls: []plan.Roll{{VM: "wrk-01", Action: plan.RollISO, Steps: []plan.Step{odd}}}}}})
	if d.DestructiveOps != 1 || d.Fleets[0].Waves[0].Rolls[0].DataDisks[0].DestructiveOps != 1 || len(d.DisksAtRisk) != 1 {
		t.Errorf("%+v", d)
	}
}

// A replacement shows both VMs and where the disk goes; what a later run has left of it shows the VM that is left.
func TestReplacementsShowBothVMs(t *testing.T) {
	const uuid, path = "6000C291", "[ds1] lkv-disks/workers/wrk-01-docker.vmdk"
	disk := plan.DiskRecord{Name: "docker", UUID: uuid, Path: path}
	blue, green := plan.Of("wrk-01"), plan.Of("wrk-01-green")
	become := []plan.Step{
		step(func(s *plan.Retire) {
			s.Name, s.To, s.Why = blue.Name, "wrk-01-retired-20260102-0304", "another VM took its place"
		}),
		step(func(s *plan.Rename) { s.Name, s.To = green.Name, blue.Name }),
		step(func(s *plan.Release) { s.Name = blue.Name }),
	}
	over := plan.Roll{VM: "wrk-01", Action: plan.Replace, Reason: "image 9ac2 → b1f0", Steps: append([]plan.Step{
		step(func(s *plan.Claim) { s.Name = blue.Name }),
		step(func(s *plan.CreateVM) {
			s.Name, s.Want.Name, s.Record.Takes = green.Name, green.Name, []plan.DiskRecord{disk}
		}),
		step(func(s *plan.Shutdown) { s.Name = blue.Name }),
		step(func(s *plan.DetachDisk) { s.Name, s.Disk = blue.Name, disk }),
		step(func(s *plan.AttachDisk) { s.Name, s.Disk = green.Name, disk }),
		step(func(s *plan.PowerOn) { s.Name = green.Name }),
	}, become...)}
	fresh := plan.Roll{VM: "wrk-01", Action: plan.Replace, Reason: "image 9ac2 → b1f0", Steps: append([]plan.Step{
		step(func(s *plan.CreateDisk) {
			s.Name, s.Path, s.Disk = green.Name, "[ds1] lkv-disks/workers/wrk-01-docker-g1.vmdk", plan.WantDisk{Name: "docker", Bytes: 10 << 30, Thin: true}
		}),
		step(func(s *plan.CreateVM) { s.Name = green.Name }),
	}, become...)}
	rest := plan.Roll{VM: "wrk-01", Action: plan.Finish, Reason: "a roll stopped halfway", Steps: become[1:]}
	want, have, _ := example()
	want.Rollout.Strategy, want.Rollout.Disk, want.Rollout.Drain = plan.BlueGreen, plan.HandOver, false
	d := NewPlanDoc()
	d.Add(want, have, plan.Plan{Waves: []plan.Wave{{Rolls: []plan.Roll{over}}, {Rolls: []plan.Roll{fresh}}, {Rolls: []plan.Roll{rest}}}})
	var b bytes.Buffer
	if err := d.Write(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/replace.golden", b.String())
	if got := d.Fleets[0].Waves[0].Rolls[0].DataDisks; len(got) != 1 || got[0].Detaches != 1 || got[0].DestructiveOps != 0 {
		t.Errorf("%+v", got)
	}
}

// A retired VM whose disk was handed over is not said to keep any.
func TestRetiredWithoutDisks(t *testing.T) {
	doc := NewPlanDoc()
	have := plan.Observed{VMs: []plan.VM{{Name: "a-retired", Fleet: "f"}, {Name: "b-retired", Fleet: "f", Disks: []plan.Disk{{UUID: "1"}}}}}
	doc.Add(plan.Desired{Fleet: "f"}, have, plan.Plan{Retired: []string{"a-retired", "b-retired"}})
	var b bytes.Buffer
	if err := doc.Write(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"z a-retired  is retired and kept, without any disk, until lkv gc", "z b-retired  is retired and kept, with its disks, until lkv gc"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &b)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, Style{}, []string{"VM", "STATE"}, [][]string{{"wrk-ä1", "ready"}, {"w", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "VM      STATE\nwrk-ä1  ready\nw\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 3 << 50: "3072.0 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{1234 * time.Millisecond: "1.2s", 83*time.Second + 600*time.Millisecond: "1m24s"} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if Short("sha256:0123456789abcdef") != "0123456789ab" || Short("ab") != "ab" {
		t.Error("short digests")
	}
}

func TestProgressModes(t *testing.T) {
	for mode, want := range map[string]string{
		Plain: "hello 1\nupload dc1 done in 2.0s: 5 B\nupload dc2 failed in 2.0s: no space\n",
		None:  "",
	} {
		var b bytes.Buffer
		if got := work(&b, mode); got != want {
			t.Errorf("%s: %q, want %q", mode, got, want)
		}
	}
	var b bytes.Buffer
	if got := work(&b, Bars); !strings.Contains(got, "upload dc1 done in 2.0s: 5 B") || !strings.Contains(got, "hello 1") {
		t.Errorf("bars: %q", got)
	}
}

func work(b *bytes.Buffer, mode string) string {
	var ticks time.Duration
	p := NewProgress(b, mode, func() time.Time {
		ticks += time.Second
		return time.Unix(0, 0).Add(ticks)
	})
	one, two := p.Start("upload dc1", 5), p.Start("upload dc2", 0)
	p.Line("hello %d", 1)
	one.Add(2)
	one.Set(5)
	ticks = 2 * time.Second
	one.Done("5 B")
	one.Fail(errors.New("too late"))
	ticks = 3 * time.Second
	two.Fail(errors.New("no space"))
	p.Wait()
	return b.String()
}
