package vsphere

import (
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

// A disk belongs to whoever has it as a difference's parent, too, and under whatever name its storage is mounted; in
// doubt it is the same disk.
func TestWhoHasADiskFile(t *testing.T) {
	const file = "[ds] lkv-disks/f/a.vmdk"
	ref := func(id string) types.ManagedObjectReference {
		return types.ManagedObjectReference{Type: "Datastore", Value: id}
	}
	flat := func(name string, parent *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo {
		b := &types.VirtualDiskFlatVer2BackingInfo{Parent: parent}
		b.FileName = name
		return b
	}
	on := func(b types.BaseVirtualDeviceBackingInfo) []types.BaseVirtualDevice {
		return []types.BaseVirtualDevice{&types.VirtualDisk{VirtualDevice: types.VirtualDevice{Backing: b}}}
	}
	own := datastore{ref: ref("1"), name: "ds", volume: "vol"}
	volumes := map[types.ManagedObjectReference]datastore{
		ref("1"): own, ref("2"): {ref: ref("2"), name: "nfs", volume: "vol"}, ref("3"): {ref: ref("3"), name: "ds", volume: "other"},
	}
	for name, tt := range map[string]struct {
		disks  []types.BaseVirtualDevice
		stores []string
		want   bool
	}{
		"attached":                     {on(flat(file, nil)), []string{"1"}, true},
		"a parent":                     {on(flat("[ds] x/a-000002.vmdk", flat("[ds] x/a-000001.vmdk", flat(file, nil)))), []string{"1"}, true},
		"the same storage":             {on(flat("[nfs] lkv-disks/f/a.vmdk", nil)), []string{"2"}, true},
		"another storage of that name": {on(flat(file, nil)), []string{"3"}, false},
		"nobody knows where":           {on(flat(file, nil)), nil, true},
		"another file":                 {on(flat("[ds] lkv-disks/f/b.vmdk", nil)), []string{"1"}, false},
		"a sparse difference": {on(&types.VirtualDiskSeSparseBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds] x/s.vmdk"},
			Parent: &types.VirtualDiskSeSparseBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}}), []string{"1"}, true},
		"nothing": {nil, []string{"1"}, false},
	} {
		u := diskUser{files: filesOf(tt.disks)}
		for _, s := range tt.stores {
			u.stores = append(u.stores, ref(s))
		}
		if got := u.has(own, file, volumes); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A VM that shows no configuration, an owner or a record that nobody understands: what it has is unknown.
func TestWhatCannotBeReadIsSaid(t *testing.T) {
	shows := func(extra ...string) item {
		return item{props: map[string]types.AnyType{"name": "a", "config.changeVersion": "1",
			"config.hardware.device": []types.BaseVirtualDevice{}, "config.extraConfig": options(extra...)}}
	}
	for name, it := range map[string]item{
		"no configuration": {props: map[string]types.AnyType{"name": "a"}},
		"no owner":         shows(ownerKey, "{"),
		"no record":        shows(recordKey, "{"),
		"a newer record":   shows(recordKey, `{"format":99}`),
	} {
		if _, why := userOf(it); why == "" {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if _, why := userOf(shows()); why != "" {
		t.Errorf("a foreign VM: %s", why)
	}
}
