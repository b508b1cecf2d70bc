package vsphere

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// What an operator asks about data disks beside any rollout. It is no part of a plan: there is no step that deletes one.

// DataDisk is a data disk file, or a disk of a VM of lkv that lies elsewhere or is not found.
type DataDisk struct {
	Datacenter string   `json:"datacenter"` // inventory path
	Path       string   `json:"path"`       // "[datastore] lkv-disks/<fleet>/<vm>-<disk>.vmdk"
	UUID       string   `json:"uuid"`       // empty when it cannot be read
	Bytes      int64    `json:"bytes"`
	Fleet      string   `json:"fleet"`    // of the VM that has or records it, else its folder's name
	Name       string   `json:"name"`     // in the fleet, as a record names it; empty when none does
	Attached   []string `json:"attached"` // VMs of any datacenter that have this file
	Recorded   []string `json:"recorded"` // VMs whose record names it, retired ones too
	Twins      []string `json:"twins"`    // VMs that have another file with its UUID
	Missing    bool     `json:"missing"`  // recorded, and no file is where the record says
}

// Orphan tells whether no VM has the disk and no record names it.
func (d DataDisk) Orphan() bool {
	return len(d.Attached)+len(d.Recorded)+len(d.Twins) == 0 && !d.Missing
}

// Disks are the data disks of a whole vCenter. While Unread is not empty, a disk that seems to be an orphan may be none.
type Disks struct {
	List   []DataDisk `json:"disks"`  // by datacenter and path
	Unread []string   `json:"unread"` // what could not be read, in words
}

// DataDisks looks at every datastore and every VM of the vCenter, templates and VMs that are off included, whoever
// they belong to. An error means that the look as a whole failed.
func (c *Client) DataDisks(ctx context.Context) (Disks, error) {
	all, err := c.datacenters(ctx)
	if err != nil {
		return Disks{}, err
	}
	users, out, err := c.diskUsers(ctx)
	if err != nil {
		return Disks{}, err
	}
	volumes := map[types.ManagedObjectReference]datastore{}
	found := map[types.ManagedObjectReference]*object.Datacenter{}
	for _, dc := range all {
		stores, err := c.datastores(ctx, dc, anyName)
		if err != nil {
			return Disks{}, fmt.Errorf("datacenter %s: %w", dc.InventoryPath, err)
		}
		for _, ds := range stores {
			volumes[ds.ref], found[ds.ref] = ds, dc
		}
	}
	for ref, ds := range volumes {
		if ds.out != "" {
			out.Unread = append(out.Unread, fmt.Sprintf("datastore %s of datacenter %s is %s", ds.name, found[ref].InventoryPath, ds.out))
			continue
		}
		list, unread, err := ds.dataDisks(ctx, users, volumes)
		if err != nil {
			return Disks{}, err
		}
		out.List, out.Unread = append(out.List, list...), append(out.Unread, unread...)
	}
	out.List = append(out.List, elsewhere(users, out.List, volumes)...)
	slices.Sort(out.Unread)
	slices.SortFunc(out.List, func(a, b DataDisk) int {
		return cmp.Or(strings.Compare(a.Datacenter, b.Datacenter), strings.Compare(a.Path, b.Path))
	})
	return out, nil
}

