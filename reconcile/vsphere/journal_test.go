package vsphere_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// journaled begins a journal of the fleet, and returns what ends it and checks the file.
func (r *rig) journaled(d plan.Desired) (done func() (journal.Report, []byte)) {
	r.Helper()
	return r.journaledBy("reconcile", d)
}

// journaledBy does the same for another command.
func (r *rig) journaledBy(command string, d plan.Desired) (done func() (journal.Report, []byte)) {
	r.Helper()
	path := filepath.Join(r.TempDir(), "run.jsonl")
	w, err := journal.Create(path, journal.Head{Version: "test", Command: command, Run: "1"}, time.Now)
	if err != nil {
		r.Fatal(err)
	}
	about := journal.Fleet{Name: d.Fleet, Claimer: d.Claimer, MaxUnavailable: d.Rollout.MaxUnavailable, Surge: d.Rollout.Surge}
	about.Desired = fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, d)))
	for _, v := range d.VMs {
		about.VMs = append(about.VMs, v.Name)
	}
	if err := r.fleet.Journal(w, about); err != nil {
		r.Fatal(err)
	}
	return func() (journal.Report, []byte) {
		r.Helper()
		if err := w.Close(); err != nil {
			r.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			r.Fatal(err)
		}
		rep, err := journal.Verify(bytes.NewReader(raw))
		if err != nil {
			r.Fatal(err)
		}
		return rep, raw
	}
}

// clean checks that a journal shows what it should of a run that did things, and nothing wrong.
func (r *rig) clean(what string, rep journal.Report, raw []byte) {
	r.Helper()
	if !rep.OK() {
		r.Errorf("%s: broken %q, closed %v, unfinished %v\n%s", what, rep.Broken, rep.Closed, rep.Unfinished, raw)
	}
	for _, i := range rep.Invariants {
		if i.State == journal.Violated {
			r.Errorf("%s: %s: %v", what, i.Code, i.Found)
		}
	}
}

// doctorable keeps a journal for the tests of the verifier, which doctor it, when goldens are written anew.
func (r *rig) doctorable(name string, raw []byte) {
	r.Helper()
	if !golden.Update() {
		return
	}
	if err := os.WriteFile(filepath.Join("../journal/testdata", name+".jsonl"), raw, 0o644); err != nil { //nolint:gosec // it goes into the repository
		r.Fatal(err)
	}
}

// What a hand-over and a scale-in write verifies, and what the removal of the VMs does that they retired.
func TestJournalOfAReplacement(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(2, r.image("iso v1"))
	d.VMs[1].Place = d.VMs[0].Place // where gc still looks when it is not wanted any more
	r.run(d)
	d.Image, d.VMs = r.image("iso v2"), d.VMs[:1]
	d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge, d.Rollout.ScaleIn = plan.BlueGreen, plan.HandOver, 1, 1
	done := r.journaled(d)
	if res := r.run(d); res.Outcome != reconcile.Converged || len(res.Retired) != 2 {
		t.Fatalf("replace: %+v", res)
	}
	rep, raw := done()
	r.clean("replace", rep, raw)
	r.doctorable("handover", raw)
	done = r.journaledBy("gc", d)
	res, err := reconcile.Act(t.Context(), reconcile.Options{Desired: d, Observer: r.fleet, Executor: r.fleet, Clock: wall{}}, func(w plan.Desired, o plan.Observed, now time.Time) plan.Request {
		return plan.Collect(w, o, now, 0)
	})
	if err != nil || len(res.Cleared) != 2 {
		t.Fatalf("gc: %v, %+v", err, res)
	}
	rep, raw = done()
	r.clean("gc", rep, raw)
	r.doctorable("gc", raw)
}

