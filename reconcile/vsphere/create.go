package vsphere

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// createVM makes the VM in one call, powered off and without data disks.
func (f *Fleet) createVM(ctx context.Context, s plan.CreateVM, desired plan.Desired) error {
	if done, err := f.exists(ctx, s, desired); done || err != nil {
		return err
	}
	if err := f.replaceable(ctx, s, desired); err != nil {
		return err
	}
	uses := []string{s.ISO}
	for _, d := range s.Record.Disks {
		uses = append(uses, d.Path)
	}
	site, err := f.c.site(ctx, s.Want, uses)
	if err != nil {
		return err
	}
	if err := f.c.isoIn(ctx, site.dc, s.VM(), s.ISO); err != nil {
		return err
	}
	host, end, err := f.hostFor(ctx, s.Fleet, s.VM(), site)
	if err != nil {
		return err
	}
	err = f.makeVM(ctx, s, desired, site, host)
	end(err)
	return err
}

// makeVM makes the VM on that host.
func (f *Fleet) makeVM(ctx context.Context, s plan.CreateVM, desired plan.Desired, site site, host host) error {
	spec, err := f.spec(ctx, s, site)
	if err != nil {
		return err
	}
	folder, err := f.c.folder(ctx, site.dc, s.Want.Place.Folder)
	if err != nil {
		return err
	}
	pool := host.pool
	if site.pool != nil {
		pool = *site.pool
	}
	if err := f.noteMade(ctx, site.dc, s.Fleet, s.Want.Name, s.Record.Generation, s.Record.Disks...); err != nil {
		return err
	}
	res, err := methods.CreateVM_Task(ctx, f.c.vim, &types.CreateVM_Task{This: folder.Reference(), Config: spec, Pool: pool, Host: &host.ref})
	if err == nil {
		_, err = f.c.await(ctx, res.Returnval, nil, taskTime)
	}
	if isFault[*types.DuplicateName](err) {
		done, xerr := f.exists(ctx, s, desired)
		if done || xerr != nil {
			return xerr
		}
		return fmt.Errorf("a VM of that name is out of sight, or being made by a call whose reply was lost: %w", err)
	}
	return err
}

// replaceable checks that the VM whose place a new one is to take has that place still, and that this run has claimed
// it: a call that was held up past the claim would leave a VM that belongs to nobody's roll (A6).
func (f *Fleet) replaceable(ctx context.Context, s plan.CreateVM, desired plan.Desired) error {
	if s.Record.Replaces == "" {
		return nil
	}
	i := slices.IndexFunc(desired.VMs, func(w plan.WantVM) bool { return w.Ordinal == s.Want.Ordinal })
	if i < 0 {
		return fmt.Errorf("%w: nobody wants a VM with ordinal %d", ErrChanged, s.Want.Ordinal)
	}
	blue, err := f.claimed(ctx, desired.VMs[i].Name, desired)
	if err != nil {
		return err
	}
	if blue.vm.ID != s.Record.Replaces || !blue.vm.Record.Retired.IsZero() {
		return fmt.Errorf("%w: VM %s is not the one that was to be replaced", ErrChanged, blue.vm.Name)
	}
	return nil
}

// exists tells whether the VM was made already: by this claim, or by somebody else, which is a refusal.
func (f *Fleet) exists(ctx context.Context, s plan.CreateVM, desired plan.Desired) (bool, error) {
	list, err := f.rivals(ctx, s, desired)
	if err != nil {
		return false, err
	}
	for _, v := range list {
		r := v.vm.Record
		if v.vm.Fleet == s.Fleet && v.vm.Name == s.VM() && r.Owner == s.Record.Owner && r.Epoch == s.Record.Epoch {
			return true, nil
		}
	}
	if len(list) == 0 {
		return false, nil
	}
	return false, f.inTheWay(s, list[0])
}

// rivals are the VMs that have the name or the place of one that is to be made. A retired one has left its place.
func (f *Fleet) rivals(ctx context.Context, s plan.CreateVM, desired plan.Desired) ([]sighted, error) {
	list, err := f.named(ctx, s.VM(), desired)
	return slices.DeleteFunc(list, func(v sighted) bool {
		return v.vm.Name != s.VM() && v.vm.Fleet == s.Fleet && !v.vm.Record.Retired.IsZero()
	}), err
}

