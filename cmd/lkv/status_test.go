package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Every condition a VM can be in, as people see it.
func TestStatusShowsConditions(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	before := now.Add(-90 * time.Minute)
	want := plan.Desired{Fleet: "f", Claimer: "me", TTL: time.Minute, Image: plan.Image{Digest: "bbbb", ID: "id"},
		Rollout: plan.Rollout{Strategy: plan.InPlace, MaxUnavailable: 1, MaxFailed: 9, NoTools: true}}
	var have plan.Observed
	vm := func(name string, wanted bool, change func(*plan.VM)) {
		ordinal := len(have.VMs) + 1
		v := plan.VM{Name: name, ID: "id-" + name, Ref: "vm-" + name, Fleet: "f", Ordinal: ordinal, Power: plan.On, Age: 26 * time.Hour, CPUs: 1, MemoryMiB: 64,
			Guest:  plan.Guest{State: "running", Token: "t", ImageID: "id", IP: "192.0.2.1"},
			Record: plan.Record{Image: "bbbb", ImageID: "id", Token: "t", Engine: "28.3.1", Rolled: before}}
		change(&v)
		have.VMs = append(have.VMs, v)
		if wanted {
			want.VMs = append(want.VMs, plan.WantVM{Name: name, Ordinal: ordinal, CPUs: 1, MemoryMiB: 64})
		}
	}
	vm("ready", true, func(*plan.VM) {})
	vm("failed", true, func(v *plan.VM) { v.Record.Failed, v.Record.Started = "not ready after 10m", before })
	vm("back", true, func(v *plan.VM) { v.Record.Spurned = "cccccccccccccccc" })
	vm("rolling", true, func(v *plan.VM) {
		v.Power, v.Age, v.Guest = plan.Off, 0, plan.Guest{}
		v.Record.Started, v.Record.Owner, v.Record.Epoch, v.Record.Expires, v.Record.Drained = before, "me", 3, now.Add(time.Minute), true
	})
	vm("ill", true, func(v *plan.VM) { v.Guest.State, v.Record.Ill, v.Age = "", before, 5*time.Minute })
	vm("claimed", true, func(v *plan.VM) { v.Record.Owner, v.Record.Expires, v.Age = "you", before, 3*time.Hour })
	vm("busy", true, func(v *plan.VM) { v.Busy = []string{"a question is pending"} })
	vm("foreign", true, func(v *plan.VM) { v.Fleet, v.Record = "", plan.Record{} })
	vm("gone-retired-20260102-1030", false, func(v *plan.VM) { v.Power, v.Age, v.Record.Retired = plan.Off, 0, before })
	vm("ready-green", false, func(v *plan.VM) { v.Ordinal, v.Record.Replaces = 1, "id-ready" })
	vm("extra", false, func(*plan.VM) {})
	want.VMs = append(want.VMs, plan.WantVM{Name: "missing", Ordinal: 99})

	list := conditions(want, have, now)
	var out bytes.Buffer
	if err := (system{Stdout: &out}).printStatus(list, now); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/status.golden", out.String())
	if !list[0].Ready || list[0].Conditions[0].Type != "ready" || list[3].Claim.Epoch != 3 || list[1].Ready {
		t.Errorf("%+v", list)
	}
	have.VMs[0].Record.Paused = true
	for _, v := range conditions(want, have, now)[:1] {
		if v.Ready || v.Why != "is paused" {
			t.Errorf("paused: %+v", v)
		}
	}
}