// What a real run writes verifies, call for call, and shows the disks before and after.
func TestJournalOfARun(t *testing.T) {
	r := newRig(t, lab.Config{})
	v1, v2 := r.image("iso v1"), r.image("iso v2")
	d := desired(2, v1)
	for _, c := range []struct {
		what string
		im   plan.Image
	}{{"create", v1}, {"nothing", v1}, {"roll", v2}} {
		d.Image = c.im
		r.mutations()
		done := r.journaled(d)
		if res := r.run(d); res.Outcome != reconcile.Converged {
			t.Fatalf("%s: %+v", c.what, res)
		}
		rep, raw := done()
		r.clean(c.what, rep, raw)
		sent := r.mutations()
		if rep.Calls != len(sent) {
			t.Errorf("%s: %d calls in the journal, %d were sent: %v", c.what, rep.Calls, len(sent), sent)
		}
		if c.what != "nothing" {
			r.doctorable(c.what, raw)
		}
		if c.what != "roll" {
			continue
		}
		for _, i := range rep.Invariants {
			if i.State == journal.Holds && i.Checked == 0 && slices.Contains([]string{"D1", "D4", "D5", "D6", "D8", "A1", "A4", "A6", "A9", "A13"}, i.Code) {
				t.Errorf("%s was not looked at", i.Code)
			}
		}
	}
}

// Whatever happens to a call, the journal shows no more than what it was: a call that failed, or one whose end nobody
// knows. No rule is violated, by the run that was hit or by the next one.
func TestJournalOfRunsThatAreHit(t *testing.T) {
	r := newRig(t, lab.Config{Driver: lab.Paper{BootDelay: time.Millisecond}})
	images := []plan.Image{r.image("iso v1"), r.image("iso v2")}
	d := desired(1, images[0])
	done := r.journaled(d)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("create: %+v", res)
	}
	rep, raw := done()
	r.clean("create", rep, raw)
	faults := []lab.Fault{lab.Refuse, lab.Drop, lab.LoseReply, lab.FailTask, lab.ExpireAll}
	for k, shift := 1, 0; shift < 2; k++ {
		d.Image = images[(k+shift)%2]
		calls := 0
		r.lab.OnCall(func(lab.Call) lab.Fault {
			if calls++; calls != k {
				return lab.None
			}
			return faults[(k+2*shift)%len(faults)]
		})
		done := r.journaled(d)
		res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: d, Observer: r.fleet, Executor: r.fleet, Clock: wall{}, Poll: 5 * time.Millisecond})
		r.lab.OnCall(nil)
		rep, raw := done()
		r.clean(fmt.Sprintf("call %d", k), rep, raw)
		if err != nil || res.Outcome != reconcile.Converged {
			done := r.journaled(d)
			if res := r.run(d); res.Outcome != reconcile.Converged {
				t.Fatalf("call %d, second run: %+v", k, res)
			}
			rep, raw := done()
			r.clean(fmt.Sprintf("after call %d", k), rep, raw)
		}
		if calls < k {
			k, shift = 0, shift+1
		}
	}
}

// brokenDisk is a journal's file on a disk that becomes full.
type brokenDisk struct {
	room int
	n    int
}

func (b *brokenDisk) Write(p []byte) (int, error) {
	if b.n++; b.n > b.room {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}
func (*brokenDisk) Sync() error  { return nil }
func (*brokenDisk) Close() error { return nil }

// Without a line in the journal no call leaves: not the first one, and not one in the middle of a roll.
func TestNoJournalNoCall(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	for room := 2; room < 12; room++ {
		disk := &brokenDisk{room: room}
		w, err := journal.NewWriter(disk, journal.Head{Command: "reconcile"}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.fleet.Journal(w, journal.Fleet{Name: d.Fleet, Claimer: d.Claimer}); err != nil {
			t.Fatal(err)
		}
		r.lab.ResetJournal()
		res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: d, Observer: r.fleet, Executor: r.fleet, Clock: wall{}, Poll: time.Millisecond})
		if sent := len(r.lab.Journal()); sent > w.Calls() || room == 2 && sent > 0 {
			t.Errorf("%d lines: %d calls were sent, %d stand in the journal", room, sent, w.Calls())
		}
		cerr := w.Close()
		if err == nil && res.Outcome == reconcile.Converged { // the intent of the last call had room
			return
		}
		if cerr == nil {
			t.Errorf("%d lines: the end of the journal hides the error", room)
		}
	}
}
