package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is the bucket a wanted VM is in; every wanted VM is in exactly one.
type kind int

const (
	same     kind = iota // as it should be
	failed               // its roll failed, and the previous image is to be put back
	halfway              // a roll is under way that is ours to finish
	unnoted              // its record does not say that it does not serve, or does again
	down                 // does not serve, not because of a roll, and there is something to do
	missing              // no VM of that name
	outdated             // serves, but not as wanted
	surplus              // not wanted any more
	ailing               // does not serve, and is power cycled when that has lasted
	refused              // blocked says why
)

// member is one wanted VM and what was found for it.
type member struct {
	want     WantVM
	vm       *VM // nil when missing
	green    *VM // blue-green: the VM that is taking its place; nil when there is none
	kind     kind
	up       bool      // it serves
	calm     bool      // halfway, but it still serves: only claimed
	mine     bool      // our claim is alive
	known    bool      // missing: a data disk of it is known of
	newImage bool      // outdated: it runs another image than the wanted one
	until    time.Time // ailing: when it is power cycled
	reason   string    // what is to be done and why, in plain words
	action   Action
	steps    []Step
	blocked  *Blocked
}

func (m member) roll() Roll {
	return Roll{VM: m.want.Name, Action: m.action, Reason: m.reason, Steps: m.steps}
}

func sortOne(want Desired, o Observed, w WantVM, twins map[string]*Blocked, now time.Time) member {
	found, green := places(want, o, w)
	if len(found) == 0 && green != nil {
		return replacing(want, o, member{want: w, green: green, kind: refused}, now)
	}
	if len(found) == 0 {
		return absent(want, o, w, now)
	}
	v := found[0]
	m := member{want: w, vm: v, green: green, kind: refused}
	m.blocked = firstOf(
		func() *Blocked { return identity(want, w, found) },
		func() *Blocked { return nameTaken(want, o, w, v) })
	if m.blocked != nil {
		m.reason = m.blocked.Reason
		return m
	}
	if green != nil {
		return replacing(want, o, m, now) // between the two of them other rules hold for claims and disks
	}
	why := Up(want, w, *v)
	m.up, m.reason = why == "", why
	m.mine = live(v.Record, now) && v.Record.Owner == want.Claimer
	m.blocked = firstOf(
		func() *Blocked { return claimed(want, *v, now) },
		func() *Blocked { return busy(*v) },
		func() *Blocked { return twins[v.Name] },
		func() *Blocked { return diskTrouble(o, w, *v) })
	if m.blocked != nil {
		// Somebody else is about to take it down, or it waits for a person, busy or not.
		m.up = m.up && m.blocked.Code != R16 && broke(want, *v, now) == nil
		m.reason = cmp.Or(m.reason, m.blocked.Reason)
		return m
	}
	return present(want, o, m, now)
}

// places finds the VMs that have a wanted VM's name, and the one that is taking its place. A retired VM has no place.
func places(want Desired, o Observed, w WantVM) (found []*VM, green *VM) {
	for i := range o.VMs {
		v := &o.VMs[i]
		switch ours := v.Fleet == want.Fleet; {
		case ours && !v.Record.Retired.IsZero():
		case ours && v.Record.Replaces != "" && v.Ordinal == w.Ordinal:
			green = v
		case v.Name == w.Name:
			found = append(found, v)
		}
	}
	return found, green
}

func firstOf(rules ...func() *Blocked) *Blocked {
	for _, rule := range rules {
		if b := rule(); b != nil {
			return b
		}
	}
	return nil
}

