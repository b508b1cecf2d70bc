package vsphere_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// failing lets so many requests through and answers every later one with an error.
type failing struct {
	next http.RoundTripper
	left atomic.Int64
	sent atomic.Int64
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	f.sent.Add(1)
	if f.left.Add(-1) < 0 {
		return nil, context.Canceled // not repeated
	}
	return f.next.RoundTrip(r)
}

// Law 6: whichever read fails, the look says so and shows nothing. And looking changes nothing (A10), in a number of
// requests that does not depend on the number of VMs.
func TestPartialReadsAreNeverShorterLists(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(3, r.image("iso v1"))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	r.mutations()
	cfg := r.config()
	gate := &failing{}
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { gate.next = next; return gate }
	gate.left.Store(1 << 30)
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	full := r.observe(d)
	for n := int64(0); ; n++ {
		if n > 200 {
			t.Fatal("no end")
		}
		gate.left.Store(n)
		o, err := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now}).Observe(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if o.Problem == "" {
			if diff := cmp.Diff(full, o, volatile...); diff != "" {
				t.Errorf("%d requests:\n%s", n, diff)
			}
			break
		}
		if len(o.VMs)+len(o.Files) > 0 {
			t.Errorf("%d requests: problem %q and %+v", n, o.Problem, o)
		}
	}
	r.still("looking")
	count := func(n int) int64 {
		f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
		least := int64(1 << 30)
		for range 8 { // watching a task takes more or fewer requests
			gate.left.Store(1 << 30)
			gate.sent.Store(0)
			o, err := f.Observe(t.Context(), desired(n, d.Image))
			if err != nil || o.Problem != "" {
				t.Fatalf("%v %s", err, o.Problem)
			}
			least = min(least, gate.sent.Load())
		}
		return least
	}
	two, three := count(2), count(3)
	for range 10 { // the task again; a request a VM would never come out equal
		if two == three {
			break
		}
		two, three = count(2), count(3)
	}
	if two != three || two > 20 {
		t.Errorf("%d requests for two VMs, %d for three", two, three)
	}
}

func TestProblems(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(2, r.image("iso v1"))
	look := func(d plan.Desired) string {
		o, err := r.fleet.Observe(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return o.Problem
	}
	if err := r.lab.SetAccessible("DC2", "vm-1", false); err != nil {
		t.Fatal(err)
	}
	if p := look(d); !strings.Contains(p, "vm-1 is not accessible") {
		t.Errorf("problem %q", p)
	}
	if err := r.lab.SetAccessible("DC2", "vm-1", true); err != nil {
		t.Fatal(err)
	}
	d.VMs[1].Place.Datastore = "vm-9"
	if p := look(d); !strings.Contains(p, `"vm-9" not found; there is: iso-nfs, vm-1, vm-2`) {
		t.Errorf("problem %q", p)
	}
	d.VMs[1].Place = d.VMs[0].Place
	d.VMs[1].Place.Datacenter = "DC3"
	if p := look(d); !strings.Contains(p, `"DC3" not found; there is: /DC1, /DC2`) {
		t.Errorf("problem %q", p)
	}
}

// A record or report that cannot be read keeps us away from the VM; it does not look like an empty one.
func TestUnreadableRecord(t *testing.T) {
	r, a, d := made(t)
	for value, why := range map[string]string{"{": "read lkv.record", `{"format":9}`: "use a newer lkv"} {
		a.change(one, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: value}}})
		o := r.observe(d)
		if len(o.VMs[0].Busy) != 1 || !strings.Contains(o.VMs[0].Busy[0], why) {
			t.Errorf("%s: busy %q", value, o.VMs[0].Busy)
		}
		r.refused(plan.R08, shutdown(0), d)
	}
	r.still("a VM whose record is unreadable")
	a.change(one, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.owner", Value: "{"}}})
	if o, err := r.fleet.Observe(t.Context(), d); err != nil || !strings.Contains(o.Problem, "read lkv.owner") {
		t.Errorf("%v %q", err, o.Problem)
	}
}

// While a datastore cannot be looked into, no disk is made in its datacenter, by the planner nor by the executor: the
// disk may lie there, and not found is not gone (D7).
func TestNoDiskIsMadeWhileADatastoreIsHidden(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(2, r.image("iso v1"))
	d.VMs[0].Place.Datastore = "vm-2"
	if err := r.lab.SetAccessible("DC1", "vm-1", false); err != nil {
		t.Fatal(err)
	}
	o := r.observe(d)
	want := []plan.Hidden{{Datacenter: "DC1", Datastore: "vm-1", Why: "not accessible"}}
	if diff := cmp.Diff(want, o.Hidden); diff != "" {
		t.Errorf("hidden: %s", diff)
	}
	p := plan.Compute(d, o, time.Now())
	if len(p.Blocked) != 1 || p.Blocked[0].VM != one || p.Blocked[0].Code != plan.R15 {
		t.Errorf("blocked: %+v", p.Blocked)
	}
	if len(p.Waves) != 1 || len(p.Waves[0].Rolls) != 1 || p.Waves[0].Rolls[0].VM != d.VMs[1].Name {
		t.Errorf("the VM of the other datacenter is not made: %+v", p.Waves)
	}
	var mk plan.CreateDisk
	mk.Name, mk.Place, mk.Disk = one, d.VMs[0].Place, d.VMs[0].Disks[0]
	mk.Path = plan.DiskPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0])
	r.refused(plan.R15, mk, d)
	if err := r.lab.SetAccessible("DC1", "vm-1", true); err != nil {
		t.Fatal(err)
	}
	r.execute(mk, d)
}

