package vsphere

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// memory is what looks keep for the next one. Nothing in it decides alone: a configuration counts only while vCenter
// shows the changeVersion that it was read with, and every step reads its VM afresh (D8).
type memory struct {
	view    types.ManagedObjectReference // of every VM; empty: none yet
	strange map[types.ManagedObjectReference]held
	ours    map[types.ManagedObjectReference]configured
}

// held is what a VM that is not ours has attached.
type held struct {
	version string
	disks   []plan.Disk
}

// configured is the configuration of a VM of ours, without what its guest writes into it.
type configured struct {
	version string
	props   map[string]types.AnyType
}

func newMemory() memory {
	return memory{strange: map[types.ManagedObjectReference]held{}, ours: map[types.ManagedObjectReference]configured{}}
}

// Properties of a VM of ours. Whether a guest's report changes the changeVersion is unknown, so it is among the live ones.
var (
	config = []string{
		"config.instanceUuid", "config.template", "config.firmware", "config.bootOptions",
		"config.hardware.numCPU", "config.hardware.memoryMB", "config.hardware.device", "config.extraConfig", "config.files.vmPathName",
	}
	live = []string{
		"name", "config.changeVersion", "runtime.powerState", "runtime.connectionState", "runtime.question",
		"runtime.bootTime", "runtime.host", "guest.toolsRunningStatus", "guest.ipAddress", "guest.net", "recentTask",
	}
	detail   = slices.Concat(live, config)
	reported = fmt.Sprintf("config.extraConfig[%q]", report.Key)
)

// throughView reads every VM through a view that stays for the next look. The end of a session takes the view with it.
func (f *Fleet) throughView(ctx context.Context, read func(view types.ManagedObjectReference) error) error {
	f.mu.Lock()
	view := f.seen.view
	f.mu.Unlock()
	if view.Value != "" {
		if err := read(view); !isFault[*types.ManagedObjectNotFound](err) {
			return err
		}
	}
	view, err := f.c.view(ctx, f.c.vim.ServiceContent.RootFolder, "VirtualMachine")
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.seen.view = view
	f.mu.Unlock()
	return read(view)
}

// closely reads VMs in full whose configuration is not known, and of the others only what changes without it.
func (f *Fleet) closely(ctx context.Context, vms []brief) ([]sighted, error) {
	known := f.configured(vms)
	var full, light []types.ManagedObjectReference
	for _, b := range vms {
		if _, ok := known[b.ref]; ok {
			light = append(light, b.ref)
		} else {
			full = append(full, b.ref)
		}
	}
	found, tasks, err := f.details(ctx, group{full, detail}, group{light, append([]string{reported}, live...)})
	if err != nil {
		return nil, err
	}
	var late []types.ManagedObjectReference // changed just now
	for _, ref := range light {
		if text(found[ref], "config.changeVersion") == known[ref].version {
			known[ref].complete(found[ref])
		} else {
			late = append(late, ref)
		}
	}
	again, more, err := f.details(ctx, group{late, detail})
	if err != nil {
		return nil, err
	}
	maps.Copy(found, again)
	f.mu.Lock()
	for _, ref := range slices.Concat(full, late) {
		f.seen.ours[ref] = configurationOf(found[ref])
	}
	f.mu.Unlock()
	list := make([]sighted, len(vms))
	for i, b := range vms {
		list[i] = f.sighted(found[b.ref])
	}
	attend(list, append(tasks, more...))
	return list, nil
}

// configured returns what is known of VMs whose changeVersion is the one it was read with. A vCenter that does not show
// single keys shows no report without the rest.
func (f *Fleet) configured(vms []brief) map[types.ManagedObjectReference]configured {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[types.ManagedObjectReference]configured{}
	for _, b := range vms {
		k, ok := f.seen.ours[b.ref]
		if ok && !f.wholeKey && k.version != "" && k.version == text(b.item, "config.changeVersion") {
			out[b.ref] = k
		}
	}
	return out
}

func configurationOf(o item) configured {
	k := configured{version: text(o, "config.changeVersion"), props: map[string]types.AnyType{}}
	for _, path := range config {
		if v, ok := o.props[path]; ok {
			k.props[path] = v
		}
	}
	if list, ok := get[[]types.BaseOptionValue](o, "config.extraConfig"); ok {
		k.props["config.extraConfig"] = slices.DeleteFunc(slices.Clone(list), func(v types.BaseOptionValue) bool {
			return v.GetOptionValue().Key == report.Key
		})
	}
	return k
}

// complete adds the configuration to what was read of the same VM without it.
func (k configured) complete(o item) {
	maps.Copy(o.props, k.props)
	if v, ok := get[types.OptionValue](o, reported); ok {
		list, _ := get[[]types.BaseOptionValue](o, "config.extraConfig")
		o.props["config.extraConfig"] = append(slices.Clip(list), &v)
	}
}

// forget drops what is known of VMs that are not there any more.
func (f *Fleet) forget(all []brief) {
	there := make(map[types.ManagedObjectReference]bool, len(all))
	for _, b := range all {
		there[b.ref] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.seen.strange, func(ref types.ManagedObjectReference, _ held) bool { return !there[ref] })
	maps.DeleteFunc(f.seen.ours, func(ref types.ManagedObjectReference, _ configured) bool { return !there[ref] })
}
