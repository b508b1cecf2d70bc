package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
)

// What was done is printed although one store failed: as a table and as JSON, with the exit code of the failure.
func TestAFailedPushSaysWhatWasDone(t *testing.T) {
	m := newMission(t, lab.Paper{})
	dist := filepath.Join(m.dir, "dist")
	m.built("1")
	m.free("DC1", 60<<20)
	m.free("DC2", 60<<20)
	if out := m.lkv(exitRefused, "push", "--out", dist, "--json"); out != "" {
		t.Errorf("no store has anything: %s", out)
	}
	m.free("DC1", 1<<40)
	var doc pushed
	if err := json.Unmarshal([]byte(m.lkv(exitRefused, "push", "--out", dist, "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Pushed) != 1 || doc.Pushed[0].Store != "dc1" || doc.Pushed[0].How != push.Uploaded || doc.Pushed[0].BytesUploaded == 0 || len(doc.Moved) > 0 ||
		!strings.Contains(doc.Error, "push host to store dc2") {
		t.Errorf("%+v", doc)
	}
	if out := m.lkv(exitRefused, "push", "--out", dist); !strings.Contains(out, "host   dc1    present") || !strings.Contains(out, "channel latest not moved on every store") {
		t.Error(out)
	}
	m.free("DC2", 1<<40)
	doc = pushed{}
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "push", "--out", dist, "--json")), &doc); err != nil || len(doc.Pushed) != 2 || len(doc.Moved) != 1 || doc.Error != "" {
		t.Errorf("%v %+v", err, doc)
	}
}

// free sets the free bytes of a datacenter's datastore for ISOs.
func (m *mission) free(dc string, bytes int64) {
	m.t.Helper()
	if err := m.lab.SetFreeSpace(dc, "iso-nfs", bytes); err != nil {
		m.t.Fatal(err)
	}
}
