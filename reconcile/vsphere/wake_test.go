package vsphere_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

var (
	_ reconcile.Watcher = (*vsphere.Fleet)(nil)
	_ reconcile.Watcher = (*vsphere.Many)(nil)
)

// sleeper follows a fleet.
type sleeper struct {
	*rig
	following chan struct{} // holds one for every time vCenter was asked anew to tell what changes
	wake      <-chan struct{}
	stop      func()
	c         *vsphere.Client
}

// sleeper follows a fleet, in a session of its own, and returns when vCenter is asked to tell what changes.
func (r *rig) sleeper(d plan.Desired) *sleeper {
	r.Helper()
	ctx, stop := context.WithCancel(r.Context())
	s := &sleeper{rig: r, following: make(chan struct{}, 100)}
	asks := 0 // one at a time: of one follower, the first only reads what there is
	cfg := r.config()
	cfg.Trace = func(m string, mutating bool) {
		switch m {
		case "CreateFilter":
			asks = 0
		case "WaitForUpdatesEx":
			if asks++; asks == 2 {
				s.following <- struct{}{}
			}
		}
		if mutating {
			r.Errorf("%s was sent", m)
		}
	}
	c, err := vsphere.Connect(ctx, cfg)
	if err != nil {
		r.Fatal(err)
	}
	s.c = c
	s.stop = func() {
		r.Helper()
		stop()
		for range s.wake { // until it is closed
		}
		_ = c.Close(context.Background()) // tests may have ended the session
	}
	if s.wake, err = c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now}).Changes(ctx, d); err != nil {
		r.Fatal(err)
	}
	s.wait("following", s.following)
	return s
}

func (s *sleeper) wait(what string, c <-chan struct{}) {
	s.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		s.Fatalf("%s: nothing came", what)
	}
}

// Whatever happens to a VM of the fleet wakes, whoever did it.
func TestChangesWake(t *testing.T) {
	r, a, d := made(t)
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"a guest that boots again", func() { a.must(nil, a.vm(one).RebootGuest(t.Context())) }},
		{"a changed configuration", func() { a.change(one, types.VirtualMachineConfigSpec{Annotation: "x"}) }},
		{"a power off", func() { a.must(a.vm(one).PowerOff(t.Context())) }},
		{"a power on", func() { a.must(a.vm(one).PowerOn(t.Context())) }},
		{"a VM that came", func() {
			if res := r.run(desired(3, d.Image)); res.Outcome != reconcile.Converged {
				t.Errorf("%+v", res)
			}
		}},
		{"a VM that went", func() {
			a.must(a.vm("wrk-03").PowerOff(t.Context()))
			a.detach("wrk-03")
			a.must(a.vm("wrk-03").Destroy(t.Context()))
		}},
	} {
		s := r.sleeper(d)
		c.do()
		s.wait(c.what, s.wake)
		s.stop()
	}
}

// The end of the session ends the following: it begins anew with a wake-up for what was missed, and goes on.
func TestChangesOutliveTheSession(t *testing.T) {
	r, _, d := made(t)
	s := r.sleeper(d)
	defer s.stop()
	r.lab.ExpireSessions()
	a := r.admin("DC1")
	a.change(one, types.VirtualMachineConfigSpec{Annotation: "x"}) // ends what is asked already
	s.wait("following anew", s.following)
	s.wait("a wake-up for what was missed", s.wake)
	select {
	case <-s.wake: // the first change's
	default:
	}
	a.change(one, types.VirtualMachineConfigSpec{Annotation: "y"})
	s.wait("a change in the new session", s.wake)
}

