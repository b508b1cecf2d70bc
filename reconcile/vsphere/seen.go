package vsphere

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// sightings is what the filter on the wire itself has seen of VMs: the answers to the executor's own reads. So it can
// judge a change of a disk by what the VM is, not by what the executor believes, and it costs no call. The zero value has seen nothing. Of VMs of others it keeps no more than their disks.
type sightings struct {
	mu    sync.Mutex
	tick  int
	vms   map[types.ManagedObjectReference]*seenVM
	tasks map[types.ManagedObjectReference]types.ManagedObjectReference // running tasks of calls sent here, to their VMs
}

// seenVM is the last full read of a VM, and what was sent to it since.
type seenVM struct {
	item   item        // empty for VMs of others, of which only the disks are kept
	disks  []plan.Disk // attached, at the last read that showed devices
	name   string      // as any read showed it last
	id     string      // instance UUID
	failed string      // the last full read of it failed, so item and disks are empty
	read   int         // when the read was sent, 0 for never
	sent   int         // when the last mutating call left
	ended  int         // when it was known to have ended
	open   int         // calls that have not ended
}

func (s *sightings) vm(ref types.ManagedObjectReference) *seenVM {
	if s.vms == nil {
		s.vms = map[types.ManagedObjectReference]*seenVM{}
	}
	v := s.vms[ref]
	if v == nil {
		v = &seenVM{}
		s.vms[ref] = v
	}
	return v
}

// now is a moment in the order of calls.
func (s *sightings) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick++
	return s.tick
}

// fresh returns the last full read of a VM, when it was sent after everything that was sent to the VM had ended.
func (s *sightings) fresh(ref types.ManagedObjectReference) (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vms[ref]
	if v == nil || !v.current() || v.item.props == nil {
		return item{}, false
	}
	return v.item, true
}

// current tells whether the last read still holds as far as this session knows.
func (v *seenVM) current() bool {
	return v.read > 0 && v.failed == "" && v.open == 0 && v.read > v.ended
}

// midway tells whether the last read was sent after a call that was not seen to end.
func (v *seenVM) midway() bool { return v.failed == "" && v.open > 0 && v.read > v.sent }

// leave notes that a mutating call on a VM is about to be sent.
func (s *sightings) leave(ref types.ManagedObjectReference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick++
	v := s.vm(ref)
	v.open++
	v.sent = s.tick
}

// arrive notes that the call was answered. With a task, it goes on until that has ended.
func (s *sightings) arrive(ref types.ManagedObjectReference, task *types.ManagedObjectReference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if task == nil {
		s.end(ref)
		return
	}
	if s.tasks == nil {
		s.tasks = map[types.ManagedObjectReference]types.ManagedObjectReference{}
	}
	s.tasks[*task] = ref
}

func (s *sightings) end(ref types.ManagedObjectReference) {
	s.tick++
	v := s.vm(ref)
	v.open--
	v.ended = s.tick
}

// learn takes what there is to know from the answer to a read that was sent at a moment. It returns the tasks that
// have ended: of calls on VMs, and any other.
func (s *sightings) learn(sent int, req, res soap.HasFault, err error) []types.TaskInfo {
	if err != nil {
		s.forget(req)
		return nil
	}
	var ended []types.TaskInfo
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range shown(res) {
		switch o.Obj.Type {
		case "VirtualMachine":
			s.saw(sent, o)
		case "Task":
			info, ok := get[types.TaskInfo](properties(o), "info")
			if !ok || info.State != types.TaskInfoStateSuccess && info.State != types.TaskInfoStateError {
				continue
			}
			if vm, ours := s.tasks[o.Obj]; ours {
				delete(s.tasks, o.Obj)
				s.end(vm)
			}
			info.Task = o.Obj
			ended = append(ended, info)
		}
	}
	return ended
}

