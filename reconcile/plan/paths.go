package plan

import (
	"fmt"
	"strings"
	"time"
)

// DiskFolder is the folder of every datastore under which data disks live, outside of any VM's own folder, because
// vSphere deletes a VM's folder together with the VM.
const DiskFolder = "lkv-disks"

// DiskMode is the mode data disks are attached with: snapshots leave them alone, writes survive a power off.
const DiskMode = "independent_persistent"

// DiskPath returns the datastore path of a data disk: "[ds] lkv-disks/<fleet>/<vm>-<disk>.vmdk". The disk's own
// datastore wins over the placement's. A datastore given as an inventory path contributes its last element.
func DiskPath(fleet string, w WantVM, d WantDisk) string {
	return GenerationPath(fleet, w, d, 0)
}

// GenerationPath is DiskPath for a generation of the VM's data disks (Record.Generation): "-g<n>" follows the disk's
// name, but for the first.
func GenerationPath(fleet string, w WantVM, d WantDisk, generation int) string {
	ds := d.Datastore
	if ds == "" {
		ds = w.Place.Datastore
	}
	ds = ds[strings.LastIndex(ds, "/")+1:]
	suffix := ""
	if generation > 0 {
		suffix = fmt.Sprintf("-g%d", generation)
	}
	return fmt.Sprintf("[%s] %s/%s/%s-%s%s.vmdk", ds, DiskFolder, fleet, w.Name, d.Name, suffix)
}

// MadePath returns the path without datastore under which a disk of a VM's record counts as made (Observed.Made): its own
// as long as it lies in the fleet's folder of DiskFolder, else the one that lkv would make it under. A disk lies elsewhere
// when a storage migration moved it, or when its VM was adopted.
func MadePath(fleet, vm string, generation int, d DiskRecord) string {
	if p := inDatastore(d.Path); strings.HasPrefix(p, DiskFolder+"/"+fleet+"/") {
		return p
	}
	return inDatastore(GenerationPath(fleet, WantVM{Name: vm}, WantDisk{Name: d.Name}, generation))
}

// GreenName is the name of the VM that is to take the place of the VM of that name, until it has it.
func GreenName(name string) string { return name + "-green" }

// RetiredName is the name a VM gets when it is retired: to the minute, in UTC.
func RetiredName(name string, at time.Time) string {
	return name + retiredInfix + at.UTC().Format("20060102-1504")
}

// retiredName is RetiredName, or, when a VM has that name already because it was retired in the same minute, the next
// one that is free.
func (o Observed) retiredName(name string, at time.Time) string {
	to := RetiredName(name, at)
	for n := 2; o.find(to) != nil; n++ {
		to = fmt.Sprintf("%s-%d", RetiredName(name, at), n)
	}
	return to
}

const retiredInfix = "-retired-"

// Token returns what the guest echoes to prove that it booted after this very ISO swap: the first 12 hex digits of
// the image's digest and the epoch of the claim under which it was inserted.
func Token(digest string, epoch int) string {
	return fmt.Sprintf("%s-%d", short(digest), epoch)
}

// SerialOf returns a disk UUID the way a guest sees it as a SCSI serial number: without dashes, in lower case.
func SerialOf(uuid string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, uuid))
}

// sameUUID tells whether SerialOf of both is the same, without making either: every disk is compared with every other.
func sameUUID(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] && a[0] < 0x80 {
		a, b = a[1:], b[1:]
	}
	for {
		a, b = strings.TrimLeft(a, "- "), strings.TrimLeft(b, "- ")
		if a == "" || b == "" {
			return a == b
		}
		if a[0] >= 0x80 || b[0] >= 0x80 {
			return SerialOf(a) == SerialOf(b) // no UUID at all
		}
		if lower(a[0]) != lower(b[0]) {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// short returns the first 12 digits of a digest, with or without its "sha256:".
func short(digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	if len(digest) > 12 {
		return digest[:12]
	}
	return digest
}
