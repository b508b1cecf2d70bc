package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
)

// A vCenter that the placements do not name any more, and whose block is still there: what the fleet has in it is shown
// and stays. When it is away, the fleet goes on without it and lkv says so.
func TestVCenterLeftBehind(t *testing.T) {
	m := newMission(t, lab.Paper{})
	south := m.second()
	m.release("1")
	m.lkv(exitOK, "reconcile")
	raw, err := os.ReadFile(filepath.Join(m.dir, "lkv.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	store, fleet, _ := strings.Cut(string(raw), "store \"dc2\"")
	_, fleet, _ = strings.Cut(fleet, "fleet ")
	north, rest, _ := strings.Cut(fleet, "  placement {\n    vcenter = \"south\"")
	_, rest, _ = strings.Cut(rest, "  }\n")
	spec := store + "fleet " + north + rest
	m.write("lkv.hcl", spec)
	if out := m.lkv(exitRefused, "plan"); !strings.Contains(out, "R06") || !strings.Contains(out, "it is in vCenter south, and its place is in north now") {
		t.Errorf("plan: %s", out)
	}
	if !slices.ContainsFunc(m.inventory()["attached"], func(d diskStatus) bool { return d.VCenter == "south" }) {
		t.Error("the disk that was left in the south is not listed")
	}
	spec = strings.Replace(spec, "size  = 3", "size  = 1", 1)
	m.write("lkv.hcl", spec)
	if out := m.lkv(exitOK, "status"); !strings.Contains(out, "host-02") || !strings.Contains(out, "is not wanted any more") {
		t.Errorf("status: %s", out)
	}
	if out := m.lkv(exitRefused, "plan"); !strings.Contains(out, "R14") || !strings.Contains(out, "(host-02 host-03)") {
		t.Errorf("plan: %s", out)
	}
	for _, v := range south.VMs() {
		if v.Power != "poweredOn" {
			t.Errorf("%s is off", v.Name)
		}
	}
	m.write("lkv.hcl", strings.Replace(spec, south.URL(), "https://127.0.0.1:1/sdk", 1))
	if out := m.lkv(exitPending, "plan"); !strings.Contains(out, "- host-03  retire") || strings.Contains(out, "- host-02") {
		t.Errorf("plan without the south: %s", out)
	}
	if out := m.lkv(exitOK, "disks", "list", "--json"); !strings.Contains(out, "vCenter south: connect to 127.0.0.1") {
		t.Errorf("disks: %s", out)
	}
}