// A data disk is found wherever it lies, so that naming another datastore does not make a second, empty one.
func TestDiskIsFoundOnAnotherDatastore(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	var mk plan.CreateDisk
	mk.Name, mk.Place, mk.Disk = one, d.VMs[0].Place, d.VMs[0].Disks[0]
	mk.Path = plan.DiskPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0])
	r.execute(mk, d)
	d.VMs[0].Place.Datastore = "vm-2"
	if o := r.observe(d); len(o.Files) != 1 || o.Files[0].Path != mk.Path || o.Files[0].Bytes != 64<<20 || o.Files[0].UUID == "" {
		t.Fatalf("%+v", o.Files)
	}
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	if v := r.observe(d).VMs[0]; v.Disks[0].Path != mk.Path {
		t.Errorf("attached %+v", v.Disks)
	}
}

// A task that already runs is waited for, not repeated.
func TestAwaitTask(t *testing.T) {
	r := newRig(t, lab.Config{TaskDelay: 150 * time.Millisecond})
	d := desired(1, r.image("iso v1"))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	a := r.admin("DC1")
	vm := a.vm(one)
	task, err := vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{Annotation: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	v := r.observe(d).VMs[0]
	if v.Task != task.Reference().Value {
		t.Fatalf("task %q, want %q", v.Task, task.Reference().Value)
	}
	s := plan.AwaitTask{Task: v.Task}
	s.Name = one
	r.execute(s, d)
	if o := r.observe(d); o.VMs[0].Task != "" {
		t.Errorf("still %q", o.VMs[0].Task)
	}
}

// VMs spread over the hosts, and only over those that work and reach both datastores.
func TestSpread(t *testing.T) {
	host := func(n int) string { return lab.HostName("DC1", "C1", n) }
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{
		{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 5}}, Datastores: []lab.Datastore{
			{Name: "iso-nfs", Hosts: []string{host(1), host(2), host(3), host(5)}}, {Name: "vm-1", Hosts: []string{host(1), host(3), host(4), host(5)}}}},
		{Name: "DC2", Clusters: []lab.Cluster{{Name: "C1", Hosts: 1}}, Datastores: []lab.Datastore{{Name: "iso-nfs"}, {Name: "vm-1"}}},
	}})
	a := r.admin("DC1")
	h, err := a.f.HostSystem(t.Context(), "*/"+host(5))
	if err != nil {
		t.Fatal(err)
	}
	a.must(h.EnterMaintenanceMode(t.Context(), 0, false, nil))
	d := desired(4, r.image("iso v1"))
	for i := range d.VMs {
		d.VMs[i].Place.Datacenter, d.VMs[i].Place.Store, d.VMs[i].Disks = "DC1", "iso-DC1", nil
	}
	count := map[string]int{}
	for _, w := range d.VMs {
		mk := plan.CreateVM{Want: w, Fleet: d.Fleet, ISO: d.Image.Paths["iso-DC1"], Record: plan.Record{Owner: "run-1", Epoch: 1}}
		mk.Name = w.Name
		r.execute(mk, d)
		count[a.host(w.Name)]++
	}
	if want := map[string]int{host(1): 2, host(3): 2}; cmp.Diff(want, count) != "" {
		t.Errorf("VMs per host: %v", count)
	}
	only := d.VMs[0]
	only.Name, only.Ordinal, only.Place.Cluster, only.Place.Host = "wrk-05", 5, "", "*/"+host(2)
	mk := plan.CreateVM{Want: only, Fleet: d.Fleet, ISO: d.Image.Paths["iso-DC1"]}
	mk.Name = only.Name
	err = r.fleet.Execute(t.Context(), mk, d)
	if err == nil || !strings.Contains(err.Error(), "does not reach datastore vm-1") {
		t.Errorf("%v", err)
	}
	// A host that does not reach the data disk's datastore is no place either.
	only.Place.Host, only.Place.Cluster, only.Place.Datastore = "", "C1", "vm-1"
	var disk plan.CreateDisk
	disk.Name, disk.Place, disk.Disk, disk.Path = only.Name, only.Place, plan.WantDisk{Name: "docker", Bytes: 1 << 20, Thin: true}, "[iso-nfs] lkv-disks/workers/wrk-05-docker.vmdk"
	r.execute(disk, d)
	mk.Want, mk.Record.Disks = only, []plan.DiskRecord{{Name: "docker", Path: disk.Path}}
	mk.Want.Place.Host, mk.Want.Place.Cluster = "*/"+host(4), ""
	if err := r.fleet.Execute(t.Context(), mk, d); err == nil || !strings.Contains(err.Error(), "does not reach datastore iso-nfs") {
		t.Errorf("%v", err)
	}
}

