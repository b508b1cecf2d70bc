package reconcile

import (
	"slices"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// watch notes who does not serve now: a gate that is said to have held meanwhile did not (A4).
func (w *world) watch(o plan.Observed) {
	up := serving(o, w.want)
	for n := range up {
		delete(w.taken, n)
	}
	for _, v := range o.VMs {
		if v.Guest.State != "running" {
			w.faint[v.ID] = time.Now()
		}
	}
}

// judge notes what is broken after a change by a run.
func (w *world) judge(r *run, s plan.Step, d plan.Desired, before plan.Observed) {
	after := w.seen()
	w.watch(after)
	for _, why := range slices.Concat(w.ledger.faults(w.now), w.ledger.crowd(w.now, w.want)) {
		w.note(s, "%s", why)
	}
	up := map[int]bool{}
	for _, v := range after.VMs {
		if v.Guest.State == "running" && v.Record.Retired.IsZero() {
			up[v.Ordinal] = true
		}
	}
	if len(up) < w.floor {
		w.note(s, "A1: %d VMs run, at least %d must", len(up), w.floor)
	}
	v := at(before, s.VM())
	if v == nil {
		return
	}
	switch s.(type) {
	case plan.Claim, plan.Mark, plan.Pause, plan.Adopt:
	case plan.Forget:
	default:
		if _, fails := s.(plan.Fail); v.Record.Owner != d.Claimer && (!fails || v.Record.Owner != "") {
			w.note(s, "A6: %s writes and the claim is %q's", d.Claimer, v.Record.Owner)
		}
	}
	switch s := s.(type) {
	case plan.Claim:
		if o := v.Record; o.Owner != "" && o.Owner != s.Owner && r.time().Before(o.Expires) || s.Epoch < o.Epoch {
			w.note(s, "A6: the claim of %s, epoch %d, was alive", o.Owner, o.Epoch)
		}
	case plan.Shutdown:
		w.judgeShutdown(r, s, *v)
	case plan.PowerOn:
		w.judgePowerOn(s, *v)
	case plan.Release:
		w.judgeRelease(r, s, *v)
	case plan.Retire:
		if g := heirOf(before, *v); g != nil && !w.shocked[g.ID].After(r.saw[g.ID]) && w.upFor(*g) < w.want.Rollout.Settle {
			w.note(s, "A4: %s has served for %s when it takes the place", g.Name, w.upFor(*g))
		}
	case plan.DestroyVM:
		if len(v.Disks) > 0 || v.Record.Retired.IsZero() {
			w.note(s, "D2: it had %d disks", len(v.Disks))
		}
	}
}

// judgeShutdown is about taking down a VM that serves: there is room for it (A1), the fleet does not stand still (A7), and
// its work was moved away.
func (w *world) judgeShutdown(r *run, s plan.Shutdown, v plan.VM) {
	if !serves(v, w.want) {
		return
	}
	w.taken[v.Ordinal] = true
	after := w.seen()
	up, then := serving(after, w.want), serving(r.known, w.want)
	if !up[v.Ordinal] {
		gone := 0
		for _, x := range w.want.VMs {
			if !up[x.Ordinal] && (x.Ordinal == v.Ordinal || w.taken[x.Ordinal] || !then[x.Ordinal]) {
				gone++
			}
		}
		if gone > max(1, w.want.Rollout.MaxUnavailable) {
			w.note(s, "A1: %d members do not serve, max_unavailable is %d", gone, w.want.Rollout.MaxUnavailable)
		}
	}
	bad := 0
	for _, x := range r.known.VMs {
		if x.Fleet == w.want.Fleet && x.Record.Retired.IsZero() {
			if x.Record.Failed != "" {
				bad++
			}
			if x.Record.Paused {
				w.note(s, "A7: %s is paused", x.Name)
			}
		}
	}
	if bad >= max(1, w.want.Rollout.MaxFailed) {
		w.note(s, "A7: %d rolls have failed", bad)
	}
	if w.want.Rollout.Drain && !w.drained[node(v)] && !w.ledger.touched[v.ID] {
		w.note(s, "A8: its work was not moved away")
	}
}

// judgePowerOn asks for the record's image in the CD-ROM, and that nobody else has the place (D6, D3).
func (w *world) judgePowerOn(s plan.PowerOn, v plan.VM) {
	if iso := map[string]string{newDigest: newISO, oldDigest: oldISO}[v.Record.Image]; iso != "" && v.ISO != iso && !w.ledger.touched[v.ID] {
		w.note(s, "D6: the CD-ROM holds %s, the record says %s", v.ISO, v.Record.Image)
	}
	for _, x := range w.now.VMs {
		if x.ID != v.ID && x.Ordinal == v.Ordinal && x.Fleet == v.Fleet && x.Power == plan.On && x.Record.Generation == v.Record.Generation && !w.ledger.touched[x.ID] {
			w.note(s, "D3: %s has the same place and is on", x.Name)
		}
	}
}

// judgeRelease asks of a roll that ends well that the VM has served for the settle time (A4), and of every roll that
// it leaves no node without work (A8).
func (w *world) judgeRelease(r *run, s plan.Release, v plan.VM) {
	if !s.At.IsZero() && !w.ledger.touched[v.ID] && !w.shocked[v.ID].After(r.saw[v.ID]) && w.upFor(v) < w.want.Rollout.Settle {
		w.note(s, "A4: it has served for %s", w.upFor(v))
	}
	if w.drained[node(v)] && v.Power == plan.On {
		w.note(s, "A8: its node is left drained")
	}
}

// upFor is for how long a VM has served without a break that anybody saw.
func (w *world) upFor(v plan.VM) time.Duration {
	since := w.booted[v.ID].Add(bootTime)
	if f := w.faint[v.ID]; f.After(since) {
		since = f
	}
	if o := w.seen(); v.Power != plan.On || byID(o, v.ID).Guest.State != "running" {
		return 0
	}
	return time.Since(since)
}

// heirOf returns the VM that is to take the place of v, or nil.
func heirOf(o plan.Observed, v plan.VM) *plan.VM {
	i := slices.IndexFunc(o.VMs, func(x plan.VM) bool { return v.ID != "" && x.Record.Replaces == v.ID && x.Record.Retired.IsZero() })
	if i < 0 {
		return nil
	}
	return &o.VMs[i]
}

// quiet asks of a world in which nothing is going on that nothing is left behind: no claim, no node without work (A8).
func (w *world) quiet() []string {
	var out []string
	for _, v := range w.now.VMs {
		if v.Record.Owner != "" && time.Now().Before(v.Record.Expires) {
			out = append(out, v.Name+": a claim was left")
		}
		if v.Power == plan.On && w.drained[node(v)] && v.Record.Retired.IsZero() && v.Record.Failed == "" {
			out = append(out, "A8: "+v.Name+": its node is left drained")
		}
	}
	return out
}
