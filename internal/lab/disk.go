package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// name of the datacenter that a file or disk call names. vCenter takes a path only together with its datacenter.
func (l *Lab) datacenterName(ref *types.ManagedObjectReference) (string, types.BaseMethodFault) {
	if ref == nil {
		return "", &types.InvalidArgument{InvalidProperty: "datacenter"}
	}
	return l.datacenterOf(*ref), nil
}

// resolve checks a call's path: datacenter, datastore, accessible.
func (l *Lab) resolve(ref *types.ManagedObjectReference, path string) (dc string, s *store, local string, fault types.BaseMethodFault) {
	if dc, fault = l.datacenterName(ref); fault != nil {
		return
	}
	if s, local, fault = l.file(dc, path); fault != nil {
		return
	}
	fault = l.accessible(s)
	return
}

func fileFault(path string) types.FileFault { return types.FileFault{File: path} }

// wrapIO turns an error of this machine's file system into a fault.
func wrapIO(path string, err error) types.BaseMethodFault {
	if err == nil {
		return nil
	}
	if os.IsNotExist(err) {
		return &types.FileNotFound{FileFault: fileFault(path)}
	}
	return &types.CannotAccessFile{FileFault: fileFault(path)}
}

func createDisk(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.CreateVirtualDisk_Task) //nolint:forcetypeassert // the table pairs name and body
	_, s, local, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	spec, ok := req.Spec.(types.BaseFileBackedVirtualDiskSpec)
	if !ok || !strings.HasSuffix(local, ".vmdk") {
		return nil, &types.InvalidArgument{InvalidProperty: "spec"}
	}
	f := spec.GetFileBackedVirtualDiskSpec()
	if f.CapacityKb <= 0 {
		return nil, &types.InvalidArgument{InvalidProperty: "spec.capacityKb"}
	}
	if fault := s.room(req.Name, needed(f.CapacityKb<<10, f.DiskType == string(types.VirtualDiskTypeThin))); fault != nil {
		return nil, fault
	}
	result, fault := inner(l, methods.CreateVirtualDisk_Task, req, func(r *types.CreateVirtualDisk_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	if fault != nil {
		return nil, fault
	}
	defer l.refreshAll()
	if err := settleDisk(local, f.CapacityKb<<10, true); err != nil {
		return nil, wrapIO(req.Name, err)
	}
	l.watch.add(s, req.Name, local, f.CapacityKb<<10)
	return result, nil
}

// needed is how much of a new disk must be free: all of a thick one, a MiB of a thin one.
func needed(bytes int64, thin bool) int64 {
	if thin {
		return mib
	}
	return bytes
}

func extendDisk(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.ExtendVirtualDisk_Task) //nolint:forcetypeassert // see createDisk
	dc, s, local, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	if u := l.user(dc, req.Name, false); u != "" {
		return nil, &types.FileLocked{FileFault: fileFault(req.Name)}
	}
	d, err := readDisk(local)
	if err != nil {
		return nil, wrapIO(req.Name, err)
	}
	if req.NewCapacityKb<<10 < d.Capacity() {
		return nil, &types.InvalidArgument{InvalidProperty: "newCapacityKb"}
	}
	if fault := s.room(req.Name, mib); fault != nil {
		return nil, fault
	}
	return nil, wrapIO(req.Name, settleDisk(local, req.NewCapacityKb<<10, false))
}

func deleteDisk(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.DeleteVirtualDisk_Task) //nolint:forcetypeassert // see createDisk
	dc, _, _, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	if u := l.user(dc, req.Name, true); u != "" {
		l.watch.violate("DeleteVirtualDisk of %s, which is attached to %s", req.Name, u)
		return nil, &types.FileLocked{FileFault: fileFault(req.Name)}
	}
	defer l.refreshAll()
	return inner(l, methods.DeleteVirtualDisk_Task, req, func(r *types.DeleteVirtualDisk_TaskResponse) types.ManagedObjectReference { return r.Returnval })
}

