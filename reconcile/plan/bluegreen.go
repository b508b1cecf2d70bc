package plan

import "time"

// replacing plans a blue-green roll of a member: of one that is outdated, or, when a green VM exists, of the pair.
// The caller need not look at claims, tasks or disks of a pair before: it is all judged here, because between the two
// VMs of a pair other rules hold (a disk may stand in both records, and be on neither VM).
//
// m.vm is the VM that has the wanted name, or nil when it was retired already and the green VM is about to take its
// name. It fills kind, up, calm, mine, action, reason, steps and blocked. For a member that is only outdated the
// caller has judged identity, claim, disks and the image before.
func replacing(want Desired, o Observed, m member, now time.Time) member {
	_, _, _ = want, o, now
	m.kind = refused
	m.blocked = &Blocked{VM: m.want.Name, Code: R02, Reason: "not yet", Clear: "wait"}
	return m
}

// greenFor returns the VM that is to take the place of the wanted VM, or nil. It is known by its record, whatever its
// name is.
func greenFor(want Desired, o Observed, w WantVM) *VM {
	for i := range o.VMs {
		v := &o.VMs[i]
		if v.Fleet == want.Fleet && v.Ordinal == w.Ordinal && v.Name != w.Name && v.Record.Replaces != "" && v.Record.Retired.IsZero() {
			return v
		}
	}
	return nil
}

// room tells how many replacements may begin besides the greens there are: A2. budget is what A1 leaves; replacing with
// fresh disks takes nothing away and is not held to it.
func room(want Desired, o Observed, budget int) int {
	free := max(1, want.Rollout.Surge)
	for _, w := range want.VMs {
		if greenFor(want, o, w) != nil {
			free--
		}
	}
	if want.Rollout.Disk != Fresh {
		free = min(free, budget)
	}
	return max(0, free)
}
