package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Resume plans to clear what makes Compute stand still: failures, rolls that take too long, images that were rolled back
// and pauses in the records of the fleet's VMs, wanted or not: per VM a claim, then the clearing, with what is cleared
// as the reason. It never fails, and nothing of it touches power, ISO, size or disks. That a person has looked at the VM
// is for the caller to know.
func Resume(want Desired, have Observed, now time.Time) Request {
	if have.Problem != "" {
		return Request{Blocked: []Blocked{have.Failed()}}
	}
	var out Request
	for _, v := range have.VMs {
		why := holdsUp(want, v, now)
		if !inUse(want, v) || why == "" {
			continue
		}
		b := firstOf(
			func() *Blocked { return twice(have, v) },
			func() *Blocked { return claimed(want, v, now) },
			func() *Blocked { return busy(v) },
			func() *Blocked { return returningNow(have, v) })
		if b != nil {
			out.Blocked = append(out.Blocked, *b)
			continue
		}
		out.Rolls = append(out.Rolls, Roll{VM: v.Name, Action: GoOn, Reason: why, Steps: letGo(want, have, v, now)})
	}
	slices.SortFunc(out.Rolls, func(a, b Roll) int { return strings.Compare(a.VM, b.VM) })
	return out
}

// letGo returns the steps that clear what holds a VM up. A VM that is being made goes on being made: that its roll has
// begun is what allows it to get its recorded disks and its firmware's key, so that it only begins anew.
func letGo(want Desired, have Observed, v VM, now time.Time) []Step {
	n := Of(v.Name)
	c, u := claim(want, n, v.Record, now), Unblock{base: n, Pause: undoneIn(have, v)}
	if creating(v) {
		c.Started, u.Started = now, now
	}
	return []Step{c, u}
}

// returningNow refuses a VM whose replacement is being undone: which way the disks go must not change on the way. A
// pause is cleared all the same, or it would not come to its end.
func returningNow(have Observed, v VM) *Blocked {
	if v.Record.Paused || !undoneIn(have, v) {
		return nil
	}
	return &Blocked{VM: v.Name, Code: R08, Reason: "its replacement is being undone", Clear: "run lkv reconcile until that is done, and lkv resume again"}
}

// undoneIn tells whether a VM is one of a pair whose replacement is being undone.
func undoneIn(have Observed, v VM) bool {
	if blue := replacedBy(have, v); blue != nil {
		return undone(*blue, v)
	}
	return slices.ContainsFunc(have.VMs, func(x VM) bool {
		return v.ID != "" && x.Fleet == v.Fleet && x.Record.Replaces == v.ID && undone(v, x)
	})
}

// holdsUp says why a VM stops its fleet or is not rolled any more, or "".
func holdsUp(want Desired, v VM, now time.Time) string {
	var why []string
	if s := standsStill(v.Record); s != "" {
		why = append(why, s)
	}
	if overdue(want, v, now) {
		why = append(why, fmt.Sprintf("its roll began %s ago", now.Sub(v.Record.Started).Round(time.Second)))
	}
	if v.Record.Spurned != "" {
		why = append(why, fmt.Sprintf("image %s was rolled back", short(v.Record.Spurned)))
	}
	return strings.Join(why, "; ")
}

// standsStill says why a record stops its fleet, or "".
func standsStill(r Record) string {
	var why []string
	if r.Failed != "" {
		why = append(why, "its roll failed: "+r.Failed)
	}
	if r.Paused {
		why = append(why, "it is paused")
	}
	return strings.Join(why, "; ")
}

// twice refuses a name that leads to more than one VM of the fleet: steps name VMs.
func twice(o Observed, v VM) *Blocked {
	for _, x := range o.VMs {
		if x.Name == v.Name && x.Ref != v.Ref {
			return &Blocked{VM: v.Name, Code: R22, Reason: fmt.Sprintf("two VMs have this name: %s and %s", v.Ref, x.Ref),
				Clear: "rename the one that does not belong to the fleet"}
		}
	}
	return nil
}

// Failed is the refusal that a look with a Problem calls for, as nothing may be concluded from it: R15, or R20 where
// vCenter says that a privilege is missing.
func (o Observed) Failed() Blocked {
	if o.Denied {
		return Blocked{Code: R20, Reason: "the fleet cannot be looked at: " + o.Problem,
			Clear: "give the role of lkv's user this privilege, on that object and its parents; lkv doctor shows all that are missing"}
	}
	return Blocked{Code: R15, Reason: "the look at the fleet failed or is partial: " + o.Problem,
		Clear: "remove the cause, or wait until vCenter answers, and run the command again"}
}
