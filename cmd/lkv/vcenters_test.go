package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
)

// second starts another vCenter, and writes the spec so that the fleet's second VM is placed there.
func (m *mission) second() *lab.Lab {
	m.t.Helper()
	l, err := lab.Start(m.t.Context(), lab.Config{Dir: filepath.Join(m.dir, "south"), Driver: lab.Paper{}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			m.t.Error(err)
		}
	})
	spec := missionSpec
	for name, at := range map[string]*lab.Lab{"north": m.lab, "south": l} {
		user, password := at.Credentials()
		m.write(name+".password", password)
		spec += fmt.Sprintf("vcenter %q {\n  url = %q\n  username = %q\n  password = secret_file(%q)\n  ca_file = %q\n}\n",
			name, at.URL(), user, filepath.Join(m.dir, name+".password"), at.CAFile())
	}
	first, rest, _ := strings.Cut(spec, "datacenter = \"DC2\"") // the second store
	spec = strings.ReplaceAll(first, `datacenter = "DC1"`, `vcenter = "north"`+"\n  "+`datacenter = "DC1"`) +
		"vcenter = \"south\"\n  datacenter = \"DC1\"" +
		strings.ReplaceAll(strings.ReplaceAll(rest, `datacenter = "DC1"`, `vcenter = "north"`+"\n    "+`datacenter = "DC1"`),
			`datacenter = "DC2"`, `vcenter = "south"`+"\n    "+`datacenter = "DC1"`)
	m.write("lkv.hcl", spec)
	return l
}

func namesIn(l *lab.Lab) (names []string) {
	for _, v := range l.VMs() {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}

// One fleet in two vCenters, from the spec to the VMs.
func TestFleetOfTwoVCenters(t *testing.T) {
	m := newMission(t, lab.Paper{})
	south := m.second()
	m.release("1")
	m.lkv(exitOK, "reconcile")
	if a, b := namesIn(m.lab), namesIn(south); !slices.Equal(a, []string{"host-01", "host-03"}) || !slices.Equal(b, []string{"host-02"}) {
		t.Fatalf("north has %q, south has %q", a, b)
	}
	m.plan(exitOK)
	disks := m.disks()
	m.release("2")
	m.plan(exitPending)
	m.lkv(exitOK, "reconcile")
	for vm, disk := range m.disks() {
		if disks[vm] != disk {
			t.Errorf("%s had data disk %s, now %s", vm, disks[vm], disk)
		}
	}
	m.lkv(exitOK, "pause", "--fleet", "docker")
	m.plan(exitPending)
	m.lkv(exitOK, "resume", "--fleet", "docker")
	m.plan(exitOK)
	for _, l := range []*lab.Lab{m.lab, south} {
		if err := l.Invariants(); err != nil {
			t.Error(err)
		}
	}
}