// properties are those of one object.
func properties(o types.ObjectContent) item {
	it := item{o.Obj, make(map[string]types.AnyType, len(o.PropSet))}
	for _, p := range o.PropSet {
		it.props[p.Name] = unwrap(p.Val)
	}
	return it
}

const (
	versionPath = "config.changeVersion"
	devicesPath = "config.hardware.device"
	extraPath   = "config.extraConfig"
)

// saw keeps what a read showed of a VM. A read is full when it shows devices and the changeVersion that they belong to.
// One without devices only confirms them, while it shows the same changeVersion; another one takes them away.
func (s *sightings) saw(sent int, o types.ObjectContent) {
	v := s.vm(o.Obj)
	if sent < v.read {
		return
	}
	if slices.ContainsFunc(o.MissingSet, func(m types.MissingProperty) bool { return m.Path == versionPath || m.Path == devicesPath }) {
		v.lose(sent, "vCenter did not show its devices")
		return
	}
	it := properties(o)
	v.name, v.id = cmp.Or(text(it, "name"), v.name), cmp.Or(text(it, "config.instanceUuid"), v.id)
	version := text(it, versionPath)
	devices, full := get[[]types.BaseVirtualDevice](it, devicesPath)
	switch {
	case version == "":
	case full:
		v.disks, v.item, v.read, v.failed = disksOf(devices), item{}, sent, ""
		if _, ours := it.props[extraPath]; ours {
			it.props[devicesPath] = clone(it.props[devicesPath])
			v.item = it
		}
	case v.item.props == nil:
	case version == text(v.item, versionPath):
		maps.Copy(v.item.props, it.props)
		v.read = sent
	default:
		v.lose(sent, "it was changed since its devices were read")
	}
}

// lose drops what was known of a VM.
func (v *seenVM) lose(sent int, why string) {
	v.item, v.disks, v.read, v.failed = item{}, nil, sent, why
}

// clone copies a value and everything it points to: the executor has the original, and may change it before it sends it.
func clone(v types.AnyType) types.AnyType {
	src := reflect.ValueOf(v)
	dst := reflect.New(src.Type()).Elem()
	copyInto(dst, src)
	return dst.Interface()
}

func copyInto(dst, src reflect.Value) {
	dst.Set(src)
	switch src.Kind() {
	case reflect.Pointer:
		if !src.IsNil() {
			dst.Set(reflect.New(src.Type().Elem()))
			copyInto(dst.Elem(), src.Elem())
		}
	case reflect.Interface:
		if !src.IsNil() {
			inner := reflect.New(src.Elem().Type()).Elem()
			copyInto(inner, src.Elem())
			dst.Set(inner)
		}
	case reflect.Slice:
		if !src.IsNil() {
			dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
			for i := range src.Len() {
				copyInto(dst.Index(i), src.Index(i))
			}
		}
	case reflect.Struct:
		for i := range src.NumField() {
			if src.Type().Field(i).IsExported() {
				copyInto(dst.Field(i), src.Field(i))
			}
		}
	}
}

// forget drops what was known of the VMs that a failed read asked for.
func (s *sightings) forget(req soap.HasFault) {
	body, ok := req.(*methods.RetrievePropertiesExBody)
	if !ok || body.Req == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spec := range body.Req.SpecSet {
		full := slices.ContainsFunc(spec.PropSet, func(p types.PropertySpec) bool { return slices.Contains(p.PathSet, devicesPath) })
		for _, o := range spec.ObjectSet {
			if v := s.vms[o.Obj]; v != nil && full {
				v.lose(v.read, "the read failed")
			}
		}
	}
}

// shown are the objects in the answer to a read.
func shown(res soap.HasFault) []types.ObjectContent {
	switch b := res.(type) {
	case *methods.RetrievePropertiesExBody:
		if b.Res != nil && b.Res.Returnval != nil {
			return b.Res.Returnval.Objects
		}
	case *methods.ContinueRetrievePropertiesExBody:
		if b.Res != nil {
			return b.Res.Returnval.Objects
		}
	}
	return nil
}
