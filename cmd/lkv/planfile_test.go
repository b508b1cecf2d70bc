package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
)

// A plan that was saved is carried out, and nothing else; once anything changed it is refused. Targets hold back every
// other VM.
func TestPlanFileAndTargets(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	file := filepath.Join(m.dir, "plan.json")
	m.lkv(exitPending, "plan", "--out", file)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	for _, flag := range []string{"--fleet=docker", "--target=host-01", "--ignore-brake", "--watch"} {
		m.lkv(exitUsage, "reconcile", "--plan", file, flag)
	}
	m.lkv(exitUsage, "plan", "--target", "host-1")
	m.lkv(exitOK, "reconcile", "--plan", file)
	disks, before := m.disks(), m.mutations()
	for _, cmd := range [][]string{{"reconcile", "--plan", file}, {"reconcile", "--plan", file, "--max-steps", "1"}} {
		if out := m.lkv(exitRefused, cmd...); !strings.Contains(out, "R17") {
			t.Errorf("a plan that was carried out: %s", out)
		}
	}
	m.lkv(exitUsage, "reconcile", "--plan", filepath.Join(m.dir, "lkv.hcl"))
	m.lkv(exitError, "reconcile", "--plan", filepath.Join(m.dir, "none.json"))
	if after := m.mutations(); after != before {
		t.Errorf("refused plans made %d mutating calls", after-before)
	}

	m.release("2")
	var doc struct {
		Fleets []struct {
			Waves []struct{ Rolls []struct{ VM string } }
			Later []struct{ VM, Reason string }
		}
		DisksAtRisk []string `json:"disks_at_risk"`
	}
	if err := json.Unmarshal([]byte(m.lkv(exitPending, "plan", "--target", "host-02", "--out", file, "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	f := doc.Fleets[0]
	if len(f.Waves) != 1 || f.Waves[0].Rolls[0].VM != "host-02" || len(f.Later) != 2 || doc.DisksAtRisk == nil || len(doc.DisksAtRisk) != 0 {
		t.Errorf("a plan for host-02: %+v", doc)
	}
	if out := m.lkv(exitPending, "reconcile", "--plan", file); !strings.Contains(out, "not among the targets") {
		t.Errorf("reconcile of host-02: %s", out)
	}
	if f := m.plan(exitPending).Fleets[0]; len(f.Same) != 1 || f.Same[0] != "host-02" {
		t.Errorf("afterwards: %+v", f)
	}
	m.lkv(exitPending, "reconcile", "--target", "host-01", "--ignore-brake")
	m.lkv(exitOK, "reconcile")
	for vm, disk := range m.disks() {
		if disks[vm] != disk {
			t.Errorf("%s had data disk %s, now %s", vm, disks[vm], disk)
		}
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// A plan about a fleet that has none yet is not written.
func TestNoPlanFileWithoutAPlan(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	file := filepath.Join(m.dir, "plan.json")
	m.lkv(exitRefused, "plan", "--out", file)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a plan file was written: %v", err)
	}
	m.release("1")
	m.lkv(exitError, "plan", "--out", filepath.Join(m.dir, "no", "plan.json"))
}