func moveDisk(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.MoveVirtualDisk_Task) //nolint:forcetypeassert // see createDisk
	dc, _, from, fault := l.resolve(req.SourceDatacenter, req.SourceName)
	if fault != nil {
		return nil, fault
	}
	if req.DestDatacenter == nil {
		req.DestDatacenter = req.SourceDatacenter
	}
	_, s, to, fault := l.resolve(req.DestDatacenter, req.DestName)
	if fault != nil {
		return nil, fault
	}
	if u := l.user(dc, req.SourceName, true); u != "" {
		return nil, &types.FileLocked{FileFault: fileFault(req.SourceName)}
	}
	if _, fault := inner(l, methods.MoveVirtualDisk_Task, req, func(r *types.MoveVirtualDisk_TaskResponse) types.ManagedObjectReference { return r.Returnval }); fault != nil {
		return nil, fault
	}
	l.watch.move(from, s, req.DestName, to)
	return nil, wrapIO(req.DestName, settleDisk(to, 0, false))
}

func copyDisk(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.CopyVirtualDisk_Task) //nolint:forcetypeassert // see createDisk
	if _, _, _, fault := l.resolve(req.SourceDatacenter, req.SourceName); fault != nil {
		return nil, fault
	}
	if req.DestDatacenter == nil {
		req.DestDatacenter = req.SourceDatacenter
	}
	dc, _, to, fault := l.resolve(req.DestDatacenter, req.DestName)
	if fault != nil {
		return nil, fault
	}
	if u := l.user(dc, req.DestName, true); u != "" {
		return nil, &types.FileLocked{FileFault: fileFault(req.DestName)}
	}
	if _, fault := inner(l, methods.CopyVirtualDisk_Task, req, func(r *types.CopyVirtualDisk_TaskResponse) types.ManagedObjectReference { return r.Returnval }); fault != nil {
		return nil, fault
	}
	defer l.refreshAll()
	return nil, wrapIO(req.DestName, settleDisk(to, 0, true))
}

func queryDiskUUID(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.QueryVirtualDiskUuid) //nolint:forcetypeassert // see createDisk
	_, _, local, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	d, err := readDisk(local)
	if err != nil {
		return nil, wrapIO(req.Name, err)
	}
	return d.DDB[ddbUUID], nil
}

func setDiskUUID(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.SetVirtualDiskUuid) //nolint:forcetypeassert // see createDisk
	_, _, local, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	d, err := readDisk(local)
	if err != nil {
		return nil, wrapIO(req.Name, err)
	}
	if dashed(req.Uuid) == "" {
		return nil, &types.InvalidArgument{InvalidProperty: "uuid"}
	}
	d.DDB[ddbUUID] = req.Uuid
	return nil, wrapIO(req.Name, writeDisk(local, d))
}

// user names a VM that has the file: as an attached disk (of a running VM only, unless off), or as the ISO of a running
// VM's drive. path may be a directory. Empty: nobody has it.
func (l *Lab) user(dc, path string, off bool) string {
	s, local, fault := l.file(dc, path)
	if fault != nil {
		return ""
	}
	for _, v := range l.all() {
		if v.dc != s.dc {
			continue
		}
		i := slices.IndexFunc(v.disks, func(d diskView) bool { return (off || v.on) && l.under(v.dc, d.path, local) })
		j := slices.IndexFunc(v.cds, func(c cdView) bool { return v.on && c.insert && l.under(v.dc, c.iso, local) })
		if i >= 0 || j >= 0 {
			return v.name
		}
	}
	return ""
}

// under tells whether the datastore path is the file local, its disk's bytes, or lies below it.
func (l *Lab) under(dc, path, local string) bool {
	_, p, fault := l.file(dc, path)
	if fault != nil {
		return false
	}
	rel, err := filepath.Rel(local, p)
	return err == nil && filepath.IsLocal(rel) || flat(p) == local
}
