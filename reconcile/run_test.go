package reconcile

import (
	"context"
	"errors"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// converge runs until the outcome and fails the test on anything else, and on any broken invariant.
func converge(t *testing.T, w *world, d plan.Desired, outcome Outcome) Result {
	t.Helper()
	res, err := Run(t.Context(), options(d, &run{w: w}))
	if err != nil || res.Outcome != outcome {
		t.Fatalf("%s, %v, want %s: %+v\n%s", res.Outcome, err, outcome, res, strings.Join(w.log, "\n"))
	}
	intact(t, w)
	return res
}

func intact(t *testing.T, w *world) {
	t.Helper()
	if len(w.broken) > 0 {
		t.Fatalf("broken:\n%s\nlog:\n%s", strings.Join(w.broken, "\n"), strings.Join(w.log, "\n"))
	}
}

// mixed is the world of most tests: of three VMs one is missing, two run the old image.
func mixed(who string) (plan.Desired, *world) {
	d := wish(3, who)
	return d, newWorld(d, 1, 2)
}

func TestRunConverges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := mixed("a")
		res := converge(t, w, d, Converged)
		// create: disk, VM, attach, on, release; roll: claim, shutdown, swap, on, release
		if res.Mutations != 5+2*5 || res.Waves != 3 || len(res.Same) != 3 {
			t.Errorf("%+v\n%s", res, strings.Join(w.log, "\n"))
		}
		for _, v := range w.seen().VMs {
			if why := Ready(d, d.VMs[v.Ordinal-1], v); why != "" {
				t.Errorf("%s: %s", v.Name, why)
			}
		}
		calls := w.calls
		if res = converge(t, w, d, Converged); w.calls != calls || res.Mutations != 0 {
			t.Errorf("the second run made %d calls (A9)", w.calls-calls)
		}
	})
}

// TestRunWithSecureBoot: a fleet with a key of its own, and what a crash at any of its calls leaves.
func TestRunWithSecureBoot(t *testing.T) {
	fleet := func(who string) plan.Desired {
		d := wish(2, who)
		d.Image.Trust = plan.Trust{Chain: plan.ChainKey, Certificate: []byte("der")}
		for i := range d.VMs {
			d.VMs[i].Firmware, d.VMs[i].SecureBoot = "efi", true
		}
		return d
	}
	for n := 0; n <= 12; n++ {
		synctest.Test(t, func(t *testing.T) {
			d := fleet("a")
			w := newWorld(d)
			r := &run{w: w}
			r.fault = func(i int, _ plan.Step, do func() error) error {
				if i != n {
					return do()
				}
				r.dead = true
				return errDead
			}
			if _, err := Run(t.Context(), options(d, r)); err != nil {
				t.Fatal(err)
			}
			converge(t, w, fleet("a"), Converged)
			for _, v := range w.seen().VMs {
				if key := d.Image.Trust.Key(); !v.SecureBoot || !slices.Equal(v.Keys, []string{key}) || v.Record.Key != key {
					t.Errorf("call %d: %+v", n, v)
				}
			}
		})
	}
}

// TestLiveClaimBlocks: while a claim of a dead run lives, nobody else touches the VM, nor takes another one away.
func TestLiveClaimBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(2, "a")
		w := newWorld(d, all(2)...)
		r := &run{w: w}
		r.fault = func(n int, _ plan.Step, do func() error) error {
			err := do()
			r.dead = n == 2
			return err
		}
		if _, err := Run(t.Context(), options(d, r)); err != nil {
			t.Fatal(err)
		}
		calls := w.calls
		d.Claimer = "b"
		res := converge(t, w, d, Refused)
		if w.calls != calls || !slices.ContainsFunc(res.Blocked, func(b plan.Blocked) bool { return b.Code == plan.R16 && b.VM == "wrk-01" }) {
			t.Errorf("%d calls, %+v", w.calls-calls, res.Blocked)
		}
		time.Sleep(d.TTL + d.Rollout.Grace)
		converge(t, w, d, Converged)
	})
}

