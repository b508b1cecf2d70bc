package vsphere_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// sweeping tells whether every crash of every strategy is tried (make sweep), or a few of each.
func sweeping() bool { return os.Getenv("LKV_SWEEP") != "" }

// strategy is one way in which a fleet changes: what it is before, what is wanted then, and how it looks in the end.
type strategy struct {
	name  string
	size  int
	want  func(s *stage, d plan.Desired) plan.Desired // from a standing fleet on v1 to what is asked for
	begin func(s *stage, d plan.Desired)              // what happens to the standing fleet before; nil: nothing
	act   reconcile.Decision                          // nil: reconcile.Run
	check func(s *stage, d plan.Desired, end []look)  // nil: nothing beside the disks and what every end must be
}

// stage is a lab with three images: two good ones, and one whose guests report that they failed.
type stage struct {
	*rig
	v1, v2, sick plan.Image
	hooks        string // what the drain command was called for, line by line
	script       string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	ill := func(vm string, boot int) lab.Behaviour {
		return lab.Behaviour{BootDelay: time.Millisecond, NeverReady: strings.HasPrefix(vm, "heal") && boot == 2}
	}
	s := &stage{rig: newRig(t, lab.Config{Driver: lab.Paper{Behave: ill}})}
	s.v1, s.v2 = s.image("iso v1"), s.image("iso v2")
	s.sick = s.sicken("iso sick")
	s.hooks = filepath.Join(t.TempDir(), "hooks")
	s.script = filepath.Join(t.TempDir(), "drain.sh")
	body := "#!/bin/sh\necho \"$LKV_PHASE $LKV_VM $LKV_NEXT\" >> " + s.hooks + "\n"
	if err := os.WriteFile(s.script, []byte(body), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return s
}

// sicken pushes an image that is not what the planner was told: its guests find no file system of theirs and say so.
func (s *stage) sicken(content string) plan.Image {
	s.Helper()
	im := s.image(content)
	for _, dc := range []string{"DC1", "DC2"} {
		file := filepath.Join(s.lab.DatastoreDir(dc, "iso-nfs"), push.ISOPath("worker", im.Digest))
		file = strings.Replace(strings.TrimSuffix(file, ".iso")+".manifest.json", "/iso-nfs/", "/iso-nfs/lkv/", 1)
		f, err := os.Open(file)
		if err != nil {
			s.Fatal(err)
		}
		m, err := manifest.Read(f)
		if err != nil {
			s.Fatal(err)
		}
		f.Close()
		m.Persist[0].Filesystem = "xfs"
		w, err := os.Create(file)
		if err != nil {
			s.Fatal(err)
		}
		if err := m.Write(w); err != nil {
			s.Fatal(err)
		}
		w.Close()
	}
	return im
}

// fleet is what stands before: VMs of its own names, on v1, each with a small data disk.
func (s *stage) fleet(name string, size int) plan.Desired {
	d := desired(size, s.v1)
	d.Fleet = name
	for i := range d.VMs {
		w := &d.VMs[i]
		w.Name, w.Place = fmt.Sprintf("%s-%d", name, i+1), d.VMs[0].Place
		w.Place.Folder, w.Disks[0].Bytes = "lkv/"+name, smallDisk
	}
	return d
}

func strategies() []strategy {
	roll := func(change func(*plan.Rollout)) func(*stage, plan.Desired) plan.Desired {
		return func(s *stage, d plan.Desired) plan.Desired {
			d.Image = s.v2
			change(&d.Rollout)
			return d
		}
	}
	return []strategy{
		{name: "in-place", size: 2, want: roll(func(*plan.Rollout) {})},
		{name: "drain", size: 1, want: roll(func(r *plan.Rollout) { r.Drain = true }), check: drained},
		{name: "canary", size: 2, want: roll(func(r *plan.Rollout) { r.Canaries, r.Bake = 1, time.Minute })},
		{name: "rollback", size: 1, want: func(s *stage, d plan.Desired) plan.Desired {
			d.Image, d.Rollout.OnFailure = s.sick, "rollback"
			return d
		}},
		{name: "aged", size: 1, want: func(_ *stage, d plan.Desired) plan.Desired {
			d.Rollout.MaxAge = 1000 * time.Hour
			return d
		}, begin: func(s *stage, d plan.Desired) {
			if err := s.lab.Backdate(d.VMs[0].Name, 1001*time.Hour); err != nil {
				s.Fatal(err)
			}
		}},
		{name: "heal", size: 1, want: func(_ *stage, d plan.Desired) plan.Desired {
			d.Rollout.Heal, d.Rollout.NoBrake = time.Minute, true
			return d
		}, begin: func(s *stage, d plan.Desired) { s.reboot(d.VMs[0].Name) }},
		{name: "grow", size: 1, want: func(s *stage, d plan.Desired) plan.Desired {
			d.VMs[0].Disks[0].Bytes = 2 * smallDisk
			return d
		}, check: grown},
		{name: "resize", size: 1, want: func(s *stage, d plan.Desired) plan.Desired {
			d.VMs[0].CPUs = 1
			return roll(func(*plan.Rollout) {})(s, d)
		}},
		{name: "scale-in", size: 2, want: scaledIn},
		{name: "gc", size: 2, want: scaledIn, act: func(w plan.Desired, o plan.Observed, now time.Time) plan.Request {
			return plan.Collect(w, o, now, 0)
		}, begin: func(s *stage, d plan.Desired) { s.settle(strategy{}, scaledIn(s, d), nil) }, check: collected},
		{name: "hand-over", size: 1, want: roll(func(r *plan.Rollout) { r.Strategy, r.Disk, r.Surge = plan.BlueGreen, plan.HandOver, 1 })},
		{name: "fresh", size: 1, want: roll(func(r *plan.Rollout) { r.Strategy, r.Disk, r.Surge = plan.BlueGreen, plan.Fresh, 1 }), check: renewed},
	}
}

func scaledIn(_ *stage, d plan.Desired) plan.Desired {
	d.VMs, d.Rollout.ScaleIn = d.VMs[:1], 1
	return d
}

// reboot cuts a VM's power and starts it again, which is its second boot.
func (s *stage) reboot(vm string) {
	s.Helper()
	if err := s.lab.CutPower(vm); err != nil {
		s.Fatal(err)
	}
	a := s.admin("DC1")
	task, err := a.vm(vm).PowerOn(s.Context())
	a.must(task, err)
}

// drained: whatever crashed, the last thing the command was told of the VM is that it may work again.
func drained(s *stage, d plan.Desired, _ []look) {
	s.Helper()
	raw, err := os.ReadFile(s.hooks)
	if err != nil {
		s.Fatal(err)
	}
	var of []string
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); f[1] == d.VMs[0].Name {
			of = append(of, f[0]+" "+f[2])
		}
	}
	if len(of) < 2 || of[0] != "drain keep" || of[len(of)-1] != "restore keep" {
		s.Errorf("the drain command was called for %v", of)
	}
}