// Pets in folders, resource pools and under every name the finder takes.
func TestPlacements(t *testing.T) {
	r := newRig(t, lab.Config{})
	im := r.image("iso v1")
	a := r.admin("DC1")
	for i, place := range []plan.Placement{
		{Datacenter: "/DC1", Cluster: "C1", Datastore: "vm-*"},
		{Datacenter: "DC1", ResourcePool: "C1/Resources", Datastore: "/DC1/datastore/vm-2", Folder: "a b/c%d"},
		{Datacenter: "DC1", Datastore: "vm-1", Folder: "a b/c%d"},
		{Datacenter: "DC1", Host: "*/" + lab.HostName("DC1", "C1", 2), Datastore: "vm-1", Folder: "/DC1/vm/a b"},
	} {
		d := desired(1, im)
		d.Fleet = fmt.Sprintf("f%d", i)
		d.VMs[0].Name, d.VMs[0].Place, d.VMs[0].Disks = fmt.Sprintf("pet %d", i), place, nil
		mk := plan.CreateVM{Want: d.VMs[0], Fleet: d.Fleet, ISO: im.Paths["iso-DC1"], Record: plan.Record{Owner: "run-1", Epoch: 1}}
		mk.Name = d.VMs[0].Name
		r.execute(mk, d)
		if o := r.observe(d); len(o.VMs) != 1 || o.VMs[0].Fleet != d.Fleet {
			t.Errorf("%+v: %+v", place, o.VMs)
		}
	}
	if got := a.host("pet 3"); got != lab.HostName("DC1", "C1", 2) {
		t.Errorf("host %s", got)
	}
	for _, c := range []struct {
		place plan.Placement
		want  string
	}{
		{plan.Placement{Datacenter: "DC1", Cluster: "C9", Datastore: "vm-1"}, `cluster "C9" not found; there is: C1`},
		{plan.Placement{Datacenter: "DC1", Host: "h9", Datastore: "vm-1"}, `host "h9" not found`},
		{plan.Placement{Datacenter: "DC1", ResourcePool: "p9", Datastore: "vm-1"}, `resource pool "p9" not found`},
		{plan.Placement{Datacenter: "DC1", Cluster: "C1", Datastore: "vm-9"}, `datastore "vm-9" not found`},
	} {
		d := desired(1, im)
		d.VMs[0].Place, d.VMs[0].Disks = c.place, nil
		mk := plan.CreateVM{Want: d.VMs[0], Fleet: d.Fleet, ISO: im.Paths["iso-DC1"]}
		mk.Name = one
		if err := r.fleet.Execute(t.Context(), mk, d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.place, err)
		}
	}
	bad := desired(1, im)
	bad.VMs[0].Disks, bad.VMs[0].Networks = nil, []plan.Network{{Name: "nowhere"}}
	mk := plan.CreateVM{Want: bad.VMs[0], Fleet: bad.Fleet, ISO: im.Paths["iso-DC1"]}
	mk.Name = one
	if err := r.fleet.Execute(t.Context(), mk, bad); err == nil || !strings.Contains(err.Error(), `network "nowhere" not found; there is: VM Network`) {
		t.Errorf("%v", err)
	}
}

