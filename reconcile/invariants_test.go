package reconcile

import (
	"fmt"
	"slices"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// ledger remembers every data disk that was ever seen, from outside of everything that is tested.
type ledger struct {
	files   map[string]plan.DiskFile // by UUID
	disks   map[string]plan.Disk     // as first attached, by UUID
	given   map[string]bool          // UUIDs of disks that a person asked lkv to leave as mere files
	wanted  map[string]int64         // largest size a fleet has ever wanted, by path
	touched map[string]bool          // IDs of VMs on which a person did something that lkv may not undo at once
	surplus int                      // VMs above the fleet's size that were there at the start
}

func newLedger() ledger {
	return ledger{files: map[string]plan.DiskFile{}, disks: map[string]plan.Disk{}, given: map[string]bool{}, wanted: map[string]int64{}, touched: map[string]bool{}}
}

// learn notes what is new.
func (l ledger) learn(o plan.Observed) {
	for _, f := range o.Files {
		if _, ok := l.files[f.UUID]; !ok {
			l.files[f.UUID] = f
		}
	}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if _, ok := l.disks[d.UUID]; !ok {
				l.disks[d.UUID] = d
			}
		}
	}
}

// faults returns every invariant about disks that a state breaks (D1, D3 to D6).
func (l ledger) faults(o plan.Observed) []string {
	l.learn(o)
	var out []string
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	user := map[string]string{}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if user[d.UUID] != "" {
				note("D3: %s is on %s and %s", d.Path, user[d.UUID], v.Name)
			}
			user[d.UUID] = v.Name
			if v.Fleet != "" && !names(v.Record.Disks, d) {
				note("D5: %s is attached to %s and not in its record", d.Path, v.Name)
			}
		}
		if v.Power != plan.On || l.touched[v.ID] || v.Fleet == "" {
			continue
		}
		if len(v.Disks) != len(v.Record.Disks) || len(v.Record.Takes) > 0 {
			note("D6: %s runs with %d of %d disks, %d to come", v.Name, len(v.Disks), len(v.Record.Disks), len(v.Record.Takes))
		}
		if v.ISO == "" || !v.Record.Retired.IsZero() {
			note("D6: %s runs with ISO %q, retired %v", v.Name, v.ISO, !v.Record.Retired.IsZero())
		}
	}
	for uuid, was := range l.files {
		if now := fileAt(o, was.Path); now == nil || now.UUID != uuid || now.Bytes < was.Bytes || now.Bytes > max(was.Bytes, l.wanted[was.Path]) {
			note("D1: file %s was %+v, is %+v", was.Path, was, now)
		}
	}
	for uuid, was := range l.disks {
		out = append(out, l.disk(o, uuid, was)...)
	}
	return out
}

// disk says what is wrong with a disk that was attached once (D4, D5).
func (l ledger) disk(o plan.Observed, uuid string, was plan.Disk) []string {
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if d.UUID != uuid {
				continue
			}
			grown := was
			grown.Bytes = d.Bytes
			if d != grown || d.Bytes < was.Bytes || d.Bytes > max(was.Bytes, l.wanted[was.Path]) {
				return []string{fmt.Sprintf("D4: %s is %+v, was %+v", v.Name, d, was)}
			}
			return nil
		}
	}
	f := fileAt(o, was.Path)
	if f == nil || f.UUID != uuid {
		return []string{fmt.Sprintf("D5: disk %s is attached nowhere and its file is %+v", was.Path, f)}
	}
	if l.given[uuid] {
		return nil
	}
	for _, v := range o.VMs {
		if names(v.Record.Disks, was) || names(v.Record.Takes, was) {
			return nil
		}
	}
	return []string{fmt.Sprintf("D5: disk %s is attached nowhere and no record names it", was.Path)}
}

func names(list []plan.DiskRecord, d plan.Disk) bool {
	return slices.ContainsFunc(list, func(r plan.DiskRecord) bool { return r.UUID == d.UUID && r.Path == d.Path })
}

// crowd says when there are more VMs than the fleet's size and surge (A2), not counting those that were not wanted.
func (l ledger) crowd(o plan.Observed, d plan.Desired) []string {
	n, green := 0, 0
	for _, v := range o.VMs {
		if v.Fleet != d.Fleet || !v.Record.Retired.IsZero() {
			continue
		}
		n++
		if v.Record.Replaces != "" {
			green++
		}
	}
	surge := 0
	if d.Rollout.Strategy == plan.BlueGreen {
		surge = max(1, d.Rollout.Surge)
	}
	if green > surge || n > len(d.VMs)+l.surplus+surge {
		return []string{fmt.Sprintf("A2: %d VMs, %d of them green, for %d with surge %d", n, green, len(d.VMs), surge)}
	}
	return nil
}

// serving tells which members of a fleet serve: their VM, or the one that takes its place, and nobody waits for a person.
func serving(o plan.Observed, d plan.Desired) map[int]bool {
	out := map[int]bool{}
	for _, v := range o.VMs {
		if serves(v, d) {
			out[v.Ordinal] = true
		}
	}
	return out
}

func serves(v plan.VM, d plan.Desired) bool {
	i := slices.IndexFunc(d.VMs, func(w plan.WantVM) bool { return w.Ordinal == v.Ordinal })
	return i >= 0 && v.Fleet == d.Fleet && v.Record.Retired.IsZero() && v.Record.Failed == "" && plan.Up(d, d.VMs[i], v) == ""
}
