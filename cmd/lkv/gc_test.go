package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
)

// Three releases: VMs run the first, nobody knows the second any more, a channel names the third. Only the second goes,
// from every store, and only when it is old.
func TestGC(t *testing.T) {
	m := newMission(t, lab.Paper{})
	dist := filepath.Join(m.dir, "dist")
	var sums []string
	for _, release := range []string{"1", "2", "3"} {
		m.write("host.yml", strings.Replace(missionYAML, "RELEASE", release, 1))
		m.lkv(exitOK, "build", "--offline", "--out", dist)
		var doc struct{ Pushed []push.Result }
		if err := json.Unmarshal([]byte(m.lkv(exitOK, "push", "--out", dist, "--json")), &doc); err != nil || doc.Pushed[1].How != push.Copied {
			t.Fatalf("%v %+v", err, doc)
		}
		sums = append(sums, doc.Pushed[0].SHA256)
		if release == "1" {
			m.lkv(exitOK, "reconcile")
		}
	}
	has := func(dc, sum string) bool {
		_, err := os.Stat(filepath.Join(m.lab.DatastoreDir(dc, "iso-nfs"), "lkv", "host", sum+".iso"))
		return err == nil
	}
	if out := m.lkv(exitOK, "gc", "--yes", "--isos", "--older-than", "1h"); !strings.Contains(out, "was there before") || !strings.Contains(out, "0 ISOs removed") {
		t.Error(out)
	}
	for _, dc := range []string{"DC1", "DC2"} {
		m.forget(dc, sums)
	}
	if out := m.lkv(exitOK, "gc", "--yes", "--isos", "--older-than", "100h"); !strings.Contains(out, "too young") || !strings.Contains(out, "kept: VM host-0") {
		t.Error(out)
	}
	if out := m.lkv(exitOK, "gc", "--isos", "--older-than", "1h", "--dry-run"); !strings.Contains(out, "2 ISOs would be removed") || !has("DC1", sums[1]) {
		t.Error(out)
	}
	var doc struct{ Removed, Kept []push.Found }
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "gc", "--yes", "--isos", "--older-than", "1h", "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Removed) != 2 || doc.Removed[0].SHA256 != sums[1] || len(doc.Kept) != 4 {
		t.Errorf("%+v", doc)
	}
	for _, dc := range []string{"DC1", "DC2"} {
		for i, sum := range sums {
			if has(dc, sum) != (i != 1) {
				t.Errorf("%s: release %d there %v", dc, i+1, has(dc, sum))
			}
		}
		if rest, err := filepath.Glob(filepath.Join(m.lab.DatastoreDir(dc, "iso-nfs"), "lkv", "host", sums[1]+"*")); err != nil || len(rest) > 0 {
			t.Errorf("%s: left %v %v", dc, rest, err)
		}
	}
	m.journals(5) // of three pushes, a run and a gc
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// forget takes the history out of a channel and makes ISOs a day old.
func (m *mission) forget(dc string, sums []string) {
	m.t.Helper()
	dir := filepath.Join(m.lab.DatastoreDir(dc, "iso-nfs"), "lkv", "host")
	path := filepath.Join(dir, "channels", "latest.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	var ch push.Channel
	if err := json.Unmarshal(raw, &ch); err != nil {
		m.t.Fatal(err)
	}
	ch.Previous = nil
	if raw, err = json.Marshal(ch); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		m.t.Fatal(err)
	}
	for _, sum := range sums {
		files, err := filepath.Glob(filepath.Join(dir, sum+"*"))
		if err != nil || len(files) == 0 {
			m.t.Fatalf("%s: %v %v", sum, files, err)
		}
		for _, f := range files {
			if err := os.Chtimes(f, time.Time{}, time.Now().Add(-24*time.Hour)); err != nil {
				m.t.Fatal(err)
			}
		}
	}
}
