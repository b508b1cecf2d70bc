package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vmdk"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// descriptorMax is more than a disk's descriptor ever has; a file without one is not read further.
const descriptorMax = 64 << 10

// files lists the fleet's data disk files, and what its markers say was made. UUID and capacity come from the VM that
// has the file attached; only files that no VM has are asked for one by one, and there are few. With every set,
// datastores that were empty at an earlier look are listed, too.
func (f *Fleet) files(ctx context.Context, fleet string, stores []datastore, vms []sighted, every bool) (out []plan.DiskFile, made []string, err error) {
	for _, ds := range stores {
		dir := path.Join(plan.DiskFolder, fleet)
		if !every && !ds.named && f.empty(fleet, ds) {
			continue
		}
		list, marks, err := ds.content(ctx, dir)
		if err != nil {
			return nil, nil, err
		}
		f.noteEmpty(fleet, ds, len(list)+len(marks) == 0)
		for _, m := range marks {
			made = append(made, path.Join(dir, m))
		}
		for _, one := range list {
			file := plan.DiskFile{Path: ds.path(path.Join(dir, one.name)), Bytes: one.capacity}
			for _, v := range vms {
				if i := slices.IndexFunc(v.vm.Disks, func(d plan.Disk) bool { return d.Path == file.Path && onStore(v, ds) }); i >= 0 {
					file.UUID, file.Bytes = v.vm.Disks[i].UUID, v.vm.Disks[i].Bytes
				}
			}
			if err := ds.complete(ctx, &file); err != nil {
				return nil, nil, err
			}
			out = append(out, file)
		}
	}
	slices.SortFunc(out, func(a, b plan.DiskFile) int { return strings.Compare(a.Path, b.Path) })
	return out, merged(made, nil), nil
}

// settled tells that nothing can be made or attached, so that nobody asks which files there are: every wanted VM is
// there, ours, and has every disk that is wanted or recorded. While a retired VM waits for its end, files matter too.
func settled(desired plan.Desired, vms []sighted) bool {
	if desired.Rollout.Strategy != "in-place" {
		return false
	}
	complete := map[string]bool{}
	for _, v := range vms {
		if v.vm.Fleet != desired.Fleet {
			continue
		}
		if len(v.vm.Record.Takes) > 0 || !v.vm.Record.Retired.IsZero() || slices.ContainsFunc(v.vm.Record.Disks, func(r plan.DiskRecord) bool { return !hasDisk(v.vm, r) }) {
			return false
		}
		complete[v.vm.Name] = true
	}
	return !slices.ContainsFunc(desired.VMs, func(w plan.WantVM) bool { return !complete[w.Name] || lacks(w, vms) })
}

func hasDisk(v plan.VM, r plan.DiskRecord) bool {
	return slices.ContainsFunc(v.Disks, func(d plan.Disk) bool { return r.UUID != "" && d.UUID == canonical(r.UUID) })
}

// lacks tells whether the VM was made without a disk that is wanted.
func lacks(w plan.WantVM, vms []sighted) bool {
	i := slices.IndexFunc(vms, func(v sighted) bool { return v.vm.Name == w.Name })
	return slices.ContainsFunc(w.Disks, func(d plan.WantDisk) bool {
		return !slices.ContainsFunc(vms[i].vm.Record.Disks, func(r plan.DiskRecord) bool { return r.Name == d.Name })
	})
}

