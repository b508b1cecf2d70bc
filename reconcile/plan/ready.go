package plan

import (
	"fmt"
	"slices"
)

const running = "running" // report.Running: onboot done, services started

// Up says why a VM does not serve, judged by its own record, or "" when it does: it is powered on, its tools run,
// its guest runs the recorded image, echoes the recorded token, has every wanted data disk mounted by the serial of
// the disk that is attached, and passed every outside check that was made.
func Up(want Desired, w WantVM, v VM) string {
	g, r := v.Guest, v.Record
	switch {
	case v.Power != On:
		return "it is " + string(v.Power)
	case !want.Rollout.NoTools && !g.Tools:
		return "guest tools do not run"
	case g.State != running:
		return stateText(g)
	case g.ImageID != r.ImageID:
		return fmt.Sprintf("the guest runs image %s, the record says %s", orNone(g.ImageID), orNone(r.ImageID))
	case g.Token != r.Token:
		return fmt.Sprintf("the guest echoes token %s, the record says %s: it has not booted since the swap", orNone(g.Token), orNone(r.Token))
	}
	if !want.Rollout.NoMounted {
		if why := unmounted(want, w, v); why != "" {
			return why
		}
	}
	for _, p := range g.Probes {
		if !p.OK {
			return fmt.Sprintf("check %s: %s", p.Name, p.Why)
		}
	}
	return ""
}

// Ready is the gate of a roll: Up, and it is the wanted image that runs.
func Ready(want Desired, w WantVM, v VM) string {
	if why := Up(want, w, v); why != "" {
		return why
	}
	if v.Record.Image != want.Image.Digest || v.Guest.ImageID != want.Image.ID {
		return fmt.Sprintf("it runs image %s, wanted is %s", short(v.Record.Image), short(want.Image.Digest))
	}
	return ""
}

// unmounted names the first wanted data disk that the guest has not mounted.
func unmounted(want Desired, w WantVM, v VM) string {
	for _, d := range w.Disks {
		if d.Mount == "" {
			continue
		}
		rec := recorded(v.Record, d.Name)
		if rec == nil {
			return fmt.Sprintf("disk %s is not in its record", d.Name)
		}
		disk := attached(v, *rec)
		if disk == nil {
			return fmt.Sprintf("disk %s is not attached", d.Name)
		}
		ok := slices.ContainsFunc(v.Guest.Mounts, func(m GuestMount) bool {
			return m.Path == d.Mount && SerialOf(m.Serial) == SerialOf(disk.UUID)
		})
		if !ok {
			return fmt.Sprintf("the guest has not mounted disk %s (%s) at %s", d.Name, disk.UUID, d.Mount)
		}
	}
	return ""
}

// recorded returns the record of the data disk of that name, or nil.
func recorded(r Record, name string) *DiskRecord {
	if i := slices.IndexFunc(r.Disks, func(d DiskRecord) bool { return d.Name == name }); i >= 0 {
		return &r.Disks[i]
	}
	return nil
}

// attached returns the attached disk a record means, or nil: by UUID, and by path only while no UUID was recorded,
// because a storage migration moves the file and keeps the UUID.
func attached(v VM, r DiskRecord) *Disk {
	i := slices.IndexFunc(v.Disks, func(d Disk) bool { return isDisk(d, r) })
	if i < 0 {
		return nil
	}
	return &v.Disks[i]
}

func stateText(g Guest) string {
	switch {
	case g.Error != "":
		return fmt.Sprintf("the guest says %s: %s", orNone(g.State), g.Error)
	case g.State == "":
		return "the guest has not reported yet"
	}
	return "the guest says " + g.State
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