// Files that no VM has are listed when a disk may be made, and when they are asked for: a fleet at rest does not need them.
func TestFilesOfASettledFleet(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(2, r.image("iso v1"))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	var mk plan.CreateDisk // of a VM that is gone
	mk.Name, mk.Place, mk.Disk, mk.Path = "wrk-09", d.VMs[0].Place, d.VMs[0].Disks[0], "[vm-1] lkv-disks/workers/wrk-09-docker.vmdk"
	r.execute(mk, d)
	count := func(f *vsphere.Fleet, d plan.Desired) int {
		o, err := f.Observe(t.Context(), d)
		if err != nil || o.Problem != "" {
			t.Fatalf("%v %s", err, o.Problem)
		}
		return len(o.Files)
	}
	all := r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now, AllFiles: true})
	if at, asked := count(r.fleet, d), count(all, d); at != 2 || asked != 3 {
		t.Errorf("at rest %d files, asked for %d", at, asked)
	}
	if more := count(r.fleet, desired(3, d.Image)); more != 3 {
		t.Errorf("with a VM to be made %d files", more)
	}
	wide := desired(2, d.Image)
	wide.VMs[1].Disks = append(wide.VMs[1].Disks, plan.WantDisk{Name: "logs", Bytes: 1 << 20})
	if more := count(r.fleet, wide); more != 3 {
		t.Errorf("with a disk that no record has %d files", more)
	}
	green := desired(2, d.Image)
	green.Rollout.Strategy = "blue-green"
	if more := count(r.fleet, green); more != 3 {
		t.Errorf("blue-green %d files", more)
	}
	r.admin("DC1").detach(one)
	if more := count(r.fleet, d); more != 3 {
		t.Errorf("with a disk detached %d files", more)
	}
}

// What a look remembers of a VM ends with the VM's changeVersion, and with the session.
func TestMemoryOfLooks(t *testing.T) {
	r, a, d := made(t)
	epoch := func() int { return r.observe(d).VMs[0].Record.Epoch }
	if got := epoch(); got == 7 {
		t.Fatalf("epoch %d", got)
	}
	a.change(one, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: `{"format":1,"epoch":7}`}}})
	if got := epoch(); got != 7 {
		t.Errorf("epoch %d after a change", got)
	}
	r.lab.ExpireSessions()
	if got := epoch(); got != 7 {
		t.Errorf("epoch %d in a new session", got)
	}
}
