package vsphere_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// choice asks for the datastores of VMs with one thin disk of 100 GiB each.
func (r *rig) choice(name string, vms ...int) []string {
	r.Helper()
	x, err := r.c.Choice(r.Context(), plan.Placement{Datacenter: "DC1", Cluster: "C1"}, name, "lkv-disks/workers")
	if err != nil {
		r.Fatal(err)
	}
	ask := func() (out []string) {
		for _, i := range vms {
			vm := fmt.Sprintf("wrk-%02d", i)
			out = append(out, x.Next(vm, 100<<30, vm+"-docker.vmdk"))
		}
		return out
	}
	out := ask()
	if diff := cmp.Diff(out, ask()); diff != "" {
		r.Errorf("who asks again gets another answer: %s", diff)
	}
	return out
}

func (r *rig) free(stores map[string]int64) {
	r.Helper()
	for ds, bytes := range stores {
		if err := r.lab.SetFreeSpace("DC1", ds, bytes); err != nil {
			r.Fatal(err)
		}
	}
}

// Disks that are promised and take nothing yet count: six of them do not land on one datastore.
func TestDisksAreSpread(t *testing.T) {
	r := newRig(t, lab.Config{})
	r.free(map[string]int64{"vm-1": 1 << 40, "vm-2": 1 << 40})
	if diff := cmp.Diff([]string{"vm-1", "vm-2", "vm-1", "vm-2", "vm-1", "vm-2"}, r.choice("vm-*", 1, 2, 3, 4, 5, 6)); diff != "" {
		t.Error(diff)
	}
	// Another name of the same datastores knows what was promised on them.
	r.free(map[string]int64{"vm-2": 1<<40 + 150<<30})
	if diff := cmp.Diff([]string{"vm-2", "vm-2", "vm-1"}, r.choice("vm-[12]", 7, 8, 9)); diff != "" {
		t.Error(diff)
	}
	if got := r.choice("vm-1", 10, 11); cmp.Diff([]string{"vm-1", "vm-1"}, got) != "" {
		t.Errorf("by its name: %v", got)
	}
}

// A disk that was made already says where its VM belongs, however much room there is elsewhere.
func TestDiskSaysWhereItsVMBelongs(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(3, r.image("iso v1"))
	w := d.VMs[2]
	w.Place.Datastore = "vm-2"
	mk := plan.CreateDisk{Place: w.Place, Disk: w.Disks[0], Path: plan.DiskPath(d.Fleet, w, w.Disks[0])}
	mk.Name = w.Name
	r.execute(mk, d)
	r.free(map[string]int64{"vm-1": 1 << 40, "vm-2": 1 << 30})
	if diff := cmp.Diff([]string{"vm-1", "vm-1", "vm-2"}, r.choice("vm-*", 1, 2, 3)); diff != "" {
		t.Error(diff)
	}
}

// Room is no use where no host of the placement, or only one of them, gets at it.
func TestDatastoresWithinReach(t *testing.T) {
	host := func(cluster string, n int) string { return lab.HostName("DC1", cluster, n) }
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{{Name: "DC1",
		Clusters: []lab.Cluster{{Name: "C1", Hosts: 2}, {Name: "C2", Hosts: 1}},
		Datastores: []lab.Datastore{{Name: "iso-nfs"}, {Name: "vm-one", Hosts: []string{host("C1", 1)}},
			{Name: "vm-shared", Hosts: []string{host("C1", 1), host("C1", 2)}}, {Name: "vm-away", Hosts: []string{host("C2", 1)}}}}}})
	r.free(map[string]int64{"vm-one": 3 << 40, "vm-shared": 1 << 40, "vm-away": 4 << 40})
	for _, c := range []struct{ what, name, want string }{
		{"most of the hosts", "vm-*", "vm-shared"},
		{"the one host that any reaches", "vm-[oa]*", "vm-one"},
		{"its own name", "vm-away", "vm-away"},
	} {
		if got := r.choice(c.name, 1); cmp.Diff([]string{c.want}, got) != "" {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	_, err := r.c.Choice(t.Context(), plan.Placement{Datacenter: "DC1", Host: "*/" + host("C2", 1)}, "vm-[os]*", "lkv-disks/workers")
	if err == nil || !strings.Contains(err.Error(), "reaches any of vm-one, vm-shared") && !strings.Contains(err.Error(), "reaches any of vm-shared, vm-one") {
		t.Errorf("out of reach: %v", err)
	}
}