// identity refuses a name that somebody else has, or two VMs have, or one from another place in the fleet (R22).
func identity(want Desired, w WantVM, found []*VM) *Blocked {
	v := found[0]
	switch {
	case len(found) > 1:
		return &Blocked{VM: v.Name, Code: R22, Reason: fmt.Sprintf("%d VMs have this name: %s and %s", len(found), v.Ref, found[1].Ref),
			Clear: "rename the one that does not belong to the fleet"}
	case v.Fleet == "":
		return &Blocked{VM: v.Name, Code: R22, Reason: "a VM that lkv does not manage has this name",
			Clear: fmt.Sprintf("rename that VM in the vSphere client, or give the fleet another name pattern; or, when it is to be the fleet's: lkv adopt --fleet %s --ordinal %d --vm %s", want.Fleet, w.Ordinal, v.Name)}
	case v.Fleet != want.Fleet:
		return &Blocked{VM: v.Name, Code: R22, Reason: fmt.Sprintf("the VM of this name belongs to fleet %s", v.Fleet),
			Clear: "give the fleets different name patterns"}
	case v.VCenter != w.Place.VCenter && v.VCenter != "":
		return &Blocked{VM: v.Name, Code: R06, Reason: fmt.Sprintf("it is in vCenter %s, and its place is in %s now: a VM and its disks do not move from one vCenter to another", v.VCenter, w.Place.VCenter),
			Clear: "give the fleet's placements back that they had, and their order; or let the VM go with its disks, untouched: lkv forget --fleet " + want.Fleet + " --vm " + v.Name}
	case v.Ordinal != w.Ordinal:
		return &Blocked{VM: v.Name, Code: R22, Reason: fmt.Sprintf("the VM of this name has place %d in the fleet, not %d", v.Ordinal, w.Ordinal),
			Clear: "in the vSphere client give the fleet's VMs the names back that they had"}
	}
	return nil
}

// claimed refuses a VM that another run holds (R16).
func claimed(want Desired, v VM, now time.Time) *Blocked {
	r := v.Record
	if !live(r, now) || r.Owner == want.Claimer {
		return nil
	}
	return &Blocked{VM: v.Name, Code: R16,
		Reason: fmt.Sprintf("claimed by %s, epoch %d, started %s ago, for another %s", r.Owner, r.Epoch,
			now.Sub(r.Started).Round(time.Second), r.Expires.Sub(now).Round(time.Second)),
		Clear: "wait until that run is done, or until its claim has expired"}
}

func live(r Record, now time.Time) bool { return r.Owner != "" && now.Before(r.Expires) }

// busy refuses a VM that vSphere or somebody else is working on (R08).
func busy(v VM) *Blocked {
	why := strings.Join(v.Busy, ", ")
	if why == "" && v.Power == Suspended {
		why = "it is suspended"
	}
	if why == "" {
		return nil
	}
	return &Blocked{VM: v.Name, Code: R08, Reason: "the VM must not be touched: " + why,
		Clear: "in the vSphere client answer the question, wait for the task, resume the VM, make the template a VM again, or bring its host or storage back: whichever it is"}
}

// inUse tells whether a VM is the fleet's and counts: it is not retired.
func inUse(want Desired, v VM) bool { return v.Fleet == want.Fleet && v.Record.Retired.IsZero() }

// absent plans a VM that does not exist.
func absent(want Desired, o Observed, w WantVM, now time.Time) member {
	m := member{want: w, kind: refused, reason: "it does not exist", action: Create}
	if m.blocked = nameTaken(want, o, w, nil); m.blocked != nil {
		return m
	}
	for _, v := range o.VMs {
		if inUse(want, v) && v.Ordinal == w.Ordinal && !slices.ContainsFunc(want.VMs, func(x WantVM) bool { return x.Name == v.Name }) {
			m.blocked = &Blocked{VM: w.Name, Code: R22,
				Reason: fmt.Sprintf("VM %s has its place in the fleet (ordinal %d) under another name", v.Name, v.Ordinal),
				Clear:  fmt.Sprintf("rename it back to %s in the vSphere client", w.Name)}
			return m
		}
	}
	if m.blocked = compatible(want, w, nil); m.blocked != nil {
		return m
	}
	if m.steps, m.blocked = creation(want, o, w, now); m.blocked != nil {
		return m
	}
	m.kind = missing
	return m
}

// present plans a VM that exists, is ours and may be touched.
func present(want Desired, o Observed, m member, now time.Time) member {
	v, diff, old := *m.vm, differences(want, m.want, *m.vm), aged(want, *m.vm)
	inProgress := !v.Record.Started.IsZero()
	idle := !inProgress && len(diff) == 0 && v.Power == On && !afresh(want, m.want, v, now)
	switch {
	case v.Record.Failed != "":
		return undoing(want, m, now)
	case overdue(want, v, now):
		b := late(want, v, now)
		m.up, m.blocked, m.reason = false, &b, b.Reason
		return m
	case spurns(want, v):
		m.blocked = spurned(want, v)
		return m
	case !inProgress && m.up && !v.Record.Ill.IsZero() && targeted(want, v.Name):
		return noting(m, time.Time{})
	case idle && !m.up:
		return silent(want, m, now)
	case idle && !v.Record.Drained:
		m.kind = same
		return m
	}
	return needing(want, o, m, diff, old, now)
}

