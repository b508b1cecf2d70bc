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

// rolled rolls a fleet of n VMs in place, with guests that boot at once, and counts the calls of the whole run. A guest
// that takes its time costs two more for every time somebody looks whether it is ready (Options.Poll).
func rolled(t testing.TB, n int) *counter {
	t.Helper()
	r := newRig(t, lab.Config{Driver: lab.Paper{BootDelay: time.Millisecond}})
	if res := r.run(desired(n, r.image("iso v1"))); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	d := desired(n, r.image("iso v2"))
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
	res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: wall{}, Poll: 100 * time.Millisecond})
	if err != nil || res.Outcome != reconcile.Converged {
		t.Fatalf("%v %+v", err, res)
	}
	return calls
}

// TestRollCalls: a VM that is rolled in place takes at most so many calls, the looks of the run among them. A busy
// machine makes tasks last for more looks, so that the best of a few rolls counts.
func TestRollCalls(t *testing.T) {
	const n = 4
	var calls *counter
	for range 3 {
		calls = rolled(t, n)
		if reads, writes := calls.sums(); writes <= 12*n && reads <= 40*n && writes >= 4*n {
			return
		}
	}
	t.Errorf("%d VMs: mutating calls %v, reading ones %v", n, calls.writes, calls.reads)
}

// BenchmarkRoll rolls a fleet of eight VMs in place and counts.
func BenchmarkRoll(b *testing.B) {
	const n = 8
	var calls *counter
	for b.Loop() {
		calls = rolled(b, n)
	}
	reads, writes := calls.sums()
	b.ReportMetric(float64(writes)/n, "mutating-calls/VM")
	b.ReportMetric(float64(reads)/n, "reading-calls/VM")
}