// TestTwoRunsAtOnce lets two runs work on one world, their calls interleaved by a seed, until both are done, and asserts
// every invariant, max_unavailable above all. Afterwards a third run has little or nothing to do.
func TestTwoRunsAtOnce(t *testing.T) {
	both := 0
	for seed := range int64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewSource(seed))
			d := wish(4, "a")
			w := newWorld(d, all(3+int(seed%2))...)
			waiting := make(chan chan struct{}, 64)
			w.turn = func() {
				c := make(chan struct{})
				waiting <- c
				<-c
			}
			results := make(chan Result, 2)
			for _, who := range []string{"a", "b"} {
				mine := d
				mine.Claimer = who
				go func() {
					res, err := Run(context.Background(), options(mine, &run{w: w}))
					if err != nil {
						t.Error(err)
					}
					results <- res
				}()
			}
			var queue []chan struct{}
			for ended := 0; ended < 2; {
				synctest.Wait()
				for len(waiting) > 0 {
					queue = append(queue, <-waiting)
				}
				switch {
				case len(results) > 0:
					if res := <-results; res.Mutations > 0 {
						both++
					}
					ended++
				case rng.Intn(20) == 0: // somebody opens or closes a dialogue: the runs see different fleets
					w.mu.Lock()
					w.vm("wrk-02").Busy = []string{"a question is pending"}[:rng.Intn(2)]
					w.mu.Unlock()
				case len(queue) > 0:
					i := rng.Intn(len(queue))
					close(queue[i])
					queue = slices.Delete(queue, i, i+1)
				default:
					time.Sleep(time.Second)
				}
			}
			intact(t, w)
			w.turn, w.vm("wrk-02").Busy = nil, nil
			time.Sleep(10 * time.Minute)
			converge(t, w, d, Converged)
		})
	}
	if both <= 300 {
		t.Errorf("only %d of 600 runs did anything: the runs do not meet", both)
	}
}

func TestGateFails(t *testing.T) {
	for name, spoil := range map[string]func(*world){
		"never comes up":  func(w *world) { w.sick[newDigest] = true },
		"reports failure": func(w *world) { w.failing[newDigest] = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := wish(3, "a")
				w := newWorld(d, all(3)...)
				spoil(w)
				from := time.Now()
				res := converge(t, w, d, Broken)
				if len(res.Failures) != 1 || res.Failures[0].VM != "wrk-01" || !res.Failures[0].Recorded {
					t.Fatalf("%+v", res.Failures)
				}
				took := time.Since(from)
				if quick := w.failing[newDigest]; quick != (took < 2*time.Minute) || took > 12*time.Minute {
					t.Errorf("it took %s", took)
				}
				calls := w.calls
				d.Claimer = "b"
				again := converge(t, w, d, Refused)
				if w.calls != calls || again.Blocked[0].Code != plan.R12 || again.Blocked[0].VM != "wrk-01" {
					t.Errorf("the next run goes on after a failure (A7): %+v", again)
				}
				w.sick, w.failing = map[string]bool{}, map[string]bool{} // a repaired guest
				resume(t, w, d)
				converge(t, w, d, Converged)
			})
		})
	}
}

func TestFailedLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := mixed("a")
		w.badLook = func(int) (plan.Observed, error, bool) {
			return plan.Observed{}, errors.New("vCenter does not answer"), true
		}
		res := converge(t, w, d, Refused)
		if w.calls != 0 || res.Blocked[0].Code != plan.R15 {
			t.Errorf("%d calls, %+v", w.calls, res.Blocked)
		}
		// every second look is partial and shows nothing: nothing may follow from it (L16)
		w.badLook = func(n int) (plan.Observed, error, bool) {
			return plan.Observed{Problem: "host esx-2 does not answer"}, nil, n%2 == 0
		}
		converge(t, w, d, Converged)
	})
	synctest.Test(t, func(t *testing.T) {
		// vCenter goes away while a VM boots: that says nothing about the image
		d := wish(2, "a")
		w := newWorld(d, all(2)...)
		w.badLook = func(n int) (plan.Observed, error, bool) {
			return plan.Observed{}, errors.New("connection refused"), n > 3
		}
		if res := converge(t, w, d, Broken); res.Failures[0].Recorded {
			t.Errorf("%+v", res.Failures)
		}
		w.badLook = nil
		converge(t, w, d, Converged)
	})
}

