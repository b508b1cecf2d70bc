package vsphere

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/secret"
	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// lookOf writes down what a read of a VM showed.
func lookOf(vcenter string, ref types.ManagedObjectReference, v seenVM) journal.Look {
	l := journal.Look{VM: journal.Target{VCenter: vcenter, Kind: ref.Type, Ref: ref.Value, Name: v.name, ID: v.id}, Disks: []journal.Disk{}}
	if v.failed != "" {
		l.Error = v.failed
		return l
	}
	devices, _ := get[[]types.BaseVirtualDevice](v.item, devicesPath)
	options, _ := get[[]types.BaseOptionValue](v.item, extraPath)
	power, _ := get[types.VirtualMachinePowerState](v.item, "runtime.powerState")
	extra := extraOf(options)
	l.ChangeVersion, l.Power, l.ISO = text(v.item, versionPath), string(power), isoOf(cdromOf(devices))
	l.Fleet, l.Disks = ownedBy(v.item), attachedDisks(devices)
	if v.item.props == nil {
		l.Disks = disksAlone(v.disks)
	}
	if o, ok := get[types.OptionValue](v.item, reportPath); ok {
		extra[report.Key] = fmt.Sprint(o.Value)
	}
	if raw, ok := extra[recordKey]; ok {
		l.Record = recordOf(raw)
	}
	if g := guestOf(v.item, extra, plan.Power(power)); g.State != "" || g.Token != "" {
		l.Guest = &journal.Guest{Token: g.Token, ImageID: g.ImageID, State: g.State}
		for _, m := range g.Mounts {
			l.Guest.Mounts = append(l.Guest.Mounts, m.Serial)
		}
	}
	return l
}

func recordOf(raw string) *journal.Record {
	r, err := decodeRecord(raw)
	if err != nil {
		return &journal.Record{Error: "it cannot be read"}
	}
	return journal.RecordOf(r)
}

// ownedBy returns the fleet of the VM's owner key, "" when it has none. Whose lkv it is does not matter here.
func ownedBy(it item) string {
	options, _ := get[[]types.BaseOptionValue](it, extraPath)
	var own owner
	if raw := extraOf(options)[ownerKey]; raw == "" || json.Unmarshal([]byte(raw), &own) != nil {
		return ""
	}
	return own.Fleet
}

func attachedDisks(devices []types.BaseVirtualDevice) []journal.Disk {
	out := []journal.Disk{}
	for _, d := range devices {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		p := diskOf(disk)
		j := journal.Disk{UUID: p.UUID, Path: p.Path, Bytes: p.Bytes, Mode: p.Mode, Parent: p.Parent, Shared: p.Shared}
		i := slices.IndexFunc(devices, func(c types.BaseVirtualDevice) bool { return c.GetVirtualDevice().Key == disk.ControllerKey })
		if i >= 0 {
			j.Controller = typeName(devices[i])
		}
		out = append(out, j)
	}
	return out
}

// reportPath is the guest's report, read by itself.
var reportPath = fmt.Sprintf("config.extraConfig[%q]", report.Key)

// disksAlone are disks of a VM of others, whose controllers nobody keeps.
func disksAlone(list []plan.Disk) []journal.Disk {
	out := []journal.Disk{}
	for _, p := range list {
		out = append(out, journal.Disk{UUID: p.UUID, Path: p.Path, Bytes: p.Bytes, Mode: p.Mode, Parent: p.Parent, Shared: p.Shared})
	}
	return out
}