// A password that was changed meanwhile ends the following at once: asking on would lock the account.
func TestChangesEndWithThePassword(t *testing.T) {
	r, _, d := made(t)
	s := r.sleeper(d)
	defer s.stop()
	s.c.ChangePassword("another one")
	r.lab.ExpireSessions()
	r.admin("DC1").change(one, types.VirtualMachineConfigSpec{Annotation: "x"}) // ends what is asked already
	for {
		select {
		case _, open := <-s.wake: // or the change's
			if !open {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatal("it goes on")
		}
	}
}

// watched follows one VM.
func (r *rig) watched(f reconcile.Watcher, vm string, d plan.Desired) (hints <-chan struct{}, stop func()) {
	r.Helper()
	ctx, stop := context.WithCancel(r.Context())
	hints, err := f.Watch(ctx, vm, d)
	if err != nil {
		r.Fatal(err)
	}
	return hints, stop
}

// What happens to the VM that is waited for is told, from the moment that somebody asked.
func TestWatchTells(t *testing.T) {
	r, a, d := made(t)
	if _, err := r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now}).Watch(t.Context(), one, d); err == nil {
		t.Error("a VM is watched that was never seen")
	}
	r.observe(d)
	s := &sleeper{rig: r}
	hints, stop := r.watched(r.fleet, one, d)
	s.wait("the guest that is up", hints)
	a.must(a.vm(one).PowerOff(t.Context()))
	s.wait("a power off", hints)
	stop()
	for range hints { // until it is closed
	}
	hints, stop = r.watched(r.fleet, one, d)
	defer stop()
	select {
	case <-hints:
		t.Error("a guest that is down and stays so gives a hint")
	case <-time.After(200 * time.Millisecond):
	}
	a.must(a.vm(one).PowerOn(t.Context()))
	s.wait("a power on", hints)
}

// The end of the session ends the hints at once: whoever waits for ever waits in vain.
func TestWatchEndsWithTheSession(t *testing.T) {
	r, _, d := made(t)
	r.observe(d)
	hints, stop := r.watched(r.fleet, one, d)
	defer stop()
	r.lab.ExpireSessions()
	r.admin("DC1").change(one, types.VirtualMachineConfigSpec{Annotation: "x"}) // ends what is asked already
	timeout := time.After(30 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-hints:
		case <-timeout:
			t.Fatal("it goes on")
		}
	}
}

// A glance shows a VM as a whole look does, and one that is not there is an error.
func TestGlance(t *testing.T) {
	r, a, d := made(t)
	have := r.observe(d)
	for _, v := range have.VMs {
		got, err := r.fleet.Glance(t.Context(), v.Name, d)
		if err != nil {
			t.Fatal(err)
		}
		v.Age, got.Age = 0, 0
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("%s: look against glance\n%s", v.Name, diff)
		}
	}
	a.must(a.vm(one).PowerOff(t.Context()))
	a.detach(one)
	a.must(a.vm(one).Destroy(t.Context()))
	if v, err := r.fleet.Glance(t.Context(), one, d); err == nil {
		t.Errorf("%+v", v)
	}
}

// A fleet of two vCenters reads and follows each VM where it is.
func TestWatchManyVCenters(t *testing.T) {
	p := newPair(t)
	d := p.desired(2, "v1")
	run := func() reconcile.Result {
		res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: d, Observer: p.many, Executor: p.many, Watcher: p.many, Clock: wall{}, Poll: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := run(); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
	have, err := p.many.Observe(t.Context(), d)
	if err != nil || len(have.VMs) != 2 {
		t.Fatalf("%v %+v", err, have)
	}
	for _, v := range have.VMs {
		got, err := p.many.Glance(t.Context(), v.Name, d)
		v.Age, got.Age = 0, 0
		if diff := cmp.Diff(v, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
		hints, stop := p.north.watched(p.many, v.Name, d)
		(&sleeper{rig: p.north}).wait("the guest that is up", hints)
		stop()
	}
	if _, err := p.many.Glance(t.Context(), "wrk-09", d); err == nil {
		t.Error("a VM that nobody saw is read")
	}
	if _, err := p.many.Watch(t.Context(), "wrk-09", d); err == nil {
		t.Error("a VM that nobody saw is watched")
	}
}
