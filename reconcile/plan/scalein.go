package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// leaving sorts the VMs of the fleet that are not wanted any more. They are retired: off, renamed, kept with their disks.
func leaving(want Desired, o Observed, now time.Time) []member {
	names := extra(want, o)
	if len(names) == 0 {
		return nil
	}
	twins := shared(o)
	var out []member
	for i := range o.VMs {
		v := &o.VMs[i]
		if !inUse(want, *v) || v.Record.Replaces != "" || !slices.Contains(names, v.Name) {
			continue
		}
		out = append(out, retiring(want, o, v, twins, now))
	}
	slices.SortStableFunc(out, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.want.Ordinal, b.want.Ordinal), strings.Compare(a.want.Name, b.want.Name))
	})
	return out
}

func retiring(want Desired, o Observed, v *VM, twins map[string]*Blocked, now time.Time) member {
	m := member{want: WantVM{Name: v.Name, Ordinal: v.Ordinal}, vm: v, kind: refused, action: Retiring, reason: "it is not wanted any more"}
	m.blocked = firstOf(
		func() *Blocked { return twice(o, *v) },
		func() *Blocked { return claimed(want, *v, now) },
		func() *Blocked { return busy(*v) },
		func() *Blocked { return twins[v.Name] },
		func() *Blocked { return succeeded(want, o, *v) },
		func() *Blocked { return diskTrouble(o, WantVM{}, *v) },
		func() *Blocked { return broke(want, *v, now) })
	if m.blocked != nil {
		return m
	}
	m.kind, m.steps = surplus, departure(want, o, *v, now)
	m.mine = live(v.Record, now) && v.Record.Owner == want.Claimer
	if !v.Record.Started.IsZero() && v.Power != On {
		m.kind, m.reason = halfway, "it is not wanted any more; a roll stopped halfway"
	}
	return m
}

// broke refuses a VM whose roll failed or takes too long: it is left as it is, for evidence.
func broke(want Desired, v VM, now time.Time) *Blocked {
	var b Blocked
	switch {
	case v.Record.Failed != "":
		b = failure(want, v)
	case overdue(want, v, now):
		b = late(want, v, now)
	default:
		return nil
	}
	return &b
}

// departure returns what is left to do until a VM is retired. One that was being made gets its disks first, so that they
// go with it.
func departure(want Desired, o Observed, v VM, now time.Time) []Step {
	n, r := Of(v.Name), v.Record.clone()
	steps := heads(want, v, &r, false, now)
	for _, d := range v.Record.Disks {
		if attached(v, d) == nil {
			steps = append(steps, AttachDisk{base: n, Disk: d})
		}
	}
	if v.Power == On {
		steps = append(steps, stopping(want, v, &r, v.Guest.State != running)...)
	}
	return append(steps, Retire{base: n, To: o.retiredName(v.Name, now), At: now, Why: "fleet " + want.Fleet + " does not want it any more"})
}

// going returns the VMs that would be retired.
func (f *fleet) going() []string {
	var out []string
	for _, m := range f.extras {
		if targeted(f.want, m.want.Name) {
			out = append(out, m.want.Name)
		}
	}
	return out
}

// gone retires, when everything else is done.
func (f *fleet) gone() []Roll {
	var out []Roll
	for _, m := range f.extras {
		if m.kind == surplus && len(out) < parallel && f.mayGo(m) {
			out = append(out, m.roll())
		}
	}
	return out
}

func (f *fleet) mayGo(m member) bool {
	return len(f.going()) <= f.want.Rollout.ScaleIn && f.waits(m) == nil
}

// settled tells whether every wanted VM serves and none waits to be changed. What was begun is finished first, targets or
// not.
func (f *fleet) settled() bool {
	return !slices.ContainsFunc(f.members, func(m member) bool {
		return !m.up || m.kind == halfway || m.kind != same && m.kind != refused && targeted(f.want, m.want.Name)
	})
}

// shrunk is R14: more VMs would go than may go at once.
func (f *fleet) shrunk() *Blocked {
	names, most := f.going(), f.want.Rollout.ScaleIn
	if len(names) <= most {
		return nil
	}
	allowed := fmt.Sprintf("only %d may go at once, so that none goes", most)
	if most == 0 {
		allowed = "scale_in lets none go"
	}
	return &Blocked{Code: R14,
		Reason: fmt.Sprintf("%d VMs are not wanted any more (%s), and %s", len(names), strings.Join(names, " "), allowed),
		Clear:  fmt.Sprintf("raise scale_in, shrink in smaller steps, or let VMs go untouched: lkv forget --fleet %s --vm %s", f.want.Fleet, names[0])}
}