// attachedFiles are the fleet's disk files as the VMs that have them show them.
func attachedFiles(fleet string, vms []sighted) []plan.DiskFile {
	var out []plan.DiskFile
	for _, v := range vms {
		for _, d := range v.vm.Disks {
			if _, rest, _ := strings.Cut(d.Path, "] "); path.Dir(rest) == path.Join(plan.DiskFolder, fleet) {
				out = append(out, plan.DiskFile{Path: d.Path, UUID: d.UUID, Bytes: d.Bytes})
			}
		}
	}
	slices.SortFunc(out, func(a, b plan.DiskFile) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// empty tells that a datastore which the fleet does not name had no disk of it when it was last listed: it is not
// listed again by every look, only before a disk is made.
func (f *Fleet) empty(fleet string, ds datastore) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bare[fleet+" "+ds.ref.Value]
}

func (f *Fleet) noteEmpty(fleet string, ds datastore, empty bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bare[fleet+" "+ds.ref.Value] = empty
}

// onStore tells whether the VM has a disk on this very datastore: names are unique per datacenter only.
func onStore(v sighted, ds datastore) bool { return slices.Contains(diskDatastores(v.devices), ds.ref) }

// disks lists the disks of a folder. A folder that does not exist has none.
func (d datastore) disks(ctx context.Context, dir string) ([]file, error) {
	list, _, err := d.content(ctx, dir)
	return list, err
}

// content lists the disks of a folder, and the names of disks that it has markers of. A folder that does not exist has
// neither.
func (d datastore) content(ctx context.Context, dir string) (disks []file, made []string, err error) {
	list, err := d.search(ctx, dir, "*", &types.VmDiskFileQuery{Details: &types.VmDiskFileQueryFlags{CapacityKb: true}}, &types.FolderFileQuery{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, f := range list {
		switch name, marked := strings.CutSuffix(f.name, markerExt); {
		case f.dir && marked:
			made = append(made, name+".vmdk")
		case !f.dir && path.Ext(f.name) == ".vmdk" && !strings.HasSuffix(f.name, "-flat.vmdk") && !strings.HasSuffix(f.name, "-ctk.vmdk"):
			disks = append(disks, f)
		}
	}
	return disks, made, nil
}

// complete asks for what is not known of a disk file yet.
func (d datastore) complete(ctx context.Context, f *plan.DiskFile) error {
	if f.UUID == "" {
		uuid, err := d.uuid(ctx, f.Path)
		if err != nil {
			return err
		}
		f.UUID = uuid
	}
	if f.Bytes == 0 {
		bytes, err := d.capacity(ctx, f.Path)
		if err != nil {
			return err
		}
		f.Bytes = bytes
	}
	return nil
}

// uuid reads a disk file's UUID.
func (d datastore) uuid(ctx context.Context, file string) (string, error) {
	dc := d.dc.Reference()
	res, err := methods.QueryVirtualDiskUuid(ctx, d.c.vim, &types.QueryVirtualDiskUuid{
		This: *d.c.vim.ServiceContent.VirtualDiskManager, Name: file, Datacenter: &dc,
	})
	if err != nil {
		return "", fmt.Errorf("read the UUID of %s: %w", file, err)
	}
	return canonical(res.Returnval), nil
}

// capacity reads a disk's capacity from its descriptor, for datastore browsers that do not tell it.
func (d datastore) capacity(ctx context.Context, file string) (int64, error) {
	_, rest, _ := strings.Cut(file, "] ")
	r, err := d.open(ctx, rest, 0, descriptorMax)
	if err != nil {
		return 0, fmt.Errorf("read the capacity of %s: %w", file, err)
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, descriptorMax))
	if err != nil {
		return 0, fmt.Errorf("read the capacity of %s: %w", file, err)
	}
	desc, err := vmdk.ParseDescriptor(bytes.NewReader(raw))
	if err != nil || desc.Capacity() <= 0 {
		return 0, fmt.Errorf("read the capacity of %s: it has no descriptor that says it", file)
	}
	return desc.Capacity(), nil
}

// diskFile looks at one disk file: a zero DiskFile when it is certainly not there.
func (d datastore) diskFile(ctx context.Context, p string) (plan.DiskFile, error) {
	_, rest, _ := strings.Cut(p, "] ")
	list, err := d.disks(ctx, path.Dir(rest))
	if err != nil {
		return plan.DiskFile{}, err
	}
	i := slices.IndexFunc(list, func(f file) bool { return f.name == path.Base(rest) })
	if i < 0 {
		return plan.DiskFile{}, nil
	}
	out := plan.DiskFile{Path: p, Bytes: list[i].capacity}
	return out, d.complete(ctx, &out)
}

// createDisk makes a data disk that has never existed (D7): no file, no VM and no record may know it.
func (f *Fleet) createDisk(ctx context.Context, s plan.CreateDisk, desired plan.Desired) error {
	dc, err := f.c.datacenter(ctx, s.Place.Datacenter)
	if err != nil {
		return err
	}
	ds, rest, err := f.c.onePath(ctx, dc, s.Path)
	if err != nil {
		return err
	}
	there, err := ds.diskFile(ctx, s.Path)
	if err != nil {
		return err
	}
	if there.Path != "" {
		if there.Bytes == s.Disk.Bytes {
			return nil
		}
		return plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("disk file %s has %d bytes, wanted are %d", s.Path, there.Bytes, s.Disk.Bytes),
			Clear: "rename the file in the vSphere client when it is not the VM's disk; when it is, give the disk its size in the fleet"}
	}
	if err := f.neverExisted(ctx, s, desired); err != nil {
		return err
	}
	if err := roomFor(ds, s); err != nil {
		return err
	}
	if err := ds.mkdir(ctx, path.Dir(rest)); err != nil {
		return err
	}
	err = ds.makeDisk(ctx, s)
	f.mu.Lock()
	clear(f.bare)
	f.mu.Unlock()
	return err
}

// neverExisted looks whether any VM of the fleet, or any other VM, knows the disk although its file is gone.
func (f *Fleet) neverExisted(ctx context.Context, s plan.CreateDisk, desired plan.Desired) error {
	all, err := f.lookFor(ctx, desired, true)
	if err != nil {
		return unproved(s.VM(), "cannot prove that the disk never existed", "lkv reconcile", f.c.refused(ctx, err))
	}
	if b := plan.Unseen(all.hidden, s.VM(), s.Place, s.Disk); b != nil {
		return *b
	}
	lost := func(vm string) error {
		return plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("disk %s stands in the record of VM %s, but its file %s is not there", s.Disk.Name, vm, s.Path),
			Clear: "find the file in the vSphere client and put it back; a second one is never made"}
	}
	_, rest, _ := strings.Cut(s.Path, "] ")
	if slices.Contains(all.marked, rest) {
		return plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("disk %s was made once (%s is there), and its file %s is not", s.Disk.Name, marker(rest), rest),
			Clear: "find the file in the vSphere client and put it back where it was; only when its data is given up for good, remove the folder " + marker(rest) + " there, on every datastore that has it"}
	}
	for _, file := range all.files {
		if _, other, _ := strings.Cut(file.Path, "] "); other == rest {
			return plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("disk %s exists as %s", s.Disk.Name, file.Path), Clear: "run lkv reconcile again: it is used where it lies"}
		}
	}
	for _, v := range all.vms {
		mine := v.vm.Fleet == desired.Fleet
		for _, d := range v.vm.Record.Disks {
			if mine && (d.Path == s.Path || v.vm.Name == s.VM() && d.Name == s.Disk.Name) {
				return lost(v.vm.Name)
			}
		}
		if mine && slices.ContainsFunc(v.vm.Disks, func(d plan.Disk) bool { return d.Path == s.Path }) {
			return lost(v.vm.Name)
		}
	}
	return nil
}

