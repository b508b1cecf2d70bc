package vsphere_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// errand is one process under a journal, with a session and memory of its own.
type errand struct {
	command string
	ahead   time.Duration
	do      func(c *vsphere.Client, f *vsphere.Fleet, clock late) error
}

// noted runs an errand, checks what it wrote down, and tells how many calls it made.
func (s *stage) noted(e errand, d plan.Desired) int {
	s.Helper()
	cfg := s.config()
	sent := 0
	cfg.Trace = func(_ string, mutating bool) {
		if mutating {
			sent++
		}
	}
	c, err := vsphere.Connect(s.Context(), cfg)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close(context.Background())
	clock := late{e.ahead}
	file := filepath.Join(s.TempDir(), "run.jsonl")
	w, err := journal.Create(file, journal.Head{Version: "test", Command: e.command, Run: "1"}, clock.Now)
	if err != nil {
		s.Fatal(err)
	}
	about := journal.Fleet{Name: d.Fleet, Claimer: d.Claimer, MaxUnavailable: d.Rollout.MaxUnavailable, Surge: d.Rollout.Surge}
	for _, v := range d.VMs {
		about.VMs = append(about.VMs, v.Name)
	}
	f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: clock.Now, AllFiles: true})
	if err := f.Journal(w, about); err != nil {
		s.Fatal(err)
	}
	if err := e.do(c, f, clock); err != nil {
		s.Errorf("%s of %s: %v", e.command, d.Fleet, err)
	}
	if err := w.Close(); err != nil {
		s.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		s.Fatal(err)
	}
	rep, err := journal.Verify(bytes.NewReader(raw))
	if err != nil {
		s.Fatal(err)
	}
	s.clean(d.Fleet+": "+e.command, rep, raw)
	if rep.Calls != sent {
		s.Errorf("%s of %s: %d calls in the journal, %d were sent", e.command, d.Fleet, rep.Calls, sent)
	}
	if sent > 0 && slices.Contains([]string{"pause", "forget", "adopt", "delete"}, e.command) {
		s.doctorable(e.command, raw)
	}
	return sent
}

// decided is an errand that a person asked for.
func (s *stage) decided(command string, d plan.Desired, decide func(plan.Desired, plan.Observed, time.Time) plan.Request) errand {
	return errand{command, 2 * time.Hour, func(_ *vsphere.Client, f *vsphere.Fleet, clock late) error {
		res, err := reconcile.Act(s.Context(), reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: clock}, decide)
		if err == nil && len(res.Failures)+len(res.Blocked) > 0 {
			err = fmt.Errorf("%+v", res)
		}
		return err
	}}
}

// through makes a fleet, changes it as the strategy says, run after run, and checks every run's journal.
func (s *stage) through(st strategy) {
	s.Helper()
	d := s.fleet(st.name, st.size)
	s.settle(strategy{}, d, nil)
	if st.begin != nil {
		st.begin(s, d)
	}
	d, command := st.want(s, d), "reconcile"
	if st.act != nil {
		command = "gc"
	}
	total := 0
	for i := range 12 {
		d.Claimer = fmt.Sprintf("run-%d", i+1)
		sent := s.noted(errand{command, time.Duration(i)*10*time.Minute + 2*time.Hour, func(_ *vsphere.Client, f *vsphere.Fleet, clock late) error {
			o := reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: clock, Poll: 20 * time.Millisecond,
				Drainer: reconcile.DrainCommand{Command: hook.Command{Argv: []string{s.script}, Env: os.Environ()}, Image: d.Image.Digest, Clock: clock}}
			if st.act != nil {
				_, err := reconcile.Act(s.Context(), o, st.act)
				return err
			}
			_, err := reconcile.Run(s.Context(), o)
			return err
		}}, d)
		if total += sent; sent == 0 {
			break
		}
	}
	if total == 0 {
		s.Errorf("%s: nothing was done", st.name)
	}
}

// Whatever a fleet goes through, what its runs write down verifies, and holds every call.
func TestJournalOfEveryStrategy(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, st := range strategies() {
		if slices.Contains([]string{"canary", "aged", "resize"}, st.name) {
			continue // the same calls as in-place
		}
		t.Run(st.name, func(t *testing.T) {
			t.Parallel()
			s.through(st)
		})
	}
}