// inTheWay says why a VM cannot be made while another one is there.
func (f *Fleet) inTheWay(s plan.CreateVM, v sighted) error {
	r := v.vm.Record
	switch {
	case v.vm.Fleet != s.Fleet:
		return f.nameTaken(s, "VM "+v.vm.Ref)
	case v.vm.Name != s.VM():
		return f.nameTaken(s, fmt.Sprintf("VM %s, which has ordinal %d of fleet %s,", v.vm.Name, v.vm.Ordinal, s.Fleet))
	case r.Owner != "" && r.Expires.After(f.cfg.Now()):
		return f.otherClaim(v)
	}
	return fmt.Errorf("%w: it exists", ErrChanged)
}

func (f *Fleet) nameTaken(s plan.CreateVM, who string) error {
	return plan.Blocked{VM: s.VM(), Code: plan.R22, Reason: who + " has its name or place already",
		Clear: "rename that VM in the vSphere client, or give the fleet another name pattern"}
}

// spec writes the whole VM.
func (f *Fleet) spec(ctx context.Context, s plan.CreateVM, site site) (types.VirtualMachineConfigSpec, error) {
	w := s.Want
	rec := s.Record
	rec.Disks = slices.Clone(rec.Disks)
	for i := range rec.Disks {
		if err := f.uuidOf(ctx, site.dc, &rec.Disks[i]); err != nil {
			return types.VirtualMachineConfigSpec{}, err
		}
	}
	devices, err := devices(ctx, w, s.ISO, site.nets)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	extra, err := f.extra(s, rec)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	return types.VirtualMachineConfigSpec{
		Name: w.Name, GuestId: cmp.Or(w.GuestID, "other4xLinux64Guest"), Annotation: w.Annotation,
		NumCPUs: int32(w.CPUs), MemoryMB: w.MemoryMiB, Firmware: cmp.Or(w.Firmware, string(types.GuestOsDescriptorFirmwareTypeBios)),
		Files:        &types.VirtualMachineFileInfo{VmPathName: (&object.DatastorePath{Datastore: site.ds.name}).String()},
		BootOptions:  bootOptions(w.SecureBoot),
		DeviceChange: devices, ExtraConfig: extra,
	}, nil
}

// uuidOf completes a disk's record from its file, which must be there.
func (f *Fleet) uuidOf(ctx context.Context, dc *object.Datacenter, d *plan.DiskRecord) error {
	ds, _, err := f.c.onePath(ctx, dc, d.Path)
	if err != nil {
		return err
	}
	file, err := ds.diskFile(ctx, d.Path)
	if err != nil {
		return err
	}
	if file.Path == "" || d.UUID != "" && canonical(d.UUID) != file.UUID {
		return plan.Blocked{Code: plan.R06, Reason: fmt.Sprintf("disk file %s is gone or another one", d.Path), Clear: "find the file in the vSphere client and put it back where it was"}
	}
	d.UUID = file.UUID
	return nil
}

func devices(ctx context.Context, w plan.WantVM, iso string, nets []networkAt) ([]types.BaseVirtualDeviceConfigSpec, error) {
	list := []types.BaseVirtualDeviceConfigSpec{addDevice(pvscsi()), addDevice(ahci()), addDevice(cdrom(cdKey, sataKey, 0, iso))}
	for i, n := range w.Networks {
		backing, err := nets[i].EthernetCardBackingInfo(ctx)
		if err != nil {
			return nil, fmt.Errorf("read network %s: %w", n.Name, err)
		}
		card, ok := nic(i, n.Type, backing)
		if !ok {
			return nil, fmt.Errorf("network %s: unknown card type %q: use vmxnet3, e1000e or e1000", n.Name, n.Type)
		}
		list = append(list, addDevice(card))
	}
	return list, nil
}

// extra writes what the user asked for, and then lkv's own keys, which win.
func (f *Fleet) extra(s plan.CreateVM, rec plan.Record) ([]types.BaseOptionValue, error) {
	raw, err := encodeRecord(rec)
	if err != nil {
		return nil, err
	}
	own, err := json.Marshal(owner{Fleet: s.Fleet, Ordinal: s.Want.Ordinal, ID: f.cfg.OwnerID})
	if err != nil {
		return nil, err
	}
	all := map[string]string{report.HostnameKey: s.Want.Name}
	maps.Copy(all, s.Want.ExtraConfig)
	maps.Copy(all, map[string]string{uuidKey: "TRUE", ownerKey: string(own), recordKey: raw, report.TokenKey: rec.Token})
	var kv []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		kv = append(kv, k, all[k])
	}
	return options(kv...), nil
}

// errNoHost says that nothing can run the VM.
var errNoHost = errors.New("no host can run the VM")
