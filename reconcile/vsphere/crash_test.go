package vsphere_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// mortal is a process that can die: from then on nothing of it reaches vCenter.
type mortal struct {
	next http.RoundTripper
	dead *atomic.Bool
}

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, context.Canceled
	}
	return m.next.RoundTrip(r)
}

// late is a clock some time ahead, so that a claim of a dead run has expired. Waits are real.
type late struct{ ahead time.Duration }

func (l late) Now() time.Time                                   { return time.Now().Add(l.ahead) }
func (l late) Sleep(ctx context.Context, d time.Duration) error { return wall{}.Sleep(ctx, d) }

// process is one run of lkv: its own session, its own memory.
func (r *rig) process(d plan.Desired, ahead time.Duration, dead *atomic.Bool) (reconcile.Result, error) {
	r.Helper()
	cfg := r.config()
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { return mortal{next, dead} }
	c, err := vsphere.Connect(r.Context(), cfg)
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close(context.Background()) // a dead process does not log out
	f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: late{ahead}.Now})
	return reconcile.Run(r.Context(), reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: late{ahead}, Poll: 5 * time.Millisecond})
}

// solo is a fleet of one VM with its own name, and with Secure Boot: it is made by every step there is.
func solo(n int, im plan.Image, claimer string) plan.Desired {
	d := locked(desired(1, im))
	d.Fleet, d.Claimer = fmt.Sprintf("fleet-%d", n), claimer
	d.VMs[0].Name, d.VMs[0].Place.Folder = fmt.Sprintf("vm-%d", n), "lkv/"+d.Fleet
	return d
}

// crashes are the ways in which one mutating call can go wrong. kill ends the process at that call as well.
var crashes = []struct {
	name  string
	fault lab.Fault
	kill  bool
}{
	{"refused", lab.Refuse, false},
	{"connection lost before", lab.Drop, false},
	{"reply lost", lab.LoseReply, false},
	{"task fails", lab.FailTask, false},
	{"session expired", lab.ExpireAll, false},
	{"killed before", lab.Drop, true},
	{"killed after", lab.LoseReply, true},
}

// Whatever happens to any one call of a creation or a roll, the next run ends where a clean one would, and the data
// disk is the same one, with its bytes (safety.md, "Crash at every call"). A third of the calls is tried here, all of
// them with LKV_SWEEP=1.
func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel() // most of it is waiting
	for i, c := range crashes {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Config{Driver: lab.Paper{BootDelay: time.Millisecond}})
			v1, v2 := r.signed("iso v1", ownKey), r.signed("iso v2", ownKey)
			n := 0
			first, step := 1+i%3, 3
			if sweeping() {
				first, step = 1, 1
			}
			for k := first; ; k += step {
				n++
				first, second := solo(n, v1, "run-1"), solo(n, v1, "run-2")
				hit := r.crash(first, second, k, c.fault, c.kill)
				made := r.final(second, v1)
				first, second = solo(n, v2, "run-3"), solo(n, v2, "run-4")
				hit = r.crash(first, second, k, c.fault, c.kill) || hit
				rolled := r.final(second, v2)
				if made.Disks[0] != rolled.Disks[0] || rolled.Record.Previous != v1.Digest {
					t.Errorf("call %d: disk %+v became %+v, previous %q", k, made.Disks[0], rolled.Disks[0], rolled.Record.Previous)
				}
				if err := r.lab.Invariants(); err != nil {
					t.Fatalf("call %d: %v", k, err)
				}
				if !hit {
					t.Logf("%d crashes", n-1)
					return
				}
			}
		})
	}
}

// crash runs once with a fault at the k-th mutating call, and then again without. It tells whether there was one.
func (r *rig) crash(first, second plan.Desired, k int, fault lab.Fault, kill bool) bool {
	r.Helper()
	var dead atomic.Bool
	var calls atomic.Int64
	what := ""
	r.lab.OnCall(func(c lab.Call) lab.Fault {
		if calls.Add(1) != int64(k) {
			return lab.None
		}
		what = c.String()
		dead.Store(kill)
		return fault
	})
	res, err := r.process(first, 0, &dead)
	r.lab.OnCall(nil)
	if what == "" && (err != nil || res.Outcome != reconcile.Converged) {
		r.Fatalf("clean run: %v %+v", err, res)
	}
	if err == nil && res.Outcome == reconcile.Converged {
		return what != ""
	}
	dead.Store(false)
	again, aerr := r.process(second, 10*time.Minute, &dead)
	if aerr != nil || again.Outcome != reconcile.Converged {
		r.Fatalf("call %d (%s): first run %v %+v\nsecond run: %v %+v", k, what, err, res, aerr, again)
	}
	return what != ""
}

// final looks at the fleet's one VM, which must be released, on, and run the image.
func (r *rig) final(d plan.Desired, im plan.Image) plan.VM {
	r.Helper()
	o := r.observe(d)
	if len(o.VMs) != 1 || len(o.Files) != 1 || len(o.VMs[0].Disks) != 1 {
		r.Fatalf("not one VM with one disk: %+v", o)
	}
	v := o.VMs[0]
	if v.Record.Owner != "" || v.Record.Failed != "" || v.Record.Image != im.Digest || v.Guest.ImageID != im.ID || v.ISO != im.Paths[d.VMs[0].Place.Store] {
		r.Fatalf("end state: %+v", v)
	}
	if len(v.Record.Disks) != 1 || v.Record.Disks[0].UUID != v.Disks[0].UUID || v.Disks[0].UUID == "" {
		r.Fatalf("record %+v, disks %+v", v.Record.Disks, v.Disks)
	}
	if key := im.Trust.Key(); !v.SecureBoot || !slices.Equal(v.Keys, []string{key}) || v.Record.Key != key {
		r.Fatalf("Secure Boot %v, keys %v, record %q, want key %s", v.SecureBoot, v.Keys, v.Record.Key, key)
	}
	return v
}
