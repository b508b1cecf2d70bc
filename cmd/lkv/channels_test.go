package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
)

// Two releases are pushed, the first one is promoted, and every channel shows where it stands.
func TestPromoteAndChannels(t *testing.T) {
	m := newMission(t, lab.Paper{})
	dist := filepath.Join(m.dir, "dist")
	var sums []string
	for _, release := range []string{"1", "2"} {
		m.write("host.yml", strings.Replace(missionYAML, "RELEASE", release, 1))
		m.lkv(exitOK, "build", "--offline", "--out", dist)
		var doc struct{ Pushed []push.Result }
		if err := json.Unmarshal([]byte(m.lkv(exitOK, "push", "--out", dist, "--json")), &doc); err != nil || len(doc.Pushed) != 2 || doc.Pushed[0].Verified == "" {
			t.Fatalf("%v %+v", err, doc)
		}
		sums = append(sums, doc.Pushed[0].SHA256)
	}
	out := m.lkv(exitOK, "promote", "--store", "dc1", "host@sha256:"+sums[0], "stable")
	if !strings.Contains(out, "channel stable of image host stands at "+sums[0][:12]+" on dc1") {
		t.Error(out)
	}
	if out = m.lkv(exitOK, "channels"); !strings.Contains(out, "stores disagree: channel stable of image host is not the same on all stores; not on dc2") {
		t.Error(out)
	}
	m.lkv(exitOK, "promote", "--json", "host@sha256:"+sums[0], "stable")
	var doc struct {
		Channels []push.Position
		Disagree []push.Disagreement
	}
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "channels", "--json")), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Channels) != 4 || len(doc.Disagree) > 0 || doc.Channels[1].Digest != sums[1] || doc.Channels[1].Previous[0].Digest != sums[0] || doc.Channels[3].Digest != sums[0] {
		t.Errorf("%+v", doc)
	}
	m.lkv(exitError, "promote", "host@sha256:"+strings.Repeat("0", 64), "stable")
	for _, args := range [][]string{
		{"promote"}, {"promote", "host", "stable"}, {"promote", "host@sha256:12", "stable"}, {"promote", "hots@sha256:" + sums[0], "stable"},
		{"promote", "host@sha256:" + sums[0], "stable", "--store", "dc1"}, {"channels", "--image", "no"}, {"gc", "--older-than", "-1s", "--vms"}, {"gc", "--isos", "--older-than", "1m"},
		{"push", "--out", dist, "--verify", "much"}, {"push", "--out", dist, "--reserve", "-1"}, {"push", "--out", dist, "--reserve", "lots"},
	} {
		m.lkv(exitUsage, args...)
	}
}

func TestPrintCleaned(t *testing.T) {
	var out bytes.Buffer
	s := system{Stdout: &out, Now: time.Now}
	removed := []push.Found{{Image: "host", Store: "dc1", SHA256: strings.Repeat("a", 64), Bytes: 3 << 20}}
	kept := []push.Found{{Image: "host", Store: "dc1", SHA256: strings.Repeat("b", 64), Bytes: 10, Why: "VM web-1"}}
	if err := s.printCleaned(false, gcDoc{DryRun: true, Removed: removed, Kept: kept}); err != nil {
		t.Fatal(err)
	}
	want := `IMAGE  STORE  ISO           SIZE     WHAT
host   dc1    aaaaaaaaaaaa  3.0 MiB  would be removed
host   dc1    bbbbbbbbbbbb  10 B     kept: VM web-1
1 ISOs would be removed (3.0 MiB), 1 kept
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
	out.Reset()
	if err := s.printCleaned(true, gcDoc{Removed: []push.Found{}}); err != nil || !strings.Contains(out.String(), `"removed": []`) {
		t.Errorf("%v %s", err, out.String())
	}
}
