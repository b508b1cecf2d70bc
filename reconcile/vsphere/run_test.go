package vsphere_test

import (
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
)

// A fleet is created, rolled to another ISO and left alone afterwards; its disks are the same all the time.
func TestCreateRollRest(t *testing.T) {
	r := newRig(t, lab.Config{})
	v1 := r.image("iso v1")
	d := desired(2, v1)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("create: %+v", res)
	}
	before := r.observe(d)
	r.mutations()
	if res := r.run(d); res.Outcome != reconcile.Converged || len(r.mutations()) > 0 {
		t.Fatalf("second run: %+v", res)
	}
	v2 := r.image("iso v2")
	r.mutations()
	d = desired(2, v2)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("roll: %+v", res)
	}
	t.Log(r.mutations())
	after := r.observe(d)
	for i, v := range after.VMs {
		if v.Record.Image != v2.Digest || v.Record.Previous != v1.Digest || v.Guest.ImageID != v2.ID {
			t.Errorf("%s: record %+v guest %+v", v.Name, v.Record, v.Guest)
		}
		if len(v.Disks) != 1 || v.Disks[0] != before.VMs[i].Disks[0] {
			t.Errorf("%s: disks %+v, before %+v", v.Name, v.Disks, before.VMs[i].Disks)
		}
	}
}
