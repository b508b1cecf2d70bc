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

// TestRollCalls: a VM that is rolled in place takes so many calls, whole runs counted, with guests that boot at once.
// A guest that takes its time costs a few more for every time somebody looks whether it is ready (Options.Poll).
func TestRollCalls(t *testing.T) {
	const n = 4
	r := newRig(t, lab.Config{Driver: lab.Paper{BootDelay: time.Millisecond}})
	if res := r.run(desired(n, r.image("iso v1"))); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	d := desired(n, r.image("iso v2"))
	var calls counter
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
	reads, writes := calls.sums()
	t.Logf("per VM: %d mutating calls, %d reading ones; %v %v", writes/n, reads/n, calls.writes, calls.reads)
	if writes > 12*n || reads > 40*n {
		t.Errorf("%d VMs: %d mutating calls %v, %d reading ones %v", n, writes, calls.writes, reads, calls.reads)
	}
}