// dataDisks lists the files of the disk folder of one datastore, with who uses each.
func (d datastore) dataDisks(ctx context.Context, users []diskUser, volumes map[types.ManagedObjectReference]datastore) (list []DataDisk, unread []string, err error) {
	folders, err := d.search(ctx, plan.DiskFolder, "*", &types.FolderFileQuery{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, folder := range folders {
		if !folder.dir {
			continue
		}
		files, err := d.disks(ctx, path.Join(plan.DiskFolder, folder.name))
		if err != nil {
			return nil, nil, err
		}
		for _, f := range files {
			one := DataDisk{Datacenter: d.dc.InventoryPath, Path: d.path(path.Join(plan.DiskFolder, folder.name, f.name)), Bytes: f.capacity, Fleet: folder.name}
			if err := one.find(ctx, d, users, volumes); err != nil {
				unread = append(unread, err.Error())
			}
			list = append(list, one)
		}
	}
	return list, unread, nil
}

// find fills in who uses the file. The UUID of one that a VM has comes from that VM: a running VM locks the file.
func (x *DataDisk) find(ctx context.Context, d datastore, users []diskUser, volumes map[types.ManagedObjectReference]datastore) error {
	x.Attached, x.Recorded, x.Twins = []string{}, []string{}, []string{}
	for _, u := range users {
		if u.has(d, x.Path, volumes) {
			x.Attached = append(x.Attached, u.name)
			for _, disk := range u.disks {
				if disk.Path == x.Path {
					x.UUID, x.Bytes = disk.UUID, disk.Bytes
				}
			}
		}
	}
	file := plan.DiskFile{Path: x.Path, UUID: x.UUID, Bytes: x.Bytes}
	err := d.complete(ctx, &file)
	x.UUID, x.Bytes = file.UUID, file.Bytes
	for _, u := range users {
		if i := slices.IndexFunc(u.record, func(r plan.DiskRecord) bool { return r.Path == x.Path || x.UUID != "" && canonical(r.UUID) == x.UUID }); i >= 0 {
			x.Recorded, x.Name, x.Fleet = append(x.Recorded, u.name), u.record[i].Name, cmp.Or(u.fleet, x.Fleet)
		}
		if !slices.Contains(x.Attached, u.name) && slices.ContainsFunc(u.disks, func(o plan.Disk) bool { return x.UUID != "" && o.UUID == x.UUID }) {
			x.Twins = append(x.Twins, u.name)
		}
	}
	return err
}

// elsewhere lists disks that VMs of lkv have or record and that are in no disk folder: adopted ones, files that a storage
// migration took away, and those that are gone.
func elsewhere(users []diskUser, known []DataDisk, volumes map[types.ManagedObjectReference]datastore) []DataDisk {
	var out []DataDisk
	for _, u := range users {
		for _, r := range u.record {
			at := plan.Disk{UUID: canonical(r.UUID), Path: r.Path}
			attached := slices.IndexFunc(u.disks, func(d plan.Disk) bool { return at.UUID != "" && d.UUID == at.UUID })
			if attached >= 0 {
				at = u.disks[attached]
			}
			if slices.ContainsFunc(known, func(x DataDisk) bool {
				return x.Path == at.Path && slices.Contains(x.Recorded, u.name) || attached < 0 && at.UUID != "" && x.UUID == at.UUID
			}) {
				continue
			}
			one := DataDisk{Datacenter: u.datacenter(volumes), Path: at.Path, UUID: at.UUID, Bytes: at.Bytes, Fleet: u.fleet, Name: r.Name,
				Attached: []string{}, Recorded: []string{u.name}, Twins: []string{}, Missing: attached < 0}
			if attached >= 0 {
				one.Attached = append(one.Attached, u.name)
			}
			out = append(out, one)
		}
	}
	return out
}

// diskUser is a VM with the disk files it has, in whatever way.
type diskUser struct {
	name   string
	fleet  string                         // empty when it is not of lkv
	stores []types.ManagedObjectReference // its datastores
	disks  []plan.Disk                    // attached
	files  []string                       // of these, of their parents, and of its snapshots
	record []plan.DiskRecord

	generation int // of the record
}

// diskUsers reads every VM. One whose configuration cannot be read is unread: what it has is unknown.
func (c *Client) diskUsers(ctx context.Context) ([]diskUser, Disks, error) {
	out := Disks{List: []DataDisk{}, Unread: []string{}}
	view, err := c.view(ctx, c.vim.ServiceContent.RootFolder, "VirtualMachine")
	if err != nil {
		return nil, out, err
	}
	defer func() {
		// A view that stays costs the session a little memory until the logout.
		_, _ = methods.DestroyView(context.WithoutCancel(ctx), c.vim, &types.DestroyView{This: view})
	}()
	var users []diskUser
	var snaps []want
	of := map[types.ManagedObjectReference]int{} // a snapshot's VM
	props := []string{"name", "datastore", "config.changeVersion", "config.hardware.device", "config.extraConfig", "snapshot"}
	err = c.pages(ctx, []types.PropertyFilterSpec{through(view, "VirtualMachine", props)}, func(o item) error {
		u, why := userOf(o)
		if why != "" {
			out.Unread = append(out.Unread, why)
		}
		info, _ := get[types.VirtualMachineSnapshotInfo](o, "snapshot")
		for _, ref := range snapshots(info.RootSnapshotList) {
			of[ref] = len(users)
			snaps = append(snaps, want{ref, []string{"config.hardware.device"}})
		}
		users = append(users, u)
		return nil
	})
	if err != nil {
		return nil, out, fmt.Errorf("read VirtualMachines: %w", err)
	}
	list, err := c.retrieve(ctx, snaps...)
	if err != nil {
		return nil, out, fmt.Errorf("read snapshots: %w", err)
	}
	for _, o := range list {
		u := &users[of[o.ref]]
		devices, ok := get[[]types.BaseVirtualDevice](o, "config.hardware.device")
		if !ok {
			out.Unread = append(out.Unread, fmt.Sprintf("a snapshot of VM %s shows no configuration", u.name))
		}
		u.files = append(u.files, filesOf(devices)...)
	}
	return users, out, nil
}

// userOf returns what one VM has, and what of it cannot be read.
func userOf(o item) (u diskUser, unread string) {
	u.name = plain(text(o, "name"))
	u.stores, _ = get[[]types.ManagedObjectReference](o, "datastore")
	devices, ok := get[[]types.BaseVirtualDevice](o, "config.hardware.device")
	if !ok || text(o, "config.changeVersion") == "" {
		return u, fmt.Sprintf("VM %s shows no configuration: it is inaccessible or orphaned", u.name)
	}
	u.disks, u.files = disksOf(devices), filesOf(devices)
	options, _ := get[[]types.BaseOptionValue](o, "config.extraConfig")
	extra := extraOf(options)
	if raw := extra[ownerKey]; raw != "" {
		var own owner
		if err := json.Unmarshal([]byte(raw), &own); err != nil {
			return u, fmt.Sprintf("VM %s: read %s: %v", u.name, ownerKey, err)
		}
		u.fleet = own.Fleet
	}
	r, err := decodeRecord(extra[recordKey])
	if err != nil {
		return u, fmt.Sprintf("VM %s: %v", u.name, err)
	}
	u.record, u.generation = slices.Concat(r.Disks, r.Takes), r.Generation
	return u, ""
}

// filesOf returns the files of all disks among the devices.
func filesOf(devices []types.BaseVirtualDevice) []string {
	var files []string
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			files = append(files, chain(disk.Backing)...)
		}
	}
	return files
}

