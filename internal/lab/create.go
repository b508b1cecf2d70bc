package lab

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func createVM(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.CreateVM_Task) //nolint:forcetypeassert // see createDisk
	spec := &req.Config
	if spec.Files == nil || spec.Name == "" {
		return nil, &types.InvalidVmConfig{Property: "configSpec"}
	}
	if f := l.nameTaken(req.This, spec.Name); f != nil {
		return nil, f
	}
	dc := l.datacenterOf(req.This)
	s, home, fault := l.file(dc, spec.Files.VmPathName)
	if fault != nil {
		return nil, fault
	}
	if fault := l.accessible(s); fault != nil {
		return nil, fault
	}
	if fault := s.room(spec.Files.VmPathName, mib); fault != nil {
		return nil, fault
	}
	v := view{dc: dc, ctls: map[int32]string{200: "ide", 201: "ide"}, firmware: spec.Firmware}
	if fault := l.place(req, s); fault != nil {
		return nil, fault
	}
	v.host = l.inv.hosts[*req.Host]
	if fault := l.checkSpec(v, spec); fault != nil {
		return nil, fault
	}
	if spec.Uuid == "" {
		spec.Uuid = uuid.NewString()
	}
	if spec.InstanceUuid == "" {
		spec.InstanceUuid = uuid.NewString() // the simulator's is the same for equal names
	}
	if path.Ext(home) != ".vmx" {
		l.clearHome(filepath.Join(home, spec.Name))
	}
	result, fault := inner(l, methods.CreateVM_Task, req, func(r *types.CreateVM_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	if fault != nil {
		return nil, fault
	}
	if ref, ok := result.(types.ManagedObjectReference); ok {
		l.afterDevices(ref)
	}
	return result, nil
}

// clearHome removes a directory that a failed creation left behind, if it is empty: the next one would get another name.
func (l *Lab) clearHome(dir string) { _ = os.Remove(dir) } // fails when it is not empty, and then it stays

// nameTaken is the fault of a folder that has a child of that name.
func (l *Lab) nameTaken(folder types.ManagedObjectReference, name string) types.BaseMethodFault {
	ctx := l.context()
	f, ok := ctx.Map.Get(folder).(*simulator.Folder)
	if !ok {
		return &types.ManagedObjectNotFound{Obj: folder}
	}
	var children []types.ManagedObjectReference
	ctx.WithLock(f, func() { children = slices.Clone(f.ChildEntity) })
	for _, c := range children {
		if l.nameOf(c) == name {
			return &types.DuplicateName{Name: name, Object: c}
		}
	}
	return nil
}

// place picks a host when the call names none (the simulator damages its inventory then): the one with the fewest VMs
// among those that mount every datastore the specification names. A named host must belong to the pool's cluster and
// mount the VM's datastore.
func (l *Lab) place(req *types.CreateVM_Task, s *store) types.BaseMethodFault {
	hosts := l.hostsOf(req.Pool)
	if len(hosts) == 0 {
		return &types.InvalidArgument{InvalidProperty: "pool"}
	}
	noAccess := &types.CannotAccessVmConfig{Reason: types.LocalizedMethodFault{Fault: &types.InvalidDatastore{Name: s.Name}}}
	if req.Host != nil {
		if !slices.Contains(hosts, *req.Host) {
			return &types.InvalidArgument{InvalidProperty: "host"}
		}
		if !s.mountedOn(l.inv.hosts[*req.Host]) {
			return noAccess
		}
		return nil
	}
	best := -1
	for _, h := range hosts {
		if n := l.load(h); l.reaches(h, s.dc, &req.Config) && (best < 0 || n < best) {
			best, req.Host = n, &h
		}
	}
	if req.Host == nil {
		return noAccess
	}
	return nil
}

// hostsOf are the hosts of the cluster that a resource pool belongs to.
func (l *Lab) hostsOf(pool types.ManagedObjectReference) []types.ManagedObjectReference {
	ctx := l.context()
	p, ok := ctx.Map.Get(pool).(*simulator.ResourcePool)
	if !ok {
		return nil
	}
	var owner types.ManagedObjectReference
	ctx.WithLock(p, func() { owner = p.Owner })
	return l.inv.clusters[owner]
}

// reaches tells whether a host mounts every known datastore that a specification names. Unknown ones are refused later.
func (l *Lab) reaches(host types.ManagedObjectReference, dc string, spec *types.VirtualMachineConfigSpec) bool {
	paths := []string{spec.Files.VmPathName}
	for _, change := range spec.DeviceChange {
		if d := change.GetVirtualDeviceConfigSpec().Device; d != nil {
			paths = append(paths, backingFile(d))
		}
	}
	for _, p := range paths {
		if s, _, fault := l.file(dc, p); fault == nil && !s.mountedOn(l.inv.hosts[host]) {
			return false
		}
	}
	return true
}

// load is the number of VMs on a host.
func (l *Lab) load(host types.ManagedObjectReference) int {
	ctx := l.context()
	h, ok := ctx.Map.Get(host).(*simulator.HostSystem)
	if !ok {
		return 0
	}
	n := 0
	ctx.WithLock(h, func() { n = len(h.Vm) })
	return n
}

// destroy deletes a VM with its attached disks, as a vCenter does; detached disks in its directory stay, which the
// simulator would delete with it.
func destroy(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.Destroy_Task) //nolint:forcetypeassert // see createDisk
	v, ok := l.look(m.This)
	if !ok {
		return inner(l, methods.Destroy_Task, req, func(r *types.Destroy_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	}
	if v.on {
		return nil, &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: types.VirtualMachinePowerStatePoweredOn}
	}
	for _, d := range v.disks {
		if _, local, fault := l.file(v.dc, d.path); fault == nil && l.watch.has(local) {
			l.watch.violate("Destroy_Task of %s with data disk %s attached", v.name, d.path)
		}
	}
	restore := l.setAside(v)
	defer restore()
	_, fault := inner(l, methods.Destroy_Task, req, func(r *types.Destroy_TaskResponse) types.ManagedObjectReference { return r.Returnval })
	if fault != nil {
		return nil, fault
	}
	l.forget(m.This)
	l.awaitGone()
	return nil, nil
}

func (w *watch) has(local string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.disks[local] != nil
}

// setAside moves foreign disk files out of the VM's directory and returns what moves them back.
func (l *Lab) setAside(v view) func() {
	_, vmx, fault := l.file(v.dc, v.vmx)
	if fault != nil {
		return func() {}
	}
	dir := filepath.Dir(vmx)
	found, _ := filepath.Glob(filepath.Join(dir, "*.vmdk")) // the pattern is good
	moved := map[string]string{}
	for _, f := range found {
		own := slices.ContainsFunc(v.disks, func(d diskView) bool {
			_, p, fault := l.file(v.dc, d.path)
			return fault == nil && (p == f || flat(p) == f)
		})
		if aside := dir + ".lab-" + filepath.Base(f); !own && os.Rename(f, aside) == nil {
			moved[aside] = f
		}
	}
	return func() {
		for aside, f := range moved {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				l.logf("put %s back: %v", f, err)
			}
			if err := os.Rename(aside, f); err != nil {
				l.logf("put %s back: %v", f, err)
			}
		}
		l.refreshAll()
	}
}

// awaitGone waits for the deletion of the VM's directory, which the simulator starts and leaves to itself.
func (l *Lab) awaitGone() {
	ctx := l.context()
	var tasks []types.ManagedObjectReference
	fm := ctx.Map.FileManager()
	for _, obj := range ctx.Map.AllReference("Task") {
		t, ok := obj.(*simulator.Task)
		if !ok {
			continue
		}
		c := l.context()
		c.WithLock(t, func() {
			if t.Info.Entity != nil && *t.Info.Entity == fm.Self && t.Info.CompleteTime == nil && strings.HasPrefix(t.Info.DescriptionId, "FileManager.") {
				tasks = append(tasks, t.Self)
			}
		})
	}
	for _, t := range tasks {
		_, _ = l.await(t) // its failure is the simulator's, and the VM is gone anyway
	}
}