// unproved refuses what a failed look was to prove: R20 when a privilege is missing, else R15.
func unproved(vm, what, command string, err error) error {
	var b plan.Blocked
	if !errors.As(err, &b) || b.Code != plan.R20 {
		b = plan.Blocked{Code: plan.R15, Reason: err.Error(), Clear: "remove the cause, or wait until vCenter answers, and run " + command + " again"}
	}
	b.VM, b.Reason = vm, what+": "+b.Reason
	return b
}

// thinReserve is what a datastore must have free before a thin disk is promised on it.
const thinReserve = 1 << 30

func roomFor(ds datastore, s plan.CreateDisk) error {
	need := s.Disk.Bytes
	if s.Disk.Thin {
		need = min(need, thinReserve)
	}
	if ds.free >= need {
		return nil
	}
	return plan.Blocked{VM: s.VM(), Code: plan.R21, Reason: fmt.Sprintf("datastore %s has %d MiB free, disk %s needs %d MiB", ds.name, ds.free>>20, s.Disk.Name, need>>20),
		Clear: "make room on the datastore, or name another one for the disk"}
}

func (d datastore) makeDisk(ctx context.Context, s plan.CreateDisk) error {
	dc := d.dc.Reference()
	kind, limit := types.VirtualDiskTypeEagerZeroedThick, zeroTime
	if s.Disk.Thin {
		kind, limit = types.VirtualDiskTypeThin, taskTime
	}
	d.c.gate.permit(dc, s.Path)
	res, err := methods.CreateVirtualDisk_Task(ctx, d.c.vim, &types.CreateVirtualDisk_Task{
		This: *d.c.vim.ServiceContent.VirtualDiskManager, Name: s.Path, Datacenter: &dc,
		Spec: &types.FileBackedVirtualDiskSpec{
			VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(kind), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)},
			CapacityKb:      s.Disk.Bytes >> 10,
		},
	})
	if err == nil {
		_, err = d.c.await(ctx, res.Returnval, nil, limit)
	}
	if err != nil {
		return fmt.Errorf("create disk %s: %w", s.Path, err)
	}
	return nil
}
