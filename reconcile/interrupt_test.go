package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// TestInterruptInEveryWait ends a run (SIGTERM) in the middle of each kind of wait. It ends within the call in flight,
// nothing follows it, and another machine brings the fleet to its end with every disk.
func TestInterruptInEveryWait(t *testing.T) {
	errTerm := errors.New("SIGTERM")
	for name, c := range map[string]struct {
		change func(*plan.Desired, *Options, *world, *run)
		after  time.Duration     // since the run began
		in     time.Duration     // it ends at most so much later
		seen   func(*world) bool // it is that wait
	}{
		"drain": {func(d *plan.Desired, o *Options, _ *world, r *run) {
			d.Rollout.Drain = true
			o.Drainer = endless{r}
		}, 5 * time.Second, time.Second, func(w *world) bool { // it has its work back
			return strings.Contains(strings.Join(w.log, "\n"), "drain node of wrk-01") && !w.drained[node(*w.vm("wrk-01"))] && w.calls == 5
		}},
		"shutdown": {func(_ *plan.Desired, _ *Options, w *world, r *run) {
			r.fault = func(_ int, s plan.Step, do func() error) error {
				if _, down := s.(plan.Shutdown); down {
					w.mu.Unlock()
					time.Sleep(30 * time.Second) // the guest takes its time
					w.mu.Lock()
				}
				return do()
			}
		}, 5 * time.Second, 26 * time.Second, func(w *world) bool { return w.vm("wrk-01").Power == plan.Off }},
		"gate":           {nil, 20 * time.Second, time.Second, booting},
		"gate, untold":   {func(_ *plan.Desired, o *Options, _ *world, _ *run) { o.Watcher = nil }, 20 * time.Second, time.Second, booting},
		"settle":         {nil, 55 * time.Second, time.Second, up},
		"settle, untold": {func(_ *plan.Desired, o *Options, _ *world, _ *run) { o.Watcher = nil }, 55 * time.Second, time.Second, up},
		"look again": {func(_ *plan.Desired, _ *Options, w *world, _ *run) {
			w.badLook = func(n int) (plan.Observed, error, bool) { return plan.Observed{}, errNet, n < 4 }
		}, time.Second, time.Second, func(w *world) bool { return w.calls == 0 }},
		"call again": {func(_ *plan.Desired, _ *Options, _ *world, r *run) {
			r.fault = func(int, plan.Step, func() error) error { return errNet }
		}, time.Second, time.Second, func(w *world) bool { return w.vm("wrk-01").Record.Owner == "" }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := wish(2, "a")
				w := newWorld(d, all(2)...)
				r := &run{w: w}
				o := options(d, r)
				if c.change != nil {
					c.change(&o.Desired, &o, w, r)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				var at time.Time
				var calls int
				time.AfterFunc(c.after, func() {
					w.mu.Lock()
					at, calls = time.Now(), w.calls
					w.mu.Unlock()
					cancel(errTerm)
				})
				res, err := Run(ctx, o)
				took := time.Since(at)
				if at.IsZero() || !errors.Is(err, errTerm) || res.Outcome != Pending || took > c.in {
					t.Fatalf("%+v, %v, it took %s\n%s", res, err, took, strings.Join(w.log, "\n"))
				}
				if !c.seen(w) || name != "drain" && w.calls > calls+1 {
					t.Errorf("it was not that wait, or %d calls followed:\n%s", w.calls-calls, strings.Join(w.log, "\n"))
				}
				d = o.Desired
				d.Claimer, w.badLook = "b", nil
				time.Sleep(d.TTL + d.Rollout.Grace + time.Second) // the claim of the machine that is gone
				converge(t, w, d, Converged)
			})
		})
	}
}

func booting(w *world) bool {
	v := w.vm("wrk-01")
	return v.Power == plan.On && v.Record.Owner == "a" && !upNow(w)
}
func up(w *world) bool { return w.vm("wrk-01").Record.Owner == "a" && upNow(w) }

func upNow(w *world) bool {
	v := *w.vm("wrk-01")
	w.guest(&v)
	return v.Guest.State == "running" && v.Record.Image == newDigest
}

// endless is a drainer whose drains only end when they are told to.
type endless struct{ *run }

// Drain implements Drainer.
func (e endless) Drain(ctx context.Context, vm plan.VM, next, reason string) error {
	if err := e.run.Drain(ctx, vm, next, reason); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestInterruptInTheBake: a bake is no wait of a run, which ends and says so; the machine that comes later goes on.
func TestInterruptInTheBake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(3, "a")
		d.Rollout.Canaries, d.Rollout.Bake = 1, 10*time.Minute
		w := newWorld(d, all(3)...)
		began := time.Now()
		if res := converge(t, w, d, Pending); !strings.Contains(res.Why, "wait") || time.Since(began) > 2*time.Minute {
			t.Errorf("%+v after %s", res, time.Since(began))
		}
		d.Claimer = "b"
		time.Sleep(5 * time.Minute)
		converge(t, w, d, Pending) // it bakes on, whoever looks
		time.Sleep(6 * time.Minute)
		converge(t, w, d, Converged)
	})
}
