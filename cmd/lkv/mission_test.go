package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
)

// runInterrupted runs lkv and interrupts it as soon as it has printed something.
func runInterrupted(t *testing.T, sig string, s system) int {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	number := map[string]syscall.Signal{"interrupt": syscall.SIGINT, "terminate": syscall.SIGTERM}[sig]
	s.Stdout = &trigger{w: s.Stdout, do: func() { cancel(interrupted{number}) }}
	s.Now, s.Env = time.Now, map[string]string{}
	return run(ctx, s)
}

type trigger struct {
	w  interface{ Write([]byte) (int, error) }
	do func()
}

func (t *trigger) Write(b []byte) (int, error) {
	t.do()
	return t.w.Write(b)
}

// mission is a directory with a spec, a cache and a lab of paper VMs.
type mission struct {
	t   *testing.T
	dir string
	lab *lab.Lab
	env map[string]string
	num counter
}

const missionSpec = `
variable "release" {
  default = "1"
}
image "host" {
  linuxkit = ["host.yml"]
  boot     = ["bios"]
  persist "/var/lib/docker" {
    label = "docker"
  }
}
store "dc1" {
  datacenter = "DC1"
  datastore  = "iso-nfs"
}
store "dc2" {
  datacenter = "DC2"
  datastore  = "iso-nfs"
}
fleet "docker" {
  image = "host"
  size  = 3
  name  = "host-%02d"
  placement {
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm-*"
  }
  placement {
    datacenter = "DC2"
    cluster    = "C1"
    datastore  = "vm-*"
  }
  vm {
    cpus   = 1
    memory = "1GiB"
    network "VM Network" {}
  }
  disk "docker" {
    size  = "64MiB"
    mount = "/var/lib/docker"
  }
  ready {
    timeout = "1m"
  }
}
`

const missionYAML = `kernel:
  image: lkv/kernel:1
  cmdline: console=ttyS0
init:
  - lkv/init:1
files:
  - path: etc/release
    contents: "RELEASE"
`

func newMission(t *testing.T, guests lab.Paper) *mission {
	t.Helper()
	m := &mission{t: t, dir: t.TempDir()}
	if err := fillCache(filepath.Join(m.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	m.write("lkv.hcl", missionSpec)
	m.write("host.yml", missionYAML)
	var err error
	if m.lab, err = lab.Start(t.Context(), lab.Config{Dir: filepath.Join(m.dir, "lab"), Driver: guests}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.lab.Close(); err != nil {
			t.Error(err)
		}
	})
	m.env = m.lab.Env()
	m.env["LKV_CACHE"] = filepath.Join(m.dir, "cache")
	return m
}

func (m *mission) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mission) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// lkv runs one command line in this process and wants an exit code. It returns standard output.
func (m *mission) lkv(want int, args ...string) string {
	m.t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"lkv", "-f", filepath.Join(m.dir, "lkv.hcl"), "--progress", "plain"}, args...)
	got := run(m.t.Context(), system{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Env: m.env, Now: time.Now,
		Rand: &m.num, Version: "test", Host: "here",
	})
	if got != want {
		m.t.Fatalf("lkv %s: exit code %d, want %d\n%s%s", strings.Join(args[5:], " "), got, want, &out, &errs)
	}
	if strings.Contains(out.String()+errs.String(), m.env["LKV_VCENTER_PASSWORD"]+"\n") {
		m.t.Errorf("lkv %s prints the password", args[5:])
	}
	return out.String()
}

// counter is a source of numbers that never repeat.
type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

func (m *mission) plan(want int) ui.PlanDoc {
	m.t.Helper()
	var doc ui.PlanDoc
	if err := json.Unmarshal([]byte(m.lkv(want, "plan", "--json")), &doc); err != nil {
		m.t.Fatal(err)
	}
	if doc.DestructiveOps != 0 {
		m.t.Errorf("destructive ops: %d", doc.DestructiveOps)
	}
	return doc
}

// mutations counts the calls to the lab that change something.
func (m *mission) mutations() int { return len(m.lab.Journal()) }

