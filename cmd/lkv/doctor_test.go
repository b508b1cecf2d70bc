package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
)

// doctor returns the checks that lkv doctor makes, and wants an exit code.
func (m *mission) doctor(want int) []diagnosis {
	m.t.Helper()
	before := m.mutations()
	var doc struct{ Checks []diagnosis }
	if err := json.Unmarshal([]byte(m.lkv(want, "doctor", "--json")), &doc); err != nil {
		m.t.Fatal(err)
	}
	if m.mutations() != before {
		m.t.Error("doctor changes something")
	}
	return doc.Checks
}

// only checks that exactly these checks are in a state, each beginning with check and state.
func only(t *testing.T, list []diagnosis, state string, want ...string) {
	t.Helper()
	var got []string
	for _, k := range list {
		if k.State == state {
			got = append(got, k.Check+" "+k.Object+" "+k.Code+": "+k.Text)
			if k.Remedy == "" {
				t.Errorf("no remedy: %+v", k)
			}
		}
	}
	ok := len(got) == len(want)
	for i := range want {
		ok = ok && strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("%s: got\n%s\nwant\n%s", state, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Before the first push the image is what is wrong; afterwards nothing is; and what breaks then is found.
func TestDoctor(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	list := m.doctor(exitError)
	only(t, list, wrong, "image docker R01: image host was never pushed to channel latest on store dc1")
	only(t, list, shaky, "guest docker/host-01 : is missing", "host-02", "host-03")
	if !slices.ContainsFunc(list, func(k diagnosis) bool { return k.Check == "image" && strings.Contains(k.Remedy, "lkv push") }) {
		t.Errorf("%+v", list)
	}
	m.release("1")
	list = m.doctor(exitOK)
	only(t, list, wrong)
	only(t, list, shaky, "guest docker/host-01 : is missing", "host-02", "host-03")
	m.lkv(exitOK, "reconcile")
	list = m.doctor(exitOK)
	only(t, list, wrong)
	only(t, list, shaky)
	seen := map[string]int{}
	for _, k := range list {
		seen[k.Check]++
	}
	for kind, n := range map[string]int{"connection": 1, "version": 1, "certificate": 1, "clock": 1, "store": 2, "image": 1, "placement": 2, "privileges": 2, "guest": 3} {
		if seen[kind] != n {
			t.Errorf("%s: %d checks, want %d: %+v", kind, seen[kind], n, list)
		}
	}
	if out := m.lkv(exitOK, "doctor"); !strings.Contains(out, "suffices for everything but lkv gc") || !strings.HasSuffix(out, "0 warn, 0 fail\n") {
		t.Errorf("doctor: %s", out)
	}

	m.write("lkv.hcl", strings.Replace(missionSpec, `"VM Network"`, `"VM Nowhere"`, 1))
	only(t, m.doctor(exitError), wrong, "placement docker/DC1/C1 : network", "placement docker/DC2/C1 : network")
	m.write("lkv.hcl", missionSpec)
	if err := m.lab.SetAccessible("DC2", "iso-nfs", false); err != nil {
		t.Fatal(err)
	}
	if list = m.doctor(exitError); !slices.ContainsFunc(list, func(k diagnosis) bool { return k.State == wrong && k.Check == "store" && k.Object == "dc2" }) {
		t.Errorf("a store that is gone: %+v", list)
	}
	m.env["LKV_VCENTER_PASSWORD"] = ""
	m.env["LKV_VCENTER_URL"] = "https://127.0.0.1:1/sdk"
	m.env["LKV_VCENTER_PASSWORD"] = "x"
	only(t, m.doctor(exitError), wrong, "connection https://127.0.0.1:1/sdk")
}
