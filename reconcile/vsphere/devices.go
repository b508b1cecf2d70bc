package vsphere

import (
	"net/netip"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Device specifications are written out here, field by field. None has a file operation: what govmomi's helpers would
// add by themselves creates, replaces or destroys files.

// diskOf reads an attached disk, whatever its backing.
func diskOf(d *types.VirtualDisk) plan.Disk {
	out := plan.Disk{Bytes: d.CapacityInBytes}
	if out.Bytes == 0 {
		out.Bytes = d.CapacityInKB << 10
	}
	switch b := d.Backing.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		out.UUID, out.Path, out.Mode = b.Uuid, b.FileName, b.DiskMode
		out.Parent, out.Shared = b.Parent != nil, b.Sharing == string(types.VirtualDiskSharingSharingMultiWriter)
	case *types.VirtualDiskSeSparseBackingInfo:
		out.UUID, out.Path, out.Mode, out.Parent = b.Uuid, b.FileName, b.DiskMode, b.Parent != nil
	case *types.VirtualDiskSparseVer2BackingInfo:
		out.UUID, out.Path, out.Mode, out.Parent = b.Uuid, b.FileName, b.DiskMode, b.Parent != nil
	case *types.VirtualDiskRawDiskMappingVer1BackingInfo:
		out.UUID, out.Path, out.Mode, out.Parent = b.Uuid, b.FileName, b.DiskMode, b.Parent != nil
		out.Shared = b.Sharing == string(types.VirtualDiskSharingSharingMultiWriter)
	case types.BaseVirtualDeviceFileBackingInfo:
		out.Path = b.GetVirtualDeviceFileBackingInfo().FileName
	}
	out.UUID = canonical(out.UUID)
	return out
}

// canonical writes a disk UUID as 8-4-4-4-12 lower-case digits; vSphere has one more way to write it.
func canonical(uuid string) string {
	hex := plan.SerialOf(uuid)
	if len(hex) != 32 {
		return strings.ToLower(uuid)
	}
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}

func disksOf(devices []types.BaseVirtualDevice) []plan.Disk {
	var out []plan.Disk
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			out = append(out, diskOf(disk))
		}
	}
	return out
}

// cdromOf returns the CD-ROM the VM boots from: the one with an ISO, else the first, else nil.
func cdromOf(devices []types.BaseVirtualDevice) *types.VirtualCdrom {
	var first *types.VirtualCdrom
	for _, d := range devices {
		cd, ok := d.(*types.VirtualCdrom)
		if !ok {
			continue
		}
		if isoOf(cd) != "" {
			return cd
		}
		if first == nil {
			first = cd
		}
	}
	return first
}

func isoOf(cd *types.VirtualCdrom) string {
	if cd == nil {
		return ""
	}
	if b, ok := cd.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
		return b.FileName
	}
	return ""
}

func addDevice(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
}

func editDevice(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: d}
}

// Keys of the devices of a new VM. Negative ones are placeholders that vSphere replaces.
const (
	scsiKey = -101
	sataKey = -102
	cdKey   = -103
	nicKey  = -200
)

// pvscsi is the controller of the data disks.
func pvscsi() types.BaseVirtualDevice {
	c := &types.ParaVirtualSCSIController{}
	c.Key, c.BusNumber, c.SharedBus = scsiKey, 0, types.VirtualSCSISharingNoSharing
	return c
}

// ahci is the controller of the CD-ROM.
func ahci() types.BaseVirtualDevice {
	c := &types.VirtualAHCIController{}
	c.Key, c.BusNumber = sataKey, 0
	return c
}

// cdrom is a CD-ROM with an ISO that is connected at power on and that the guest cannot disconnect.
func cdrom(key, controller int32, unit int32, iso string) *types.VirtualCdrom {
	return &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
		Key: key, ControllerKey: controller, UnitNumber: &unit,
		Backing: &types.VirtualCdromIsoBackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: iso},
		},
		Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true},
	}}
}

// dataDisk is an existing disk file to attach. The capacity is the file's: vCenter ignores it, the simulator does not.
func dataDisk(controller, unit int32, file string, bytes int64) *types.VirtualDisk {
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: -1, ControllerKey: controller, UnitNumber: &unit,
			Backing: &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file},
				DiskMode:                     plan.DiskMode,
			},
		},
		CapacityInKB: bytes >> 10, CapacityInBytes: bytes,
	}
}

// nic is a network card of the type named in lkv.hcl.
func nic(i int, kind string, backing types.BaseVirtualDeviceBackingInfo) (types.BaseVirtualDevice, bool) {
	card := types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{Key: int32(nicKey - i), Backing: backing, Connectable: &types.VirtualDeviceConnectInfo{
			StartConnected: true, Connected: true, AllowGuestControl: true,
		}},
		AddressType: string(types.VirtualEthernetCardMacTypeGenerated),
	}
	switch kind {
	case "", "vmxnet3":
		return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}, true
	case "e1000e":
		return &types.VirtualE1000e{VirtualEthernetCard: card}, true
	case "e1000":
		return &types.VirtualE1000{VirtualEthernetCard: card}, true
	}
	return nil, false
}

// freeUnit returns a slot of the VM's first SCSI controller. Unit 7 is the controller itself.
func freeUnit(devices []types.BaseVirtualDevice) (controller, unit int32, ok bool) {
	controller = -1
	for _, d := range devices {
		if c, is := d.(types.BaseVirtualSCSIController); is {
			k := c.GetVirtualSCSIController().Key
			if controller < 0 || k < controller {
				controller = k
			}
		}
	}
	used := map[int32]bool{7: true}
	for _, d := range devices {
		v := d.GetVirtualDevice()
		if v.ControllerKey == controller && v.UnitNumber != nil {
			used[*v.UnitNumber] = true
		}
	}
	for unit = 0; unit < 16; unit++ {
		if !used[unit] {
			return controller, unit, controller >= 0
		}
	}
	return 0, 0, false
}

// local tells addresses that nobody else can reach.
func local(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err != nil || a.IsLoopback() || a.IsLinkLocalUnicast()
}
