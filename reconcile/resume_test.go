package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/reconcile/plan"
)

const better = "cccccccccccc3333333333333333333333333333333333333333333333333333"

// standstill is a fleet whose first roll failed: the new image never comes up.
func standstill(t *testing.T) (plan.Desired, *world) {
	t.Helper()
	d := wish(3, "a")
	w := newWorld(d, all(3)...)
	w.sick[newDigest] = true
	converge(t, w, d, Broken)
	if w.vm("wrk-01").Record.Failed == "" {
		t.Fatal("the failure is not recorded")
	}
	d.Claimer = "b"
	return d, w
}

func resume(t *testing.T, w *world, d plan.Desired) Resumed {
	t.Helper()
	res, err := Act(t.Context(), options(d, &run{w: w}), plan.Resume)
	if err != nil {
		t.Fatal(err)
	}
	intact(t, w)
	return res
}

// Only the record changes, and the next run judges the VM by what it does.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := standstill(t)
		before, calls := w.now.Clone(), w.calls
		res := resume(t, w, d)
		if len(res.Cleared) != 1 || res.Cleared[0].VM != "wrk-01" || !strings.Contains(res.Cleared[0].Reason, "not ready after 10m0s") ||
			len(res.Blocked)+len(res.Failures) > 0 || w.calls != calls+2 {
			t.Errorf("%+v, %d calls", res, w.calls-calls)
		}
		r := &before.VMs[0].Record
		r.Failed, r.Started, r.Epoch = "", time.Time{}, r.Epoch+1
		if diff := cmp.Diff(before, w.now); diff != "" {
			t.Errorf("more than the record changed (-want +got):\n%s", diff)
		}
		calls = w.calls
		if res = resume(t, w, d); len(res.Cleared) != 0 || w.calls != calls {
			t.Errorf("the second resume: %+v", res)
		}
		// It still does not serve with the wanted ISO: refused with the reason, and no other VM is touched.
		again := converge(t, w, d, Refused)
		if w.calls != calls || again.Blocked[0].Code != plan.R12 || again.Blocked[0].VM == "" && !strings.Contains(again.Blocked[0].Reason, "wrk-01") {
			t.Errorf("%+v", again.Blocked)
		}
	})
}

// A repaired image rolls the VM that failed first, then the others.
func TestResumeThenAnotherImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := standstill(t)
		d.Image.Digest, d.Image.ID, d.Image.Paths = better, "sha256:old", map[string]string{"dc1": oldISO}
		converge(t, w, d, Refused) // a newer image alone does not start a fleet that stands still (A7)
		resume(t, w, d)
		converge(t, w, d, Converged)
		for _, v := range w.seen().VMs {
			if why := Ready(d, d.VMs[v.Ordinal-1], v); why != "" {
				t.Errorf("%s: %s", v.Name, why)
			}
		}
	})
}

func TestResumeLeavesOthersAlone(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w *world)
		code  plan.Code
	}{
		"claimed":      {func(w *world) { w.claim("c", time.Now().Add(time.Minute)) }, plan.R16},
		"busy":         {func(w *world) { w.vm("wrk-01").Busy = []string{"a question is pending"} }, plan.R08},
		"name twice":   {func(w *world) { w.now.VMs = append(w.now.VMs, plan.VM{Name: "wrk-01", Ref: "vm-9"}) }, plan.R22},
		"partial look": {func(w *world) { w.now.Problem = "host esx-2 does not answer" }, plan.R15},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, w := standstill(t)
				c.spoil(w)
				calls := w.calls
				res := resume(t, w, d)
				if w.calls != calls || len(res.Cleared) != 0 || len(res.Blocked) != 1 || res.Blocked[0].Code != c.code || res.Blocked[0].Clear == "" {
					t.Errorf("%d calls, %+v", w.calls-calls, res)
				}
				if w.vm("wrk-01").Record.Failed == "" {
					t.Error("the failure is gone")
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // an expired claim, a VM that is not wanted any more, a pause, a foreign VM
		d, w := standstill(t)
		w.claim("c", time.Now().Add(-time.Second))
		w.vm("wrk-02").Record.Paused = true
		w.vm("wrk-03").Record.Failed, w.vm("wrk-03").Fleet = "x", "others"
		d.VMs = d.VMs[1:]
		res := resume(t, w, d)
		if len(res.Cleared) != 2 || w.vm("wrk-02").Record.Paused || res.Cleared[1].Reason != "it is paused" {
			t.Errorf("%+v", res)
		}
		if w.vm("wrk-03").Record.Failed == "" {
			t.Error("it changed a VM of another fleet")
		}
	})
}

// claim is somebody's claim of the VM that failed.
func (w *world) claim(who string, until time.Time) {
	r := &w.vm("wrk-01").Record
	r.Owner, r.Epoch, r.Started, r.Expires = who, r.Epoch+1, time.Now(), until
}

func TestResumeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := standstill(t)
		why := errors.New("SIGTERM")
		ctx, cancel := context.WithCancelCause(t.Context())
		r := &run{w: w}
		r.fault = func(_ int, _ plan.Step, do func() error) error { defer cancel(why); return do() }
		calls := w.calls
		if _, err := Act(ctx, options(d, r), plan.Resume); !errors.Is(err, why) || w.calls != calls+1 {
			t.Errorf("%v after %d calls", err, w.calls-calls)
		}
		resume(t, w, d)
		if w.vm("wrk-01").Record.Failed != "" {
			t.Error("the next resume did not finish it")
		}
	})
	if _, err := Act(t.Context(), Options{}, plan.Resume); err == nil {
		t.Error("it runs without an observer")
	}
}
