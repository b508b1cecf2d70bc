package vsphere

import (
	"errors"
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// TestPathNamedVM: a host that lost a VM's storage shows the VM under the path of its .vmx file, without configuration
// and so without owner. It may be ours, still running, with its data disk: nothing is made in its place.
func TestPathNamedVM(t *testing.T) {
	d := plan.Desired{Fleet: "web", VMs: []plan.WantVM{{Name: "web-1"}, {Name: "web-10"}}}
	for name, may := range map[string]bool{
		"/vmfs/volumes/5f0c-1/web-1/web-1.vmx":           true,
		"%2fvmfs%2fvolumes%2f5f0c-1%2fweb-1%2fweb-1.vmx": true,
		"/vmfs/volumes/vsan:52d1/6a0e-77/web-10.vmx":     true,
		"[ds] web-1_1/web-1_1.vmx":                       true,
		"[ds] web-1.vmx":                                 true,
		"/vmfs/volumes/5f0c-1/web-2/web-2.vmx":           false,
		"/vmfs/volumes/5f0c-1/web-1-old/web-1-old.vmx":   false,
		"Unknown VM": false,
	} {
		for _, version := range []string{"", "2026"} {
			props := map[string]types.AnyType{"name": name}
			if version != "" {
				props["config.changeVersion"] = version
			}
			f := &Fleet{}
			err := f.vanished([]brief{{item: item{props: props}, name: name}}, d)
			if (err != nil) != (may && version == "") {
				t.Errorf("%s, version %q: %v", name, version, err)
			}
		}
	}
}

// TestL06LinkedClone: a linked clone writes into a child that dies with it. The lab makes no children, so this is about
// what vCenter would show of one: it is seen, its VM is not started, and nobody clones or relocates a VM.
func TestL06LinkedClone(t *testing.T) {
	const id = "6000c290-0b1a-7e2f-8a4c-0123456789ab"
	child := &types.VirtualDisk{CapacityInBytes: 1 << 30, VirtualDevice: types.VirtualDevice{Backing: &types.VirtualDiskFlatVer2BackingInfo{
		Uuid: id, DiskMode: plan.DiskMode, Parent: &types.VirtualDiskFlatVer2BackingInfo{},
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds] clone/clone.vmdk"},
	}}}
	v := sighted{vm: plan.VM{Name: "web-1", ISO: "[ds] x.iso", Disks: disksOf([]types.BaseVirtualDevice{child}),
		Record: plan.Record{Disks: []plan.DiskRecord{{Name: "docker", UUID: id}}}}}
	var b plan.Blocked
	if err := complete(v); !errors.As(err, &b) || b.Code != plan.R05 {
		t.Errorf("power on: %v", err)
	}
	v.vm.Disks[0].Parent = false
	if err := complete(v); err != nil {
		t.Errorf("the same without a parent: %v", err)
	}
	for _, d := range []plan.Disk{{Parent: true}, {Shared: true}} {
		if err := alone("web-1", d); !errors.As(err, &b) || b.Code != plan.R05 {
			t.Errorf("detach of %+v: %v", d, err)
		}
	}
	if err := alone("web-1", plan.Disk{}); err != nil {
		t.Errorf("detach: %v", err)
	}
	g := newGate(nil, nil)
	var forbidden *ForbiddenError
	if err := g.RoundTrip(t.Context(), &methods.CloneVM_TaskBody{Req: &types.CloneVM_Task{}}, nil); !errors.As(err, &forbidden) {
		t.Errorf("clone: %v", err)
	}
	if err := g.RoundTrip(t.Context(), &methods.RelocateVM_TaskBody{Req: &types.RelocateVM_Task{}}, nil); !errors.As(err, &forbidden) {
		t.Errorf("relocate: %v", err)
	}
}