func grown(s *stage, d plan.Desired, _ []look) {
	s.Helper()
	o := s.observe(d)
	info, err := os.Stat(s.bytesFile(d, o.Files[0].Path))
	if err != nil || info.Size() != 2*smallDisk || o.VMs[0].Disks[0].Bytes != 2*smallDisk {
		s.Errorf("grown: %v, %+v", err, o.VMs[0].Disks)
	}
}

// renewed: a run that died when it had made the blank disk and marked its place leaves an orphan, since nobody can tell any
// more that no VM ever had it; the next one makes the next generation, and no further one.
func renewed(s *stage, d plan.Desired, _ []look) {
	s.Helper()
	for _, v := range s.observe(d).VMs {
		if g := v.Record.Generation; g > 2 || g < 1 && v.Record.Retired.IsZero() {
			s.Errorf("%s has disks of generation %d", v.Name, g)
		}
	}
}

func collected(s *stage, d plan.Desired, end []look) {
	s.Helper()
	if len(end) != 1 {
		s.Errorf("the retired VM is still there: %+v", end)
	}
}

// crash is what goes wrong with one mutating call, once.
type crash struct {
	name  string
	fault lab.Fault
	kill  bool // the process is dead from then on
	twice bool // and so is the next one, a few calls later
	other bool // another run does all it can at that moment
}

