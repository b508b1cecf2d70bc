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
// its data disk is known, or, without data disks, when one with a higher ordinal exists, and only in a fleet of which
// another VM has been in use for an hour or was rolled before.
func (f *fleet) braked() *Blocked {
	if f.want.Rollout.NoBrake {
		return nil
	}
	lost, first := f.lost(), f.most()
	if len(lost) <= first {
		return nil
	}
	return &Blocked{Code: R12,
		Reason: fmt.Sprintf("%d of %d do not serve and lkv is not the cause (%s: %s); nothing is begun while there are more than %d",
			len(lost), len(f.members), lost[0].want.Name, lost[0].reason, first),
		Clear: "look for one cause: a host, a datastore, the network, vCenter; when it is cured they serve again, or let lkv bring them back: lkv reconcile --no-brake; or raise max_unavailable"}
}

// most is how many VMs may be lost without a brake: max_unavailable, or a fifth of the fleet when that is more.
func (f *fleet) most() int { return max(f.limit, (len(f.members)+4)/5) }

// lost returns the wanted VMs that do not serve without lkv's doing.
func (f *fleet) lost() []member {
	var out []member
	lived := f.lived()
	for _, m := range f.members {
		switch {
		case m.up:
		case m.vm == nil && (m.green != nil || !lived || !f.vanished(m.want)):
		case m.vm != nil && (!inUse(f.want, *m.vm) || !m.vm.Record.Started.IsZero() || m.vm.Record.Failed != ""):
		case m.blocked != nil && m.blocked.Code == R16:
		default:
			out = append(out, m)
		}
	}
	return out
}

// lived tells whether the fleet was in use before this run.
func (f *fleet) lived() bool {
	return slices.ContainsFunc(f.have.VMs, func(v VM) bool {
		r := v.Record
		made := !r.Started.IsZero() && r.Previous == "" && r.Rolled.IsZero() // its first roll is under way
		return inUse(f.want, v) && !made && (r.Rolled.IsZero() || r.Previous != "" || f.now.Sub(r.Rolled) > inhabited)
	})
}

// vanished tells whether a missing VM has existed.
func (f *fleet) vanished(w WantVM) bool {
	for _, d := range w.Disks {
		path := inDatastore(DiskPath(f.want.Fleet, w, d))
		if slices.ContainsFunc(f.have.Files, func(x DiskFile) bool { return inDatastore(x.Path) == path }) ||
			slices.ContainsFunc(f.have.Made, func(x string) bool { return inDatastore(x) == path }) {
			return true
		}
	}
	return len(w.Disks) == 0 && slices.ContainsFunc(f.have.VMs, func(v VM) bool { return inUse(f.want, v) && v.Ordinal > w.Ordinal })
}

// created makes missing VMs. A run that dies leaves the disks of VMs that it was about to make, which then look like
// vanished ones: in a fleet that has lived, no more are begun at once than the brake lets pass, but always one.
func (f *fleet) created() []Roll {
	most, lost := f.most(), len(f.lost())
	bound := f.lived() && !f.want.Rollout.NoBrake
	var out []Roll
	for _, m := range f.members {
		if m.kind != missing || f.waits(m) != nil {
			continue
		}
		if bound && !f.vanished(m.want) {
			lost++
		}
		if len(out) == parallel || len(out) > 0 && bound && lost > most {
			break
		}
		out = append(out, m.roll())
	}
	return out
}