// chain returns the files of a disk and of everything it is a difference to.
func chain(b types.BaseVirtualDeviceBackingInfo) []string {
	var files []string
	for b != nil {
		if f, ok := b.(types.BaseVirtualDeviceFileBackingInfo); ok {
			files = append(files, f.GetVirtualDeviceFileBackingInfo().FileName)
		}
		var parent types.BaseVirtualDeviceBackingInfo
		switch x := b.(type) {
		case *types.VirtualDiskFlatVer2BackingInfo:
			if x.Parent != nil {
				parent = x.Parent
			}
		case *types.VirtualDiskSeSparseBackingInfo:
			if x.Parent != nil {
				parent = x.Parent
			}
		case *types.VirtualDiskSparseVer2BackingInfo:
			if x.Parent != nil {
				parent = x.Parent
			}
		case *types.VirtualDiskRawDiskMappingVer1BackingInfo:
			if x.Parent != nil {
				parent = x.Parent
			}
		}
		b = parent
	}
	return files
}

// has tells whether the VM has the file of that path on that datastore, or on another datastore object of the same
// storage. A file of which it is not known on which datastore it lies counts when its name is the same.
func (u diskUser) has(d datastore, file string, volumes map[types.ManagedObjectReference]datastore) bool {
	rest := pathWithin(file)
	return slices.ContainsFunc(u.files, func(name string) bool {
		if pathWithin(name) != rest {
			return false
		}
		on, ok := u.storeOf(name, volumes)
		return !ok || on.ref == d.ref || on.volume != "" && on.volume == d.volume
	})
}

