package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// A VM that is not wanted any more is a target as any other is: of two, the one that is named goes. What is no target is
// said with what is.
func TestTargets(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	m.write("lkv.hcl", strings.Replace(strings.Replace(missionSpec, "  ready {", shrinking, 1), "size  = 3", "size  = 1", 1))
	if got := m.plan(exitRefused).Fleets[0].Blocked; len(got) != 1 || got[0].Code != "R14" {
		t.Errorf("two at once: %+v", got)
	}
	if out := m.lkv(exitPending, "plan", "--target", "host-03"); !strings.Contains(out, "- host-03  retire") || strings.Contains(out, "host-02  retire") || !strings.Contains(out, "not among the targets") {
		t.Errorf("plan: %s", out)
	}
	if out := m.complaint(exitUsage, "plan", "--target", "host-3"); !strings.Contains(out, `did you mean host-03?`) || !strings.Contains(out, "host-01, host-02, host-03") {
		t.Errorf("a typing error: %s", out)
	}
	m.lkv(exitPending, "reconcile", "--target", "host-03")
	var retired string
	for _, v := range m.lab.VMs() {
		if strings.HasPrefix(v.Name, "host-03-retired-") {
			retired = v.Name
		}
	}
	before := m.mutations()
	if out := m.complaint(exitUsage, "reconcile", "--target", retired); !strings.Contains(out, "it is retired") || !strings.Contains(out, "lkv gc") {
		t.Errorf("a retired one: %s", out)
	}
	if out := m.complaint(exitUsage, "reconcile", "--target", "host-01", "--target", "host-09"); !strings.Contains(out, "--target host-09: the fleets have no such VM") {
		t.Errorf("one of two: %s", out)
	}
	if m.mutations() != before {
		t.Error("a run with a wrong target changed something")
	}
	m.lkv(exitOK, "reconcile") // the other one goes now
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

func TestLeaving(t *testing.T) {
	want := plan.Desired{Fleet: "f", VMs: []plan.WantVM{{Name: "f-1", Ordinal: 1}}}
	have := plan.Observed{VMs: []plan.VM{
		{Name: "f-2", Fleet: "f", Ordinal: 2}, {Name: "other", Fleet: "g"}, {Name: "stranger"},
		{Name: "f-3-retired", Fleet: "f", Ordinal: 3, Record: plan.Record{Retired: time.Unix(1, 0)}},
		{Name: "f-1-green", Fleet: "f", Ordinal: 1, Record: plan.Record{Replaces: "id"}},
		{Name: "f-4-green", Fleet: "f", Ordinal: 4, Record: plan.Record{Replaces: "id"}},
	}}
	why := map[string]string{}
	if diff := cmp.Diff([]string{"f-2"}, leaving(want, have, why)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(why) != 3 || !strings.Contains(why["f-4-green"], "lkv forget") || !strings.Contains(why["f-3-retired"], "lkv gc") || !strings.Contains(why["f-1-green"], "name that one") || !strings.Contains(why["f-1-green"], "f-1:") {
		t.Errorf("%q", why)
	}
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("v%02d", i))
	}
	if got := some(many); !strings.HasSuffix(got, "v09 and 2 more, which lkv status shows") || some([]string{"b", "a", "b"}) != "a, b" {
		t.Error(got)
	}
}
