package vsphere

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// sight is one look at vCenter.
type sight struct {
	vms    []sighted // ours, those with a wanted name, and those that hold one of our disks; by name
	files  []plan.DiskFile
	marked []string // disks that have a marker, when files were listed
	made   []string // and those that stand in a record
	hidden []plan.Hidden
}

// sighted is one VM with what Execute needs beyond plan.VM.
type sighted struct {
	vm      plan.VM
	ref     types.ManagedObjectReference
	host    types.ManagedObjectReference
	devices []types.BaseVirtualDevice
	extra   map[string]string
	tools   bool
	booted  time.Time
}

func (s sight) observed() plan.Observed {
	o := plan.Observed{Files: s.files, Hidden: s.hidden, Made: s.made}
	for _, v := range s.vms {
		o.VMs = append(o.VMs, v.vm)
	}
	return o
}

// cheap is read of every VM of the vCenter; keyed is how its owner is read where single keys are shown.
var (
	cheap = []string{"name", "config.changeVersion", "datastore", "runtime.connectionState"}
	keyed = fmt.Sprintf("config.extraConfig[%q]", ownerKey)
)

// brief is one VM of the cheap pass.
type brief struct {
	item
	name  string
	owner *owner // nil: no owner key
}

// sweep is the cheap pass over every VM of the vCenter, whatever its datacenter or folder: a VM that was moved is
// still ours, and must not be made again.
func (f *Fleet) sweep(ctx context.Context) ([]brief, error) {
	list, _, err := f.sweepWith(ctx)
	return list, err
}

// sweepWith reads more in the same call, and returns it.
func (f *Fleet) sweepWith(ctx context.Context, more ...types.PropertyFilterSpec) ([]brief, map[types.ManagedObjectReference]item, error) {
	path := keyed
	if f.whole() {
		path = "config.extraConfig"
	}
	var list []brief
	var rest map[types.ManagedObjectReference]item
	err := f.throughView(ctx, func(view types.ManagedObjectReference) error {
		list, rest = nil, map[types.ManagedObjectReference]item{}
		specs := append([]types.PropertyFilterSpec{through(view, "VirtualMachine", append([]string{path}, cheap...))}, more...)
		return f.c.pages(ctx, specs, func(o item) error {
			if o.ref.Type != "VirtualMachine" {
				rest[o.ref] = o
				return nil
			}
			b, err := briefOf(o)
			list = append(list, b)
			return err
		})
	})
	if !f.whole() && isFault[*types.InvalidProperty](err) {
		f.mu.Lock()
		f.wholeKey = true
		f.mu.Unlock()
		return f.sweepWith(ctx, more...)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read VirtualMachines: %w", err)
	}
	slices.SortFunc(list, func(a, b brief) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.ref.Value, b.ref.Value))
	})
	return list, rest, nil
}

func (f *Fleet) whole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wholeKey
}

func briefOf(o item) (brief, error) {
	b := brief{item: o, name: text(o, "name")}
	if raw := ownerText(o); raw != "" {
		b.owner = new(owner)
		if err := json.Unmarshal([]byte(raw), b.owner); err != nil {
			return b, fmt.Errorf("VM %s: read %s: %w", b.name, ownerKey, err)
		}
	}
	delete(o.props, "config.extraConfig") // of ten thousand VMs it is too much to keep
	return b, nil
}

func ownerText(it item) string {
	if o, ok := get[types.OptionValue](it, keyed); ok {
		return fmt.Sprint(o.Value)
	}
	if list, ok := get[[]types.BaseOptionValue](it, "config.extraConfig"); ok {
		return extraOf(list)[ownerKey]
	}
	return ""
}

// mine tells whether the VM belongs to the fleet.
func (f *Fleet) mine(b brief, fleet string) bool {
	return b.owner != nil && b.owner.Fleet == fleet && b.owner.ID == f.cfg.OwnerID
}

// read takes a close look at some VMs, now.
func (f *Fleet) read(ctx context.Context, refs []types.ManagedObjectReference) ([]sighted, error) {
	found, tasks, err := f.details(ctx, group{refs, detail})
	if err != nil {
		return nil, err
	}
	list := make([]sighted, len(refs))
	for i, ref := range refs {
		list[i] = f.sighted(found[ref])
	}
	attend(list, tasks)
	return list, nil
}

// group are VMs of which the same is read.
type group struct {
	refs  []types.ManagedObjectReference
	paths []string
}

