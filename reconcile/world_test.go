package reconcile

import (
	"context"
	"errors"
	"fmt"
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

// world is vCenter, datastores and guests in memory. It is as strict as a vCenter and stricter: it refuses what the
// executor would refuse, and notes every broken invariant.
type world struct {
	mu      sync.Mutex
	now     plan.Observed
	booted  map[string]time.Time // when a VM was powered on
	sick    map[string]bool      // images (digests) whose guests never come up
	failing map[string]bool      // images whose guests report a failure
	made    map[string]int       // how often a disk path was created (D7)
	before  map[string]plan.Disk // disks that existed at the start
	calls   int                  // mutating calls so far
	log     []string
	broken  []string
	want    plan.Desired
	floor   int // VMs that must serve all the time
	slow    time.Duration
	looks   int // observations so far
	badLook func(n int) (plan.Observed, error, bool)
	turn    func() // blocks until it is this call's turn; nil: at once
}

// newWorld is a world whose VMs named by ordinal stand on the old image since an hour.
func newWorld(d plan.Desired, ordinals ...int) *world {
	w := &world{booted: map[string]time.Time{}, sick: map[string]bool{}, failing: map[string]bool{}, made: map[string]int{},
		before: map[string]plan.Disk{}, want: d}
	for _, v := range d.VMs {
		if !slices.Contains(ordinals, v.Ordinal) {
			continue
		}
		path, uuid := plan.DiskPath(d.Fleet, v, v.Disks[0]), fmt.Sprintf("6000C290-%04d-AAAA", v.Ordinal)
		disk := plan.Disk{UUID: uuid, Path: path, Bytes: v.Disks[0].Bytes, Mode: plan.DiskMode}
		w.now.VMs = append(w.now.VMs, plan.VM{Name: v.Name, Fleet: d.Fleet, Ordinal: v.Ordinal, Power: plan.On, ISO: oldISO, CPUs: 2, MemoryMiB: 2048,
			Disks: []plan.Disk{disk},
			Record: plan.Record{Image: oldDigest, ImageID: "sha256:old", Token: plan.Token(oldDigest, 1), Epoch: 1,
				Disks: []plan.DiskRecord{{Name: "docker", UUID: uuid, Path: path}}}})
		w.now.Files = append(w.now.Files, plan.DiskFile{Path: path, UUID: uuid, Bytes: disk.Bytes})
		w.booted[v.Name], w.made[path], w.before[path] = time.Now().Add(-time.Hour), 1, disk
	}
	w.floor = min(len(ordinals), len(d.VMs)-d.Rollout.MaxUnavailable)
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
func (w *world) seen() plan.Observed {
	o := w.now.Clone()
	for i := range o.VMs {
		v := &o.VMs[i]
		v.Guest = plan.Guest{}
		if v.Power != plan.On || time.Since(w.booted[v.Name]) < bootTime || w.sick[v.Record.Image] {
			continue
		}
		v.Age = time.Since(w.booted[v.Name])
		id := map[string]string{newISO: "sha256:new", oldISO: "sha256:old"}[v.ISO]
		v.Guest = plan.Guest{Tools: true, IP: "192.0.2.1", Token: v.Record.Token, ImageID: id, State: "running"}
		if w.failing[v.Record.Image] {
			v.Guest.State, v.Guest.Error = "failed", "disk docker carries a foreign file system"
			continue
		}
		for _, d := range v.Disks {
			v.Guest.Mounts = append(v.Guest.Mounts, plan.GuestMount{Path: "/var/lib/docker", Serial: plan.SerialOf(d.UUID)})
		}
	}
	return o
}

// do carries out one step, strictly.
func (w *world) do(s plan.Step, d plan.Desired) error {
	v := w.vm(s.VM())
	switch s := s.(type) {
	case plan.CreateDisk:
		if slices.ContainsFunc(w.now.Files, func(f plan.DiskFile) bool { return f.Path == s.Path }) {
			return nil
		}
		if w.made[s.Path]++; w.made[s.Path] > 1 {
			w.broken = append(w.broken, "D7: "+s.Path+" created again")
		}
		w.now = w.now.After(s)
		w.now.Files[len(w.now.Files)-1].UUID = fmt.Sprintf("6000C291-%s", s.VM())
		return nil
	case plan.CreateVM:
		if v != nil {
			if v.Record.Owner == s.Record.Owner && v.Record.Epoch == s.Record.Epoch {
				return nil
			}
			return plan.Blocked{VM: s.VM(), Code: plan.R16, Reason: "somebody else made this VM"}
		}
	case plan.Claim:
		if v == nil {
			return errors.New("no such VM")
		}
		r := v.Record
		renewal := r.Owner == s.Owner && r.Epoch == s.Epoch
		free := r.Owner == "" || r.Owner == s.Owner || !time.Now().Before(r.Expires)
		if !renewal && (!free || r.Epoch != s.Epoch-1) {
			return plan.Blocked{VM: s.VM(), Code: plan.R16, Reason: fmt.Sprintf("claimed by %s, epoch %d", r.Owner, r.Epoch)}
		}
	default:
		if v == nil {
			return errors.New("no such VM")
		}
		if _, ok := s.(plan.Release); ok && v.Record.Owner == "" && v.Record.Started.IsZero() {
			return nil
		}
		if _, ok := s.(plan.Unblock); ok && v.Record.Owner == "" && v.Record.Failed == "" && !v.Record.Paused {
			return nil
		}
		if v.Record.Owner != d.Claimer || !time.Now().Before(v.Record.Expires) {
			return plan.Blocked{VM: s.VM(), Code: plan.R16, Reason: "not our claim"}
		}
		if err := w.allowed(*v, s); err != nil {
			return err
		}
	}
	w.now = w.now.After(s)
	if on, ok := s.(plan.PowerOn); ok {
		w.booted[on.VM()] = time.Now()
	}
	return nil
}

// allowed is what a vCenter refuses.
func (w *world) allowed(v plan.VM, s plan.Step) error {
	switch s.(type) {
	case plan.AttachDisk, plan.InsertISO, plan.Resize, plan.InstallKey, plan.EnableSecureBoot:
		if v.Power != plan.Off {
			return fmt.Errorf("%s: the VM is powered on", s)
		}
	case plan.PowerOn:
		if v.ISO != newISO && v.ISO != oldISO {
			return errors.New("the ISO is missing")
		}
	}
	return nil
}

func (w *world) vm(name string) *plan.VM {
	if i := slices.IndexFunc(w.now.VMs, func(v plan.VM) bool { return v.Name == name }); i >= 0 {
		return &w.now.VMs[i]
	}
	return nil
}

// judge notes what is broken after a step.
func (w *world) judge(s plan.Step) {
	note := func(format string, args ...any) {
		w.broken = append(w.broken, fmt.Sprintf("after %s: %s: ", s.VM(), s)+fmt.Sprintf(format, args...))
	}
	users, serving := map[string]string{}, 0
	o := w.seen()
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if users[d.Path] != "" {
				note("D3: %s on %s and %s", d.Path, users[d.Path], v.Name)
			}
			users[d.Path] = v.Name
			if was, ok := w.before[d.Path]; ok && was != d {
				note("D4: %+v was %+v", d, was)
			}
		}
		for _, r := range v.Record.Disks {
			on := slices.ContainsFunc(v.Disks, func(d plan.Disk) bool { return d.Path == r.Path && d.UUID == r.UUID })
			if v.Power == plan.On && !on {
				note("D6: %s runs without %s", v.Name, r.Path)
			}
		}
		if _, known := w.before[plan.DiskPath("workers", plan.WantVM{Name: v.Name, Place: plan.Placement{Datastore: "ssd-1"}}, plan.WantDisk{Name: "docker"})]; known && len(v.Disks) != 1 {
			note("D5: %s lost its disk", v.Name)
		}
		if v.Power == plan.On && time.Since(w.booted[v.Name]) >= bootTime && v.Guest.State == "running" {
			serving++
		}
	}
	if serving < w.floor {
		note("A1: %d VMs serve, at least %d must", serving, w.floor)
	}
}

