package persist

import (
	"fmt"
	"slices"
	"strings"
)

// Want is what is looked for.
type Want struct {
	Label      string // file system label
	DiskUUID   string // normalized; empty: any disk
	Filesystem string // "ext4" or "xfs"
}

// Verb is what to do.
type Verb int

// Verbs.
const (
	Refuse Verb = iota // never: another look will not help
	Wait               // not now: the disk may come later; at the end of the timeout it is a refusal
	Use                // the file system is there
	Format             // the disk is provably blank, or was being formatted by us
)

// Decision is a verb with the disk it is about, or with the reason.
type Decision struct {
	Verb   Verb
	Disk   Found
	Reason string
}

// Smallest disks that are formatted, in bytes: what mkfs needs and a little sense.
var smallest = map[string]int64{"ext4": 64 << 20, "xfs": 512 << 20}

// Decide chooses the disk. It only looks at what was found.
//
// With a disk that cannot be read nothing is formatted: it may be the one that carries the label.
func Decide(w Want, all []Found) Decision {
	list := all
	if w.DiskUUID != "" {
		list = slices.DeleteFunc(slices.Clone(all), func(f Found) bool { return !slices.Contains(f.Serials, w.DiskUUID) })
		if whole := slices.DeleteFunc(slices.Clone(list), func(f Found) bool { return f.Parent != "" }); len(whole) > 1 {
			return refuse("disk UUID %s belongs to more than one disk: %s; detach all but one", w.DiskUUID, names(whole))
		}
		if len(list) == 0 {
			return wait("no disk has the UUID %s; found %s; attach the disk (vSphere: disk.EnableUUID must be TRUE)", w.DiskUUID, names(all))
		}
	}
	match := slices.DeleteFunc(slices.Clone(list), func(f Found) bool { return !w.carries(f) })
	half := slices.DeleteFunc(slices.Clone(list), func(f Found) bool { return !w.half(f) })
	switch {
	case len(match) > 1:
		return refuse("more than one disk carries the label %q: %s; detach all but one", w.Label, names(match))
	case len(match) == 1 && slices.ContainsFunc(half, func(f Found) bool { return f.Name != match[0].Name }):
		return refuse("a disk carries the label %q and another was being formatted for it: %s; detach one", w.Label, names(append(match, half...)))
	case len(match) == 1:
		return w.use(match[0])
	case len(half) > 1:
		return refuse("more than one disk was being formatted for label %q: %s; detach all but one", w.Label, names(half))
	case len(half) == 1 && half[0].Busy != "":
		return refuse("%s", half[0])
	}
	if slices.ContainsFunc(list, func(f Found) bool { return f.Err != nil }) {
		return wait("no disk carries the label %q, and one cannot be read: %s; nothing was changed", w.Label, names(list))
	}
	if len(half) == 1 {
		return Decision{Verb: Format, Disk: half[0]}
	}
	return w.blank(list)
}

func refuse(format string, args ...any) Decision {
	return Decision{Verb: Refuse, Reason: fmt.Sprintf(format, args...)}
}

func wait(format string, args ...any) Decision {
	return Decision{Verb: Wait, Reason: fmt.Sprintf(format, args...)}
}

// carries tells whether the wanted file system is on f: by its label, or, when only the disk is named, any.
func (w Want) carries(f Found) bool {
	return f.Err == nil && f.Super != nil && (f.Super.Label == w.Label || w.Label == "") && !w.half(f)
}

// half tells whether f is a disk of which our own mkfs did not end and which holds nothing else: mkfs clears the
// beginning first and writes the superblock last, and what a power cut leaves of that is a superblock with the UUID
// we had noted, never mounted, whose checksum blkid does not accept. A complete file system is not half.
func (w Want) half(f Found) bool {
	n := f.Note
	if f.Err != nil || n == nil || n.Label != w.Label || n.Filesystem != w.Filesystem || f.Parent != "" {
		return false
	}
	if f.Signature != "" || f.Unclear || f.Removable {
		return false
	}
	if s := f.Super; s != nil {
		return s.UUID == n.UUID && s.Label == n.Label && s.Fresh
	}
	return f.Data < 0 || f.Data >= 1024
}

// use checks that the file system is one we can mount.
func (w Want) use(f Found) Decision {
	switch {
	case f.Busy != "":
		return refuse("%s carries the label %q but is %s", f.Node, w.Label, f.Busy)
	case f.Unclear:
		return refuse("%s carries the label %q but holds %s; look at it with wipefs", f.Node, w.Label, f.Signature)
	case f.Super.Type != w.Filesystem:
		return refuse("%s carries the label %q but is %s, not %s; change the image's persist block or the disk", f.Node, w.Label, f.Super.Type, w.Filesystem)
	case !strings.HasPrefix(f.Signature, w.Filesystem):
		return refuse("%s carries the label %q but blkid sees %q on it", f.Node, w.Label, f.Signature)
	case f.Super.Size > f.Size:
		return refuse("%s: the file system has %d bytes, the disk only %d: it was shrunk or is damaged; restore its size", f.Node, f.Super.Size, f.Size)
	}
	return Decision{Verb: Use, Disk: f}
}

// blank looks for the one disk that may be formatted.
func (w Want) blank(list []Found) Decision {
	var blank []Found
	for _, f := range list {
		if f.Parent == "" && f.Busy == "" && f.Signature == "" && !f.Unclear && f.Super == nil && f.Data < 0 &&
			f.Note == nil && !f.Removable && f.Size > 0 {
			blank = append(blank, f)
		}
	}
	switch {
	case len(list) == 0:
		return wait("this machine has no disk; attach one")
	case len(blank) == 0:
		return wait("no disk carries the label %q and none is blank: %s; nothing was changed; attach the right disk or a blank one", w.Label, names(list))
	case len(blank) > 1:
		return wait("no disk carries the label %q and more than one is blank: %s; nothing was changed; name one by its UUID or detach the others", w.Label, names(list))
	case blank[0].Size < smallest[w.Filesystem]:
		return wait("%s is too small for %s, which needs %d MiB; attach a larger disk", blank[0], w.Filesystem, smallest[w.Filesystem]>>20)
	}
	return Decision{Verb: Format, Disk: blank[0]}
}

func names(list []Found) string {
	if len(list) == 0 {
		return "no disk"
	}
	var out []string
	for _, f := range list {
		out = append(out, f.String())
	}
	return strings.Join(out, "; ")
}