// What people do beside rollouts verifies, too: each may do what no other command may.
func TestJournalOfPeople(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d := s.fleet("people", 2)
	s.settle(strategy{}, d, nil)
	first := d.VMs[0].Name
	for _, e := range []errand{
		s.decided("pause", d, func(w plan.Desired, o plan.Observed, _ time.Time) plan.Request { return plan.Halt(w, o) }),
		s.decided("resume", d, func(w plan.Desired, o plan.Observed, now time.Time) plan.Request {
			r := plan.Resume(w, o, now)
			return plan.Request{Rolls: r.Rolls, Blocked: r.Blocked}
		}),
		s.decided("forget", d, func(w plan.Desired, o plan.Observed, now time.Time) plan.Request {
			return plan.ForgetVM(w, o, first, now)
		}),
		s.decided("adopt", d, func(w plan.Desired, o plan.Observed, _ time.Time) plan.Request {
			i := slices.IndexFunc(o.VMs, func(v plan.VM) bool { return v.Name == first })
			return plan.AdoptVM(w, o, plan.Adoption{VM: first, Ordinal: 1, Disks: map[string]string{"docker": o.VMs[i].Disks[0].Path}})
		}),
	} {
		if sent := s.noted(e, d); sent == 0 {
			t.Errorf("%s did nothing", e.command)
		}
	}

	// A disk that somebody took off a VM is put back, as lkv disks attach does.
	if err := s.lab.CutPower(first); err != nil {
		t.Fatal(err)
	}
	s.admin("DC1").detach(first)
	s.noted(s.decided("attach", d, func(w plan.Desired, o plan.Observed, now time.Time) plan.Request {
		i := slices.IndexFunc(o.VMs, func(v plan.VM) bool { return v.Name == first })
		v := o.VMs[i]
		claim := plan.Claim{Owner: w.Claimer, Epoch: v.Record.Epoch + 1, Started: now, TTL: w.TTL, Expires: now.Add(w.TTL)}
		attach, release := plan.AttachDisk{Disk: v.Record.Disks[0]}, plan.Release{}
		claim.Name, attach.Name, release.Name = v.Name, v.Name, v.Name
		return plan.Request{Rolls: []plan.Roll{{VM: first, Action: plan.GoOn, Steps: []plan.Step{claim, attach, release}}}}
	}), d)

	// The VM goes, its disk is an orphan, and lkv disks delete deletes it.
	disk := s.observe(d).VMs[0].Disks[0].Path
	a := s.admin("DC1")
	a.detach(first)
	a.must(a.vm(first).Destroy(t.Context()))
	s.noted(errand{"delete", 2 * time.Hour, func(c *vsphere.Client, _ *vsphere.Fleet, _ late) error {
		if err := c.DeleteDataDisk(t.Context(), "DC1", disk); err != nil {
			return err
		}
		freed, err := c.FreePlace(t.Context(), "DC1", disk)
		if err == nil && freed.Marker == "" {
			err = fmt.Errorf("the place is not free: %+v", freed)
		}
		return err
	}}, d)
}

// A fleet in two vCenters has one journal, in which its VMs count together.
func TestJournalOfSeveralVCenters(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	d := p.desired(4, "iso v1")
	p.run(d)
	next := p.desired(4, "iso v2")
	p.many = p.fresh()
	file := filepath.Join(t.TempDir(), "run.jsonl")
	w, err := journal.Create(file, journal.Head{Version: "test", Command: "reconcile", Run: "1"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	about := journal.Fleet{Name: d.Fleet, Claimer: d.Claimer, MaxUnavailable: 1}
	for _, v := range d.VMs {
		about.VMs = append(about.VMs, v.Name)
	}
	if err := p.many.Journal(w, about); err != nil {
		t.Fatal(err)
	}
	if res := p.run(next); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := journal.Verify(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	p.north.clean("two vCenters", rep, raw)
	p.north.doctorable("many", raw)
	for _, i := range rep.Invariants {
		if i.Code == "A1" && i.Checked == 0 {
			t.Error("A1 was not looked at")
		}
	}
}
