package plan

import (
	"testing"
	"time"
)

// TestFailedAndBusyDoesNotServe: a VM whose roll failed, or takes too long, does not count as serving although its guest
// is back, whatever else forbids to touch it; a seed of TestChaos in package reconcile found that a dialogue did.
func TestFailedAndBusyDoesNotServe(t *testing.T) {
	for name, spoil := range map[string]func(*VM){
		"failed":  func(v *VM) { v.Record.Failed = "not ready" },
		"overdue": func(v *VM) { v.Record.Started = t0.Add(-2 * time.Hour) },
	} {
		d := wish(2)
		d.Rollout.MaxFailed, d.Rollout.Progress, d.Rollout.NoBrake = 2, time.Hour, true
		o := Observed{}.with(standing(d, d.VMs[0], oldDigest)).with(standing(d, d.VMs[1], oldDigest))
		v := o.find(d.VMs[0].Name)
		v.Busy = []string{"a question is pending"}
		spoil(v)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil || len(p.Waves) > 0 {
			t.Errorf("%s: %d waves, %v", name, len(p.Waves), err)
		}
	}
}
