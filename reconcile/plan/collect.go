package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Collect plans what lkv gc does: retired VMs that were kept for ttl go, and their data disks stay where they are, as
// files. While the fleet stands still for a failure or a pause they are evidence, and none goes (A7).
func Collect(want Desired, have Observed, now time.Time, ttl time.Duration) Request {
	var out Request
	if have.Problem != "" {
		out.Blocked = []Blocked{have.Failed()}
		return out
	}
	for _, v := range have.VMs {
		if inUse(want, v) && standsStill(v.Record) != "" {
			out.Blocked = append(out.Blocked, Blocked{VM: v.Name, Code: R12, Reason: "the fleet stands still, and what it retired may be needed: " + standsStill(v.Record),
				Clear: "lkv resume --fleet " + want.Fleet})
		}
	}
	if len(out.Blocked) > 0 {
		return out
	}
	for _, v := range have.VMs {
		r := v.Record
		if v.Fleet != want.Fleet || r.Retired.IsZero() {
			continue
		}
		if until := r.Retired.Add(ttl); now.Before(until) {
			out.Later = append(out.Later, Later{VM: v.Name, Reason: "retired VMs are kept for " + ttl.String(), Until: until})
			continue
		}
		if b := keep(want, have, v, now); b != nil {
			out.Blocked = append(out.Blocked, *b)
			continue
		}
		out.Rolls = append(out.Rolls, Roll{VM: v.Name, Action: Remove, Reason: fmt.Sprintf("retired since %s; its data disks stay as files", r.Retired.UTC().Format(time.DateTime)),
			Steps: removal(want, v, now)})
	}
	out.sort()
	return out
}

// removal returns the steps that are left of a retired VM's end.
func removal(want Desired, v VM, now time.Time) []Step {
	var steps []Step
	if v.Task != "" {
		steps = append(steps, AwaitTask{base: Of(v.Name), Task: v.Task})
	}
	steps = append(steps, claiming(want, v, now)...)
	for _, r := range v.Record.Disks {
		if a := attached(v, r); a != nil {
			r.Path = a.Path
			steps = append(steps, DetachDisk{base: Of(v.Name), Disk: r})
		}
	}
	return append(steps, DestroyVM{Of(v.Name)})
}

// keep says why a retired VM must not be removed, or nil.
func keep(want Desired, o Observed, v VM, now time.Time) *Blocked {
	refuse := func(c Code, clear, format string, args ...any) *Blocked {
		return &Blocked{VM: v.Name, Code: c, Reason: fmt.Sprintf(format, args...), Clear: clear}
	}
	return firstOf(
		func() *Blocked { return twice(o, v) },
		func() *Blocked { return claimed(want, v, now) },
		func() *Blocked { return busy(v) },
		func() *Blocked {
			if v.Power != Off {
				return refuse(R08, "power it off in the vSphere client when nobody needs it", "it was retired, and it is on")
			}
			return nil
		},
		func() *Blocked { return succeeded(want, o, v) },
		func() *Blocked { return unsafe(v) },
		func() *Blocked { return shared(o)[v.Name] },
		func() *Blocked {
			for _, d := range v.Disks {
				if !slices.ContainsFunc(v.Record.Disks, func(r DiskRecord) bool { return isDisk(d, r) }) {
					return refuse(R19, "in the vSphere client remove it from the VM, keeping its file", "disk %s (%s) is attached and not in its record", d.Path, d.UUID)
				}
			}
			return nil
		},
		func() *Blocked {
			for _, r := range v.Record.Disks {
				path := r.Path
				if a := attached(v, r); a != nil {
					path = a.Path
				}
				if f := o.file(path); f == nil || SerialOf(f.UUID) != SerialOf(r.UUID) {
					return refuse(R06, fmt.Sprintf("in the vSphere client remove the disk from the VM, keeping its file, move the file to %s/%s on its datastore, and attach it to the VM again", DiskFolder, want.Fleet),
						"disk %s lies at %s, where nobody would find it without this VM", r.Name, path)
				}
			}
			return nil
		},
		func() *Blocked {
			if path := diskWithin(o, v.Home); v.Home == "" || path != "" {
				return refuse(R19, "move that disk elsewhere with a storage migration", "data disk %s lies in the VM's own folder %s, which would go with it", orNone(path), orNone(v.Home))
			}
			return nil
		})
}

// diskWithin names a data disk that lies in a folder, whoever has it (L9).
func diskWithin(o Observed, folder string) string {
	in := func(path string) bool { return strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/") }
	for _, f := range o.Files {
		if in(f.Path) {
			return f.Path
		}
	}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if in(d.Path) {
				return d.Path
			}
		}
		for _, r := range slices.Concat(v.Record.Disks, v.Record.Takes) {
			if in(r.Path) {
				return r.Path
			}
		}
	}
	return ""
}
