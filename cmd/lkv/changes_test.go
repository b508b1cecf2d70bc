package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
)

// following waits until the daemon has asked a vCenter to tell what changes. The first answer shows what there is.
func (w *watched) following() {
	w.t.Helper()
	w.followingMore(0, 1)
}

// followingMore waits until the daemon follows that many fleets in a session that it began after so much of the log.
func (w *watched) followingMore(after, fleets int) {
	w.t.Helper()
	for from := time.Now(); time.Since(from) < time.Minute; time.Sleep(10 * time.Millisecond) {
		_, log, _ := strings.Cut(w.log.String()[after:], "msg=connected session=changes")
		if strings.Count(log, "session=changes call=CreateFilter") == fleets && strings.Count(log, "session=changes call=WaitForUpdatesEx") >= 2*fleets {
			return
		}
	}
	w.t.Fatalf("it does not follow %d fleets:\n%s", fleets, w.log.String()[after:])
}

// A fleet that comes into the spec while the daemon runs is followed from the look that made it, and the others as
// before.
func TestWatchFollowsNewFleets(t *testing.T) {
	m := newMission(t, lab.Paper{})
	m.release("1")
	w := m.watch("--interval", "1h", "-v")
	w.next(reconcile.Converged)
	w.following()
	m.write("lkv.hcl", missionSpec+otherFleet)
	so := len(w.log.String())
	cut := func(vm string) {
		t.Helper()
		if err := m.lab.CutPower(vm); err != nil {
			t.Fatal(err)
		}
	}
	cut("host-02")
	w.next(reconcile.Converged)
	if r := w.next(reconcile.Converged); r.Fleet != "other" || len(r.Same) == 0 {
		t.Fatalf("%+v", r)
	}
	w.followingMore(so, 2)
	for _, vm := range []string{"other-01", "host-01"} {
		cut(vm)
		for w.next(reconcile.Converged).Mutations == 0 { // looks that the last repair woke
		}
	}
	w.end(interrupted{syscall.SIGTERM})
	if code := <-w.code; code != 143 {
		t.Errorf("exit code %d", code)
	}
}

// A VM that somebody switches off is on again within seconds, whatever the interval.
func TestWatchWakes(t *testing.T) {
	m := newMission(t, lab.Paper{})
	m.release("1")
	w := m.watch("--interval", "1h", "-v")
	if r := w.next(reconcile.Converged); r.Mutations == 0 {
		t.Errorf("%+v", r)
	}
	w.following()
	if err := m.lab.CutPower("host-02"); err != nil {
		t.Fatal(err)
	}
	if r := w.next(reconcile.Converged); r.Mutations == 0 || len(r.Same) != 3 {
		t.Errorf("after the power cut: %+v", r)
	}
	w.end(interrupted{syscall.SIGTERM})
	if code := <-w.code; code != 143 {
		t.Errorf("exit code %d", code)
	}
	if log := w.log.String(); strings.Contains(log, "not followed") {
		t.Errorf("the log:\n%s", log)
	}
}
