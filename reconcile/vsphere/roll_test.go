package vsphere_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// counter counts calls by method, mutating ones apart. Login and logout are not among them.
type counter struct {
	mu            sync.Mutex
	reads, writes map[string]int
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads, c.writes = map[string]int{}, map[string]int{}
}

func (c *counter) add(method string, mutating bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if mutating {
		c.writes[method]++
	} else {
		c.reads[method]++
	}
}

func (c *counter) sums() (reads, writes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range maps.Values(c.reads) {
		reads += n
	}
	for n := range maps.Values(c.writes) {
		writes += n
	}
	return reads, writes
}

// pace is how a fleet is rolled whose calls are counted. In life a guest takes 20 s to boot, the gate settles 30 s, and
// Poll is 2 s; here everything is twenty times as fast.
type pace struct {
	n                  int
	boot, settle, bake time.Duration // guests shut down in half the time
	poll               time.Duration
	alone              bool // nothing reads single VMs or tells of changes
}

var paces = map[string]pace{
	"at once":                   {n: 4, boot: time.Millisecond, poll: 100 * time.Millisecond},
	"20 s":                      {n: 2, boot: time.Second, poll: 100 * time.Millisecond},
	"20 s, settle 30 s":         {n: 2, boot: time.Second, settle: 1500 * time.Millisecond, poll: 100 * time.Millisecond},
	"20 s, settle 30 s, canary": {n: 3, boot: time.Second, settle: 1500 * time.Millisecond, bake: 3 * time.Second, poll: 100 * time.Millisecond},
	"40 s, settle 1 min":        {n: 2, boot: 2 * time.Second, settle: 3 * time.Second, poll: 100 * time.Millisecond},
}

// rolled rolls a fleet in place and counts the calls of all runs, those after the bake among them.
func rolled(t testing.TB, p pace) *counter {
	t.Helper()
	how := func(string, int) lab.Behaviour { return lab.Behaviour{BootDelay: p.boot, ShutdownDelay: p.boot / 2} }
	r := newRig(t, lab.Config{Driver: lab.Paper{Behave: how}})
	if res := r.run(desired(p.n, r.image("iso v1"))); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	d := desired(p.n, r.image("iso v2"))
	d.Rollout.Grace, d.Rollout.Settle = max(d.Rollout.Grace, 2*p.boot), p.settle
	if p.bake > 0 {
		d.Rollout.Canaries, d.Rollout.Bake = 1, p.bake
	}
	calls := &counter{}
	calls.reset()
	cfg := r.config()
	cfg.Trace = calls.add
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for {
		f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
		o := reconcile.Options{Desired: d, Observer: f, Executor: f, Watcher: f, Clock: wall{}, Poll: p.poll}
		if p.alone {
			o.Watcher = nil
		}
		res, err := reconcile.Run(t.Context(), o)
		switch {
		case err == nil && res.Outcome == reconcile.Pending && p.bake > 0:
			time.Sleep(p.bake)
		case err != nil || res.Outcome != reconcile.Converged:
			t.Fatalf("%v %+v", err, res)
		default:
			return calls
		}
	}
}

// TestRollCalls: a VM that is rolled in place takes at most so many calls, the looks of the run among them, however
// long its guest takes. A busy machine makes tasks last for more looks, so that the best of a few rolls counts.
func TestRollCalls(t *testing.T) {
	for name, p := range paces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls *counter
			for range 3 {
				calls = rolled(t, p)
				reads, writes := calls.sums()
				t.Logf("%d VMs: %d mutating calls, %d reading ones: %v", p.n, writes, reads, calls.reads)
				if writes <= 12*p.n && reads <= 40*p.n && writes >= 4*p.n {
					return
				}
			}
			t.Errorf("%d VMs: mutating calls %v, reading ones %v", p.n, calls.writes, calls.reads)
		})
	}
}

// BenchmarkRoll rolls a fleet in place and counts, with whole looks only (alone), and as lkv does.
func BenchmarkRoll(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(paces)) {
		for _, alone := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/alone=%v", name, alone), func(b *testing.B) {
				p := paces[name]
				p.alone = alone
				var calls *counter
				for b.Loop() {
					calls = rolled(b, p)
				}
				reads, writes := calls.sums()
				b.ReportMetric(float64(writes)/float64(p.n), "mutating-calls/VM")
				b.ReportMetric(float64(reads)/float64(p.n), "reading-calls/VM")
			})
		}
	}
}