// TestClaimsAreRenewed lets calls take long and gates wait longer than a claim lives: it is never without one.
func TestClaimsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := mixed("a")
		w.slow = 50 * time.Second
		d.Rollout.Settle = 9 * time.Minute
		res := converge(t, w, d, Converged)
		if res.Mutations <= 15 {
			t.Errorf("%d calls: no claim was renewed", res.Mutations)
		}
	})
}

// TestTakenOver: a run that was away while another one took its VM does not write again (A6).
func TestTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(1, "a")
		w := newWorld(d, 1)
		r := &run{w: w}
		r.fault = func(n int, s plan.Step, do func() error) error {
			if _, ok := s.(plan.PowerOn); ok {
				time.Sleep(time.Hour) // the machine was suspended
				rec := &w.vm("wrk-01").Record
				rec.Owner, rec.Epoch, rec.Expires = "b", rec.Epoch+1, time.Now().Add(time.Hour)
			}
			return do()
		}
		res, err := Run(t.Context(), options(d, r))
		if err != nil || res.Outcome != Refused || res.Blocked[0].Code != plan.R16 || w.vm("wrk-01").Power != plan.Off {
			t.Fatalf("%+v, %v", res, err)
		}
	})
}

func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := mixed("a")
		o := options(d, &run{w: w})
		o.MaxSteps = 3
		runs := 0
		for {
			res, err := Run(t.Context(), o)
			if err != nil || res.Mutations > 3 {
				t.Fatalf("%+v, %v", res, err)
			}
			runs++
			if res.Outcome == Converged {
				break
			}
			if res.Outcome != Pending || res.Why == "" {
				t.Fatalf("%+v", res)
			}
		}
		intact(t, w)
		if runs < 5 {
			t.Errorf("15 calls in %d runs of at most 3", runs)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d, w := mixed("a")
		o := options(d, &run{w: w})
		o.MaxDuration = time.Minute
		if res, err := Run(t.Context(), o); err != nil || res.Outcome != Pending || res.Seconds > 120 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestInterrupt: the call in flight is finished, nothing follows, and the next run goes on.
func TestInterrupt(t *testing.T) {
	for n := 1; n <= 15; n++ {
		synctest.Test(t, func(t *testing.T) {
			d, w := mixed("a")
			ctx, cancel := context.WithCancel(t.Context())
			r := &run{w: w}
			r.fault = func(i int, _ plan.Step, do func() error) error {
				if i == n {
					cancel()
				}
				return do()
			}
			res, err := Run(ctx, options(d, r))
			cancel()
			// the last release can still be followed by nothing but the signal
			if !errors.Is(err, context.Canceled) || res.Outcome != Pending || r.calls != n {
				t.Fatalf("interrupted at call %d: %+v, %v, %d calls", n, res, err, r.calls)
			}
			converge(t, w, d, Converged)
		})
	}
}

// TestAsWantedWhenCutShort: a run that is interrupted, fails or finds the fleet standing still has seen how many VMs are as
// wanted, and says so.
func TestAsWantedWhenCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(3, "a")
		w := newWorld(d, all(3)...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := &run{w: w, fault: func(_ int, s plan.Step, do func() error) error {
			if s.VM() == "wrk-02" {
				cancel()
			}
			return do()
		}}
		if res, _ := Run(ctx, options(d, r)); res.Outcome != Pending || !slices.Equal(res.Same, []string{"wrk-01"}) {
			t.Errorf("interrupted: %v", res.Same)
		}
		w.hung["id-wrk-03"] = true
		w.vm("wrk-03").Record.Failed = "not ready"
		d.Claimer = "b"
		time.Sleep(5 * time.Minute)
		if res := converge(t, w, d, Refused); !slices.Equal(res.Same, []string{"wrk-01"}) {
			t.Errorf("standing still: %v", res.Same)
		}
	})
}

