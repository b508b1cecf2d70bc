package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Request is what a person asks for beside rollouts. Nothing of it is ever part of Compute's plans.
type Request struct {
	Rolls   []Roll    // by VM name
	Blocked []Blocked // VMs that must be left alone, or R15: the look failed
	Later   []Later   // retired VMs that are kept for now
}

// Halt plans to stop the fleet: a pause in the record of each of its VMs, wanted or not, that is in use. One is enough
// to make Compute stand still; all of them keep it so whichever VM goes. It needs no claim: a pause also reaches a VM
// that another run is rolling.
func Halt(want Desired, have Observed) Request {
	var out Request
	if have.Problem != "" {
		out.Blocked = []Blocked{have.Failed()}
		return out
	}
	found := false
	for _, v := range have.VMs {
		if !inUse(want, v) {
			continue
		}
		found = true
		if b := firstOf(func() *Blocked { return twice(have, v) }, func() *Blocked { return busy(v) }); b != nil {
			out.Blocked = append(out.Blocked, *b)
		} else if !v.Record.Paused {
			out.Rolls = append(out.Rolls, Roll{VM: v.Name, Action: Stop, Reason: "a person stops the fleet", Steps: []Step{Pause{Of(v.Name)}}})
		}
	}
	if !found {
		out.Blocked = append(out.Blocked, Blocked{Code: R14, Reason: fmt.Sprintf("fleet %s has no VM that a pause could be written into", want.Fleet),
			Clear: "do not run lkv reconcile until it should make them"})
	}
	out.sort()
	return out
}

// ForgetVM plans to take a VM out of lkv's hands, untouched: owner key and record go, everything else stays. A disk
// whose only trace is that record makes it R06; what is in the middle of a replacement is R08.
func ForgetVM(want Desired, have Observed, vm string, now time.Time) Request {
	if have.Problem != "" {
		return Request{Blocked: []Blocked{have.Failed()}}
	}
	v := have.find(vm)
	if v == nil || v.Fleet != want.Fleet {
		return refusedOne(vm, R22, "the fleet has no VM of this name", "name a VM that lkv status shows")
	}
	b := firstOf(
		func() *Blocked { return twice(have, *v) },
		func() *Blocked { return claimed(want, *v, now) },
		func() *Blocked { return busy(*v) },
		func() *Blocked { return succeeded(want, have, *v) },
		func() *Blocked { return onlyTrace(have, *v) })
	if b != nil {
		return Request{Blocked: []Blocked{*b}}
	}
	return Request{Rolls: []Roll{{VM: vm, Action: LetGo, Reason: "a person takes it out of the fleet",
		Steps: append(claiming(want, *v, now), Forget{Of(vm)})}}}
}

// claiming returns the claim of a VM unless it is ours already.
func claiming(want Desired, v VM, now time.Time) []Step {
	if live(v.Record, now) && v.Record.Owner == want.Claimer {
		return nil
	}
	return []Step{claim(want, Of(v.Name), v.Record, now)}
}

// succeeded refuses a VM whose successor has not got its place yet: that one's record refers to it.
func succeeded(want Desired, o Observed, v VM) *Blocked {
	i := slices.IndexFunc(o.VMs, func(x VM) bool { return inUse(want, x) && v.ID != "" && x.Record.Replaces == v.ID })
	if i < 0 {
		return nil
	}
	return &Blocked{VM: v.Name, Code: R08, Reason: fmt.Sprintf("VM %s is about to take its place", o.VMs[i].Name),
		Clear: "run lkv reconcile with that place wanted until it is done, or: lkv forget --fleet " + want.Fleet + " --vm " + o.VMs[i].Name}
}

// onlyTrace refuses to drop a record that names a disk which is attached nowhere under a record (D5).
func onlyTrace(o Observed, v VM) *Blocked {
	for _, r := range slices.Concat(v.Record.Disks, v.Record.Takes) {
		known := attached(v, r) != nil || slices.ContainsFunc(o.VMs, func(x VM) bool {
			return x.Name != v.Name && attached(x, r) != nil && holdsRecord(x.Record.Disks, r)
		})
		if !known {
			return &Blocked{VM: v.Name, Code: R06, Reason: fmt.Sprintf("its record is the only trace of disk %s (%s, %s), which is not attached", r.Name, orNone(r.UUID), r.Path),
				Clear: putBack(o, v, r)}
		}
	}
	return nil
}

func refusedOne(vm string, c Code, reason, clear string) Request {
	return Request{Blocked: []Blocked{{VM: vm, Code: c, Reason: reason, Clear: clear}}}
}

func (r *Request) sort() {
	slices.SortFunc(r.Rolls, func(a, b Roll) int { return strings.Compare(a.VM, b.VM) })
}
