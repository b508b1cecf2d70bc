package vsphere_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// moved is another process, whose spec places VMs in the north only and has the south all the same: reached, or not.
func (p *pair) moved(unreached error) {
	p.Helper()
	fleet := func(name string, r *rig) *vsphere.Fleet {
		return r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now, VCenter: name})
	}
	south := vsphere.Beside{Fleet: fleet("south", p.south)}
	if unreached != nil {
		south = vsphere.Beside{Err: unreached}
	}
	var err error
	p.many, err = vsphere.NewMany(map[string]*vsphere.Fleet{"north": fleet("north", p.north)},
		map[string]vsphere.Beside{"south": south, "alias": {Fleet: fleet("alias", p.north)}})
	if err != nil {
		p.Fatal(err)
	}
}

// northern is the fleet with all of its VMs placed in the north.
func northern(d plan.Desired, n int) plan.Desired {
	d.VMs = slices.Clone(d.VMs[:n])
	for i := range d.VMs {
		d.VMs[i].Place.VCenter = "north"
	}
	return d
}

// A vCenter that no placement names any more is looked at: VMs of the fleet there are not wanted, and go as any others
// do, or not at all. Their disks stay.
func TestVMsLeftInAVCenter(t *testing.T) {
	p := newPair(t)
	d := p.desired(2, "iso v1")
	if res := p.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	p.moved(nil)
	p.refuses(northern(d, 2), plan.R06, "it is in vCenter south, and its place is in north now")
	less := northern(d, 1)
	p.refuses(less, plan.R14, "1 VMs are not wanted any more (wrk-02)")
	if o := p.observe(less); len(o.VMs) != 2 || o.VMs[1].VCenter != "south" || o.VMs[1].Ordinal != 2 || len(o.VMs[1].Disks) != 1 {
		t.Errorf("%+v", o.VMs)
	}
	less.Rollout.ScaleIn = 1
	if res := p.run(less); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	if got := vms(p.south); len(got) != 1 || !strings.HasPrefix(got[0], "wrk-02-retired") {
		t.Errorf("south has %q", got)
	}
	if diff := cmp.Diff([]string{"wrk-01"}, vms(p.north)); diff != "" {
		t.Error(diff)
	}
	if o := p.observe(less); len(o.VMs) != 2 || len(o.VMs[1].Disks) != 1 {
		t.Errorf("%+v", o.VMs)
	}
	p.refuses(northern(d, 2), plan.R06, "wrk-02") // its disk is in the south, with the VM that was retired
}

// What others have in a vCenter that no placement names is nothing to the fleet. What cannot be seen there stops nothing
// but the making of disks.
func TestVCenterWithoutPlacements(t *testing.T) {
	p := newPair(t)
	d := northern(p.desired(2, "iso v1"), 2)
	p.south.admin("DC1").create(one)
	p.moved(nil)
	if res := p.run(only(d, 1)); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	next := p.desired(2, "iso v2").Image
	p.moved(errors.New("connection refused"))
	p.refuses(d, plan.R15, "may lie in vCenter south, which cannot be looked at: connection refused")
	d.Image = next
	p.observe(d)
	var b plan.Blocked
	if err := p.many.Execute(t.Context(), diskOf(d, 1), d); !errors.As(err, &b) || b.Code != plan.R15 {
		t.Errorf("a disk is made in the dark: %v", err)
	}
	if res := p.run(only(d, 1)); res.Outcome != reconcile.Converged || len(res.Same) != 1 {
		t.Errorf("a roll: %+v", res)
	}
	p.moved(nil)
	if err := p.south.lab.SetAccessible("DC1", "vm-1", false); err != nil {
		t.Fatal(err)
	}
	p.refuses(d, plan.R15, "may lie on datastore vm-1 of vCenter south, which is not accessible")
	mk := diskOf(d, 1)
	if err := p.many.Execute(t.Context(), mk, d); !errors.As(err, &b) || b.Code != plan.R15 {
		t.Errorf("a disk is made although one may lie there: %v", err)
	}
}

// A disk that the fleet left in another vCenter is none that was never made, and a VM of the fleet has its place there.
func TestLeftBehindIsAskedAgain(t *testing.T) {
	p := newPair(t)
	d := northern(p.desired(2, "iso v1"), 2)
	p.moved(nil)
	p.observe(d)
	p.south.execute(diskOf(d, 0), d)
	var b plan.Blocked
	if err := p.many.Execute(t.Context(), diskOf(d, 0), d); !errors.As(err, &b) || b.Code != plan.R06 || !strings.HasPrefix(b.Reason, "vCenter south: ") {
		t.Errorf("a second disk: %v", err)
	}
	mk := plan.CreateVM{Want: d.VMs[0], Fleet: d.Fleet, ISO: d.Image.Paths["iso-DC1"]}
	mk.Name = one
	p.south.execute(mk, d)
	if err := p.many.Execute(t.Context(), mk, d); !errors.As(err, &b) || b.Code != plan.R22 || !strings.HasPrefix(b.Reason, "vCenter south: ") {
		t.Errorf("a second VM: %v", err)
	}
	north := p.north.c.Fleet(vsphere.FleetConfig{VCenter: "north", Now: time.Now})
	for what, besides := range map[string]vsphere.Beside{"twice": {Fleet: north}, "nothing": {}, "both": {Fleet: north, Err: errors.New("no")}} {
		name := "south"
		if what == "twice" {
			name = "north"
		}
		if _, err := vsphere.NewMany(map[string]*vsphere.Fleet{"north": north}, map[string]vsphere.Beside{name: besides}); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
