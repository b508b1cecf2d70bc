package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
)

// A paused fleet is not changed until it is resumed, also when another run is at work here.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	if out := m.lkv(exitRefused, "pause", "--fleet", "docker"); !strings.Contains(out, "R14") {
		t.Errorf("a fleet without VMs: %s", out)
	}
	m.lkv(exitOK, "reconcile")
	m.lkv(exitUsage, "pause")
	m.release("2")
	m.held(func() {
		if out := m.lkv(exitOK, "pause", "--fleet", "docker"); strings.Count(out, "host-0") != 3 || !strings.Contains(out, "is paused") {
			t.Errorf("pause: %s", out)
		}
	})
	before := m.mutations()
	if out := m.lkv(exitOK, "pause", "--fleet", "docker"); !strings.Contains(out, "was paused already") {
		t.Errorf("second pause: %s", out)
	}
	if f := m.plan(exitPending).Fleets[0]; len(f.Blocked) != 1 || f.Blocked[0].VM != "" || f.Blocked[0].Code != "R13" || len(f.Waves) > 0 {
		t.Errorf("plan of a paused fleet: %+v", f)
	}
	m.lkv(exitPending, "reconcile")
	if after := m.mutations(); after != before {
		t.Errorf("a paused fleet saw %d mutating calls", after-before)
	}
	if out := m.lkv(exitOK, "status"); strings.Count(out, "paused") != 3 {
		t.Errorf("status: %s", out)
	}
	m.lkv(exitOK, "resume", "--fleet", "docker")
	m.lkv(exitOK, "reconcile")
	m.disks()
	m.journals(6) // of a push, two runs, two pauses and a resume
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

const otherFleet = `
fleet "other" {
  image = "host"
  size  = 1
  name  = "other-%02d"
  placement {
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm-*"
  }
  disk "docker" {
    size  = "64MiB"
    mount = "/var/lib/docker"
  }
}
`

// The channel goes back release by release, on every store, and reconcile puts the old ISO back under the same disks.
func TestRollback(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitRefused, "rollback", "--fleet", "docker") // there is nothing before
	m.lkv(exitOK, "reconcile")
	disks := m.disks()
	first := m.current()
	m.release("2")
	second := m.current()
	m.release("3")
	m.lkv(exitOK, "reconcile")
	m.lkv(exitOK, "pause", "--fleet", "docker")
	m.lkv(exitUsage, "rollback")
	m.lkv(exitUsage, "rollback", "--fleet", "dockre")

	m.write("lkv.hcl", missionSpec+otherFleet)
	m.lkv(exitUsage, "rollback", "--fleet", "docker")
	m.write("lkv.hcl", strings.Replace(missionSpec, `image = "host"`, `image = "host"`+"\n  digest = \"sha256:"+first+`"`, 1))
	m.lkv(exitUsage, "rollback", "--fleet", "docker")
	m.write("lkv.hcl", missionSpec)

	var doc rolledBack
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "rollback", "--fleet", "docker", "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.To != second || len(doc.Stores) != 2 || len(doc.Fleets) != 1 || len(doc.Fleets[0].Cleared) != 3 {
		t.Errorf("rollback: %+v", doc)
	}
	if out := m.lkv(exitOK, "rollback", "--fleet", "docker"); !strings.Contains(out, first[:12]) || m.current() != first {
		t.Errorf("second rollback: %s", out)
	}
	m.lkv(exitRefused, "rollback", "--fleet", "docker")
	m.plan(exitPending)
	m.lkv(exitOK, "reconcile")
	for vm, disk := range m.disks() {
		if disks[vm] != disk {
			t.Errorf("%s had data disk %s, now %s", vm, disks[vm], disk)
		}
	}
	m.journals(9) // of three pushes, three runs, a pause and two that went back
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// current returns the digest that the channel latest names on every store.
func (m *mission) current() string {
	m.t.Helper()
	var doc struct{ Channels []push.Position }
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "channels", "--json")), &doc); err != nil || len(doc.Channels) != 2 || doc.Channels[0].Digest != doc.Channels[1].Digest {
		m.t.Fatalf("channels: %+v, %v", doc, err)
	}
	return doc.Channels[0].Digest
}
