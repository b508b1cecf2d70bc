package lab

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func makeDirectory(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.MakeDirectory) //nolint:forcetypeassert // see createDisk
	_, s, _, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	if s.VSAN && !s.hasTop(req.Name) {
		return nil, &types.CannotCreateFile{FileFault: fileFault(req.Name)}
	}
	if _, err := methods.MakeDirectory(l.ctx, l.model.Service, req); err != nil {
		return nil, faultOf(err)
	}
	return nil, nil
}

func deleteFile(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.DeleteDatastoreFile_Task) //nolint:forcetypeassert // see createDisk
	dc, _, local, fault := l.resolve(req.Datacenter, req.Name)
	if fault != nil {
		return nil, fault
	}
	if !exists(local) {
		return nil, &types.FileNotFound{FileFault: fileFault(req.Name)}
	}
	if u := l.user(dc, req.Name, true); u != "" {
		if l.watch.below(local) {
			l.watch.violate("DeleteDatastoreFile of %s, which %s uses", req.Name, u)
		}
		return nil, &types.CannotDeleteFile{FileFault: fileFault(req.Name)}
	}
	defer l.refreshAll()
	return inner(l, methods.DeleteDatastoreFile_Task, req, func(r *types.DeleteDatastoreFile_TaskResponse) types.ManagedObjectReference { return r.Returnval })
}

func moveFile(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.MoveDatastoreFile_Task) //nolint:forcetypeassert // see createDisk
	if req.DestinationDatacenter == nil {
		req.DestinationDatacenter = req.SourceDatacenter
	}
	from, to, fault := l.pair(req.SourceDatacenter, req.SourceName, req.DestinationDatacenter, req.DestinationName)
	if fault != nil {
		return nil, fault
	}
	if u := l.user(from, req.SourceName, true); u != "" {
		return nil, &types.FileLocked{FileFault: fileFault(req.SourceName)}
	}
	if u := l.user(to, req.DestinationName, true); u != "" {
		return nil, &types.FileLocked{FileFault: fileFault(req.DestinationName)}
	}
	return inner(l, methods.MoveDatastoreFile_Task, req, func(r *types.MoveDatastoreFile_TaskResponse) types.ManagedObjectReference { return r.Returnval })
}

func copyFile(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.CopyDatastoreFile_Task) //nolint:forcetypeassert // see createDisk
	if req.DestinationDatacenter == nil {
		req.DestinationDatacenter = req.SourceDatacenter
	}
	_, to, fault := l.pair(req.SourceDatacenter, req.SourceName, req.DestinationDatacenter, req.DestinationName)
	if fault != nil {
		return nil, fault
	}
	if u := l.user(to, req.DestinationName, true); u != "" {
		return nil, &types.FileLocked{FileFault: fileFault(req.DestinationName)}
	}
	defer l.refreshAll()
	return inner(l, methods.CopyDatastoreFile_Task, req, func(r *types.CopyDatastoreFile_TaskResponse) types.ManagedObjectReference { return r.Returnval })
}

// pair resolves source and destination, refuses to put a file onto itself (the simulator would empty it), and wants the
// source to exist.
func (l *Lab) pair(fromDC *types.ManagedObjectReference, from string, toDC *types.ManagedObjectReference, to string) (a, b string, fault types.BaseMethodFault) {
	a, _, src, fault := l.resolve(fromDC, from)
	if fault != nil {
		return "", "", fault
	}
	b, _, dst, fault := l.resolve(toDC, to)
	if fault != nil {
		return "", "", fault
	}
	if src == dst {
		return "", "", &types.FileAlreadyExists{FileFault: fileFault(to)}
	}
	if !exists(src) {
		return "", "", &types.FileNotFound{FileFault: fileFault(from)}
	}
	return a, b, nil
}

func searchDatastore(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.SearchDatastore_Task) //nolint:forcetypeassert // see createDisk
	s, fault := l.searchable(req.This, req.DatastorePath, &req.SearchSpec)
	if fault != nil {
		return nil, fault
	}
	res, fault := inner(l, methods.SearchDatastore_Task, req, func(r *types.SearchDatastore_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	if one, ok := res.(types.HostDatastoreBrowserSearchResults); ok {
		res = s.found(one)
	}
	return res, fault
}

func searchFolders(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.SearchDatastoreSubFolders_Task) //nolint:forcetypeassert // see createDisk
	s, fault := l.searchable(req.This, req.DatastorePath, &req.SearchSpec)
	if fault != nil {
		return nil, fault
	}
	res, fault := inner(l, methods.SearchDatastoreSubFolders_Task, req, func(r *types.SearchDatastoreSubFolders_TaskResponse) types.ManagedObjectReference {
		return r.Returnval
	})
	if all, ok := res.(types.ArrayOfHostDatastoreBrowserSearchResults); ok {
		for i := range all.HostDatastoreBrowserSearchResults {
			all.HostDatastoreBrowserSearchResults[i] = s.found(all.HostDatastoreBrowserSearchResults[i])
		}
		res = all
	}
	return res, fault
}

// searchable finds the datastore of a browser's search, and fills in the pattern that a vCenter takes for none.
func (l *Lab) searchable(browser types.ManagedObjectReference, path string, spec **types.HostDatastoreBrowserSearchSpec) (*store, types.BaseMethodFault) {
	if *spec == nil {
		*spec = &types.HostDatastoreBrowserSearchSpec{}
	}
	if len((*spec).MatchPattern) == 0 {
		(*spec).MatchPattern = []string{"*"}
	}
	name, _, _ := splitPath(path)
	for _, d := range l.inv.datacenters {
		for _, s := range d.stores {
			ds, ok := l.model.Map().Get(s.ref).(*simulator.Datastore)
			if ok && ds.Browser == browser && s.Name == name {
				return s, l.accessible(s)
			}
		}
	}
	return nil, &types.InvalidDatastore{Name: name}
}

// found makes a search's result what a vCenter shows: one file per disk, with its capacity.
func (s *store) found(r types.HostDatastoreBrowserSearchResults) types.HostDatastoreBrowserSearchResults {
	_, dir, _ := splitPath(r.FolderPath)
	r.File = slices.Clone(r.File)
	r.File = slices.DeleteFunc(r.File, func(f types.BaseFileInfo) bool { return strings.HasSuffix(f.GetFileInfo().Path, "-flat.vmdk") })
	for _, f := range r.File {
		d, ok := f.(*types.VmDiskFileInfo)
		if !ok {
			continue
		}
		local, ok := s.local(dir + "/" + d.Path)
		if !ok {
			continue
		}
		if desc, err := readDisk(local); err == nil {
			d.CapacityKb = desc.Capacity() >> 10
		}
	}
	return r
}

func refreshDatastore(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	l.refreshAll()
	return nil, nil
}