func sweepCrashes() []crash {
	return []crash{
		{name: "fails before", fault: lab.Refuse}, {name: "killed after", fault: lab.LoseReply, kill: true},
		{name: "reply lost", fault: lab.LoseReply}, {name: "task fails", fault: lab.FailTask},
		{name: "session expired", fault: lab.ExpireAll}, {name: "another run", other: true},
		{name: "killed before", fault: lab.Drop, kill: true}, {name: "killed twice", fault: lab.LoseReply, kill: true, twice: true},
	}
}

// everything is a look that lists the files of disks that no VM has, too, as lkv disks does.
func (s *stage) everything(d plan.Desired) plan.Observed {
	s.Helper()
	f := s.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now, AllFiles: true})
	o, err := f.Observe(s.Context(), d)
	if err != nil || o.Problem != "" {
		s.Fatalf("observe: %v %s", err, o.Problem)
	}
	return o
}

// run is one process with its own session and memory. It tells how many mutating calls it made.
func (s *stage) run(st strategy, d plan.Desired, ahead time.Duration, dead *atomic.Bool) (int, error) {
	s.Helper()
	var calls atomic.Int64
	cfg := s.config()
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { return mortal{next, dead} }
	cfg.Trace = func(_ string, mutating bool) {
		if mutating {
			calls.Add(1)
		}
	}
	c, err := vsphere.Connect(s.Context(), cfg)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close(context.Background()) // a dead process does not log out
	clock := late{ahead}
	f := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: clock.Now})
	o := reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: clock, Poll: 2 * time.Millisecond,
		Drainer: reconcile.DrainCommand{Command: hook.Command{Argv: []string{s.script}, Env: os.Environ()}, Image: d.Image.Digest, Clock: clock}}
	if st.act != nil {
		var res reconcile.Resumed
		res, err = reconcile.Act(s.Context(), o, st.act)
		if len(res.Failures) > 0 {
			err = fmt.Errorf("%+v", res.Failures)
		}
		return int(calls.Load()), err
	}
	_, err = reconcile.Run(s.Context(), o)
	return int(calls.Load()), err
}

// settle runs one process after the other, ten minutes apart, until one has nothing to do, and looks in between.
func (s *stage) settle(st strategy, d plan.Desired, between func(o plan.Observed)) {
	s.Helper()
	var dead atomic.Bool
	s.settleMortal(st, d, &dead, between)
}

func (s *stage) settleMortal(st strategy, d plan.Desired, dead *atomic.Bool, between func(o plan.Observed)) {
	s.Helper()
	var err error
	for i := range 12 {
		var calls int
		d.Claimer = fmt.Sprintf("run-%d", i+1)
		calls, err = s.run(st, d, time.Duration(i)*10*time.Minute+2*time.Hour, dead)
		killed := dead.Swap(false)
		if calls == 0 && err == nil && !killed {
			return
		}
		if between != nil {
			between(s.everything(d))
		}
	}
	s.Fatalf("it never comes to an end: %v", err)
}

// look is one VM at the end, without what differs from run to run.
type look struct {
	Name, Power, Image, Guest string
	Failed, Retired, Drained  bool
	Replaces, Claimed, Due    bool
	Started, Ill              bool
	Fresh                     bool // its disks are of a later generation than the first
	CPUs                      int
	Disks, Record, Takes      []string
}

