package reconcile

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

const (
	newDigest = "bbbbbbbbbbbb2222222222222222222222222222222222222222222222222222"
	oldDigest = "aaaaaaaaaaaa1111111111111111111111111111111111111111111111111111"
	newISO    = "[iso] lkv/worker/" + newDigest + ".iso"
	oldISO    = "[iso] lkv/worker/" + oldDigest + ".iso"
	bootTime  = 40 * time.Second
)

// wish is a fleet of n VMs with one data disk each on the new image.
func wish(n int, who string) plan.Desired {
	d := plan.Desired{
		Fleet: "workers", Claimer: who, TTL: 2 * time.Minute,
		Image: plan.Image{Name: "worker", Digest: newDigest, ID: "sha256:new", Paths: map[string]string{"dc1": newISO}, Known: true,
			Mounts: []plan.Mount{{Path: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Gated: true}},
			RAM:    512 << 20, Boot: []string{"bios", "uefi"}},
		Rollout: plan.Rollout{Strategy: "in-place", MaxUnavailable: 1, OnFailure: "pause",
			Grace: 2 * time.Minute, Timeout: 10 * time.Minute, Settle: 30 * time.Second},
	}
	for i := range n {
		d.VMs = append(d.VMs, plan.WantVM{Name: fmt.Sprintf("wrk-%02d", i+1), Ordinal: i + 1, CPUs: 2, MemoryMiB: 2048, Firmware: "bios",
			Place: plan.Placement{Datastore: "ssd-1", Store: "dc1"},
			Disks: []plan.WantDisk{{Name: "docker", Bytes: 10 << 30, Mount: "/var/lib/docker"}}})
	}
	return d
}

// world is vCenter, datastores, guests and their cluster in memory. It is as strict as a vCenter and an executor, and
// stricter, and notes every broken invariant after every event.
type world struct {
	mu      sync.Mutex
	now     plan.Observed
	old     plan.Observed        // as it was before the last change, for stale looks
	booted  map[string]time.Time // when a VM was powered on, by ID
	faint   map[string]time.Time // when a VM was last seen not serving, by ID
	shocked map[string]time.Time // when something happened to a VM's guest that nobody could know of, by ID
	hung    map[string]bool      // VMs whose guest hangs until the next boot, by ID
	drained map[string]bool      // nodes without work; a node is what lives on a data disk
	taken   map[int]bool         // members that lkv has taken down and that have not served since, by ordinal
	sick    map[string]bool      // images (digests) whose guests never come up
	failing map[string]bool      // images whose guests report a failure
	rules   rules
	ledger  ledger
	made    map[string]int // how often a disk path was created (D7)
	calls   int            // mutating calls so far
	changes int            // of them those that changed something
	log     []string
	broken  []string
	want    plan.Desired
	floor   int // VMs that must serve all the time
	slow    time.Duration
	looks   int  // observations so far
	lied    bool // a look was wrong and did not say so
	badLook func(n int) (plan.Observed, error, bool)
	turn    func() // blocks until it is this call's turn; nil: at once
}

// newWorld is a world whose VMs named by ordinal stand on the old image since an hour.
func newWorld(d plan.Desired, ordinals ...int) *world {
	w := &world{booted: map[string]time.Time{}, faint: map[string]time.Time{}, hung: map[string]bool{}, shocked: map[string]time.Time{}, drained: map[string]bool{}, taken: map[int]bool{},
		sick: map[string]bool{}, failing: map[string]bool{}, made: map[string]int{}, ledger: newLedger(), want: d}
	w.rules.gone = map[string]bool{}
	for _, v := range d.VMs {
		if !slices.Contains(ordinals, v.Ordinal) {
			continue
		}
		path, uuid := plan.DiskPath(d.Fleet, v, v.Disks[0]), fmt.Sprintf("6000C290-%04d-AAAA", v.Ordinal)
		disk := plan.Disk{UUID: uuid, Path: path, Bytes: 10 << 30, Mode: plan.DiskMode}
		w.now.VMs = append(w.now.VMs, plan.VM{Name: v.Name, ID: "id-" + v.Name, Ref: "vm-" + v.Name, Host: fmt.Sprintf("esx-%d", v.Ordinal%2+1), Home: "[ssd-1] " + v.Name,
			Fleet: d.Fleet, Ordinal: v.Ordinal, Power: plan.On, ISO: oldISO, CPUs: 2, MemoryMiB: 2048, Disks: []plan.Disk{disk},
			Record: plan.Record{Image: oldDigest, ImageID: "sha256:old", Token: plan.Token(oldDigest, 1), Epoch: 1,
				Disks: []plan.DiskRecord{{Name: "docker", UUID: uuid, Path: path}}}})
		w.now.Files = append(w.now.Files, plan.DiskFile{Path: path, UUID: uuid, Bytes: disk.Bytes})
		w.now.Made = append(w.now.Made, inDatastore(path))
		w.booted["id-"+v.Name], w.made[path] = time.Now().Add(-time.Hour), 1
	}
	w.old = w.now.Clone()
	w.floor = min(len(ordinals), len(d.VMs)-d.Rollout.MaxUnavailable)
	w.ledger.learn(w.now)
	return w
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}

