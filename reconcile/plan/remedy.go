package plan

import (
	"fmt"
	"slices"
	"strings"
)

// putBack says what attaches a recorded disk to its VM again. A disk that is attached is known by its UUID wherever its
// file lies, so that one which was moved need not go back; lkv attaches it only where the record says.
func putBack(o Observed, v VM, r DiskRecord) string {
	off := ""
	if v.Power != Off {
		off = "shut the VM down, then "
	}
	command := fmt.Sprintf("lkv disks attach --vm %s --disk %s", v.Name, r.Name)
	i := slices.IndexFunc(o.Files, func(f DiskFile) bool { return r.UUID != "" && SerialOf(f.UUID) == SerialOf(r.UUID) })
	switch at := o.file(r.Path); {
	case i >= 0 && o.Files[i].Path != r.Path:
		return fmt.Sprintf("%sin the vSphere client attach it to the VM as an existing hard disk, from where it is now: %s", off, o.Files[i].Path)
	case i >= 0:
		return off + command
	case at != nil:
		return off + "in the vSphere client attach the recorded disk to the VM as an existing hard disk: the file at its path is another one; lkv disks list shows those there are"
	}
	return fmt.Sprintf("find its file, in the vSphere client or in a backup; when it is back in its place, %s%s; or attach it in the vSphere client from where it is", off, command)
}

// bringBack says what is to be done about a disk that was made once, for a place without a VM, whose file is not there
// any more: no record tells its UUID, so that only a person knows it again.
func bringBack(want Desired, o Observed, path string) string {
	path = inDatastore(path)
	seen := ""
	if files := unclaimed(want, o); len(files) > 0 {
		seen = " (no VM has, or would get, " + strings.Join(files, ", ") + ")"
	}
	return fmt.Sprintf("find the file%s and give it the path %s again, on any datastore of its place, in the vSphere client or from a backup: lkv reconcile then makes the VM around it; "+
		"only when its data is given up for good, remove the folder %s.made on every datastore that has it", seen, path, strings.TrimSuffix(path, ".vmdk"))
}

// unclaimed lists the files among the fleet's data disks that are nobody's: no VM has them, and no wanted one would be
// made around them.
func unclaimed(want Desired, o Observed) (paths []string) {
	for _, f := range o.Files {
		wanted := slices.ContainsFunc(want.VMs, func(w WantVM) bool {
			return slices.ContainsFunc(w.Disks, func(d WantDisk) bool { return inDatastore(DiskPath(want.Fleet, w, d)) == inDatastore(f.Path) })
		})
		if !wanted && userOf(o, f.Path) == "" && holderOf(o, f.UUID) == "" {
			paths = append(paths, f.Path)
		}
	}
	return paths
}
