package reconcile

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// attack is a step that a broken planner could ask for, and the guard of an executor that refuses it.
type attack struct {
	guard  string
	breaks string // the invariant that breaks without it
	step   func() plan.Step
	on     func(w *world, v *plan.VM) // what is there
}

func attacks() []attack {
	disk := plan.DiskRecord{Name: "docker", UUID: "6000C290-0001-AAAA", Path: "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"}
	detach := func() plan.Step { s := plan.DetachDisk{Disk: disk}; s.Name = "wrk-01"; return s }
	shutdown := func() plan.Step { s := plan.Shutdown{}; s.Name = "wrk-01"; return s }
	destroy := func() plan.Step { s := plan.DestroyVM{}; s.Name = "wrk-01"; return s }
	take := func(epoch int) func() plan.Step {
		return func() plan.Step {
			s := plan.Claim{Owner: "a", Epoch: epoch, Started: time.Now(), Expires: time.Now().Add(time.Hour)}
			s.Name = "wrk-01"
			return s
		}
	}
	off := func(_ *world, v *plan.VM) { v.Power = plan.Off }
	return []attack{
		{"claim", "A6", shutdown, func(w *world, _ *plan.VM) { w.claim("somebody", time.Now().Add(time.Hour)) }},
		{"live claim", "A6", take(4), func(w *world, _ *plan.VM) { w.claim("somebody", time.Now().Add(time.Hour)) }},
		{"epoch", "A6", take(1), func(w *world, v *plan.VM) { v.Record.Owner, v.Record.Epoch = "", 5 }},
		{"off", "D6", detach, func(w *world, v *plan.VM) { heir(w, disk) }},
		{"heir", "D5", func() plan.Step { return detach() }, func(_ *world, v *plan.VM) { v.Power, v.Record.Disks = plan.Off, nil }},
		{"one VM per disk", "D3", func() plan.Step { s := plan.AttachDisk{Disk: disk}; s.Name = "wrk-01-green"; return s }, func(w *world, v *plan.VM) {
			v.Power = plan.Off
			heir(w, disk)
		}},
		{"complete", "D6", func() plan.Step { s := plan.PowerOn{}; s.Name = "wrk-01"; return s }, func(_ *world, v *plan.VM) { v.Power, v.Disks = plan.Off, nil }},
		{"empty", "D1", destroy, func(w *world, v *plan.VM) { off(w, v); v.Record.Retired = time.Now() }},
		{"retired", "D2", destroy, func(w *world, v *plan.VM) { off(w, v); v.Disks = nil }},
		{"folder", "D1", destroy, func(w *world, v *plan.VM) {
			off(w, v)
			v.Record.Retired, v.Disks, v.Home = time.Now(), nil, "[ssd-1] lkv-disks/workers"
		}},
		{"never existed", "D7", func() plan.Step {
			s := plan.CreateDisk{Path: disk.Path, Disk: plan.WantDisk{Name: "docker", Bytes: 10 << 30}}
			s.Name = "wrk-01"
			return s
		}, func(w *world, _ *plan.VM) { w.now.Files = w.now.Files[1:] }},
	}
}

// heir makes a VM that is to take over the first one's disk.
func heir(w *world, disk plan.DiskRecord) {
	g := w.now.Clone().VMs[0]
	g.Name, g.ID, g.Ref, g.Power, g.Disks = "wrk-01-green", "id-green", "vm-green", plan.Off, nil
	g.Record.Disks, g.Record.Takes, g.Record.Replaces = nil, []plan.DiskRecord{disk}, "id-wrk-01"
	w.now.VMs = append(w.now.VMs, g)
}

// TestGuardsOfTheExecutor: with the guard the step is refused and nothing changes; without it an invariant of the world
// breaks and is noted, so that no sweep can pass over it.
func TestGuardsOfTheExecutor(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.guard, func(t *testing.T) {
			for _, broken := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					d := wish(2, "a")
					w := newWorld(d, all(2)...)
					w.floor = 0
					w.claim("a", time.Now().Add(time.Hour))
					a.on(w, w.vm("wrk-01"))
					if broken {
						w.rules.off = a.guard
					}
					err := (&run{w: w}).Execute(context.Background(), a.step(), d)
					noted := strings.Contains(strings.Join(w.broken, "\n"), a.breaks)
					if (err == nil) != broken || noted != broken || !broken && w.changes > 0 {
						t.Errorf("guard broken: %v: %v, %d changes, noted: %q", broken, err, w.changes, w.broken)
					}
				})
			}
		})
	}
}
