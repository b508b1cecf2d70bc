package vsphere

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// What goes over the wire, letter by letter: no file operation anywhere.
func TestDeviceXML(t *testing.T) {
	card, ok := nic(0, "vmxnet3", &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"}})
	if !ok {
		t.Fatal("no vmxnet3")
	}
	for name, spec := range map[string]types.VirtualMachineConfigSpec{
		"attach": {ChangeVersion: "2026-01-01T00:00:00Z", DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			addDevice(dataDisk(1000, 0, "[ds one] lkv-disks/workers/wrk-01-docker.vmdk", 100<<30))}},
		"swap": {ChangeVersion: "2026-01-01T00:00:00Z", DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			editDevice(cdrom(16000, 15000, 0, "[iso] lkv/worker/0123.iso"))}, ExtraConfig: options(recordKey, "{}", "guestinfo.lkv.token", "t")},
		"create": {Name: "wrk-01", DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			addDevice(pvscsi()), addDevice(ahci()), addDevice(cdrom(cdKey, sataKey, 0, "[iso] lkv/worker/0123.iso")), addDevice(card)}},
	} {
		var buf bytes.Buffer
		enc := xml.NewEncoder(&buf)
		enc.Indent("", "  ")
		if err := enc.Encode(types.ReconfigVM_Task{This: types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}, Spec: spec}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(buf.String()), "fileoperation") {
			t.Errorf("%s has a file operation:\n%s", name, &buf)
		}
		golden.Check(t, filepath.Join("testdata", name+".xml"), buf.String()+"\n")
	}
}

func TestFreeUnit(t *testing.T) {
	scsi := func(key int32) types.BaseVirtualDevice {
		c := &types.ParaVirtualSCSIController{}
		c.Key = key
		return c
	}
	full := []types.BaseVirtualDevice{scsi(1000)}
	for u := int32(0); u < 16; u++ {
		if u != 7 {
			full = append(full, dataDisk(1000, u, "", 0))
		}
	}
	for _, c := range []struct {
		name             string
		devices          []types.BaseVirtualDevice
		controller, unit int32
		ok               bool
	}{
		{"no controller", []types.BaseVirtualDevice{ahci()}, -1, 0, false},
		{"first slot", []types.BaseVirtualDevice{ahci(), scsi(1000)}, 1000, 0, true},
		{"gap", []types.BaseVirtualDevice{scsi(1000), dataDisk(1000, 0, "", 0), dataDisk(1000, 2, "", 0)}, 1000, 1, true},
		{"lowest controller, others' slots do not count", []types.BaseVirtualDevice{scsi(1001), scsi(1000), dataDisk(1001, 0, "", 0)}, 1000, 0, true},
		{"seven is the controller", append([]types.BaseVirtualDevice{}, full[:8]...), 1000, 8, true},
		{"full", full, 0, 0, false},
	} {
		controller, unit, ok := freeUnit(c.devices)
		if ok != c.ok || ok && (controller != c.controller || unit != c.unit) {
			t.Errorf("%s: %d %d %v", c.name, controller, unit, ok)
		}
	}
}

// Every kind of disk is seen with what decides over R05: parent, mode, sharing.
func TestDiskOf(t *testing.T) {
	file := types.VirtualDeviceFileBackingInfo{FileName: "[ds] a.vmdk"}
	const raw = "60 00 C2 9F 00 11 22 33-44 55 66 77 88 99 AA BB"
	const id = "6000c29f-0011-2233-4455-66778899aabb"
	for name, c := range map[string]struct {
		backing types.BaseVirtualDeviceBackingInfo
		want    plan.Disk
	}{
		"flat": {&types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: file, Uuid: strings.ToUpper(id), DiskMode: plan.DiskMode},
			plan.Disk{UUID: id, Path: file.FileName, Bytes: 1 << 20, Mode: plan.DiskMode}},
		"flat with a parent, shared": {&types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: file, Uuid: raw, DiskMode: "persistent",
			Parent: &types.VirtualDiskFlatVer2BackingInfo{}, Sharing: "sharingMultiWriter"},
			plan.Disk{UUID: id, Path: file.FileName, Bytes: 1 << 20, Mode: "persistent", Parent: true, Shared: true}},
		"sparse": {&types.VirtualDiskSparseVer2BackingInfo{VirtualDeviceFileBackingInfo: file, Uuid: id, DiskMode: "append", Parent: &types.VirtualDiskSparseVer2BackingInfo{}},
			plan.Disk{UUID: id, Path: file.FileName, Bytes: 1 << 20, Mode: "append", Parent: true}},
		"space-efficient": {&types.VirtualDiskSeSparseBackingInfo{VirtualDeviceFileBackingInfo: file, Uuid: id, DiskMode: "undoable", Parent: &types.VirtualDiskSeSparseBackingInfo{}},
			plan.Disk{UUID: id, Path: file.FileName, Bytes: 1 << 20, Mode: "undoable", Parent: true}},
		"raw device": {&types.VirtualDiskRawDiskMappingVer1BackingInfo{VirtualDeviceFileBackingInfo: file, Uuid: id, DiskMode: plan.DiskMode, Sharing: "sharingMultiWriter"},
			plan.Disk{UUID: id, Path: file.FileName, Bytes: 1 << 20, Mode: plan.DiskMode, Shared: true}},
		"old": {&types.VirtualDiskFlatVer1BackingInfo{VirtualDeviceFileBackingInfo: file}, plan.Disk{Path: file.FileName, Bytes: 1 << 20}},
	} {
		got := diskOf(&types.VirtualDisk{VirtualDevice: types.VirtualDevice{Backing: c.backing}, CapacityInKB: 1 << 10})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// The boot CD-ROM is the one with an ISO, wherever it stands.
func TestCDROM(t *testing.T) {
	empty := &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{Backing: &types.VirtualCdromRemotePassthroughBackingInfo{}}}
	full := cdrom(1, 2, 0, "[ds] a.iso")
	for _, c := range []struct {
		devices []types.BaseVirtualDevice
		want    string
		none    bool
	}{
		{nil, "", true},
		{[]types.BaseVirtualDevice{pvscsi()}, "", true},
		{[]types.BaseVirtualDevice{empty}, "", false},
		{[]types.BaseVirtualDevice{empty, full}, "[ds] a.iso", false},
	} {
		cd := cdromOf(c.devices)
		if isoOf(cd) != c.want || (cd == nil) != c.none {
			t.Errorf("%v: %v", c.devices, cd)
		}
	}
}
