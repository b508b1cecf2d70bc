package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
)

// A roll fails, the fleet stands still until a person says so, and a repaired image converges it. No disk changes.
func TestMissionAfterAFailedRoll(t *testing.T) {
	var sick atomic.Bool
	m := newMission(t, lab.Paper{Behave: func(vm string, _ int) lab.Behaviour {
		return lab.Behaviour{NeverReady: vm == "host-01" && sick.Load()}
	}})
	m.write("lkv.hcl", strings.Replace(missionSpec, `"1m"`, `"8s"`, 1))
	m.release("1")
	m.lkv(exitOK, "reconcile")
	disks := m.disks()
	bytesBefore := m.fill()

	sick.Store(true)
	m.release("2")
	if out := m.lkv(exitError, "reconcile"); !strings.Contains(out, "to go on: look at host-01, then lkv resume --fleet docker") {
		t.Errorf("a failed run names no remedy: %s", out)
	}
	stands := func() {
		t.Helper()
		before := m.mutations()
		blocked := m.plan(exitRefused).Fleets[0].Blocked
		if len(blocked) != 1 || blocked[0].Code != "R12" || blocked[0].VM != "host-01" || !strings.Contains(blocked[0].Clear, "lkv resume --fleet docker") {
			t.Errorf("after the failure: %+v", blocked)
		}
		m.lkv(exitRefused, "reconcile")
		if after := m.mutations(); after != before {
			t.Errorf("a fleet that stands still saw %d mutating calls", after-before)
		}
	}
	stands()
	sick.Store(false)
	m.release("3")
	stands()
	m.lkv(exitUsage, "resume")
	m.held(func() { m.lkv(exitRefused, "resume", "--fleet", "docker") })
	before := m.mutations()
	var doc struct{ Fleets []reconcile.Resumed }
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "resume", "--fleet", "docker", "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Fleets) != 1 || len(doc.Fleets[0].Cleared) != 1 || doc.Fleets[0].Cleared[0].VM != "host-01" {
		t.Errorf("resume: %+v", doc)
	}
	if after := m.mutations(); after != before+2 {
		t.Errorf("resume made %d mutating calls: a claim and the release of it are expected", after-before)
	}
	if again := m.lkv(exitOK, "resume", "--fleet", "docker"); !strings.Contains(again, "nothing holds it up") || m.mutations() != before+2 {
		t.Errorf("second resume: %s", again)
	}
	m.plan(exitPending)
	m.lkv(exitOK, "reconcile")
	m.plan(exitOK)
	for vm, disk := range m.disks() {
		if disks[vm] != disk {
			t.Errorf("%s had data disk %s, now %s", vm, disks[vm], disk)
		}
	}
	if after := m.sums(); fmt.Sprint(after) != fmt.Sprint(bytesBefore) {
		t.Errorf("the bytes of the data disks changed: %v, were %v", after, bytesBefore)
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// What was cleared and what failed is shown, and decides the exit code.
func TestResumedIsShown(t *testing.T) {
	for code, r := range map[int]reconcile.Resumed{
		exitOK:    {Fleet: "a", Cleared: []reconcile.Cleared{{VM: "a-1", Reason: "its roll failed: x"}}},
		exitError: {Fleet: "a", Failures: []reconcile.Failure{{VM: "a-1", Step: "claim", Why: "x"}}},
	} {
		var out bytes.Buffer
		s := system{Stdout: &out}
		if err := s.showResumed([]reconcile.Resumed{r}, goesOn); err != nil || !strings.Contains(out.String(), "a-1") {
			t.Errorf("%v: %s", err, &out)
		}
		got := exitOK
		var e *exit
		if errors.As(resumedCode([]reconcile.Resumed{r}), &e) {
			got = e.code
		}
		if got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
	}
}

// release builds and pushes the host image with a content of its own.
func (m *mission) release(name string) {
	m.t.Helper()
	dist := filepath.Join(m.dir, "dist")
	m.write("host.yml", strings.Replace(missionYAML, "RELEASE", name, 1))
	m.lkv(exitOK, "build", "--offline", "--out", dist)
	m.lkv(exitOK, "push", "--out", dist)
}

// fill writes something onto every data disk, behind what the paper guest keeps there, and returns the sums.
func (m *mission) fill() map[string]string {
	m.t.Helper()
	for i, path := range m.images() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := f.WriteAt(bytes.Repeat([]byte{byte('a' + i)}, 1<<20), 8<<20); err != nil {
			m.t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
	return m.sums()
}

// sums returns the SHA-256 of every data disk by path.
func (m *mission) sums() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	for _, path := range m.images() {
		b, err := os.ReadFile(path)
		if err != nil {
			m.t.Fatal(err)
		}
		all[path] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return all
}

// images returns the files that hold the bytes of the three data disks.
func (m *mission) images() []string {
	m.t.Helper()
	var list []string
	err := filepath.WalkDir(filepath.Join(m.dir, "lab", "datastores"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(path, "lkv-disks") {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() == 64<<20 {
			list = append(list, path)
		}
		return err
	})
	if err != nil || len(list) != 3 {
		m.t.Fatalf("disk files: %v, %v", list, err)
	}
	return list
}
