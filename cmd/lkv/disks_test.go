package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

const shrinking = `  scale_in {
    max = 1
  }
  ready {`

// inventory returns the data disks by state, as lkv disks list --json shows them.
func (m *mission) inventory(args ...string) map[string][]diskStatus {
	m.t.Helper()
	var all inventory
	if err := json.Unmarshal([]byte(m.lkv(exitOK, append([]string{"disks", "list", "--json"}, args...)...)), &all); err != nil || len(all.Unread) > 0 {
		m.t.Fatalf("%v %v", err, all.Unread)
	}
	by := map[string][]diskStatus{}
	for _, d := range all.Disks {
		by[d.State] = append(by[d.State], d)
	}
	return by
}

// A VM that is not wanted any more is retired, removed by gc, and its disk stays: an orphan, which only an operator
// deletes, by name. What anybody has is never deleted.
func TestFromRetiredToDeleted(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.write("lkv.hcl", strings.Replace(missionSpec, "  ready {", shrinking, 1))
	m.release("1")
	m.lkv(exitOK, "reconcile")
	m.write("lkv.hcl", strings.Replace(strings.Replace(missionSpec, "  ready {", shrinking, 1), "size  = 3", "size  = 2", 1))
	if out := m.lkv(exitPending, "plan"); !strings.Contains(out, "- host-03  retire") || !strings.Contains(out, "VM host-03 is retired as host-03-retired-") ||
		!strings.Contains(out, "stays attached to host-03-retired-") {
		t.Errorf("plan: %s", out)
	}
	m.lkv(exitOK, "reconcile")
	if out := m.lkv(exitOK, "plan"); !strings.Contains(out, "is retired and kept") {
		t.Errorf("plan afterwards: %s", out)
	}
	disks := m.inventory()
	if len(disks["attached"]) != 3 || len(disks) != 1 {
		t.Fatalf("disks: %+v", disks)
	}
	last := disks["attached"][1].Path
	for _, d := range disks["attached"] {
		if strings.HasPrefix(d.Attached[0], "host-03-retired-") {
			last = d.Path
		}
	}
	m.lkv(exitRefused, "disks", "delete", "--path", last, "--yes-delete", last)

	if out := m.lkv(exitOK, "gc", "--yes", "--vms"); !strings.Contains(out, "kept: retired VMs are kept for 168h") {
		t.Errorf("gc too early: %s", out)
	}
	before := m.mutations()
	if out := m.lkv(exitOK, "gc", "--vms", "--older-than", "0s", "--dry-run"); !strings.Contains(out, "would be removed") || !strings.Contains(out, last) || m.mutations() != before {
		t.Errorf("gc --dry-run: %s", out)
	}
	if code := m.answer("no\n", "gc", "--vms", "--older-than", "0s"); code != exitError || m.mutations() != before {
		t.Errorf("gc and another answer: exit code %d", code)
	}
	var doc gcDoc
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "gc", "--yes", "--vms", "--older-than", "0s", "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.VMs) != 1 || !doc.VMs[0].Removed || len(doc.VMs[0].Orphans) != 1 || doc.VMs[0].Orphans[0] != last {
		t.Errorf("gc: %+v", doc)
	}
	if err := m.lab.Invariants(); err != nil { // the bytes of the disk are there
		t.Error(err)
	}

	if got := m.inventory("--orphans")["orphan"]; len(got) != 1 || got[0].Path != last {
		t.Fatalf("orphans: %+v", got)
	}
	// A fleet that wants the VM again would use the disk again.
	m.write("lkv.hcl", missionSpec)
	if got := m.inventory()["awaited"]; len(got) != 1 || got[0].Awaited != "host-03" {
		t.Errorf("awaited: %+v", got)
	}
	m.lkv(exitRefused, "disks", "delete", "--path", last, "--yes-delete", last)
	m.write("lkv.hcl", strings.Replace(missionSpec, "size  = 3", "size  = 2", 1))

	m.lkv(exitUsage, "disks", "delete", "--path", last)
	m.lkv(exitUsage, "disks", "delete")
	m.lkv(exitUsage, "disks", "delete", "--path", last, "--yes-delete", last+"x")
	m.lkv(exitUsage, "disks", "delete", "--path", last+"x", "--yes-delete", last+"x")
	before = m.mutations()
	if code := m.answer("no\n", "disks", "delete", "--path", last); code != exitError || m.mutations() != before {
		t.Errorf("another answer: exit code %d", code)
	}
	if code := m.answer(last+"\n", "disks", "delete", "--path", last); code != exitOK || m.mutations() != before+2 {
		t.Errorf("the right answer: exit code %d, %d calls", code, m.mutations()-before)
	}
	if got := m.inventory(); len(got["attached"]) != 2 || len(got) != 1 {
		t.Errorf("afterwards: %+v", got)
	}
	// The person's word was that the data is given up: the place gets an empty disk.
	m.write("lkv.hcl", missionSpec)
	m.lkv(exitOK, "reconcile")
	if got := m.inventory(); len(got["attached"]) != 3 || len(got) != 1 {
		t.Errorf("wanted again: %+v", got)
	}
	m.journals(6) // of a push, three runs, gc and delete
}