// storeOf returns the datastore of the VM that a path names.
func (u diskUser) storeOf(file string, volumes map[types.ManagedObjectReference]datastore) (datastore, bool) {
	var p object.DatastorePath
	if !p.FromString(file) {
		return datastore{}, false
	}
	for _, ref := range u.stores {
		if ds, ok := volumes[ref]; ok && ds.name == p.Datastore {
			return ds, true
		}
	}
	return datastore{}, false
}

func (u diskUser) datacenter(volumes map[types.ManagedObjectReference]datastore) string {
	for _, ref := range u.stores {
		if ds, ok := volumes[ref]; ok {
			return ds.dc.InventoryPath
		}
	}
	return ""
}

// pathWithin returns a datastore path without its datastore.
func pathWithin(p string) string {
	_, rest, _ := strings.Cut(p, "] ")
	return rest
}

// DeleteDataDisk deletes one data disk file, which an operator has named and confirmed: an orphan, on a look at the
// whole vCenter in which nothing was left unread. Anything else is a plan.Blocked. What is deleted is gone for good.
func (c *Client) DeleteDataDisk(ctx context.Context, datacenter, file string) error {
	dc, err := c.datacenter(ctx, datacenter)
	if err != nil {
		return err
	}
	all, err := c.DataDisks(ctx)
	if err != nil {
		return unproved("", "cannot prove that nobody uses the disk", "the command", c.refused(ctx, err))
	}
	if b := all.keeps(dc.InventoryPath, file); b != nil {
		return *b
	}
	ref := dc.Reference()
	c.gate.permitDelete(ref, file)
	res, err := methods.DeleteVirtualDisk_Task(ctx, c.vim, &types.DeleteVirtualDisk_Task{
		This: *c.vim.ServiceContent.VirtualDiskManager, Name: file, Datacenter: &ref,
	})
	if err == nil {
		_, err = c.await(ctx, res.Returnval, nil, taskTime)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", file, refusal("", err))
	}
	return nil
}

// keeps says why a disk must not be deleted, or nil.
func (all Disks) keeps(dc, file string) *plan.Blocked {
	refuse := func(code plan.Code, clear, format string, args ...any) *plan.Blocked {
		return &plan.Blocked{Code: code, Reason: fmt.Sprintf(format, args...), Clear: clear}
	}
	if len(all.Unread) > 0 {
		return refuse(plan.R15, "bring it back, or take it out of the inventory when it is gone for good", "somebody may use the disk: %s", all.Unread[0])
	}
	i := slices.IndexFunc(all.List, func(x DataDisk) bool { return x.Datacenter == dc && x.Path == file && !x.Missing })
	if i < 0 || !dataDiskFile(file) {
		return refuse(plan.R06, "name a path that lkv disks list shows", "%s is no data disk file of lkv in datacenter %s", file, dc)
	}
	switch d := all.List[i]; {
	case len(d.Attached) > 0:
		return refuse(plan.R19, "an attached disk is never deleted", "%s is attached to %s", file, strings.Join(d.Attached, ", "))
	case len(d.Recorded) > 0:
		return refuse(plan.R19, "lkv gc, when that VM is retired and its time is over; else: lkv disks attach", "%s stands in the record of %s", file, strings.Join(d.Recorded, ", "))
	case len(d.Twins) > 0:
		return refuse(plan.R07, "in the vSphere client find out which of the two is the copy", "%s has the UUID of another disk of %s", file, strings.Join(d.Twins, ", "))
	case d.UUID == "":
		return refuse(plan.R15, "wait until vCenter answers, and run the command again", "the UUID of %s cannot be read", file)
	}
	return nil
}
