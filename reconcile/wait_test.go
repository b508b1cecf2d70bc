package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// TestSettle: the gate must hold without a break for the settle time, whatever is seen or not seen in between, and
// whoever tells of it. Where nobody tells, it is only noticed later.
func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		from, to         time.Duration // what happens to the guest or to our sight, since the roll began
		blind            bool
		min, told, alone time.Duration // how long the roll takes: at least, at most while changes are told, and at most else
	}{
		"nothing happens":  {0, 0, false, 70 * time.Second, 75 * time.Second, 80 * time.Second},
		"it flaps":         {50 * time.Second, 55 * time.Second, false, 85 * time.Second, 90 * time.Second, 105 * time.Second},
		"a look fails":     {50 * time.Second, 55 * time.Second, true, 70 * time.Second, 75 * time.Second, 80 * time.Second},
		"looks fail early": {0, 60 * time.Second, true, 90 * time.Second, 110 * time.Second, 110 * time.Second},
		"long blindness":   {50 * time.Second, 5 * time.Minute, true, 330 * time.Second, 400 * time.Second, 400 * time.Second},
	} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, told %v", name, told), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := wish(1, "a")
					w := newWorld(d, 1)
					began := time.Now()
					w.badLook = func(n int) (plan.Observed, error, bool) {
						now := time.Since(began)
						return plan.Observed{Problem: "half of vCenter is away"}, nil, c.blind && n > 2 && now >= c.from && now < c.to
					}
					turn := func(after time.Duration, sick bool) {
						time.AfterFunc(after, func() {
							w.mu.Lock()
							defer w.mu.Unlock()
							w.sick[newDigest] = sick
						})
					}
					if !c.blind {
						turn(c.from, c.to > 0)
						turn(c.to, false)
					}
					o, most := options(d, &run{w: w}), c.told
					if !told {
						o.Watcher, most = nil, c.alone
					}
					if res, err := Run(t.Context(), o); err != nil || res.Outcome != Converged {
						t.Fatalf("%+v, %v", res, err)
					}
					intact(t, w)
					if took := time.Since(began); took < c.min || took > most {
						t.Errorf("it took %s, want %s to %s", took, c.min, most)
					}
				})
			})
		}
	}
}

// TestLongWaitsAreCheap: how many looks a gate takes hardly depends on how long it is waited, whether somebody tells of
// changes, somebody does who never says anything, or nobody.
func TestLongWaitsAreCheap(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options, *run)
		most   int // looks at one VM whose image never comes up, in ten minutes
	}{
		"told":        {func(*Options, *run) {}, 12},
		"hints lost":  {func(_ *Options, r *run) { r.deaf = true }, 10},
		"nobody told": {func(o *Options, _ *run) { o.Watcher = nil }, 26},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := wish(1, "a")
				w := newWorld(d, 1)
				w.sick[newDigest] = true
				r := &run{w: w}
				o := options(d, r)
				c.change(&o, r)
				began := time.Now()
				res, err := Run(t.Context(), o)
				if took := time.Since(began); err != nil || res.Outcome != Broken || took < d.Rollout.Timeout || took > d.Rollout.Timeout+time.Second {
					t.Fatalf("%+v, %v, it took %s", res, err, took)
				}
				if w.looks > c.most {
					t.Errorf("%d looks", w.looks)
				}
			})
		})
	}
}

// TestIllWhileSettling: a guest that became ill and stays so does not pass, and it is not released, also when nothing
// tells of it.
func TestIllWhileSettling(t *testing.T) {
	for name, change := range map[string]func(*Options, *run){
		"told":        func(*Options, *run) {},
		"hints lost":  func(_ *Options, r *run) { r.deaf = true },
		"nobody told": func(o *Options, _ *run) { o.Watcher = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := wish(2, "a")
				w := newWorld(d, all(2)...)
				time.AfterFunc(60*time.Second, func() {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.hung["id-wrk-01"] = true
				})
				r := &run{w: w}
				o := options(d, r)
				change(&o, r)
				res, err := Run(t.Context(), o)
				if err != nil || res.Outcome != Broken || w.vm("wrk-01").Record.Owner != "" && w.vm("wrk-01").Record.Failed == "" {
					t.Errorf("%+v, %v", res, err)
				}
				if w.vm("wrk-02").Record.Image != oldDigest {
					t.Error("the next one was rolled")
				}
			})
		})
	}
}

