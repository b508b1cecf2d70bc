package vsphere

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// permitDestroy allows the one destruction of a VM object. Destroy_Task deletes every disk that is attached at that
// moment, wherever it lies, and carries no changeVersion. So before this is called, under the claim: detach every disk,
// write the record under the changeVersion of a read that showed no virtual disk at all, and read once more; that read
// must show none either (D2). Immediately after: call. The filter looks itself as well, and refuses unless the last
// full read of this session, sent after everything it did to the VM had ended, showed zero virtual disks.
func (g *gate) permitDestroy(vm types.ManagedObjectReference) { g.permitOnce("destroy " + vm.String()) }

// permitRename allows one new name for a VM: a retired one, one that takes a retired one's name, or one that is adopted.
// The caller holds the claim. A name in a ReconfigVM_Task is better than a Rename_Task: changeVersion guards it.
func (g *gate) permitRename(vm types.ManagedObjectReference, name string) {
	g.permitOnce("rename " + vm.String() + " " + name)
}

// permitDelete allows the one deletion of a disk file, "[datastore] lkv-disks/….vmdk", which an operator has named and
// confirmed. The caller has just proved that no VM of the vCenter has it attached and no record names it. The filter
// refuses all the same when it has seen the file on a VM. A reconciler never calls this.
func (g *gate) permitDelete(dc types.ManagedObjectReference, file string) {
	g.permitOnce("delete " + dc.String() + " " + file)
}

func (g *gate) permitOnce(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.permits[key] = true
}

// use uses up a permit.
func (g *gate) use(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	ok := g.permits[key]
	delete(g.permits, key)
	return ok
}

func (g *gate) refuseDestroy(r *types.Destroy_Task) string {
	permitted := g.use("destroy " + r.This.String())
	it, ok := g.seen.fresh(r.This)
	devices, _ := get[[]types.BaseVirtualDevice](it, devicesPath)
	switch {
	case r.This.Type != "VirtualMachine":
		return fmt.Sprintf("%s is no VM", r.This.Value)
	case !permitted:
		return fmt.Sprintf("nobody proved that VM %s has no disk (D2)", r.This.Value)
	case !ok:
		return fmt.Sprintf("VM %s was not read since it was changed", r.This.Value)
	case len(disksOf(devices)) > 0:
		return fmt.Sprintf("VM %s has %d disks attached (D2)", r.This.Value, len(disksOf(devices)))
	}
	return ""
}

func (g *gate) refuseRename(r *types.Rename_Task) string {
	if permitted := g.use("rename " + r.This.String() + " " + r.NewName); !permitted || r.This.Type != "VirtualMachine" || r.NewName == "" {
		return fmt.Sprintf("nobody allowed %s to be renamed to %q", r.This.Value, r.NewName)
	}
	return ""
}

func (g *gate) refuseDelete(r *types.DeleteVirtualDisk_Task) string {
	if r.Datacenter == nil {
		return "it names no datacenter"
	}
	permitted := g.use("delete " + r.Datacenter.String() + " " + r.Name)
	switch {
	case !permitted:
		return fmt.Sprintf("nobody asked for %s to be deleted", r.Name)
	case !dataDiskFile(r.Name):
		return fmt.Sprintf("%s is no data disk of lkv", r.Name)
	}
	if vm := g.seen.holder(r.Name); vm != "" {
		return fmt.Sprintf("%s is attached to %s", r.Name, vm)
	}
	return ""
}

// dataDiskFile tells whether a datastore path is one of lkv's disks: "[datastore] lkv-disks/<fleet>/<name>.vmdk".
func dataDiskFile(p string) bool {
	ds, rest, ok := strings.Cut(p, "] ")
	return ok && strings.HasPrefix(ds, "[") && strings.HasPrefix(rest, plan.DiskFolder+"/") && path.Clean(rest) == rest &&
		path.Ext(rest) == ".vmdk" && !strings.HasSuffix(rest, "-flat.vmdk")
}

// holder names a VM that had a disk of that path attached when it was last read. Paths are unique per datacenter only:
// in doubt it is the same disk.
func (s *sightings) holder(p string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, v := range s.vms {
		if slices.ContainsFunc(v.disks, func(d plan.Disk) bool { return d.Path == p }) {
			return "VM " + v.name + " (" + ref.Value + ")"
		}
	}
	return ""
}

// refuseExtend lets through only growing a data disk file that no VM has: an attached one is grown by a change of its
// VM, which knows the lock and the changeVersion.
func (g *gate) refuseExtend(r *types.ExtendVirtualDisk_Task) string {
	switch {
	case r.Datacenter == nil || !dataDiskFile(r.Name):
		return fmt.Sprintf("%s is no data disk of lkv", r.Name)
	case r.NewCapacityKb <= 0:
		return "it has no capacity"
	}
	if vm := g.seen.holder(r.Name); vm != "" {
		return fmt.Sprintf("%s is attached to %s: change it there", r.Name, vm)
	}
	return ""
}

// refuseReconfig lets through what a step changes, and nothing that a new field of some later API could.
func (g *gate) refuseReconfig(r *types.ReconfigVM_Task) string {
	s := &r.Spec
	if s.ChangeVersion == "" {
		return "it carries no changeVersion, so it could overwrite what somebody else did meanwhile"
	}
	for _, f := range fields(s) {
		if f == "Name" && g.use("rename "+r.This.String()+" "+s.Name) {
			continue
		}
		if !slices.Contains(specFields, f) {
			return "it would set " + f
		}
	}
	if why := refuseExtra(s.ExtraConfig); why != "" {
		return why
	}
	if why := refuseSecureBoot(s); why != "" {
		return why
	}
	return g.refuseChanges(r.This, s)
}

