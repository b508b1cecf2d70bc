package vsphere_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

var (
	_ reconcile.Observer = (*vsphere.Many)(nil)
	_ reconcile.Executor = (*vsphere.Many)(nil)
)

// pair are two vCenters, north and south, with the same names in both.
type pair struct {
	testing.TB
	north, south *rig
	many         *vsphere.Many
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{TB: t, north: newRig(t, lab.Config{}), south: newRig(t, lab.Config{})}
	p.many = p.fresh()
	return p
}

// fresh is another process: it remembers nothing.
func (p *pair) fresh() *vsphere.Many {
	p.Helper()
	fleets := map[string]*vsphere.Fleet{}
	for name, r := range map[string]*rig{"north": p.north, "south": p.south} {
		fleets[name] = r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now, VCenter: name})
	}
	m, err := vsphere.NewMany(fleets, nil)
	if err != nil {
		p.Fatal(err)
	}
	return m
}

// desired is a fleet of n VMs that take turns between the vCenters.
func (p *pair) desired(n int, content string) plan.Desired {
	p.Helper()
	im := p.north.image(content)
	p.south.image(content)
	d := desired(n, im)
	for i := range d.VMs {
		at := &d.VMs[i].Place
		at.VCenter, at.Datacenter, at.Store = []string{"north", "south"}[i%2], "DC1", "iso-DC1"
	}
	return d
}

func (p *pair) run(d plan.Desired) reconcile.Result {
	p.Helper()
	res, err := reconcile.Run(p.Context(), reconcile.Options{Desired: d, Observer: p.many, Executor: p.many, Clock: wall{}, Poll: 20 * time.Millisecond})
	if err != nil {
		p.Fatalf("run: %v (%+v)", err, res)
	}
	return res
}

func (p *pair) observe(d plan.Desired) plan.Observed {
	p.Helper()
	o, err := p.many.Observe(p.Context(), d)
	if err != nil || o.Problem != "" {
		p.Fatalf("observe: %v %s", err, o.Problem)
	}
	return o
}

// vms are the names of the VMs in a lab.
func vms(r *rig) (names []string) {
	for _, v := range r.lab.VMs() {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}

// refuses runs, expects that code for that VM, and that nothing was sent.
func (p *pair) refuses(d plan.Desired, code plan.Code, about string) {
	p.Helper()
	p.north.mutations()
	p.south.mutations()
	res := p.run(d)
	if res.Outcome != reconcile.Refused || !slices.ContainsFunc(res.Blocked, func(b plan.Blocked) bool { return b.Code == code && strings.Contains(b.Reason, about) }) {
		p.Errorf("want %s (%s), got %+v", code, about, res)
	}
	p.north.still("refused " + string(code))
	p.south.still("refused " + string(code))
}

// One fleet in two vCenters is made, rolled and left alone like any other, each VM in its own.
func TestFleetOfTwoVCenters(t *testing.T) {
	p := newPair(t)
	d := p.desired(4, "iso v1")
	if res := p.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	if diff := cmp.Diff([]string{"wrk-01", "wrk-03"}, vms(p.north)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"wrk-02", "wrk-04"}, vms(p.south)); diff != "" {
		t.Error(diff)
	}
	before := p.observe(d)
	d.Image = p.desired(4, "iso v2").Image
	if res := p.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	after := p.observe(d)
	for i, v := range after.VMs {
		if diff := cmp.Diff(before.VMs[i].Disks, v.Disks); diff != "" || v.Record.Image != d.Image.Digest {
			t.Errorf("%s: image %s\n%s", v.Name, v.Record.Image, diff)
		}
	}
	p.many = p.fresh()
	p.north.mutations()
	p.south.mutations()
	if res := p.run(d); res.Outcome != reconcile.Converged || len(res.Same) != 4 {
		t.Errorf("%+v", res)
	}
	p.north.still("nothing differs")
	p.south.still("nothing differs")
}

// A vCenter that cannot be read may have anything, so the other one's VMs are left alone too.
func TestOneVCenterThatCannotBeRead(t *testing.T) {
	p := newPair(t)
	d := p.desired(2, "iso v1")
	if err := p.south.lab.SetAccessible("DC1", "vm-1", false); err != nil {
		t.Fatal(err)
	}
	p.refuses(d, plan.R15, "vCenter south: ")
}

