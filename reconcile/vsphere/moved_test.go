package vsphere_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// The placement of a VM says another datacenter by now, and only there the new ISO lies: the VM goes on serving.
func TestMissingISOIsFoundBeforeTheShutdown(t *testing.T) {
	r, a, d := made(t)
	release := plan.Release{}
	release.Name = one
	r.execute(release, d)
	d.Image = r.image("iso v2")
	a.remove(d.Image.Paths["iso-DC1"])
	d.VMs[0].Place.Datacenter, d.VMs[0].Place.Store = "DC2", "iso-DC2"
	r.mutations()
	res := r.run(d)
	if i := slices.IndexFunc(res.Blocked, func(b plan.Blocked) bool { return b.Code == plan.R01 }); i < 0 || !strings.Contains(res.Blocked[i].Reason, "not in /DC1, the datacenter that the VM is in") {
		t.Errorf("%+v", res)
	}
	r.still("an ISO that is not where the VM is")
	// Nor is it stopped when its claim was made before.
	r.execute(claim("run-1", 3), plan.Desired{Fleet: d.Fleet, Claimer: d.Claimer})
	r.mutations()
	r.refused(plan.R01, shutdown(0), d)
	r.still("an ISO that is gone meanwhile")
	d.Image = r.image("iso v2")
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Errorf("with the ISO: %+v", res)
	}
}
