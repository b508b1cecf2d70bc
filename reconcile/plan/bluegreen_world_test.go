package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// bluegreen is the fleet rolled blue-green.
func bluegreen(d Desired, disk string) Desired {
	d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge = BlueGreen, disk, 1
	return d
}

// genPairWish draws a fleet that is rolled blue-green, in either variant.
func genPairWish(t *rapid.T) Desired {
	d := bluegreen(genWish(t), rapid.SampledFrom([]string{HandOver, Fresh}).Draw(t, "disk"))
	d.Rollout.Surge = rapid.IntRange(1, 3).Draw(t, "surge")
	d.Rollout.Drain = rapid.Bool().Draw(t, "drain")
	return d
}

// rolledBefore is the world in which every VM has passed a gate before.
func rolledBefore(o Observed) Observed {
	o = o.Clone()
	for i := range o.VMs {
		o.VMs[i].Record.Rolled = t0.Add(-48 * time.Hour)
	}
	return o
}

// genPairWorld is genWorld with VMs that were rolled before, and some whose disks are of a later generation.
func genPairWorld(t *rapid.T, d Desired) Observed {
	o := rolledBefore(genWorld(t, d))
	for i := range o.VMs {
		v := &o.VMs[i]
		if !rapid.Bool().Draw(t, v.Name+" later generation") {
			continue
		}
		v.Record.Generation = 2
		for j := range v.Disks {
			path := strings.TrimSuffix(v.Disks[j].Path, ".vmdk") + "-g2.vmdk"
			o.file(v.Disks[j].Path).Path = path
			v.Disks[j].Path, v.Record.Disks[j].Path = path, path
		}
	}
	return o
}

// genCut lets a run die in the middle of a plan: some waves done, of one wave a prefix of every roll, its steps
// interleaved. It returns what is left of every roll, and calls each after every step.
func genCut(t *rapid.T, p Plan, o Observed, each func(o Observed, r Roll, s Step)) (Observed, map[string][]Step) {
	left := map[string][]Step{}
	if len(p.Waves) == 0 {
		return o, left
	}
	dead := rapid.IntRange(0, len(p.Waves)-1).Draw(t, "dies in wave")
	for i, w := range p.Waves {
		done := make([]int, len(w.Rolls))
		most := make([]int, len(w.Rolls))
		for j, r := range w.Rolls {
			switch {
			case i < dead:
				most[j] = len(r.Steps)
			case i == dead:
				most[j] = rapid.IntRange(0, len(r.Steps)).Draw(t, r.VM+" gets to")
			}
		}
		for {
			var open []int
			for j := range w.Rolls {
				if done[j] < most[j] {
					open = append(open, j)
				}
			}
			if len(open) == 0 {
				break
			}
			j := rapid.SampledFrom(open).Draw(t, "whose turn")
			s := w.Rolls[j].Steps[done[j]]
			done[j]++
			o = o.After(s)
			each(o, w.Rolls[j], s)
		}
		for j, r := range w.Rolls {
			left[r.VM] = append(left[r.VM], r.Steps[done[j]:]...)
		}
	}
	return o, left
}

// byRoll is a plan's steps by the VM whose roll they are in.
func byRoll(p Plan) map[string][]Step {
	out := map[string][]Step{}
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			out[r.VM] = append(out[r.VM], r.Steps...)
		}
	}
	return out
}

// pairOutcome is outcome for worlds with retired VMs, whose name and time tell when they were retired.
func pairOutcome(o Observed) Observed {
	o = outcome(o)
	for i := range o.VMs {
		v := &o.VMs[i]
		if !v.Record.Retired.IsZero() {
			name, _, _ := strings.Cut(v.Name, retiredInfix)
			v.Name, v.Record.Retired = name+retiredInfix, time.Time{}.Add(1)
		}
	}
	slices.SortFunc(o.VMs, func(a, b VM) int {
		return cmp.Or(cmp.Compare(a.Ordinal, b.Ordinal), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return o
}

// lost returns the first data-disk invariant that a world of pairs does not keep, or "". It knows the world before.
func lost(before, o Observed) string {
	for _, f := range before.Files {
		if now := o.file(f.Path); now == nil || now.UUID != f.UUID || now.Bytes < f.Bytes {
			return "D1: file gone or changed: " + f.Path
		}
	}
	user := map[string]string{}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if user[d.Path] != "" {
				return fmt.Sprintf("D3: %s is attached to %s and %s", d.Path, user[d.Path], v.Name)
			}
			user[d.Path] = v.Name
			if !slices.ContainsFunc(v.Record.Disks, func(r DiskRecord) bool { return isDisk(d, r) }) {
				return fmt.Sprintf("D5: %s is attached to %s and not in its record", d.Path, v.Name)
			}
		}
		if v.Power == On && (len(v.Disks) != len(v.Record.Disks) || len(v.Record.Takes) > 0) {
			return fmt.Sprintf("D6: %s runs with %d of %d disks, %d to come", v.Name, len(v.Disks), len(v.Record.Disks), len(v.Record.Takes))
		}
		if v.Power == On && !v.Record.Retired.IsZero() {
			return fmt.Sprintf("D6: %s is retired and runs", v.Name)
		}
	}
	for _, v := range before.VMs {
		for _, d := range v.Disks {
			if why := found(o, d); why != "" {
				return why
			}
		}
	}
	return ""
}

// found says why a disk of before cannot be found any more (D5), or "". It is attached and as it was (D4), or a file in
// its place that a record names, or, when its VM was removed, one of the fleet's files.
func found(o Observed, d Disk) string {
	for _, v := range o.VMs {
		for _, x := range v.Disks {
			if x.UUID == d.UUID && x.Path == d.Path {
				if x.Bytes < d.Bytes || x.Parent || x.Shared {
					return fmt.Sprintf("D4: disk %s of %s is not what it was", d.Path, v.Name)
				}
				return ""
			}
		}
	}
	if f := o.file(d.Path); f == nil || f.UUID != d.UUID {
		return "D5: no file of disk " + d.Path
	}
	for _, v := range o.VMs {
		for _, r := range slices.Concat(v.Record.Disks, v.Record.Takes) {
			if r.UUID == d.UUID && r.Path == d.Path {
				return ""
			}
		}
	}
	return "D5: no record names disk " + d.Path
}

// servingPairs counts members that serve: their VM does, or the one that is to take its place.
func servingPairs(d Desired, o Observed) int {
	n := 0
	for _, w := range d.VMs {
		if slices.ContainsFunc(o.VMs, func(v VM) bool {
			return v.Fleet == d.Fleet && v.Ordinal == w.Ordinal && v.Record.Retired.IsZero() && Up(d, w, v) == ""
		}) {
			n++
		}
	}
	return n
}

// above counts VMs above the fleet's size that are not retired.
func above(d Desired, o Observed) int {
	n := 0
	for _, v := range o.VMs {
		if v.Fleet == d.Fleet && v.Record.Replaces != "" && v.Record.Retired.IsZero() {
			n++
		}
	}
	return n
}