// What one vCenter has is not made in the other.
func TestWhatTheOtherVCenterHas(t *testing.T) {
	p := newPair(t)
	d := p.desired(2, "iso v1")
	p.south.admin("DC1").create(one)
	p.north.admin("DC1").create(one)
	p.refuses(only(d, 1), plan.R22, "north/vm-")

	p = newPair(t)
	d = p.desired(2, "iso v1")
	p.south.admin("DC1").folder("[vm-2] " + firstMarker)
	p.refuses(only(d, 1), plan.R06, "made once")

	p = newPair(t)
	d = p.desired(2, "iso v1")
	mk := diskOf(d, 0)
	p.south.execute(mk, d) // the file is in the wrong vCenter
	p.refuses(only(d, 1), plan.R06, "made once")
	p.north.execute(mk, d) // and in both: this rig knows of one vCenter only
	p.refuses(only(d, 1), plan.R06, "exists twice")
}

// What appears in the other vCenter between look and call is seen before anything is made.
func TestTheOtherVCenterIsAskedAgain(t *testing.T) {
	p := newPair(t)
	d := p.desired(2, "iso v1")
	p.observe(d)
	a := p.south.admin("DC1")
	a.folder("[vm-1] " + firstMarker)
	a.create(one)
	mk := plan.CreateVM{Want: d.VMs[0], Fleet: d.Fleet, ISO: d.Image.Paths["iso-DC1"]}
	mk.Name = one
	for code, s := range map[plan.Code]plan.Step{plan.R06: diskOf(d, 0), plan.R22: mk} {
		var b plan.Blocked
		if err := p.many.Execute(t.Context(), s, d); !errors.As(err, &b) || b.Code != code || !strings.HasPrefix(b.Reason, "vCenter south: ") {
			t.Errorf("%s: %v", s, err)
		}
	}
	if got := vms(p.north); len(got) > 0 {
		t.Errorf("made: %q", got)
	}
}

// A VM that both vCenters have is in neither, and one that was never seen is changed nowhere.
func TestStepsForAnAmbiguousVM(t *testing.T) {
	p := newPair(t)
	d := p.desired(2, "iso v1")
	if err := p.many.Execute(t.Context(), powerOn(), d); !errors.Is(err, vsphere.ErrChanged) {
		t.Errorf("never seen: %v", err)
	}
	for _, r := range []*rig{p.north, p.south} {
		r.admin("DC1").create(one)
	}
	p.observe(d)
	var b plan.Blocked
	if err := p.many.Execute(t.Context(), powerOn(), d); !errors.As(err, &b) || b.Code != plan.R22 {
		t.Errorf("in both: %v", err)
	}
	green := plan.CreateVM{Want: d.VMs[0], Fleet: d.Fleet, Record: plan.Record{Replaces: "5000-elsewhere"}}
	green.Name = one + "-green"
	if err := p.many.Execute(t.Context(), green, d); !errors.As(err, &b) || b.Code != plan.R06 {
		t.Errorf("a green without its blue: %v", err)
	}
	if _, err := vsphere.NewMany(nil, nil); err == nil {
		t.Error("no vCenter at all")
	}
	if _, err := vsphere.NewMany(map[string]*vsphere.Fleet{"north": p.south.fleet}, nil); err == nil {
		t.Error("a vCenter under another name")
	}
}

// only is the fleet as far as its first n VMs.
func only(d plan.Desired, n int) plan.Desired {
	d.VMs = d.VMs[:n]
	return d
}

// diskOf is the step that makes the disk of the VM of that index.
func diskOf(d plan.Desired, i int) plan.CreateDisk {
	w := d.VMs[i]
	s := plan.CreateDisk{Place: w.Place, Disk: w.Disks[0], Path: plan.DiskPath(d.Fleet, w, w.Disks[0])}
	s.Name = w.Name
	return s
}

// A VM that was retired has left its place: the fleet's next VM of that name is made.
func TestRetiredVMIsNotInTheWay(t *testing.T) {
	r, _, d := made(t)
	r.execute(shutdown(time.Second), d)
	r.execute(named(plan.Retire{To: retired, At: time.Now()}, func(s *plan.Retire) { s.Name = one }), d)
	mk := plan.CreateVM{Want: d.VMs[0], Fleet: d.Fleet, ISO: d.Image.Paths["iso-DC1"], Record: plan.Record{Owner: "run-1", Epoch: 1}}
	mk.Name = one
	r.means(mk, d)
}