// TestNothingHappens: an executor that lies ends in an error, not in an endless loop.
func TestNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(1, "a")
		w := newWorld(d, 1)
		r := &run{w: w, fault: func(int, plan.Step, func() error) error { return nil }}
		if res, err := Run(t.Context(), options(d, r)); err == nil || res.Outcome != Broken || r.calls > 10 {
			t.Errorf("claims that are not written: %+v, %v, %d calls", res, err, r.calls)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d, w := mixed("a")
		r := &run{w: w, fault: func(int, plan.Step, func() error) error { return nil }}
		res, err := Run(t.Context(), options(d, r))
		if res.Outcome != Broken || w.calls > 100 {
			t.Errorf("%+v, %v, %d calls", res, err, w.calls)
		}
	})
}

// TestChangedMeanwhile: somebody does our next step between our look and our call, which the executor refuses as
// changed. That is no failure: the run looks again and goes on.
func TestChangedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(2, "a")
		w := newWorld(d, all(2)...)
		r := &run{w: w}
		r.fault = func(_ int, s plan.Step, do func() error) error {
			if _, ok := s.(plan.Shutdown); ok && s.VM() == "wrk-01" {
				w.now = w.now.After(s)
				return errors.New("the VM was changed by somebody else")
			}
			return do()
		}
		if res, err := Run(t.Context(), options(d, r)); err != nil || res.Outcome != Converged {
			t.Fatalf("%+v, %v", res, err)
		}
		intact(t, w)
	})
}

func TestEventsTellTheStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(1, "a")
		w := newWorld(d, 1)
		o := options(d, &run{w: w})
		var story []string
		o.Events = func(e Event) { story = append(story, strings.TrimSpace(e.State+" "+e.Step+" "+e.Reason)) }
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"start roll roll: image aaaaaaaaaaaa → bbbbbbbbbbbb",
			"start claim for a, epoch 2", "done claim for a, epoch 2",
			"start shut down, power off after 2m0s", "done shut down, power off after 2m0s",
			"start insert " + newISO + ", token bbbbbbbbbbbb-2", "done insert " + newISO + ", token bbbbbbbbbbbb-2",
			"start power on", "done power on",
			"start wait until ready with token bbbbbbbbbbbb-2, mounted /var/lib/docker, for 30s, at most 10m0s",
			"waiting wait until ready with token bbbbbbbbbbbb-2, mounted /var/lib/docker, for 30s, at most 10m0s guest tools do not run",
			"done wait until ready with token bbbbbbbbbbbb-2, mounted /var/lib/docker, for 30s, at most 10m0s",
			"start release", "done release",
		}
		if diff := cmp.Diff(want, story); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := options(wish(1, "a"), &run{})
	for name, spoil := range map[string]func(*Options){
		"no observer":    func(o *Options) { o.Observer = nil },
		"no name":        func(o *Options) { o.Desired.Claimer = "" },
		"no ttl":         func(o *Options) { o.Desired.TTL = 0 },
		"no deadline":    func(o *Options) { o.Desired.Rollout.Timeout = 0 },
		"no strategy":    func(o *Options) { o.Desired.Rollout.Strategy = "green" },
		"no reaction":    func(o *Options) { o.Desired.Rollout.OnFailure = "hope" },
		"no drainer":     func(o *Options) { o.Desired.Rollout.Drain = true },
		"no unavailable": func(o *Options) { o.Desired.Rollout.MaxUnavailable = 0 },
	} {
		o := good
		spoil(&o)
		if res, err := Run(t.Context(), o); err == nil || res.Outcome != Broken {
			t.Errorf("%s: accepted", name)
		}
	}
}