// looks are the fleet's VMs at the end. Disks are named by their place among those that were there before, or "new".
func (s *stage) looks(d plan.Desired, disks []imprint) []look {
	s.Helper()
	images := map[string]string{s.v1.ID: "v1", s.v2.ID: "v2", s.sick.ID: "sick"}
	which := func(uuid string) string {
		i := slices.IndexFunc(disks, func(x imprint) bool { return plan.SerialOf(x.UUID) == plan.SerialOf(uuid) })
		if i < 0 {
			return "new"
		}
		return fmt.Sprintf("disk %d", i+1)
	}
	var out []look
	for _, v := range s.observe(d).VMs {
		name, _, _ := strings.Cut(strings.TrimPrefix(v.Name, d.Fleet), "-retired-")
		r := v.Record
		l := look{Name: name, Power: string(v.Power), Image: images[r.ImageID], Guest: images[v.Guest.ImageID], Failed: r.Failed != "",
			Retired: !r.Retired.IsZero(), Drained: r.Drained, Replaces: r.Replaces != "", Claimed: r.Owner != "", Due: r.Due,
			Started: !r.Started.IsZero(), Ill: !r.Ill.IsZero(), Fresh: r.Generation > 0, CPUs: v.CPUs}
		for _, x := range v.Disks {
			l.Disks = append(l.Disks, which(x.UUID))
		}
		for _, x := range r.Disks {
			l.Record = append(l.Record, which(x.UUID))
		}
		for _, x := range r.Takes {
			l.Takes = append(l.Takes, which(x.UUID))
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b look) int {
		return strings.Compare(a.Name+fmt.Sprint(a.Retired), b.Name+fmt.Sprint(b.Retired))
	})
	return out
}

// attempt makes a fleet, changes it with one crash at the k-th mutating call (0: none), and returns what it looks like in
// the end and how many calls there were before it first ended or died.
func (s *stage) attempt(st strategy, k int, c crash) (end []look, calls int) {
	s.Helper()
	what := fmt.Sprintf("%s, %s at call %d", st.name, c.name, k)
	d := s.fleet(fmt.Sprintf("%s-%d", st.name, k), st.size)
	s.settle(strategy{}, d, nil)
	disks := s.imprint(d)
	if st.begin != nil {
		st.begin(s, d)
	}
	want := st.want(s, d)
	var dead atomic.Bool
	var count, down atomic.Int64
	at := ""
	s.lab.OnCall(func(call lab.Call) lab.Fault {
		i := count.Add(1)
		switch {
		case c.twice && down.Load() == 1 && i > int64(k)+2:
			down.Store(2)
		case i != int64(k):
			return lab.None
		default:
			down.Add(1)
			at = call.String()
		}
		if c.other {
			other := want
			other.Claimer = "another"
			_, _ = s.run(st, other, 2*time.Hour, new(atomic.Bool))
			return lab.None
		}
		dead.Store(c.kill)
		return c.fault
	})
	s.settleMortal(st, want, &dead, func(o plan.Observed) {
		s.findable(what, o, disks, st.act != nil)
		s.intact(what, disks)
	})
	s.lab.OnCall(nil)
	if k > 0 && at == "" {
		s.Errorf("%s: there is no such call", what)
	}
	s.findable(what, s.everything(want), disks, st.act != nil)
	s.intact(what, disks)
	if err := s.lab.Invariants(); err != nil {
		s.Fatalf("%s (%s): %v", what, at, err)
	}
	end = s.looks(want, disks)
	if st.check != nil {
		st.check(s, want, end)
	}
	return end, int(count.Load())
}

// TestSweep: whatever happens to one mutating call of any strategy, the runs that follow end where they end without it,
// and every data disk is the same one, in one place, with its bytes. A few calls of each are tried here, all of them
// with LKV_SWEEP=1.
func TestSweep(t *testing.T) {
	t.Parallel() // most of it is waiting
	for _, st := range strategies() {
		t.Run(st.name, func(t *testing.T) {
			t.Parallel()
			clean, calls := newStage(t).attempt(st, 0, crash{name: "nothing"})
			t.Logf("%d calls; in the end: %+v", calls, clean)
			for j, c := range sweepCrashes() {
				at := []int{1 + (len(st.name)+j*calls/3)%calls}
				if sweeping() {
					at = nil
					for k := range calls {
						at = append(at, k+1)
					}
				}
				if j > 1 && !sweeping() {
					break
				}
				t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
					t.Parallel()
					s := newStage(t)
					for _, k := range at {
						end, _ := s.attempt(st, k, c)
						if diff := cmp.Diff(clean, end); diff != "" {
							t.Errorf("%s at call %d of %d ends elsewhere (-without +with):\n%s", c.name, k, calls, diff)
						}
					}
					t.Logf("%d crashes", len(at))
				})
			}
		})
	}
}
