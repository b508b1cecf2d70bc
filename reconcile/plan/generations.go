package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// evidence is what is known about one generation of the data disks of one place in a fleet.
type evidence struct {
	used  bool   // a record named one of its disks, or names it, or a VM has it attached (D7)
	spare bool   // a retired VM has it that never got the place, so that its services never ran there
	free  string // the path of one of its files that no VM has; "" when there is none
}

// evidenceOf collects what is known about every generation of the data disks of a wanted VM's place: files, markers,
// records and devices. A file alone proves nothing: it may be one that a run made before it died.
func evidenceOf(want Desired, o Observed, w WantVM) map[int]*evidence {
	out, other := map[int]*evidence{}, map[string]bool{}
	for _, d := range w.Disks {
		other[inDatastore(DiskPath(want.Fleet, w, d))] = true // "docker-g1" may be the name of another disk
	}
	for _, d := range w.Disks {
		base := strings.TrimSuffix(inDatastore(DiskPath(want.Fleet, w, d)), ".vmdk")
		at := func(path string) *evidence {
			n, ok := generationIn(base, path)
			if !ok || n > 0 && other[inDatastore(path)] {
				return nil
			}
			if out[n] == nil {
				out[n] = &evidence{}
			}
			return out[n]
		}
		for _, f := range o.Files {
			if e := at(f.Path); e != nil && e.free == "" && userOf(o, f.Path) == "" && holderOf(o, f.UUID) == "" {
				e.free = f.Path
			}
		}
		for _, m := range o.Made {
			if e := at(m); e != nil {
				e.used = true
			}
		}
		for _, v := range o.VMs {
			for _, path := range pathsOf(v) {
				if e := at(path); e != nil {
					e.used, e.spare = true, e.spare || v.Record.Replaces != "" && !inUse(want, v)
				}
			}
		}
	}
	return out
}

// pathsOf lists the files of every disk that a VM has attached or in its record.
func pathsOf(v VM) []string {
	var out []string
	for _, d := range v.Disks {
		out = append(out, d.Path)
	}
	for _, r := range slices.Concat(v.Record.Disks, v.Record.Takes) {
		out = append(out, r.Path)
	}
	return out
}

// generationIn returns which generation of the disk with that path (without datastore and extension) a file is of.
func generationIn(base, path string) (int, bool) {
	rest, named := strings.CutPrefix(inDatastore(path), base)
	rest, disk := strings.CutSuffix(rest, ".vmdk")
	if !named || !disk {
		return 0, false
	}
	if rest == "" {
		return 0, true
	}
	number, ok := strings.CutPrefix(rest, "-g")
	n, err := strconv.Atoi(number)
	return n, ok && err == nil && n > 0
}

// latest returns the generation of the data disks that a missing VM had: the newest that was ever used in its place.
// Nothing tells in which order two used generations that nobody has were used last, when one may be of a VM that never
// got the place; then it is for a person to say (R06).
func latest(want Desired, o Observed, w WantVM) (int, *Blocked) {
	for _, d := range w.Disks {
		if b := Unseen(o.Hidden, w.Name, w.Place, d); b != nil && generational(want, o) {
			return 0, b // a newer one than what can be seen may lie there
		}
	}
	all := evidenceOf(want, o, w)
	used := slices.ContainsFunc(slices.Collect(maps.Values(all)), func(e *evidence) bool { return e.used && !e.spare })
	last, free := 0, []string{}
	for _, n := range slices.Sorted(maps.Keys(all)) {
		e := all[n]
		if e.spare || used && !e.used && n > 0 {
			continue // blank: what a roll made for a VM that never got the place, or never was
		}
		last = n
		if e.free != "" {
			free = append(free, e.free)
		}
	}
	if len(free) < 2 {
		return last, nil
	}
	newest := GenerationPath(want.Fleet, w, w.Disks[0], last)
	return last, &Blocked{VM: w.Name, Code: R06,
		Reason: fmt.Sprintf("its data disk may be %s, and nobody has any of these: which one it had last is not known", strings.Join(free, " or ")),
		Clear: fmt.Sprintf("lkv disks list shows them; in the vSphere client give the one that it is to have the name %s, and move the others out of %s/%s; or, when nobody needs an older one: lkv disks delete --path PATH",
			inDatastore(newest), DiskFolder, want.Fleet)}
}

// generational tells whether VMs of the fleet may have disks of a later generation than the first.
func generational(want Desired, o Observed) bool {
	return want.Rollout.Strategy == BlueGreen && want.Rollout.Disk == Fresh ||
		slices.ContainsFunc(o.VMs, func(v VM) bool { return v.Fleet == want.Fleet && v.Record.Generation > 0 })
}
