package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// half returns a mission with two fleets, of which one needs a vCenter that is gone: docker is in both vCenters, other in
// one of them.
func half(t *testing.T) *mission {
	t.Helper()
	m := newMission(t, lab.Paper{})
	south := m.second()
	m.write("lkv.hcl", m.read("lkv.hcl")+strings.Replace(otherFleet, "    datacenter", "    vcenter = \"north\"\n    datacenter", 1))
	m.release("1")
	m.lkv(exitOK, "reconcile")
	m.write("lkv.hcl", strings.Replace(m.read("lkv.hcl"), "  name  = \"other-%02d\"", "  name  = \"other-%02d\"\n  vm {\n    cpus = 3\n  }", 1))
	if err := south.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// A vCenter that is gone refuses the fleets that need it, and them alone, in every command.
func TestOneVCenterIsGone(t *testing.T) {
	t.Parallel()
	m := half(t)
	if out := m.lkv(exitRefused, "resume", "--fleet", "docker", "--fleet", "other"); !strings.Contains(out, "R15") || !strings.Contains(out, "fleet other: nothing holds it up") {
		t.Errorf("resume: %s", out)
	}
	doc := m.plan(exitRefused)
	if len(doc.Fleets) != 2 || len(doc.Fleets[0].Blocked) != 1 || doc.Fleets[0].Blocked[0].Code != "R15" || !strings.Contains(doc.Fleets[0].Blocked[0].Reason, "vCenter south: connect to ") {
		t.Fatalf("plan: %+v", doc)
	}
	if f := doc.Fleets[1]; f.Name != "other" || len(f.Waves) != 1 || f.Image != "host" {
		t.Errorf("plan of the fleet that needs it not: %+v", f)
	}
	out := m.lkv(exitRefused, "reconcile")
	if !strings.Contains(out, "fleet docker: refused") || !strings.Contains(out, "R15") || !strings.Contains(out, "fleet other: converged") {
		t.Errorf("reconcile: %s", out)
	}
	if out := m.lkv(exitRefused, "reconcile", "--json"); !strings.Contains(out, `"failures":[]`) || strings.Contains(out, "null") {
		t.Errorf("reconcile --json: %s", out)
	}
	var st statusDoc
	if err := json.Unmarshal([]byte(m.lkv(exitRefused, "status", "--json")), &st); err != nil {
		t.Fatal(err)
	}
	if c := st.Fleets[0].Conditions; len(st.Fleets) != 2 || c[len(c)-1].Code != plan.R15 || len(st.Fleets[1].Conditions) != 0 {
		t.Errorf("status: %+v", st.Fleets)
	}
	var disks inventory
	if err := json.Unmarshal([]byte(m.lkv(exitRefused, "disks", "list", "--json")), &disks); err != nil {
		t.Fatal(err)
	}
	if len(disks.Disks) < 2 || len(disks.Unread) != 1 || !strings.Contains(disks.Unread[0], "fleet docker: ") {
		t.Errorf("disks list: %+v", disks)
	}
	path := disks.Disks[0].Path
	if out := m.complaint(exitRefused, "disks", "delete", "--path", path, "--yes-delete", path); !strings.Contains(out, "R15: somebody may use the disk") {
		t.Errorf("disks delete: %s", out)
	}
	if out := m.complaint(exitRefused, "disks", "attach", "--vm", "nobody", "--disk", "docker"); !strings.Contains(out, "R15: there is no session with vCenter south") {
		t.Errorf("disks attach: %s", out)
	}
	if out := m.lkv(exitRefused, "gc", "--vms", "--yes"); !strings.Contains(out, "R15") {
		t.Errorf("gc: %s", out)
	}
	if out := m.complaint(exitRefused, "plan", "--target", "nobody"); !strings.Contains(out, "R15: there is no session with vCenter south") {
		t.Errorf("a target that may be there: %s", out)
	}
	m.lkv(exitRefused, "plan", "--target", "other-01")
	m.lkv(exitUsage, "plan", "--fleet", "other", "--target", "nobody")
	m.lkv(exitOK, "status", "--fleet", "other")
	w := m.watch("--interval", "1h", "--listen", "127.0.0.1:0")
	if r := w.next(reconcile.Refused); r.Fleet != "docker" || r.Blocked[0].Code != plan.R15 {
		t.Errorf("the daemon: %+v", r)
	}
	if r := <-w.results; r.Fleet != "other" {
		t.Errorf("the daemon: %+v", r)
	}
	w.get("/readyz", 503, "fleet docker: R15: there is no session with vCenter south")
	w.end(interrupted{syscall.SIGTERM})
	if code := <-w.code; code != 143 {
		t.Errorf("exit code %d", code)
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// A password that is refused is not tried again at once, neither by the same look nor by the next ones.
func TestAbsences(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a, why := &absences{every: func() time.Duration { return time.Minute }}, errors.New("user name or password is wrong")
	if a.of("x", now) != nil {
		t.Error("unknown is not absent")
	}
	for i, quiet := range []time.Duration{30 * time.Second, 90 * time.Second, 210 * time.Second, 210 * time.Second} {
		a.note("x", why, now)
		if err := a.of("x", now.Add(quiet-1)); !errors.Is(err, why) {
			t.Errorf("failure %d: asked again too soon: %v", i+1, err)
		}
		if a.of("y", now) != nil {
			t.Error("another one is absent")
		}
		if now = now.Add(quiet); a.of("x", now) != nil {
			t.Errorf("failure %d: not asked again", i+1)
		}
	}
	a.note("x", why, now)
	a.forget()
	if a.of("x", now) != nil {
		t.Error("SIGHUP asks at once")
	}
	a.note("x", why, now)
	a.note("x", nil, now)
	if a.of("x", now) != nil || (*absences)(nil).of("x", now) != nil {
		t.Error("it is there again")
	}
	(*absences)(nil).note("x", why, now)
}

func TestRefusalOf(t *testing.T) {
	for name, err := range map[string]error{" south": &unanswered{"south", errors.New("away")}, "": fmt.Errorf("fleet f: %w", &unanswered{"", errors.New("away")})} {
		var b plan.Blocked
		if !errors.As(refusalOf(err), &b) || b.Code != plan.R15 || b.Reason != "there is no session with vCenter"+name+": away" {
			t.Errorf("%v: %+v", err, b)
		}
	}
	if err := errors.New("x"); !errors.Is(refusalOf(err), err) || refusalOf(nil) != nil {
		t.Error("another error is changed")
	}
}