// run is one process with its hands on the world. It can die.
type run struct {
	w     *world
	dead  bool
	fault func(n int, s plan.Step, do func() error) error // n counts the mutating calls of this run from 1
	calls int
}

var errDead = errors.New("the process is dead")

// Observe implements Observer.
func (r *run) Observe(context.Context, plan.Desired) (plan.Observed, error) {
	if r.w.turn != nil {
		r.w.turn()
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return plan.Observed{}, errDead
	}
	r.w.looks++
	if r.w.badLook != nil {
		if o, err, bad := r.w.badLook(r.w.looks); bad {
			return o, err
		}
	}
	return r.w.seen(), nil
}

// Execute implements Executor.
func (r *run) Execute(ctx context.Context, s plan.Step, d plan.Desired) error {
	if r.w.turn != nil {
		r.w.turn()
	}
	time.Sleep(r.w.slow)
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return errDead
	}
	r.calls++
	r.w.calls++
	do := func() error {
		err := r.w.do(s, d)
		r.w.log = append(r.w.log, fmt.Sprintf("%s %s: %s: %v", d.Claimer, s.VM(), s, err))
		r.w.judge(s)
		return err
	}
	if r.fault == nil {
		return do()
	}
	err := r.fault(r.calls, s, do)
	if ctx.Err() != nil {
		r.w.broken = append(r.w.broken, "the call in flight was cut: "+s.String())
	}
	return err
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
	return Options{Desired: d, Observer: r, Executor: r, Clock: wall{}}
}