// seen is what an observer finds: the state, with guests as far as they have booted.
func (w *world) seen() plan.Observed { return w.guests(w.now) }

func (w *world) guests(o plan.Observed) plan.Observed {
	o = o.Clone()
	for i := range o.VMs {
		w.guest(&o.VMs[i])
	}
	return o
}

// guest sets what the guest of a VM shows.
func (w *world) guest(v *plan.VM) {
	v.Guest = plan.Guest{}
	if v.Power != plan.On {
		return
	}
	v.Age = time.Since(w.booted[v.ID])
	if v.Age < bootTime || w.sick[v.Record.Image] || w.hung[v.ID] {
		return
	}
	id := map[string]string{newISO: "sha256:new", oldISO: "sha256:old"}[v.ISO]
	v.Guest = plan.Guest{Tools: true, IP: "192.0.2.1", Token: v.Record.Token, ImageID: id, State: "running"}
	if w.failing[v.Record.Image] {
		v.Guest.State, v.Guest.Error = "failed", "disk docker carries a foreign file system"
		return
	}
	for _, d := range v.Disks {
		v.Guest.Mounts = append(v.Guest.Mounts, plan.GuestMount{Path: "/var/lib/docker", Serial: plan.SerialOf(d.UUID)})
	}
}

// do carries out one step, strictly, and reports whether anything changed.
func (w *world) do(s plan.Step, d plan.Desired, now time.Time) (bool, error) {
	done, err := w.rules.permit(w.now, s, d, now)
	if err != nil || done {
		return false, err
	}
	for _, x := range d.VMs {
		for _, k := range x.Disks {
			p := plan.DiskPath(d.Fleet, x, k)
			w.ledger.wanted[p] = max(w.ledger.wanted[p], k.Bytes)
		}
	}
	w.old = w.now.Clone()
	v := at(w.now, s.VM())
	switch s := s.(type) {
	case plan.CreateDisk:
		if w.made[s.Path]++; w.made[s.Path] > 1 {
			w.note(s, "D7: created again")
		}
	case plan.PowerOn:
		w.booted[v.ID] = time.Now()
		delete(w.hung, v.ID)
	case plan.DestroyVM:
		for _, r := range v.Record.Disks {
			w.ledger.given[r.UUID] = true
		}
	case plan.Forget:
		for _, r := range v.Record.Disks {
			w.ledger.given[r.UUID] = true
		}
	}
	w.now = effect(w.now, s)
	return true, nil
}

func (w *world) note(s plan.Step, format string, args ...any) {
	why := fmt.Sprintf("after %s: %s: ", s.VM(), s) + fmt.Sprintf(format, args...)
	w.broken, w.log = append(w.broken, why), append(w.log, "!! "+why)
}

func (w *world) vm(name string) *plan.VM { return at(w.now, name) }

// run is one process with its hands on the world. It can die.
type run struct {
	w      *world
	dead   bool
	fault  func(n int, s plan.Step, do func() error) error // n counts the mutating calls of this run from 1
	calls  int
	last   plan.Observed            // what this process saw last
	known  plan.Observed            // what it had seen last when it began the call that is judged
	tried  map[string]plan.Observed // the same for calls that have not got through yet
	blind  bool                     // its last look failed
	clock  func() time.Time
	drains func(vm plan.VM) error // a drain that goes wrong
	delay  func(what string)      // how long a call takes; nil: no time
	saw    map[string]time.Time   // when it saw a VM last, by ID

	glances int  // looks at single VMs
	deaf    bool // it is not told of changes, and does not know
}

var errDead = errors.New("the process is dead")

func (r *run) time() time.Time {
	if r.clock != nil {
		return r.clock()
	}
	return time.Now()
}

// Observe implements Observer.
func (r *run) Observe(context.Context, plan.Desired) (plan.Observed, error) {
	if r.delay != nil {
		r.delay("look")
	}
	if r.w.turn != nil {
		r.w.turn()
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return plan.Observed{}, errDead
	}
	r.w.looks++
	o := r.w.seen()
	r.w.watch(o)
	if r.w.badLook != nil {
		if o, err, bad := r.w.badLook(r.w.looks); bad {
			r.blind = true
			return o, err
		}
	}
	r.last, r.blind = o, false
	r.see(o.VMs...)
	return o, nil
}

func (r *run) see(vms ...plan.VM) {
	if r.saw == nil {
		r.saw = map[string]time.Time{}
	}
	for _, v := range vms {
		r.saw[v.ID] = time.Now()
	}
}