// The main job through the command line: build, push, create, nothing to do; build another, push, roll, nothing to do.
// The data disks stay the same and plans change nothing.
func TestMission(t *testing.T) {
	m := newMission(t, lab.Paper{})
	dist := filepath.Join(m.dir, "dist")
	if blocked := m.plan(exitRefused).Fleets[0].Blocked; len(blocked) != 1 || blocked[0].Code != "R01" || !strings.Contains(blocked[0].Clear, "lkv push") {
		t.Errorf("before the first push: %+v", blocked)
	}
	m.lkv(exitRefused, "reconcile")
	m.lkv(exitError, "push", "--out", dist)
	m.lkv(exitOK, "build", "--offline", "--out", dist)
	m.lkv(exitOK, "push", "--out", dist)
	if again := m.lkv(exitOK, "push", "--out", dist, "--json"); strings.Count(again, `"how": "present"`) != 2 {
		t.Errorf("second push: %s", again)
	}
	before := m.mutations()
	planned := m.plan(exitPending)
	if len(planned.Fleets) != 1 || planned.ChangingSteps == 0 || planned.MutatingCalls != planned.ChangingSteps+2*3 { // two more for each disk
		t.Errorf("plan: %+v", planned)
	}
	if after := m.mutations(); after != before {
		t.Errorf("plan made %d mutating calls", after-before)
	}
	m.counts(planned)
	m.plan(exitOK)
	disks := m.disks()
	if len(disks) != 3 {
		t.Fatalf("data disks: %v", disks)
	}

	m.write("host.yml", strings.Replace(missionYAML, "RELEASE", "2", 1))
	m.lkv(exitOK, "build", "--offline", "--out", dist)
	m.lkv(exitOK, "push", "--out", dist)
	m.plan(exitPending)
	m.lkv(exitPending, "reconcile", "--max-steps", "3")
	if doc := m.plan(exitPending); doc.Fleets[0].Waves[0].Rolls[0].Action != "finish" {
		t.Errorf("after a run that stopped: %+v", doc.Fleets[0].Waves[0])
	}
	m.held(func() { m.lkv(exitRefused, "reconcile") })
	m.counts(m.plan(exitPending))
	before = m.mutations()
	m.lkv(exitOK, "reconcile")
	if after := m.mutations(); after != before {
		t.Errorf("nothing to do took %d mutating calls", after-before)
	}
	for vm, disk := range m.disks() {
		if disks[vm] != disk {
			t.Errorf("%s had data disk %s, now %s", vm, disks[vm], disk)
		}
	}
	m.journals(5) // of two pushes and the runs that created, stopped and rolled
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// counts reconciles and wants as many calls and steps as the plan said, by the run's own words and by the lab's.
func (m *mission) counts(planned ui.PlanDoc) {
	m.t.Helper()
	before := m.mutations()
	last := lastLine(m.lkv(exitOK, "reconcile", "--json"))
	var res reconcile.Result
	if err := json.Unmarshal([]byte(last), &res); err != nil || res.Outcome != reconcile.Converged {
		m.t.Fatalf("last line of reconcile --json: %v: %s", err, last)
	}
	if sent := m.mutations() - before; sent != planned.MutatingCalls || res.Calls != sent || res.Mutations != planned.ChangingSteps {
		m.t.Errorf("%d calls in %d steps were planned; the run says %d in %d, the lab saw %d", planned.MutatingCalls, planned.ChangingSteps, res.Calls, res.Mutations, sent)
	}
}

// disks returns each VM's data disk as status shows it; every VM must be ready.
func (m *mission) disks() map[string]string {
	m.t.Helper()
	var doc struct{ VMs []vmStatus }
	if err := json.Unmarshal([]byte(m.lkv(exitOK, "status", "--json")), &doc); err != nil {
		m.t.Fatal(err)
	}
	all := map[string]string{}
	for _, v := range doc.VMs {
		if !v.Ready || len(v.Disks) != 1 {
			m.t.Errorf("status: %+v", v)
		}
		all[v.VM] = strings.Join(v.Disks, " ")
	}
	return all
}

// held runs do while somebody else holds the identity of the spec.
func (m *mission) held(do func()) {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, "cache", "identities", "*"))
	if err != nil || len(found) != 1 {
		m.t.Fatalf("identities: %v, %v", found, err)
	}
	f, err := os.Open(found[0])
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	if err := (&identity{f: f}).lock(); err != nil {
		m.t.Fatal(err)
	}
	do()
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
