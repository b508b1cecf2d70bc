package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
)

// A datastore cluster as a store, from the first push to a roll: releases lie on different members, the channel stays
// where it is, plan and reconcile find both, and gc sees all.
func TestStoreIsADatastoreCluster(t *testing.T) {
	m := newMission(t, lab.Paper{})
	if err := m.lab.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if m.lab, err = lab.Start(t.Context(), lab.Config{Dir: filepath.Join(m.dir, "pods"), Driver: lab.Paper{}, Datacenters: []lab.Datacenter{{
		Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 2}}, Networks: []string{"VM Network"},
		Datastores: []lab.Datastore{{Name: "iso-a", Pod: "isos"}, {Name: "iso-b", Pod: "isos"}, {Name: "vm-1"}},
	}}}); err != nil {
		t.Fatal(err)
	}
	for k, v := range m.lab.Env() {
		m.env[k] = v
	}
	spec := strings.Replace(missionSpec, `"iso-nfs"`, `"isos"`, 1)
	begin, end := strings.Index(spec, `store "dc2"`), strings.Index(spec, `fleet "docker"`)
	spec = spec[:begin] + spec[end:]
	begin = strings.Index(spec, "  placement {\n    datacenter = \"DC2\"")
	end = strings.Index(spec, "  vm {")
	m.write("lkv.hcl", spec[:begin]+spec[end:])
	dist := filepath.Join(m.dir, "dist")
	var disks map[string]string
	for i, member := range []string{"iso-a", "iso-b"} {
		release := strconv.Itoa(i + 1)
		for _, ds := range []string{"iso-a", "iso-b"} {
			free := int64(10 << 30)
			if ds == member {
				free = 20 << 30
			}
			if err := m.lab.SetFreeSpace("DC1", ds, free); err != nil {
				t.Fatal(err)
			}
		}
		m.built(release)
		got := m.pushed(m.lkv(exitOK, "push", "--out", dist, "--json"))
		if len(got) != 1 || !strings.HasPrefix(got[0].Path, "["+member+"] ") {
			t.Errorf("release %s: %+v", release, got)
		}
		m.plan(exitPending)
		m.lkv(exitOK, "reconcile")
		m.plan(exitOK)
		now := m.disks()
		for vm, disk := range disks {
			if now[vm] != disk {
				t.Errorf("%s had data disk %s, now %s", vm, disk, now[vm])
			}
		}
		disks = now
	}
	channels, err := filepath.Glob(filepath.Join(m.lab.DatastoreDir("DC1", "iso-*"), "lkv/host/channels/*"))
	if err != nil || len(channels) != 1 || len(disks) != 3 {
		t.Errorf("channels %v, disks %v, %v", channels, disks, err)
	}
	if out := m.lkv(exitOK, "channels"); !strings.Contains(out, "latest") || strings.Contains(out, "disagree") {
		t.Error(out)
	}
	if out := m.lkv(exitOK, "gc", "--isos", "--older-than", "1h", "--dry-run"); !strings.Contains(out, "2 kept") {
		t.Error(out)
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}
