package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// fleet is one look at a fleet, with every VM of it in its bucket.
type fleet struct {
	want    Desired
	have    *Observed
	now     time.Time
	limit   int      // max_unavailable
	still   bool     // failures make it stand still: nothing but rolls back goes on
	members []member // wanted VMs, by ordinal
	extras  []member // VMs that are not wanted any more, by ordinal

	open    bool            // the window is
	opening time.Time       // when it is again; zero when it is open, or never is
	canary  canary          // what canaries allow
	brake   *Blocked        // why nothing is begun; nil when it is not so
	last    int             // highest ordinal in use
	free    int             // replacements that surge has room for
	planned map[string]bool // VMs that this plan rolls: their gates have not passed yet
}

// weigh works out what a look means for the fleet as a whole.
func (f *fleet) weigh() {
	f.open, f.opening = f.want.Rollout.Window.open(f.now)
	f.canary = f.canaries()
	f.last = f.highest()
	f.brake = f.braked()
	if f.want.Rollout.Strategy == BlueGreen { // it looks at every VM for every VM
		f.free = room(f.want, *f.have, f.now)
	}
}

// look puts every VM in its bucket.
func (f *fleet) look() {
	f.members = look(f.want, *f.have, f.now)
	for i, m := range f.members {
		f.members[i].known = m.vm == nil && diskKnown(f.want, *f.have, m.want)
	}
	f.extras = leaving(f.want, *f.have, f.now)
	f.weigh()
}

// look puts every wanted VM in its bucket, in ordinal order.
func look(want Desired, o Observed, now time.Time) []member {
	twins := shared(o)
	out := make([]member, 0, len(want.VMs))
	for _, w := range want.VMs {
		out = append(out, sortOne(want, o, w, twins, now))
	}
	slices.SortStableFunc(out, func(a, b member) int { return cmp.Compare(a.want.Ordinal, b.want.Ordinal) })
	return out
}

// relook is look after a wave. A VM is sorted by itself, the files and the disks of all; a wave that makes nothing but
// VMs and their new disks changes nothing for others than its own VMs, and missing ones whose files have such names, so
// that only these are sorted again: a roll of n VMs has n waves, and looking at n VMs after each made planning
// quadratic. No VM of a wave shares a disk, or it would have been refused.
func (f *fleet) relook(wave Wave) {
	rolled, made := map[string]bool{}, []string{}
	for _, r := range wave.Rolls {
		if slices.ContainsFunc(r.Steps, furnishes) {
			f.look()
			return
		}
		rolled[r.VM] = true
		for _, s := range r.Steps {
			if c, ok := s.(CreateDisk); ok {
				made = append(made, inDatastore(c.Path))
			}
		}
	}
	for i, m := range f.members {
		folder := DiskFolder + "/" + f.want.Fleet + "/" + m.want.Name
		if rolled[m.want.Name] || m.vm == nil && slices.ContainsFunc(made, func(path string) bool { return strings.HasPrefix(path, folder) }) {
			m = sortOne(f.want, *f.have, m.want, nil, f.now)
			m.known = m.vm == nil && diskKnown(f.want, *f.have, m.want)
			f.members[i] = m
		}
	}
	if slices.ContainsFunc(f.extras, func(m member) bool { return rolled[m.want.Name] }) {
		f.extras = leaving(f.want, *f.have, f.now)
	}
	f.weigh()
}

// furnishes tells the steps that change which VMs, disks and files there are, but for making what is new.
func furnishes(s Step) bool {
	switch s := s.(type) {
	case CreateVM:
		return s.Record.Replaces != "" || slices.ContainsFunc(s.Record.Disks, func(r DiskRecord) bool { return r.UUID != "" })
	case AttachDisk:
		return s.Disk.UUID != ""
	case DetachDisk, Disown, Rename, Retire:
		return true
	}
	return false
}

// sorted returns what the first look refuses, and the VMs that are as they should be.
func (f *fleet) sorted() (blocked []Blocked, done []string) {
	for _, m := range slices.Concat(f.members, f.extras) {
		switch {
		case m.blocked != nil:
			blocked = append(blocked, *m.blocked)
		case m.kind == same:
			done = append(done, m.want.Name)
		}
	}
	return blocked, done
}

// left returns, when there is nothing more to do now, which VMs wait, and what holds up the whole fleet.
func (f *fleet) left() (later []Later, blocked []Blocked) {
	if f.still {
		return nil, nil
	}
	for _, m := range slices.Concat(f.members, f.extras) {
		if l := cmp.Or(f.waits(m), f.passing(m)); l != nil {
			later = append(later, *l)
		}
	}
	for _, b := range []*Blocked{f.brake, f.starved(), f.shut(), f.shrunk()} {
		if b != nil {
			blocked = append(blocked, *b)
		}
	}
	return later, blocked
}

// waits says why a VM that needs something does not get it now although nothing is wrong, or returns nil.
func (f *fleet) waits(m member) *Later {
	reason, until := "", time.Time{}
	switch m.kind {
	case down, missing, outdated, surplus:
	case ailing:
		if f.brake != nil {
			return nil // nothing is power cycled until that is cured
		}
		return &Later{VM: m.want.Name, Reason: m.reason, Until: m.until}
	default:
		return nil
	}
	switch {
	case !targeted(f.want, m.want.Name):
		reason = "not among the targets"
	case m.kind == surplus && len(f.going()) > f.want.Rollout.ScaleIn:
		return nil // R14 says it
	case !f.open && (m.kind == outdated || m.kind == surplus):
		reason, until = outside, f.opening
	case m.kind == surplus && !f.settled():
		reason = "not wanted any more; it goes when every wanted VM is as wanted"
	case m.kind == outdated && m.action == Replace && f.free == 0:
		reason = "as many VMs are being replaced as surge allows"
	case m.kind == outdated && m.newImage && f.canary.room == 0:
		reason, until = f.canary.why, f.canary.until
	}
	if reason == "" {
		return nil
	}
	return &Later{VM: m.want.Name, Reason: reason, Until: until}
}

// targeted tells whether the VM of that name may get anything but the rest of what was begun.
func targeted(want Desired, name string) bool {
	return len(want.Targets) == 0 || slices.Contains(want.Targets, name)
}

// unavailable counts wanted VMs that do not serve.
func (f *fleet) unavailable() int {
	n := 0
	for _, m := range f.members {
		if !m.up {
			n++
		}
	}
	return n
}
