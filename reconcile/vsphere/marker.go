package vsphere

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// A marker says that a data disk was made, wherever its file lies now (D7): an empty folder beside the place where the
// file was made. VM and record may be destroyed, and a storage migration takes the file into the VM's own folder; the
// marker stays, and as long as it does nobody makes the disk a second time. It is a folder because making one is atomic
// and can be repeated, needs no upload, and works below a namespace of vSAN. Only lkv disks delete
// removes one, with the disk that a person named (FreePlace).
const markerExt = ".made"

// marker returns the marker of a disk, from its path with or without datastore.
func marker(disk string) string { return strings.TrimSuffix(disk, path.Ext(disk)) + markerExt }

// noteMade leaves a marker for every disk of a record that the VM named vm of the fleet is about to get, on the datastore
// that the disk lies on now.
func (f *Fleet) noteMade(ctx context.Context, dc *object.Datacenter, fleet, vm string, generation int, disks ...plan.DiskRecord) error {
	for _, d := range disks {
		ds, _, err := f.c.onePath(ctx, dc, d.Path)
		if err != nil {
			return err
		}
		if err := ds.mkdir(ctx, marker(plan.MadePath(fleet, vm, generation, d))); err != nil {
			return err
		}
		f.noteEmpty(fleet, ds, false)
	}
	return nil
}

// noteTaken leaves the marker of a disk that is about to be attached, when it is not among those that were seen: its VM
// may be of a time before there were markers.
func (f *Fleet) noteTaken(ctx context.Context, v sighted, d plan.DiskRecord, seen []string, desired plan.Desired) error {
	vm := v.vm.Name
	if i := slices.IndexFunc(desired.VMs, func(w plan.WantVM) bool { return w.Ordinal == v.vm.Ordinal }); i >= 0 {
		vm = desired.VMs[i].Name // of a VM that replaces another one
	}
	if slices.Contains(seen, plan.MadePath(desired.Fleet, vm, v.vm.Record.Generation, d)) {
		return nil
	}
	dc, err := f.c.datacenterOf(ctx, v.ref)
	if err != nil {
		return err
	}
	return f.noteMade(ctx, dc, desired.Fleet, vm, v.vm.Record.Generation, d)
}

// madeBy returns what the records of a fleet's VMs say was made. A VM that has not its place's name is left out when
// its disk lies elsewhere: which place it is of then only the marker tells.
func madeBy(desired plan.Desired, vms []sighted) []string {
	var out []string
	for _, v := range vms {
		if v.vm.Fleet != desired.Fleet {
			continue
		}
		for _, d := range v.vm.Record.Disks {
			p := plan.MadePath(desired.Fleet, v.vm.Name, v.vm.Record.Generation, d)
			if wanted(desired, v.vm.Name) || strings.HasSuffix(d.Path, "] "+p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// merged returns both lists as one, sorted, each entry once.
func merged(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
