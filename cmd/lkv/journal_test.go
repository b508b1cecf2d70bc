package main

import (
	"path/filepath"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
)

// No command changes anything in a vCenter whose journal cannot be made.
func TestCommandsNeedTheirJournal(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	m.lkv(exitOK, "pause", "--fleet", "docker")
	m.write("taken", "x")
	m.write("host.yml", missionYAML)
	dist := filepath.Join(m.dir, "dist")
	m.lkv(exitOK, "build", "--offline", "--out", dist)
	digest := m.current()
	before := m.mutations()
	for _, args := range [][]string{
		{"reconcile"}, {"push", "--out", dist}, {"promote", "--journal", filepath.Join(m.dir, "taken"), "host@sha256:" + digest, "stable"},
		{"pause", "--fleet", "docker"}, {"resume", "--fleet", "docker"}, {"rollback", "--fleet", "docker"}, {"gc", "--yes"}, {"gc", "--yes", "--isos"}, {"gc", "--yes", "--vms"},
		{"forget", "--vm", "host-01", "--fleet", "docker"}, {"adopt", "--vm", "host-01", "--fleet", "docker", "--ordinal", "1"},
		{"disks", "attach", "--vm", "host-01", "--disk", "docker"},
	} {
		if args[0] != "promote" {
			args = append(args, "--journal", filepath.Join(m.dir, "taken"))
		}
		m.lkv(exitError, args...)
		if sent := m.mutations(); sent != before {
			t.Fatalf("%v: %d calls", args, sent-before)
		}
	}
	// With one, or with none on purpose, they do.
	m.lkv(exitOK, "promote", "--journal", "none", "host@sha256:"+digest, "stable")
	m.lkv(exitOK, "push", "--out", dist, "--journal", filepath.Join(m.dir, "push.jsonl"))
	m.lkv(exitOK, "verify", filepath.Join(m.dir, "push.jsonl"))
	m.lkv(exitOK, "rollback", "--fleet", "docker", "--journal", filepath.Join(m.dir, "back.jsonl"))
	m.lkv(exitOK, "verify", filepath.Join(m.dir, "back.jsonl"))
	m.journals(3) // of a push, a run and a pause
}
