package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// scenario is a fleet, what is wanted of it, and how a run without any trouble ends.
type scenario struct {
	name   string
	ends   Outcome
	make   func() (plan.Desired, *world)
	person func(plan.Desired) Decision // what a person asks for instead of a roll; nil: a roll
	waits  bool                        // it takes more than one run: something must bake, or be ill for a while
	whole  bool                        // every wanted VM is there at the start
}

// scenarios are one for each strategy and policy.
var scenarios = []scenario{
	{name: "in-place", ends: Converged, make: func() (plan.Desired, *world) { return mixed("") }},
	{name: "drain", ends: Converged, whole: true, make: policy(2, func(d *plan.Desired, _ *world) { d.Rollout.Drain = true })},
	{name: "pause", ends: Refused, whole: true, make: policy(2, func(d *plan.Desired, w *world) { w.sick[newDigest] = true })},
	{name: "rollback", ends: Refused, whole: true, make: policy(2, func(d *plan.Desired, w *world) {
		d.Rollout.OnFailure, d.Rollout.Drain = "rollback", true
		w.sick[newDigest] = true
	})},
	{name: "canary", ends: Converged, whole: true, waits: true, make: policy(3, func(d *plan.Desired, _ *world) {
		d.Rollout.Canaries, d.Rollout.Bake = 1, time.Hour
	})},
	{name: "max_age", ends: Converged, whole: true, make: onNew(2, func(d *plan.Desired, w *world) {
		d.Rollout.MaxAge, d.Rollout.Drain = 24*time.Hour, true
		for id := range w.booted {
			w.booted[id] = time.Now().Add(-25 * time.Hour)
		}
	})},
	{name: "heal", ends: Converged, whole: true, waits: true, make: onNew(3, func(d *plan.Desired, w *world) {
		d.Rollout.Heal, d.Rollout.Drain = 5*time.Minute, true
		w.hung["id-wrk-02"], w.floor = true, 2
	})},
	{name: "grow", ends: Converged, whole: true, make: onNew(2, func(d *plan.Desired, _ *world) {
		for i := range d.VMs {
			d.VMs[i].Disks[0].Bytes = 20 << 30
		}
	})},
	{name: "scale-in", ends: Converged, whole: true, make: func() (plan.Desired, *world) {
		d, w := onNew(3, func(d *plan.Desired, _ *world) { d.Rollout.ScaleIn, d.Rollout.Drain = 1, true })()
		d.VMs, w.ledger.surplus, w.floor = d.VMs[:2], 1, 2
		w.want, w.old = d, w.now.Clone()
		return d, w
	}},
	{name: "hand-over", ends: Converged, whole: true, make: policy(2, func(d *plan.Desired, _ *world) {
		d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge, d.Rollout.Drain = plan.BlueGreen, plan.HandOver, 1, true
	})},
	{name: "fresh", ends: Converged, whole: true, make: policy(2, func(d *plan.Desired, w *world) {
		d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge, d.Rollout.Drain = plan.BlueGreen, plan.Fresh, 1, true
		w.floor = 2
	})},
	{name: "hand-over undone", ends: Refused, whole: true, make: policy(2, func(d *plan.Desired, w *world) {
		d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge, d.Rollout.Drain = plan.BlueGreen, plan.HandOver, 1, true
		d.Rollout.OnFailure, w.sick[newDigest] = "rollback", true
	})},
	{name: "fresh undone", ends: Refused, whole: true, make: policy(2, func(d *plan.Desired, w *world) {
		d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge, d.Rollout.Drain = plan.BlueGreen, plan.Fresh, 1, true
		d.Rollout.OnFailure, w.sick[newDigest], w.floor = "rollback", true, 2
	})},
	{name: "two at once", ends: Converged, whole: true, make: policy(4, func(d *plan.Desired, w *world) {
		d.Rollout.MaxUnavailable, d.Rollout.Drain, w.floor = 2, true, 2
	})},
	{name: "gc", make: retiredFleet, person: func(plan.Desired) Decision {
		return func(want plan.Desired, have plan.Observed, now time.Time) plan.Request {
			return plan.Collect(want, have, now, time.Hour)
		}
	}},
	{name: "forget", make: policy(2, func(*plan.Desired, *world) {}), person: func(plan.Desired) Decision {
		return func(want plan.Desired, have plan.Observed, now time.Time) plan.Request {
			return plan.ForgetVM(want, have, "wrk-02", now)
		}
	}},
	{name: "adopt", make: func() (plan.Desired, *world) {
		d, w := policy(2, func(*plan.Desired, *world) {})()
		v := w.vm("wrk-02")
		v.Fleet, v.Ordinal, v.Record = "", 0, plan.Record{Disks: v.Record.Disks}
		return d, w
	}, person: func(plan.Desired) Decision {
		return func(want plan.Desired, have plan.Observed, _ time.Time) plan.Request {
			return plan.AdoptVM(want, have, plan.Adoption{VM: "wrk-02", Ordinal: 2, Disks: map[string]string{"docker": "6000C290-0002-AAAA"}})
		}
	}},
	{name: "pause by hand", make: policy(2, func(*plan.Desired, *world) {}), person: func(plan.Desired) Decision {
		return func(want plan.Desired, have plan.Observed, _ time.Time) plan.Request {
			return plan.Halt(want, have)
		}
	}},
	{name: "resume", make: policy(2, func(_ *plan.Desired, w *world) {
		w.vm("wrk-01").Record.Failed, w.vm("wrk-02").Record.Paused = "not ready", true
	}), person: func(plan.Desired) Decision { return plan.Resume }},
}

