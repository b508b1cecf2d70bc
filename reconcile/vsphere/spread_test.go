package vsphere_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// spreadOn is a vCenter with three hosts, and a fleet of six VMs without disks.
func spreadOn(t *testing.T) (*rig, plan.Desired) {
	t.Helper()
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{
		{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 3}}, Datastores: []lab.Datastore{{Name: "iso-nfs"}, {Name: "vm-1"}}},
		{Name: "DC2", Clusters: []lab.Cluster{{Name: "C1", Hosts: 1}}, Datastores: []lab.Datastore{{Name: "iso-nfs"}, {Name: "vm-1"}}},
	}})
	d := desired(6, r.image("iso v1"))
	for i := range d.VMs {
		d.VMs[i].Place.Datacenter, d.VMs[i].Place.Store, d.VMs[i].Disks = "DC1", "iso-DC1", nil
	}
	return r, d
}

func making(d plan.Desired, i int) plan.CreateVM {
	mk := plan.CreateVM{Want: d.VMs[i], Fleet: d.Fleet, ISO: d.Image.Paths["iso-DC1"], Record: plan.Record{Owner: "run-1", Epoch: 1}}
	mk.Name = d.VMs[i].Name
	return mk
}

// VMs of one wave are made at the same time, and none of them shows to the others: they are spread all the same.
func TestWaveIsSpread(t *testing.T) {
	r, d := spreadOn(t)
	a := r.admin("DC1")
	count := func() map[string]int {
		n := map[string]int{}
		for _, v := range r.observe(d).VMs {
			n[a.host(v.Name)]++
		}
		return n
	}
	var all sync.WaitGroup // have chosen
	cfg := r.config()
	cfg.Trace = func(m string, _ bool) {
		if m == "CreateVM_Task" {
			all.Done()
			all.Wait()
		}
	}
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	fleet := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	wave := func(from, to int) {
		var wg sync.WaitGroup
		all.Add(to - from)
		for i := from; i < to; i++ {
			wg.Go(func() {
				if err := fleet.Execute(t.Context(), making(d, i), d); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	wave(0, 4)
	wave(4, 6)
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	want := map[string]int{}
	for n := 1; n <= 3; n++ {
		want[lab.HostName("DC1", "C1", n)] = 2
	}
	if diff := cmp.Diff(want, count()); diff != "" {
		t.Errorf("VMs per host: %s", diff)
	}
}

// A VM whose making failed is on no host, and one that is gone is on none any more.
func TestOnlyWhatIsMadeCounts(t *testing.T) {
	r, d := spreadOn(t)
	a := r.admin("DC1")
	for i := range 2 {
		mk := making(d, i)
		mk.Record.Disks = []plan.DiskRecord{{Name: "docker", Path: fmt.Sprintf("[vm-1] lkv-disks/workers/none-%d.vmdk", i)}}
		var b plan.Blocked
		if err := r.fleet.Execute(t.Context(), mk, d); !errors.As(err, &b) || b.Code != plan.R06 {
			t.Fatalf("%v", err)
		}
	}
	first := lab.HostName("DC1", "C1", 1)
	r.execute(making(d, 2), d)
	if got := a.host(d.VMs[2].Name); got != first {
		t.Errorf("the first VM is on %s", got)
	}
	a.must(a.vm(d.VMs[2].Name).Destroy(t.Context()))
	r.execute(making(d, 3), d)
	if got := a.host(d.VMs[3].Name); got != first {
		t.Errorf("after the first VM was destroyed the next is on %s", got)
	}
}
