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
	for from := time.Now(); time.Since(from) < time.Minute; time.Sleep(10 * time.Millisecond) {
		_, log, _ := strings.Cut(w.log.String(), "session=changes call=CreateFilter")
		if strings.Count(log, "session=changes call=WaitForUpdatesEx") >= 2 {
			return
		}
	}
	w.t.Fatalf("it follows nothing:\n%s", w.log)
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