// answer runs lkv on a terminal on which somebody types.
func (m *mission) answer(typed string, args ...string) int {
	m.t.Helper()
	var out bytes.Buffer
	return run(context.WithoutCancel(m.t.Context()), system{
		Args: append([]string{"lkv", "-f", filepath.Join(m.dir, "lkv.hcl")}, args...), Stdin: strings.NewReader(typed), Stdout: &out, Stderr: &out,
		ErrTerminal: true, Raw: func() (func(), error) { return func() {}, nil }, Env: m.env, Now: time.Now, Rand: &m.num, Version: "test", Host: "here",
	})
}

// A disk is put back only into a VM that is off, that nobody else works on, and whose record names it.
func TestReattachIsDecided(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := plan.Desired{Fleet: "f", Claimer: "me", TTL: time.Minute}
	rec := plan.DiskRecord{Name: "docker", UUID: "6000c29a", Path: "[ds] lkv-disks/f/a-docker.vmdk"}
	off := plan.VM{Name: "a", Fleet: "f", Power: plan.Off, Record: plan.Record{Epoch: 4, Rolled: now, Disks: []plan.DiskRecord{rec}}}
	for name, tt := range map[string]struct {
		change func(*plan.VM)
		code   plan.Code
		steps  int
	}{
		"ready":    {func(*plan.VM) {}, "", 3},
		"halfway":  {func(v *plan.VM) { v.Record.Started = now.Add(-time.Hour) }, "", 2},
		"expired":  {func(v *plan.VM) { v.Record.Owner, v.Record.Expires = "you", now.Add(-time.Hour) }, "", 3},
		"attached": {func(v *plan.VM) { v.Disks = []plan.Disk{{UUID: rec.UUID, Path: rec.Path}} }, "", 0},
		"on":       {func(v *plan.VM) { v.Power = plan.On }, plan.R08, 0},
		"busy":     {func(v *plan.VM) { v.Busy = []string{"a question"} }, plan.R08, 0},
		"claimed":  {func(v *plan.VM) { v.Record.Owner, v.Record.Expires = "you", now.Add(time.Hour) }, plan.R16, 0},
		"other":    {func(v *plan.VM) { v.Record.Disks[0].Name = "data" }, plan.R06, 0},
		"new":      {func(v *plan.VM) { v.Record.Rolled, v.Record.Started = time.Time{}, now }, plan.R06, 0},
		"foreign":  {func(v *plan.VM) { v.Fleet = "g" }, plan.R22, 0},
	} {
		v := off
		v.Record.Disks = []plan.DiskRecord{rec}
		tt.change(&v)
		got := reattach("a", "docker")(want, plan.Observed{VMs: []plan.VM{v}}, now)
		steps, code := 0, plan.Code("")
		if len(got.Rolls) > 0 {
			steps = len(got.Rolls[0].Steps)
		}
		if len(got.Blocked) > 0 {
			code = got.Blocked[0].Code
		}
		if steps != tt.steps || code != tt.code {
			t.Errorf("%s: %d steps, %s: %+v", name, steps, code, got)
		}
	}
	if got := reattach("a", "docker")(want, plan.Observed{Problem: "x"}, now); len(got.Rolls) > 0 || got.Blocked[0].Code != plan.R15 {
		t.Errorf("a failed look: %+v", got)
	}
}