// TestReleaseNeedsAGate: a run that finds a VM ready which another run started sees the gate through itself (A4).
func TestReleaseNeedsAGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(1, "a")
		w := newWorld(d, 1)
		r := &run{w: w}
		r.fault = func(_ int, s plan.Step, do func() error) error {
			err := do()
			_, r.dead = s.(plan.PowerOn)
			return err
		}
		if _, err := Run(t.Context(), options(d, r)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)                                                                                 // it boots while nobody looks
		if res := converge(t, w, d, Converged); res.Seconds < d.Rollout.Settle.Seconds() || res.Mutations > 2 { // a renewal and the release
			t.Errorf("released after %.0f s with %d calls", res.Seconds, res.Mutations)
		}
	})
}

// TestClaimLostWhileWaiting: a run whose VM was taken over while it waited does not call again.
func TestClaimLostWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(1, "a")
		w := newWorld(d, 1)
		calls := 0
		w.badLook = func(int) (plan.Observed, error, bool) {
			if v := w.vm("wrk-01"); calls == 0 && v.Guest.Tools == false && w.booted["id-wrk-01"].After(time.Now().Add(-time.Minute)) {
				v.Record.Owner, v.Record.Epoch, v.Record.Expires = "b", v.Record.Epoch+1, time.Now().Add(time.Hour)
				calls = w.calls
			}
			return plan.Observed{}, nil, false
		}
		res := converge(t, w, d, Refused)
		if res.Blocked[0].Code != plan.R16 || calls == 0 || w.calls != calls {
			t.Errorf("%+v, %d calls after the takeover", res.Blocked, w.calls-calls)
		}
	})
}

// TestClaimsMeet: two runs saw different fleets and claim different VMs. The one that looks second steps back, although
// its own VM is claimed and every other condition holds.
func TestClaimsMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(3, "a")
		w := newWorld(d, all(3)...)
		w.vm("wrk-01").Busy = []string{"a question is pending"}
		r := &run{w: w}
		r.fault = func(n int, s plan.Step, do func() error) error {
			if n == 1 {
				w.vm("wrk-01").Busy = nil // answered, and the other run is quicker
				claim := plan.Claim{Owner: "b", Epoch: 2, Started: time.Now(), Expires: time.Now().Add(time.Hour)}
				claim.Name = "wrk-01"
				off := plan.Shutdown{}
				off.Name = "wrk-01"
				w.now = w.now.After(claim).After(off)
			}
			return do()
		}
		res, err := Run(t.Context(), options(d, r))
		if err != nil || res.Outcome != Refused {
			t.Fatalf("%+v, %v", res, err)
		}
		intact(t, w)
		if v := w.vm("wrk-02"); v.Power != plan.On || v.Record.Owner != "" || !v.Record.Started.IsZero() {
			t.Errorf("the VM was not given back untouched: %+v", v)
		}
		if !slices.ContainsFunc(w.log, func(l string) bool { return strings.Contains(l, "a wrk-02: claim") }) {
			t.Errorf("the runs did not meet:\n%s", strings.Join(w.log, "\n"))
		}
	})
}

func TestReadyNeedsUUIDs(t *testing.T) {
	d := wish(1, "a")
	v := plan.VM{Name: "wrk-01", Fleet: d.Fleet, Power: plan.On,
		Disks:  []plan.Disk{{Path: "[ssd-1] x.vmdk"}},
		Record: plan.Record{Image: newDigest, ImageID: "sha256:new", Disks: []plan.DiskRecord{{Name: "docker", Path: "[ssd-1] x.vmdk"}}},
		Guest:  plan.Guest{Tools: true, State: "running", ImageID: "sha256:new", Mounts: []plan.GuestMount{{Path: "/var/lib/docker"}}}}
	if plan.Ready(d, d.VMs[0], v) != "" {
		t.Fatal("the planner's gate wants a UUID: then a plan for a new VM cannot be computed to its end")
	}
	if why := Ready(d, d.VMs[0], v); !strings.Contains(why, "no UUID") {
		t.Errorf("%q", why)
	}
}

// prober fails for a VM until it is told otherwise.
type prober struct{ bad map[string]bool }

func (p prober) Probe(_ context.Context, _ plan.WantVM, v plan.VM) []plan.Probe {
	return []plan.Probe{{Name: "tcp 2375", OK: !p.bad[v.Name], Why: "refused"}}
}

// TestProbesCount: outside checks are part of the gate, and of what serves.
func TestProbesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := wish(2, "a")
		w := newWorld(d, all(2)...)
		o := options(d, &run{w: w})
		o.Prober = prober{map[string]bool{"wrk-02": true}}
		res, err := Run(t.Context(), o)
		if err != nil || res.Outcome != Broken || res.Failures[0].VM != "wrk-02" || !strings.Contains(res.Failures[0].Why, "tcp 2375: refused") {
			t.Fatalf("%+v, %v", res, err)
		}
		if w.vm("wrk-01").Record.Image != oldDigest {
			t.Error("wrk-01 was rolled although wrk-02 did not serve")
		}
		intact(t, w)
	})
}
