package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Every condition a VM can be in, as people see it.
func TestStatusShowsConditions(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	before := now.Add(-90 * time.Minute)
	want := plan.Desired{Fleet: "f", Claimer: "me", TTL: time.Minute, Image: plan.Image{Digest: "bbbb", ID: "id", Known: true},
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
	if err := (system{Stdout: &out}).printStatus(statusDoc{VMs: list}, now); err != nil {
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

// status shows what is there whatever is wrong with the image, and with what of the stores.
func TestStatusAlwaysAnswers(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	see := func(code int) (doc statusDoc) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.lkv(code, "status", "--json")), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	only := func(doc statusDoc, code plan.Code, text, clears string) {
		t.Helper()
		list := doc.Fleets[0].Conditions
		if len(list) == 0 || list[0].Type != "image" || list[0].Code != code || !strings.Contains(list[0].Text, text) || !strings.Contains(list[0].Clear, clears) {
			t.Errorf("the image is missing, status says %+v", list)
		}
		if out := m.lkv(exitOK, "status"); !strings.Contains(out, "fleet docker: image") || !strings.Contains(out, text) || !strings.Contains(out, "host-03") {
			t.Errorf("%s", out)
		}
	}
	doc := see(exitOK)
	only(doc, plan.R01, "was never pushed", "lkv push")
	if len(doc.VMs) != 3 || doc.VMs[0].Why != "is missing" || doc.Fleets[0].Size != 3 || doc.Fleets[0].Image != "" {
		t.Errorf("before the first push: %+v", doc)
	}
	m.release("1")
	m.lkv(exitOK, "reconcile")
	if doc = see(exitOK); len(doc.Fleets[0].Conditions) > 0 || doc.Fleets[0].Image != doc.VMs[0].Image {
		t.Errorf("all is well: %+v", doc)
	}
	good := doc.VMs
	serving := func(doc statusDoc) {
		t.Helper()
		for i := range doc.VMs {
			doc.VMs[i].Age = good[i].Age
		}
		if diff := cmp.Diff(good, doc.VMs); diff != "" {
			t.Errorf("the VMs are as they were (-want +got):\n%s", diff)
		}
	}
	iso := filepath.Join(m.lab.DatastoreDir("DC2", "iso-nfs"), "lkv", "host", good[0].Image+".iso")
	for name, broken := range map[string]struct {
		from, to string
		code     plan.Code
		text     string
	}{
		"ISO":         {iso, iso + ".x", plan.R01, "is not on store \"dc2\""},
		"channel":     {filepath.Join(filepath.Dir(iso), "channels", "latest.json"), filepath.Join(filepath.Dir(iso), "x.json"), plan.R01, "was never pushed to channel latest on store dc2"},
		"whole image": {filepath.Dir(iso), filepath.Dir(iso) + "-x", plan.R01, "was never pushed"},
	} {
		if err := os.Rename(broken.from, broken.to); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		doc := see(exitOK)
		only(doc, broken.code, broken.text, "lkv push --image host --channel latest")
		serving(doc)
		if err := os.Rename(broken.to, broken.from); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.lab.SetAccessible("DC2", "iso-nfs", false); err != nil {
		t.Fatal(err)
	}
	doc = see(exitOK)
	only(doc, "", "iso-nfs", "")
	serving(doc)
	if err := m.lab.SetAccessible("DC2", "iso-nfs", true); err != nil {
		t.Fatal(err)
	}
	// A fleet that cannot be seen hides no other one.
	m.write("lkv.hcl", missionSpec+strings.Replace(otherFleet, `"vm-*"`, `"nowhere"`, 1))
	doc = see(exitError)
	if len(doc.Fleets) != 2 || doc.Fleets[1].Name != "other" || doc.Fleets[1].Conditions[0].Type != "unseen" || len(doc.Fleets[0].Conditions) > 0 {
		t.Errorf("%+v", doc.Fleets)
	}
	serving(doc)
}

// What a look that failed did not see is not missing.
func TestStatusOfAFailedLook(t *testing.T) {
	want := plan.Desired{Fleet: "f", VMs: []plan.WantVM{{Name: "a"}}}
	got := conditions(want, plan.Observed{Problem: "vCenter is away"}, time.Now())
	if len(got) != 1 || got[0].Why != "was not seen" || got[0].Conditions[0].Type != "unseen" || got[0].state(time.Now()) != "was not seen" {
		t.Errorf("%+v", got)
	}
	if c := about("unseen", "f", plan.Blocked{Code: plan.R15, Reason: "away", Clear: "wait"}); c.ofFleet() != "unseen R15: away; to clear: wait" {
		t.Errorf("%+v", c)
	}
	if c := about("unseen", "f", inFleet("f", inFleet("f", errors.New("away")))); c.Text != "away" {
		t.Errorf("the fleet's name stands before it: %+v", c)
	}
}