// A VM leaves the fleet and comes back, untouched; the plan after that rolls it, and makes no disk.
func TestForgetAndAdopt(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	disks := m.disks()
	for _, args := range [][]string{
		{"adopt"}, {"forget"}, {"adopt", "--vm", "host-01", "--fleet", "docker"}, {"forget", "--vm", "host-01", "--fleet", "dockre"},
		{"adopt", "--vm", "host-01", "--fleet", "docker", "--ordinal", "1", "--disk", "docker"},
		{"disks", "attach", "--vm", "host-01"}, {"disks", "attach", "--vm", "host-09", "--disk", "docker"},
	} {
		m.lkv(exitUsage, args...)
	}
	if out := m.lkv(exitOK, "disks", "attach", "--vm", "host-01", "--disk", "docker"); !strings.Contains(out, "disk docker of host-01 is attached already") {
		t.Errorf("attach: %s", out)
	}
	m.lkv(exitRefused, "forget", "--vm", "host-09", "--fleet", "docker")
	m.lkv(exitRefused, "adopt", "--vm", "host-01", "--fleet", "docker", "--ordinal", "1") // it belongs to the fleet
	m.lkv(exitOK, "forget", "--vm", "host-02", "--fleet", "docker")
	if blocked := m.plan(exitRefused).Fleets[0].Blocked; len(blocked) != 1 || blocked[0].Code != "R22" {
		t.Errorf("plan without it: %+v", blocked)
	}
	m.lkv(exitRefused, "adopt", "--vm", "host-02", "--fleet", "docker", "--ordinal", "7")
	m.lkv(exitRefused, "adopt", "--vm", "host-02", "--fleet", "docker", "--ordinal", "2", "--disk", "docker=6000c290")
	m.lkv(exitOK, "adopt", "--vm", "host-02", "--fleet", "docker", "--ordinal", "2", "--disk", "docker="+disks["host-02"])
	rolls := m.plan(exitPending).Fleets[0].Waves[0].Rolls
	if len(rolls) != 1 || rolls[0].VM != "host-02" || rolls[0].Action != "roll" || !strings.Contains(rolls[0].Reason, "image none →") ||
		len(rolls[0].DataDisks) != 1 || rolls[0].DataDisks[0].What != "attached throughout" {
		t.Errorf("plan with it again: %+v", rolls)
	}
	m.lkv(exitOK, "reconcile")

	// Under another name, with the only disk found by itself.
	m.lkv(exitOK, "forget", "--vm", "host-03", "--fleet", "docker")
	m.write("lkv.hcl", strings.Replace(missionSpec, `"host-%02d"`, `"node-%02d"`, 1))
	m.lkv(exitUsage, "adopt", "--vm", "host-09", "--fleet", "docker", "--ordinal", "3")
	if out := m.lkv(exitOK, "adopt", "--vm", "host-03", "--fleet", "docker", "--ordinal", "3"); !strings.Contains(out, "adopted") {
		t.Errorf("adopt: %s", out)
	}
	if out := m.lkv(exitOK, "status"); !strings.Contains(out, "node-03") {
		t.Errorf("status: %s", out)
	}
	for _, d := range m.inventory()["attached"] {
		if len(d.Recorded) != 1 {
			t.Errorf("%+v", d)
		}
	}
	m.journals(7) // of a push, two runs, two that forgot and two adoptions
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}