// needing plans a VM to which something is to be done.
func needing(want Desired, o Observed, m member, diff []string, old string, now time.Time) member {
	v := *m.vm
	m.steps = rest(want, m.want, v, now, o.Files...)
	// A replacement is gated against the VM that is made for it, with the disks that it gets.
	replace := want.Rollout.Strategy == BlueGreen && m.up && (len(diff) > 0 || old != "")
	if !replace && slices.ContainsFunc(m.steps, isBoot) {
		if m.blocked = compatible(want, m.want, &v); m.blocked != nil {
			m.reason = cmp.Or(m.reason, m.blocked.Reason)
			return m
		}
	}
	m = named(m, diff, old)
	m.newImage = v.Record.Image != want.Image.Digest
	if replace {
		return replacing(want, o, m, now)
	}
	return m
}

// named gives a member that needs something its bucket, with the reason.
func named(m member, diff []string, old string) member {
	v := m.vm
	switch {
	case !v.Record.Started.IsZero():
		m.kind, m.action = halfway, Finish
		m.calm = m.up && slices.ContainsFunc(m.steps, isShutdown)
		m.reason = "a roll stopped halfway"
		if m.mine {
			m.reason = "its roll is under way"
		}
		m.reason = strings.Join(append([]string{m.reason}, diff...), "; ")
	case !m.up && len(diff) == 0 && v.Power == On:
		m.kind, m.action, m.reason = down, HealVM, "it does not serve: "+m.reason
	case !m.up && len(diff) == 0:
		m.kind, m.action, m.reason = down, Start, "it is powered off and should run"
	case !m.up:
		m.kind, m.action, m.reason = down, RollISO, strings.Join(append(diff, m.reason), "; ")
	case len(diff) > 0:
		m.kind, m.action, m.reason = outdated, RollISO, strings.Join(diff, "; ")
	case old != "":
		m.kind, m.action, m.reason = outdated, Reboot, old
	default:
		m.kind, m.action, m.reason = halfway, Finish, "it serves, and is still drained"
	}
	return m
}

// givenBack is the roll that ends a claim under which nothing was done.
func givenBack(want Desired, m member, now time.Time, why string) Roll {
	n := Of(m.vm.Name)
	r := Roll{VM: m.want.Name, Action: GiveBack, Reason: "claimed but not touched, and " + why}
	if m.vm.Task != "" {
		r.Steps = append(r.Steps, AwaitTask{base: n, Task: m.vm.Task})
	}
	if !m.mine {
		r.Steps = append(r.Steps, claim(want, n, m.vm.Record, now))
	}
	if m.vm.Record.Drained {
		r.Steps = append(r.Steps, Restore{n})
	}
	r.Steps = append(r.Steps, Release{base: n})
	return r
}

// isBoot tells whether a step makes the VM run, with whatever image is inserted.
func isBoot(s Step) bool {
	_, ok := s.(PowerOn)
	return ok
}

func isShutdown(s Step) bool {
	_, ok := s.(Shutdown)
	return ok
}

// differences lists, in plain words, in what an existing VM is not as wanted.
func differences(want Desired, w WantVM, v VM) []string {
	var out []string
	iso := want.Image.Paths[w.Place.Store]
	switch {
	case v.Record.Image != want.Image.Digest:
		out = append(out, fmt.Sprintf("image %s → %s", orNone(short(v.Record.Image)), short(want.Image.Digest)))
	case v.ISO != iso && iso != "":
		out = append(out, fmt.Sprintf("CD-ROM holds %s, not %s", orNone(v.ISO), iso))
	}
	if resized(w, v) {
		out = append(out, fmt.Sprintf("%d CPUs, %d MiB → %d CPUs, %d MiB", v.CPUs, v.MemoryMiB, w.CPUs, w.MemoryMiB))
	}
	if w.SecureBoot && !v.SecureBoot {
		out = append(out, "Secure Boot off → on")
	}
	for _, d := range w.Disks {
		if r := recorded(v.Record, d.Name); r != nil {
			if a := attached(v, *r); a != nil && a.Bytes < d.Bytes {
				out = append(out, fmt.Sprintf("disk %s %s → %s", d.Name, sizeText(a.Bytes), sizeText(d.Bytes)))
			}
		}
	}
	return out
}

func resized(w WantVM, v VM) bool { return v.CPUs != w.CPUs || v.MemoryMiB != w.MemoryMiB }
