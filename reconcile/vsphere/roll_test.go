package vsphere_test

import (
	"maps"
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

// rolled rolls a fleet of n VMs in place and counts the calls of the whole run. Guests take boot to boot and half of it
// to shut down; somebody looks every poll whether they are ready.
func rolled(t testing.TB, n int, boot, poll time.Duration) *counter {
	t.Helper()
	how := func(string, int) lab.Behaviour { return lab.Behaviour{BootDelay: boot, ShutdownDelay: boot / 2} }
	r := newRig(t, lab.Config{Driver: lab.Paper{Behave: how}})
	if res := r.run(desired(n, r.image("iso v1"))); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	d := desired(n, r.image("iso v2"))
	d.Rollout.Grace = max(d.Rollout.Grace, 2*boot)
	calls := &counter{}
	calls.reset()
	cfg := r.config()
	cfg.Trace = calls.add
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: wall{}, Poll: poll})
	if err != nil || res.Outcome != reconcile.Converged {
		t.Fatalf("%v %+v", err, res)
	}
	return calls
}

// TestRollCalls: a VM that is rolled in place takes at most so many calls, the looks of the run among them. A busy
// machine makes tasks last for more looks, so that the best of a few rolls counts. A guest that takes 20 s to boot is
// looked at every 2 s; here everything is ten times faster.
func TestRollCalls(t *testing.T) {
	for name, c := range map[string]struct {
		n          int
		boot, poll time.Duration
	}{
		"at once":    {4, time.Millisecond, 100 * time.Millisecond},
		"20 seconds": {2, 2 * time.Second, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls *counter
			for range 3 {
				calls = rolled(t, c.n, c.boot, c.poll)
				reads, writes := calls.sums()
				t.Logf("%d VMs: %d mutating calls, %d reading ones: %v", c.n, writes, reads, calls.reads)
				if writes <= 12*c.n && reads <= 40*c.n && writes >= 4*c.n {
					return
				}
			}
			t.Errorf("%d VMs: mutating calls %v, reading ones %v", c.n, calls.writes, calls.reads)
		})
	}
}

// BenchmarkRoll rolls a fleet of eight VMs in place and counts.
func BenchmarkRoll(b *testing.B) {
	const n = 8
	var calls *counter
	for b.Loop() {
		calls = rolled(b, n, time.Millisecond, 100*time.Millisecond)
	}
	reads, writes := calls.sums()
	b.ReportMetric(float64(writes)/n, "mutating-calls/VM")
	b.ReportMetric(float64(reads)/n, "reading-calls/VM")
}