// specFields are the fields of a VM's specification that a change may set. Not among them: the name,
// which needs a permit, files, profiles, encryption, flags (what a power off does to disks), firmware.
var specFields = []string{"ChangeVersion", "NumCPUs", "MemoryMB", "Annotation", "BootOptions", "ExtraConfig", "DeviceChange"}

// fields names the fields of a specification that are set.
func fields(s *types.VirtualMachineConfigSpec) []string {
	var out []string
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			out = append(out, v.Type().Field(i).Name)
		}
	}
	return out
}

// refuseChanges judges the changes of devices one by one. Adding is judged by itself; a removal or an edit by what the
// device is now, so the VM must have been read under this changeVersion.
func (g *gate) refuseChanges(vm types.ManagedObjectReference, s *types.VirtualMachineConfigSpec) string {
	for _, c := range s.DeviceChange {
		d := c.GetVirtualDeviceConfigSpec()
		if why := refuseFiles(d); why != "" {
			return why
		}
		if d.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			if disk, ok := d.Device.(*types.VirtualDisk); ok {
				if why := refuseAttach(disk); why != "" {
					return why
				}
			}
			continue
		}
		if _, cd := d.Device.(*types.VirtualCdrom); cd && d.Operation == types.VirtualDeviceConfigSpecOperationEdit {
			continue
		}
		if why := g.refuseChange(vm, s.ChangeVersion, d); why != "" {
			return why
		}
	}
	return ""
}

// refuseChange lets through detaching a disk, growing a disk, and connecting or disconnecting a network card.
func (g *gate) refuseChange(vm types.ManagedObjectReference, version string, d *types.VirtualDeviceConfigSpec) string {
	_, isDisk := d.Device.(*types.VirtualDisk)
	_, isCard := d.Device.(types.BaseVirtualEthernetCard)
	edit := d.Operation == types.VirtualDeviceConfigSpecOperationEdit
	detach := isDisk && d.Operation == types.VirtualDeviceConfigSpecOperationRemove
	if !detach && (!edit || !isDisk && !isCard) {
		return fmt.Sprintf("it would change an attached %T", d.Device)
	}
	it, ok := g.seen.fresh(vm)
	if !ok || text(it, versionPath) != version {
		return fmt.Sprintf("VM %s was not read under changeVersion %s", vm.Value, version)
	}
	devices, _ := get[[]types.BaseVirtualDevice](it, devicesPath)
	i := slices.IndexFunc(devices, func(o types.BaseVirtualDevice) bool {
		return o.GetVirtualDevice().Key == d.Device.GetVirtualDevice().Key
	})
	if i < 0 || reflect.TypeOf(devices[i]) != reflect.TypeOf(d.Device) {
		return fmt.Sprintf("VM %s has no %T with key %d", vm.Value, d.Device, d.Device.GetVirtualDevice().Key)
	}
	switch now := devices[i].(type) {
	case *types.VirtualDisk:
		if detach {
			return refuseDetach(now, d.Device.(*types.VirtualDisk)) //nolint:forcetypeassert // the types were compared
		}
		return refuseGrow(now, d.Device.(*types.VirtualDisk)) //nolint:forcetypeassert // the types were compared
	default:
		if !sameCard(now, d.Device) {
			return "it would change more of a network card than whether it is connected"
		}
	}
	return ""
}

// refuseDetach lets a disk go only when the caller means the file that is there now.
func refuseDetach(now, d *types.VirtualDisk) string {
	if d.Backing != nil && diskOf(d).Path != diskOf(now).Path {
		return fmt.Sprintf("disk %d is %s now, not %s", d.Key, diskOf(now).Path, diskOf(d).Path)
	}
	return ""
}

// refuseGrow lets through only the disk as it is, with a larger capacity, in both of its fields: a field that is zero or
// left as it was means a smaller disk to somebody.
func refuseGrow(now, d *types.VirtualDisk) string {
	bytes := diskOf(now).Bytes
	if d.CapacityInKB<<10 <= bytes || d.CapacityInBytes != d.CapacityInKB<<10 {
		return fmt.Sprintf("it would make disk %s of %d bytes %d bytes and %d KiB large", diskOf(now).Path, bytes, d.CapacityInBytes, d.CapacityInKB)
	}
	want := *now
	want.CapacityInKB, want.CapacityInBytes = d.CapacityInKB, d.CapacityInBytes
	if !reflect.DeepEqual(&want, d) {
		return fmt.Sprintf("it would change more of disk %s than its capacity", diskOf(now).Path)
	}
	return ""
}

// sameCard tells whether two network cards differ in nothing but Connectable.
func sameCard(now, d types.BaseVirtualDevice) bool {
	a, b := reflect.ValueOf(now).Elem(), reflect.ValueOf(d).Elem()
	copied := reflect.New(a.Type())
	copied.Elem().Set(a)
	c, ok := copied.Interface().(types.BaseVirtualDevice)
	if !ok {
		return false
	}
	c.GetVirtualDevice().Connectable = d.GetVirtualDevice().Connectable
	return reflect.DeepEqual(copied.Elem().Interface(), b.Interface())
}