// Glance implements Watcher.
func (r *run) Glance(_ context.Context, name string, _ plan.Desired) (plan.VM, error) {
	if r.delay != nil {
		r.delay("glance " + name)
	}
	if r.w.turn != nil {
		r.w.turn()
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return plan.VM{}, errDead
	}
	r.w.looks++
	r.glances++
	o := r.w.seen()
	r.w.watch(o)
	if r.w.badLook != nil {
		if lie, err, bad := r.w.badLook(r.w.looks); bad {
			if r.blind = true; err != nil || lie.Problem != "" {
				return plan.VM{}, errNet
			}
			o = lie
		}
	}
	v := at(o, name)
	if v == nil {
		return plan.VM{}, errors.New("it is not to be found")
	}
	r.blind, r.last = false, r.last.Clone()
	r.see(*v)
	if i := slices.IndexFunc(r.last.VMs, func(x plan.VM) bool { return x.Name == name }); i >= 0 {
		r.last.VMs[i] = *v
	}
	return *v, nil
}

// Watch implements Watcher. It tells, a second late, what becomes of a VM.
func (r *run) Watch(ctx context.Context, name string, _ plan.Desired) (<-chan struct{}, error) {
	look := func() (is plan.VM) {
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		if v := at(r.w.now, name); v != nil && !r.deaf {
			is = *v
			r.w.guest(&is)
			is.Age = 0
		}
		return is
	}
	hints, was := make(chan struct{}, 1), look()
	if was.Guest.Tools {
		hints <- struct{}{}
	}
	go func() {
		defer close(hints)
		for (wall{}).Sleep(ctx, time.Second) == nil {
			is := look()
			if reflect.DeepEqual(is, was) {
				continue
			}
			was = is
			select {
			case hints <- struct{}{}:
			default:
			}
		}
	}()
	return hints, nil
}

// Execute implements Executor.
func (r *run) Execute(ctx context.Context, s plan.Step, d plan.Desired) error {
	if r.w.turn != nil {
		r.w.turn()
	}
	known := r.began(s)
	if r.delay != nil {
		r.delay(s.VM() + s.String())
	}
	time.Sleep(r.w.slow)
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return errDead
	}
	r.calls++
	r.w.calls++
	r.known = known
	do := func() error {
		delete(r.tried, s.VM()+s.String())
		return r.do(s, d)
	}
	if r.fault == nil {
		return do()
	}
	from := time.Now()
	err := r.fault(r.calls, s, do)
	if ctx.Err() != nil && time.Since(from) < 10*time.Minute {
		r.w.broken = append(r.w.broken, "the call in flight was cut: "+s.String())
	}
	return err
}

// began returns what this process could know when it first tried a call: one that takes long, or fails and is tried
// again, is not planned anew in between.
func (r *run) began(s plan.Step) plan.Observed {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	key := s.VM() + s.String()
	if r.tried == nil {
		r.tried = map[string]plan.Observed{}
	}
	if _, again := r.tried[key]; !again {
		r.tried[key] = r.last
	}
	return r.tried[key]
}

func (r *run) do(s plan.Step, d plan.Desired) error {
	before := r.w.seen()
	changed, err := r.w.do(s, d, r.time())
	r.w.log = append(r.w.log, fmt.Sprintf("%s %s %s: %s: %v", time.Now().Format(time.TimeOnly), d.Claimer, s.VM(), s, err))
	if changed {
		r.w.changes++
		r.w.judge(r, s, d, before)
	}
	return err
}

// Drain implements Drainer. The work of a node is gone at once; what may go wrong is told by drains.
func (r *run) Drain(ctx context.Context, vm plan.VM, _, _ string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return errDead
	}
	r.w.drained[node(vm)] = true
	r.w.log = append(r.w.log, fmt.Sprintf("%s drain node of %s", time.Now().Format(time.TimeOnly), vm.Name))
	if r.drains == nil {
		return nil
	}
	r.w.mu.Unlock()
	defer r.w.mu.Lock()
	if err := r.drains(vm); err != nil {
		return err
	}
	return ctx.Err()
}

// Restore implements Drainer.
func (r *run) Restore(_ context.Context, vm plan.VM, _ string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return errDead
	}
	delete(r.w.drained, node(vm))
	r.w.log = append(r.w.log, fmt.Sprintf("%s restore node of %s", time.Now().Format(time.TimeOnly), vm.Name))
	return nil
}

// node names the member of the cluster that a VM is: its identity lies on its data disk.
func node(v plan.VM) string {
	if len(v.Disks) > 0 {
		return v.Disks[0].UUID
	}
	return v.ID
}

// wall is the bubble's time.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// options are those of a run on a world.
func options(d plan.Desired, r *run) Options {
	o := Options{Desired: d, Observer: r, Executor: r, Watcher: r, Clock: wall{}}
	if d.Rollout.Drain {
		o.Drainer = r
	}
	return o
}
