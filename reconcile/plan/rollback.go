package plan

import (
	"fmt"
	"time"
)

const backOnFailure = "rollback"

// returning tells whether the previous image is to be put back on a VM whose roll failed, or is being put back, and,
// when it is not although the fleet asks for it, why. A roll back that failed too is left alone, and so is a VM on
// which the wanted image had passed its gate before: it is not the image's fault.
func returning(want Desired, v VM) (back bool, why string) {
	r := v.Record
	switch {
	case r.Failed == "":
		return false, ""
	case r.Spurned != "":
		return r.Owner != "" && r.Spurned != r.Image, "" // whoever gave up freed the claim
	case want.Rollout.OnFailure != backOnFailure || r.Image != want.Image.Digest || !r.Rolled.IsZero():
		return false, ""
	case r.Replaces != "":
		return false, "" // see pair.returning
	case r.Previous == "" || r.PreviousISO == "" || r.PreviousID == "":
		return false, "no image ran on it before"
	case !sameEngine(want.Image.Engine, r.EngineWas) || older(r.EngineWas, r.Engine):
		return false, fmt.Sprintf("Docker Engine %s has used its disks, the image before had %s (R04)", unknownOr(newest(r.Engine, want.Image.Engine)), unknownOr(r.EngineWas))
	}
	return true, ""
}

func unknownOr(version string) string {
	if version == "" {
		return "an unknown one"
	}
	return version
}

// undoing plans a VM whose roll failed: the previous image is put back, or it is left as it is, for evidence. Either
// way it does not count as serving until a person has looked.
func undoing(want Desired, m member, now time.Time) member {
	v := *m.vm
	b := failure(want, v)
	m.up, m.reason = false, b.Reason
	if back, _ := returning(want, v); !back {
		m.blocked = &b
		return m
	}
	m.kind, m.action, m.steps = failed, Rollback, back(want, m.want, v, now)
	m.reason = fmt.Sprintf("its roll failed: %s; image %s → %s", v.Record.Failed, short(v.Record.Image), short(v.Record.Previous))
	if v.Record.Spurned != "" {
		m.reason = fmt.Sprintf("a roll back to image %s stopped halfway", short(v.Record.Image))
	}
	return m
}

// spurns tells whether the wanted image was rolled back on a VM and no person has let it be tried again.
func spurns(want Desired, v VM) bool {
	return v.Record.Spurned == want.Image.Digest && v.Record.Image != want.Image.Digest
}

func spurned(want Desired, v VM) *Blocked {
	return &Blocked{VM: v.Name, Code: R12, Reason: fmt.Sprintf("image %s failed on it and was rolled back", short(v.Record.Spurned)),
		Clear: "push a repaired image, or let this one be tried again: lkv resume --fleet " + want.Fleet}
}

// back returns what is left of a roll back. It does not drain: the VM's gate has not passed, so that it has no work yet.
// The release keeps the failure, so that the fleet stands still until a person has looked.
func back(want Desired, w WantVM, v VM, now time.Time) []Step {
	n, r := Of(v.Name), v.Record.clone()
	steps := heads(want, v, &r, false, now)
	swap := r.Spurned == ""
	if swap {
		if v.Power == On {
			steps = append(steps, Shutdown{base: n, Grace: want.Rollout.Grace})
		}
		iso := r.PreviousISO
		r = unswapped(r)
		steps = append(steps, InsertISO{base: n, ISO: iso, Record: r})
	}
	if swap || v.Power != On {
		steps = append(steps, PowerOn{n})
	}
	if swap || Up(want, w, v) != "" {
		steps = append(steps, gateOf(want, w, v, r))
	}
	if r.Drained {
		steps = append(steps, Restore{n})
	}
	return append(steps, Release{base: n, At: now})
}

// unswapped returns the record after the previous ISO was put back. The way forward is not kept as a way back, and the
// newest engine stays: it has used the disks.
func unswapped(r Record) Record {
	r = r.clone()
	r.Spurned = r.Image
	r.Image, r.ImageID, r.Token = r.Previous, r.PreviousID, Token(r.Previous, r.Epoch)
	r.Previous, r.PreviousISO, r.PreviousID = "", "", ""
	r.Due = false
	return r
}

// failures returns R12 for every VM whose roll failed or takes too long, and for none else (A7).
func failures(want Desired, have Observed, now time.Time) []Blocked {
	var out []Blocked
	for _, v := range have.VMs {
		switch {
		case !inUse(want, v) || recalledBy(have, v) != nil:
		case v.Record.Failed != "":
			b := failure(want, v)
			if blue := replacedBy(have, v); blue != nil {
				p := pair{want: want, have: have, blue: blue, green: &v, now: now}
				if _, why := p.returning(); why != "" {
					b.Reason += "; the VM before is not put back: " + why
				}
			}
			out = append(out, b)
		case overdue(want, v, now):
			out = append(out, late(want, v, now))
		}
	}
	return out
}

// replacedBy returns the VM of the fleet that v was made to replace, or nil.
func replacedBy(o Observed, v VM) *VM {
	for i := range o.VMs {
		if x := &o.VMs[i]; v.Record.Replaces != "" && x.ID == v.Record.Replaces && x.Fleet == v.Fleet {
			return x
		}
	}
	return nil
}

// recalledBy returns the VM that v was to replace when the failure stands in that one's record: it counts once.
func recalledBy(o Observed, v VM) *VM {
	if blue := replacedBy(o, v); blue != nil && blue.Record.Failed != "" && blue.Record.Retired.IsZero() {
		return blue
	}
	return nil
}

func failure(want Desired, v VM) Blocked {
	b := Blocked{VM: v.Name, Code: R12, Reason: "its roll failed, so the fleet stands still: " + v.Record.Failed,
		Clear: "look at the VM's console and cure the cause, then: lkv resume --fleet " + want.Fleet}
	if most := max(1, want.Rollout.MaxUnavailable); want.Rollout.MaxFailed > 1 {
		at := fmt.Sprintf("at %d such VMs the fleet stands still", want.Rollout.MaxFailed)
		switch { // it does not serve until a person has looked, and so uses up the budget
		case most == 1:
			at = "it keeps 1 of 1 places of max_unavailable: nothing else is rolled until lkv resume"
		case most < want.Rollout.MaxFailed:
			at = fmt.Sprintf("it keeps 1 of %d places of max_unavailable: at %d such VMs nothing else is rolled until lkv resume", most, most)
		}
		b.Reason = fmt.Sprintf("its roll failed, and %s: %s", at, v.Record.Failed)
	}
	if _, why := returning(want, v); why != "" {
		b.Reason += "; the image before is not put back: " + why
	}
	if back, _ := returning(want, v); v.Record.Spurned != "" && !back {
		b.Reason += fmt.Sprintf("; image %s was put back", short(v.Record.Image))
	}
	return b
}

// overdue tells whether a roll began so long ago that it counts as failed.
func overdue(want Desired, v VM, now time.Time) bool {
	p, started := want.Rollout.Progress, v.Record.Started
	return p > 0 && !started.IsZero() && now.Sub(started) > p && v.Record.Failed == ""
}

func late(want Desired, v VM, now time.Time) Blocked {
	return Blocked{VM: v.Name, Code: R12,
		Reason: fmt.Sprintf("its roll began %s ago and is not done, progress_deadline is %s: it counts as failed",
			now.Sub(v.Record.Started).Round(time.Second), want.Rollout.Progress),
		Clear: "look at the VM's console and cure the cause, then: lkv resume --fleet " + want.Fleet}
}
