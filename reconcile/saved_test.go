package reconcile

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// saved is what lkv plan --out would write about a world, after a round trip through its JSON.
func saved(t *testing.T, w *world, d plan.Desired) *Saved {
	t.Helper()
	d.Claimer = "whoever plans"
	o := w.seen()
	s, err := Save(d, o, plan.Compute(d, o, time.Now()), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out Saved
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func only(d plan.Desired, w *world, s *Saved) Options {
	o := options(d, &run{w: w})
	o.Only = s
	return o
}

// A saved plan is carried out to its end, although every step changes what is seen.
func TestSavedPlanIsCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(3, "a")
		w := newWorld(d, all(3)...)
		time.Sleep(time.Hour)
		res, err := Run(t.Context(), only(d, w, saved(t, w, d)))
		if err != nil || res.Outcome != Converged || len(res.Same) != 3 {
			t.Fatalf("%v %+v", err, res)
		}
		intact(t, w)
	})
}

// A plan that does not fit any more is refused before anything is done.
func TestStaleSavedPlan(t *testing.T) {
	for name, change := range map[string]func(*plan.Desired, *world){
		"another image": func(d *plan.Desired, _ *world) { d.Image.Digest, d.Image.ID = oldDigest, "sha256:old" },
		"another size":  func(d *plan.Desired, _ *world) { d.VMs[0].CPUs = 8 },
		"a policy":      func(d *plan.Desired, _ *world) { d.Rollout.MaxUnavailable = 2 },
		"a VM went off": func(_ *plan.Desired, w *world) { w.now.VMs[1].Power = plan.Off },
		"a disk moved":  func(_ *plan.Desired, w *world) { w.now.VMs[1].Disks[0].Path = "[ssd-2] elsewhere.vmdk" },
		"a failure":     func(_ *plan.Desired, w *world) { w.now.VMs[1].Record.Failed = "no" },
		"a VM is gone":  func(_ *plan.Desired, w *world) { w.now.VMs = w.now.VMs[:2] },
		"a newer file":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := wish(3, "a")
				w := newWorld(d, all(3)...)
				time.Sleep(time.Hour)
				s := saved(t, w, d)
				if change == nil {
					s.Format++
				} else {
					change(&d, w)
				}
				res, err := Run(t.Context(), only(d, w, s))
				if err != nil || res.Outcome != Refused || len(res.Blocked) != 1 || res.Blocked[0].Code != plan.R17 || w.calls != 0 {
					t.Fatalf("%v %+v after %d calls", err, res, w.calls)
				}
			})
		})
	}
}

// What comes up while a saved plan is carried out, and is not in it, is left to another plan.
func TestSavedPlanAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(3, "a")
		w := newWorld(d, all(3)...)
		time.Sleep(time.Hour)
		o := only(d, w, saved(t, w, d))
		o.Events = func(ev Event) {
			if ev.VM == "wrk-01" && ev.State == Done && ev.Kind == "Release" {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.now.VMs[2].Power = plan.Off // somebody else's doing
			}
		}
		res, err := Run(t.Context(), o)
		if err != nil || res.Outcome != Refused || res.Blocked[0].Code != plan.R17 {
			t.Fatalf("%v %+v", err, res)
		}
		if w.vm("wrk-03").Power != plan.Off {
			t.Fatal("a VM was started that the plan does not start")
		}
	})
}
