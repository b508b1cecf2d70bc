package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
)

// What commands say of a fleet that serves and is to change: status and plan count alike, and plan says that suspend
// holds it up.
func TestStatusAndPlanSayTheSame(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	see := func(planned ui.PlanDoc) (doc statusDoc) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.lkv(exitOK, "status", "--json")), &doc); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(planned.Fleets[0].Same, doc.Fleets[0].Same); diff != "" {
			t.Errorf("as wanted (-plan +status):\n%s", diff)
		}
		return doc
	}
	see(m.plan(exitOK))
	if out := m.lkv(exitOK, "status"); !strings.Contains(out, "fleet docker: 3 of 3 as wanted") || strings.Contains(out, "outdated") {
		t.Errorf("nothing to do: %s", out)
	}
	m.write("lkv.hcl", strings.Replace(missionSpec, `memory = "1GiB"`, `memory = "2GiB"`, 1))
	doc := see(m.plan(exitPending))
	for _, v := range doc.VMs {
		if c := v.Conditions[len(v.Conditions)-1]; !v.Ready || c.Type != "outdated" || !strings.Contains(c.Text, "2048") {
			t.Errorf("%s is to be resized: %+v", v.VM, v)
		}
	}
	if out := m.lkv(exitOK, "status"); !strings.Contains(out, "ready; outdated: ") || !strings.Contains(out, "fleet docker: 0 of 3 as wanted") {
		t.Errorf("three to resize: %s", out)
	}

	m.write("lkv.hcl", m.read("lkv.hcl")+"reconcile {\n  suspend = true\n}\n")
	f := m.plan(exitPending).Fleets[0]
	if len(f.Waves) == 0 || len(f.Blocked) != 1 || f.Blocked[0].Code != "R13" || !strings.Contains(f.Blocked[0].Reason, "suspended by ") || !strings.Contains(f.Blocked[0].Clear, "suspend = true") {
		t.Errorf("plan while suspended: %+v", f)
	}
	before := m.mutations()
	m.lkv(exitPending, "reconcile")
	if m.mutations() != before {
		t.Error("a suspended fleet was changed")
	}
}

// What people get wrong by hand is said as what it is.
func TestWrongByHand(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	if out := m.complaint(exitUsage, "adopt", "--vm", "nope", "--fleet", "docker", "--ordinal", "1"); !strings.Contains(out, "--vm nope: the vCenters of fleet docker show no such VM") {
		t.Errorf("adopt: %s", out)
	}
	if out := m.lkv(exitOK, "disks", "attach", "--vm", "host-01", "--disk", "docker"); !strings.Contains(out, "disk docker of host-01 is attached already") {
		t.Errorf("disks attach: %s", out)
	}
	if out := m.lkv(exitOK, "gc", "--vms", "--yes"); out != "no VM is retired\n" {
		t.Errorf("gc --vms: %s", out)
	}
	m.write("lkv.hcl", missionSpec+otherFleet)
	m.lkv(exitOK, "reconcile", "--fleet", "other")
	disks := func(args ...string) (doc inventory) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.lkv(exitOK, append([]string{"disks", "list", "--json"}, args...)...)), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	if all, one := disks().Disks, disks("--fleet", "other").Disks; len(all) != 4 || len(one) != 1 || one[0].Fleet != "other" {
		t.Errorf("disks list: %+v, of one fleet %+v", all, one)
	}
	m.lkv(exitUsage, "disks", "list", "--fleet", "nobody")
	i := slices.IndexFunc(disks().Disks, func(d diskStatus) bool { return d.Fleet == "other" })
	path := disks().Disks[i].Path
	if out := m.complaint(exitRefused, "disks", "delete", "--path", path, "--yes-delete", path); !strings.Contains(out, "is no orphan: it is attached to other-01") {
		t.Errorf("disks delete: %s", out)
	}
}

// SIGTERM while vCenter does not answer is an interruption: nothing is refused, and nobody is told to remove a cause.
func TestInterruptedLookIsNoRefusal(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	for _, args := range [][]string{{"reconcile"}, {"plan"}, {"status"}, {"reconcile", "--watch"}} {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancelCause(t.Context())
		go func() {
			if conn, err := silent.Accept(); err == nil {
				end(interrupted{syscall.SIGTERM})
				<-ctx.Done()
				defer conn.Close()
			}
		}()
		var out bytes.Buffer
		s := m.here(&out, args...)
		s.Env = join(m.env, map[string]string{"LKV_VCENTER_URL": "https://" + silent.Addr().String()})
		if code := run(ctx, s); code != 143 || strings.Contains(out.String(), "R15") || strings.Contains(out.String(), "cause") {
			t.Errorf("%v: exit code %d\n%s", args, code, &out)
		}
		end(nil)
		silent.Close()
	}
}

// A run that fails names what lets the fleet go again, and only after a failure that stands in a record.
func TestFailedRunSaysWhatToDo(t *testing.T) {
	var out bytes.Buffer
	r := reconcile.Result{Fleet: "f", Outcome: reconcile.Broken, Failures: []reconcile.Failure{
		{VM: "f-1", Step: "drain", Why: "the hook failed"}, {VM: "f-2", Step: "await ready", Why: "not ready", Recorded: true, Clear: "look at f-2, then lkv resume --fleet f"}}}
	s := system{Stdout: &out}
	if err := s.printResult(cli.NewContext(cli.NewApp(), flag.NewFlagSet("x", flag.ContinueOnError), nil), r); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "f-1  failed at drain: the hook failed\n") || strings.Count(got, "to go on") != 1 || !strings.Contains(got, "      to go on: look at f-2, then lkv resume --fleet f\n") {
		t.Error(got)
	}
}