func typeName(v any) string {
	t := reflect.TypeOf(v)
	if t == nil {
		return ""
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// describe writes down a call.
func (r *recorder) describe(req soap.HasFault) journal.Intent {
	in := journal.Intent{Method: method(req), Target: r.target(req)}
	switch b := req.(type) {
	case *methods.ReconfigVM_TaskBody:
		in.ChangeVersion, in.Name = b.Req.Spec.ChangeVersion, b.Req.Spec.Name
		describeSpec(&in, &b.Req.Spec)
	case *methods.CreateVM_TaskBody:
		in.Name = b.Req.Config.Name
		describeSpec(&in, &b.Req.Config)
	case *methods.CreateVirtualDisk_TaskBody:
		in.Paths = []string{b.Req.Name}
		if s, ok := b.Req.Spec.(*types.FileBackedVirtualDiskSpec); ok {
			in.Bytes = s.CapacityKb << 10
		}
	case *methods.ExtendVirtualDisk_TaskBody:
		in.Paths, in.Bytes = []string{b.Req.Name}, b.Req.NewCapacityKb<<10
	case *methods.DeleteVirtualDisk_TaskBody:
		in.Paths = []string{b.Req.Name}
	case *methods.DeleteDatastoreFile_TaskBody:
		in.Paths = []string{b.Req.Name}
	case *methods.MoveDatastoreFile_TaskBody:
		in.Paths = []string{b.Req.SourceName, b.Req.DestinationName}
	case *methods.CopyDatastoreFile_TaskBody:
		in.Paths = []string{b.Req.SourceName, b.Req.DestinationName}
	case *methods.MakeDirectoryBody:
		in.Paths = []string{b.Req.Name}
	case *methods.CreateDirectoryBody:
		in.Name = b.Req.DisplayName
	case *methods.CreateFolderBody:
		in.Name = b.Req.Name
	case *methods.Rename_TaskBody:
		in.Name = b.Req.NewName
	}
	return in
}

// target is what a call is made on.
func (r *recorder) target(req soap.HasFault) journal.Target {
	t := journal.Target{VCenter: r.vcenter}
	body := reflect.ValueOf(req).Elem().FieldByName("Req")
	if body.Kind() != reflect.Pointer || body.IsNil() {
		return t
	}
	ref, ok := body.Elem().FieldByName("This").Interface().(types.ManagedObjectReference)
	if !ok {
		return t
	}
	t.Kind, t.Ref = ref.Type, ref.Value
	if ref.Type == "VirtualMachine" {
		t.Name, t.ID = r.seen.names(ref)
	}
	return t
}

func describeSpec(in *journal.Intent, s *types.VirtualMachineConfigSpec) {
	in.Fields = fields(s)
	for _, c := range s.DeviceChange {
		in.Devices = append(in.Devices, deviceOf(c.GetVirtualDeviceConfigSpec()))
	}
	for _, o := range s.ExtraConfig {
		kv := o.GetOptionValue()
		key := journal.Key{Key: kv.Key}
		value, _ := kv.Value.(string)
		if strings.HasPrefix(kv.Key, "lkv.") {
			key.Value = secret.Redact(value)
		}
		if kv.Key == recordKey {
			in.Record = recordOf(value)
		}
		in.Extra = append(in.Extra, key)
	}
}

func deviceOf(c *types.VirtualDeviceConfigSpec) journal.Device {
	d := journal.Device{Operation: string(c.Operation), FileOperation: string(c.FileOperation), Kind: typeName(c.Device)}
	if c.Device == nil {
		return d
	}
	v := c.Device.GetVirtualDevice()
	d.Key = v.Key
	if v.Connectable != nil {
		d.Connected = &v.Connectable.Connected
	}
	if disk, ok := c.Device.(*types.VirtualDisk); ok {
		p := diskOf(disk)
		d.UUID, d.Path, d.Mode, d.Parent, d.Bytes = p.UUID, p.Path, p.Mode, p.Parent, p.Bytes
		return d
	}
	if b, ok := v.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		d.Path = b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return d
}

// names returns a VM's name and instance UUID, as far as they were seen.
func (s *sightings) names(ref types.ManagedObjectReference) (name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vms[ref]
	if v == nil {
		return "", ""
	}
	return cmp.Or(v.name, ref.Value), v.id
}

// known returns what is known of a VM.
func (s *sightings) known(ref types.ManagedObjectReference) seenVM {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.vms[ref]; v != nil {
		return *v
	}
	return seenVM{}
}

// all returns what is known of every VM that was fully read.
func (s *sightings) all() map[types.ManagedObjectReference]seenVM {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[types.ManagedObjectReference]seenVM{}
	for ref, v := range s.vms {
		if v.read > 0 {
			out[ref] = *v
		}
	}
	return out
}