// policy is a fleet of n VMs on the old image.
func policy(n int, change func(*plan.Desired, *world)) func() (plan.Desired, *world) {
	return func() (plan.Desired, *world) {
		d := wish(n, "")
		w := newWorld(d, all(n)...)
		change(&d, w)
		w.want, w.old = d, w.now.Clone()
		return d, w
	}
}

// onNew is one on the new image.
func onNew(n int, change func(*plan.Desired, *world)) func() (plan.Desired, *world) {
	return policy(n, func(d *plan.Desired, w *world) {
		for i := range w.now.VMs {
			v := &w.now.VMs[i]
			v.ISO, v.Record.Image, v.Record.ImageID, v.Record.Token = newISO, newDigest, "sha256:new", plan.Token(newDigest, 1)
			v.Record.Rolled = time.Now().Add(-25 * time.Hour)
		}
		change(d, w)
	})
}

// retiredFleet is one with a VM that was retired two hours ago.
func retiredFleet() (plan.Desired, *world) {
	d, w := onNew(3, func(*plan.Desired, *world) {})()
	d.VMs, w.floor = d.VMs[:2], 2
	v := w.vm("wrk-03")
	at := time.Now().Add(-2 * time.Hour)
	v.Name, v.Power, v.Record.Retired = plan.RetiredName(v.Name, at), plan.Off, at
	w.want, w.old = d, w.now.Clone()
	return d, w
}

// once is one run of a scenario. err is a defect.
func (s scenario) once(t *testing.T, w *world, d plan.Desired, r *run) (Result, error) {
	t.Helper()
	if s.person == nil {
		return Run(context.Background(), options(d, r))
	}
	res, err := Act(context.Background(), options(d, r), s.person(d))
	out := Result{Outcome: Converged, Blocked: res.Blocked, Failures: res.Failures}
	if len(res.Blocked) > 0 {
		out.Outcome = Refused
	}
	if len(res.Failures) > 0 {
		out.Outcome = Broken
	}
	return out, err
}

// finish runs a scenario, as cron would, until nothing is done any more and nothing waits. It returns how the last
// run ended.
func (s scenario) finish(t *testing.T, w *world, d plan.Desired) (Result, error) {
	t.Helper()
	for range 12 {
		calls := w.calls
		res, err := s.once(t, w, d, &run{w: w})
		if err != nil {
			return res, err
		}
		wait := 6 * time.Minute // claims of the dead expire, what is ill is ill for long enough
		for _, l := range res.Later {
			wait = max(wait, time.Until(l.Until))
		}
		ill := slices.ContainsFunc(w.now.VMs, func(v plan.VM) bool { return !v.Record.Ill.IsZero() })
		claimed := slices.ContainsFunc(w.now.VMs, func(v plan.VM) bool { return v.Record.Owner != "" && time.Now().Before(v.Record.Expires) })
		if w.calls == calls && len(res.Later) == 0 && !ill && !claimed {
			return res, nil
		}
		time.Sleep(wait)
	}
	return Result{}, errors.New("12 runs, and there is still something to do")
}

// end is the world without what may depend on crashes: times, epochs, tokens and who somebody is.
func end(w *world) plan.Observed {
	o := w.seen()
	ids := map[string]string{}
	for i := range o.VMs {
		v := &o.VMs[i]
		if !v.Record.Retired.IsZero() {
			v.Name, _, _ = strings.Cut(v.Name, "-retired-")
			v.Name += "-retired"
		}
		if _, twice := ids[v.Name]; twice {
			v.Name += "-twice"
		}
		ids[v.Name] = v.ID
		r := &v.Record
		r.Epoch, r.Token, v.Guest.Token, v.Age, v.ID, v.Ref, v.Home = 0, "", "", 0, "", "", ""
		r.Rolled, r.Ill, r.Expires = flat(r.Rolled), flat(r.Ill), flat(r.Expires)
		r.Started, r.Retired = flat(r.Started), flat(r.Retired)
		if r.Failed != "" {
			r.Failed = "why"
		}
		if r.Owner != "" {
			r.Owner = "somebody"
		}
	}
	slices.SortFunc(o.VMs, func(a, b plan.VM) int {
		return strings.Compare(fmt.Sprint(a.Ordinal, a.Name), fmt.Sprint(b.Ordinal, b.Name))
	})
	slices.SortFunc(o.Files, func(a, b plan.DiskFile) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(o.Made)
	return o
}

// flat keeps of a time whether there is one.
func flat(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Unix(1, 0).UTC()
}