// details reads properties of VMs, and the tasks that VMs had lately, in one call.
func (f *Fleet) details(ctx context.Context, groups ...group) (found map[types.ManagedObjectReference]item, tasks []types.TaskInfo, err error) {
	found = map[types.ManagedObjectReference]item{}
	var specs []types.PropertyFilterSpec
	for _, g := range groups {
		spec := types.PropertyFilterSpec{PropSet: []types.PropertySpec{
			{Type: "VirtualMachine", PathSet: g.paths}, {Type: "Task", PathSet: []string{"info"}},
		}}
		for _, ref := range g.refs {
			spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: ref, SelectSet: []types.BaseSelectionSpec{
				&types.TraversalSpec{Type: "VirtualMachine", Path: "recentTask"},
			}})
		}
		if len(g.refs) > 0 {
			specs = append(specs, spec)
		}
	}
	if len(specs) == 0 {
		return found, nil, nil
	}
	err = f.c.pages(ctx, specs, func(o item) error {
		if o.ref.Type == "VirtualMachine" {
			found[o.ref] = o
		} else if info, ok := get[types.TaskInfo](o, "info"); ok {
			tasks = append(tasks, info)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read VMs: %w", err)
	}
	for _, g := range groups {
		for _, ref := range g.refs {
			if _, ok := found[ref]; !ok {
				return nil, nil, fmt.Errorf("read VMs: vCenter did not show %s", ref.Value)
			}
		}
	}
	return found, tasks, nil
}

// attend notes at the VMs the tasks that have not ended.
func attend(list []sighted, tasks []types.TaskInfo) {
	for _, info := range tasks {
		if info.Entity == nil || info.State != types.TaskInfoStateRunning && info.State != types.TaskInfoStateQueued {
			continue
		}
		if i := slices.IndexFunc(list, func(v sighted) bool { return v.ref == *info.Entity }); i >= 0 {
			list[i].running(info)
		}
	}
}

// running notes a task that has not ended: one of ours is waited for, anybody else's keeps us away (R08).
func (v *sighted) running(info types.TaskInfo) {
	if ours(info) {
		v.vm.Task = info.Task.Value
		return
	}
	v.vm.Busy = append(v.vm.Busy, "task "+cmp.Or(info.DescriptionId, info.Name)+" is running")
}

// sighted turns properties into a VM.
func (f *Fleet) sighted(it item) sighted {
	v := sighted{ref: it.ref}
	v.host, _ = get[types.ManagedObjectReference](it, "runtime.host")
	v.devices, _ = get[[]types.BaseVirtualDevice](it, "config.hardware.device")
	options, _ := get[[]types.BaseOptionValue](it, "config.extraConfig")
	v.extra = extraOf(options)
	cpus, _ := get[int32](it, "config.hardware.numCPU")
	memory, _ := get[int32](it, "config.hardware.memoryMB")
	power, _ := get[types.VirtualMachinePowerState](it, "runtime.powerState")
	v.booted, _ = get[time.Time](it, "runtime.bootTime")
	v.vm = plan.VM{
		Name: text(it, "name"), ID: text(it, "config.instanceUuid"), Ref: it.ref.Value,
		ChangeVersion: text(it, "config.changeVersion"), Power: plan.Power(power), ISO: isoOf(cdromOf(v.devices)),
		CPUs: int(cpus), MemoryMiB: int64(memory), Firmware: text(it, "config.firmware"), Disks: disksOf(v.devices),
		SecureBoot: secureBootOf(it), Keys: keysOf(v.extra), Host: v.host.Value, Home: path.Dir(text(it, "config.files.vmPathName")),
	}
	v.vm.Guest = guestOf(it, v.extra, v.vm.Power)
	v.tools = text(it, "guest.toolsRunningStatus") == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	if v.vm.Power == plan.On && !v.booted.IsZero() {
		v.vm.Age = max(0, f.cfg.Now().Sub(v.booted))
	}
	v.busy(it)
	var own owner
	if raw := v.extra[ownerKey]; raw != "" && json.Unmarshal([]byte(raw), &own) == nil && own.ID == f.cfg.OwnerID {
		v.vm.Fleet, v.vm.Ordinal = own.Fleet, own.Ordinal
	}
	var err error
	if v.vm.Record, err = decodeRecord(v.extra[recordKey]); err != nil {
		v.vm.Busy = append(v.vm.Busy, err.Error())
	}
	return v
}

// busy collects why a VM must be left alone (R08).
func (v *sighted) busy(it item) {
	state, _ := get[types.VirtualMachineConnectionState](it, "runtime.connectionState")
	template, _ := get[bool](it, "config.template")
	question, asked := get[types.VirtualMachineQuestionInfo](it, "runtime.question")
	add := func(yes bool, why string) {
		if yes {
			v.vm.Busy = append(v.vm.Busy, why)
		}
	}
	add(state != types.VirtualMachineConnectionStateConnected, "it is "+string(state))
	add(v.vm.ChangeVersion == "", "its configuration cannot be read")
	add(template, "it is a template")
	add(v.vm.Power == plan.Suspended, "it is suspended")
	add(asked, "a question is pending: "+question.Text)
}
