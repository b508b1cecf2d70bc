package plan

import (
	"fmt"
	"slices"
	"time"
)

// inhabited is how long a VM must have been in use to prove that its fleet is not just being made for the first time.
const inhabited = time.Hour

// braked is R12 for the whole fleet: so many VMs do not serve, and not because of lkv, that one cause is likely (a
// host, a datastore, vCenter itself), and bringing them back one by one the wrong cure. Then nothing is begun, and what
// is halfway is finished.
//
// What counts: VMs that are off, that are on and do not serve, and that have vanished; not those whose roll is under
// way, failed, or is another run's. What does not count is what has never been: a VM is only said to have vanished when
// its data disk is known, or, without data disks, when one with a higher ordinal exists. Missing VMs whose disk is there
// are also what a run leaves that died while it made them: one of them never counts, and in a fleet of which no VM has
// been in use for an hour as many as are made at once do not.
func (f *fleet) braked() *Blocked {
	if f.want.Rollout.NoBrake {
		return nil
	}
	lost, vanished := f.lost()
	if len(lost)-min(1, vanished) <= f.bearable() {
		return nil
	}
	return &Blocked{Code: R12,
		Reason: fmt.Sprintf("%d of %d do not serve, and not because of a roll (%s: %s); with more than %d, nothing is begun",
			len(lost), len(f.members), lost[0].want.Name, lost[0].reason, f.bearable()),
		Clear: "look for one cause: a host, a datastore, the network, vCenter; when it is cured they serve again; or have them brought back: lkv reconcile --ignore-brake; or raise max_unavailable"}
}

// bearable is how many VMs may be lost without a brake: max_unavailable, or a fifth of the fleet when that is more.
func (f *fleet) bearable() int {
	n := max(f.limit, (len(f.members)+4)/5)
	if !f.lived() {
		n = max(n, parallel)
	}
	return n
}

// lost returns the wanted VMs that do not serve without lkv's doing, and how many of them could be made again.
func (f *fleet) lost() (out []member, vanished int) {
	for _, m := range f.members {
		switch {
		case m.up:
		case m.vm == nil && (m.green != nil || !m.existed(f.last)):
		case m.vm != nil && (!inUse(f.want, *m.vm) || !m.vm.Record.Started.IsZero() || m.vm.Record.Failed != ""):
		case m.blocked != nil && m.blocked.Code == R16:
		default:
			if out = append(out, m); m.kind == missing {
				vanished++
			}
		}
	}
	return out, vanished
}

// lived tells whether the fleet was in use before this run.
func (f *fleet) lived() bool {
	return slices.ContainsFunc(f.have.VMs, func(v VM) bool {
		r := v.Record
		made := !r.Started.IsZero() && r.Previous == "" && r.Rolled.IsZero() // its first roll is under way
		again := r.Token != Token(r.Image, 1)                                // it was booted afresh since it was made
		// A record without a time says that it was rolled before times were noted.
		return inUse(f.want, v) && !made && (again || f.now.Sub(r.Rolled) > inhabited)
	})
}

// existed tells whether a missing VM was there once. last is the fleet's highest ordinal in use.
func (m member) existed(last int) bool {
	return m.known || len(m.want.Disks) == 0 && last > m.want.Ordinal
}

// highest returns the highest ordinal of the fleet's VMs in use.
func (f *fleet) highest() int {
	n := 0
	for i := range f.have.VMs {
		if v := &f.have.VMs[i]; inUse(f.want, *v) {
			n = max(n, v.Ordinal)
		}
	}
	return n
}

// diskKnown tells whether a data disk of a missing VM is known of. One that a retired VM keeps was let go on purpose.
func diskKnown(want Desired, o Observed, w WantVM) bool {
	return slices.ContainsFunc(w.Disks, func(d WantDisk) bool {
		path := DiskPath(want.Fleet, w, d)
		return keeper(want, o, path) == nil && (len(filesNamed(o, path)) > 0 || madeOnce(o, path))
	})
}

// created makes missing VMs: first those that existed, then the others, of which no more are begun at once than the
// brake would let pass if this run died with their disks made.
func (f *fleet) created(again bool) []Roll {
	most := parallel
	if lost, _ := f.lost(); !again && !f.want.Rollout.NoBrake {
		most = min(most, f.bearable()-len(lost)+1)
	}
	return f.take(missing, most, func(m member) bool { return m.existed(f.last) == again })
}
