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
	o := plan.Observed{Files: s.files, Hidden: s.hidden}
	for _, v := range s.vms {
		o.VMs = append(o.VMs, v.vm)
	}
	return o
}

// cheap is read of every VM of the vCenter; whole and keyed are the two ways to read the owner.
var (
	cheap  = []string{"name", "config.changeVersion", "datastore", "runtime.connectionState"}
	keyed  = fmt.Sprintf("config.extraConfig[%q]", ownerKey)
	detail = []string{
		"name", "config.changeVersion", "config.instanceUuid", "config.template", "config.firmware", "config.bootOptions",
		"config.hardware.numCPU", "config.hardware.memoryMB", "config.hardware.device", "config.extraConfig",
		"runtime.powerState", "runtime.connectionState", "runtime.question", "runtime.bootTime", "runtime.host", "config.files.vmPathName",
		"guest.toolsRunningStatus", "guest.ipAddress", "guest.net", "recentTask",
	}
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
	f.mu.Lock()
	whole := f.wholeKey
	f.mu.Unlock()
	path := keyed
	if whole {
		path = "config.extraConfig"
	}
	root := f.c.vim.ServiceContent.RootFolder
	items, err := f.c.under(ctx, root, "VirtualMachine", append([]string{path}, cheap...))
	if !whole && isFault[*types.InvalidProperty](err) {
		f.mu.Lock()
		f.wholeKey = true
		f.mu.Unlock()
		return f.sweep(ctx)
	}
	if err != nil {
		return nil, err
	}
	list := make([]brief, 0, len(items))
	for _, it := range items {
		b := brief{item: it, name: text(it, "name")}
		if raw := ownerText(it); raw != "" {
			b.owner = new(owner)
			if err := json.Unmarshal([]byte(raw), b.owner); err != nil {
				return nil, fmt.Errorf("VM %s: read %s: %w", b.name, ownerKey, err)
			}
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b brief) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.ref.Value, b.ref.Value))
	})
	return list, nil
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

// read takes a close look at some VMs.
func (f *Fleet) read(ctx context.Context, refs []types.ManagedObjectReference) ([]sighted, error) {
	wants := make([]want, len(refs))
	for i, ref := range refs {
		wants[i] = want{ref, detail}
	}
	items, err := f.c.retrieve(ctx, wants...)
	if err != nil {
		return nil, fmt.Errorf("read VMs: %w", err)
	}
	list := make([]sighted, len(items))
	var tasks []want
	for i, it := range items {
		list[i] = f.sighted(it)
		recent, _ := get[[]types.ManagedObjectReference](it, "recentTask")
		for _, t := range recent {
			tasks = append(tasks, want{t, []string{"info"}})
		}
	}
	infos, err := f.c.retrieve(ctx, tasks...)
	if err != nil {
		return nil, fmt.Errorf("read running tasks: %w", err)
	}
	for _, it := range infos {
		info, ok := get[types.TaskInfo](it, "info")
		if !ok || info.Entity == nil || info.State != types.TaskInfoStateRunning && info.State != types.TaskInfoStateQueued {
			continue
		}
		if i := slices.IndexFunc(list, func(v sighted) bool { return v.ref == *info.Entity }); i >= 0 {
			list[i].running(info)
		}
	}
	return list, nil
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
