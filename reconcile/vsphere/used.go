package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// UsedFiles returns the files below the store's folder that a VM names, by path relative to the folder, each with
// one such VM. It looks at every VM and template of every datacenter that mounts the datastore, whatever their power
// state: at CD-ROM backings, those of snapshots too, and at the files that vCenter lists for the VM. Datastores are
// told apart by what they are, not by name. When anything cannot be read, it is an error and not a shorter list.
func (s *folder) UsedFiles(ctx context.Context) (map[string]string, error) {
	used, err := s.usedFiles(ctx)
	if err != nil {
		return nil, judged(fmt.Errorf("read which ISOs of %s VMs use: %w", strings.TrimSpace(s.Path("")), err))
	}
	return used, nil
}

func (s *folder) usedFiles(ctx context.Context) (map[string]string, error) {
	all, err := s.ds.c.datacenters(ctx)
	if err != nil {
		return nil, err
	}
	used, found := map[string]string{}, false
	for _, dc := range all {
		m, err := s.mounts(ctx, dc)
		if err != nil {
			return nil, err
		}
		if len(m.names) == 0 {
			continue
		}
		found = true
		if err := s.usedIn(ctx, dc, m, used); err != nil {
			return nil, fmt.Errorf("datacenter %s: %w", dc.InventoryPath, err)
		}
	}
	if !found {
		return nil, fmt.Errorf("no datacenter shows datastore %s any more", s.ds.name)
	}
	return used, nil
}

// mounted is how one datacenter knows the store's datastore: names are unique within a datacenter.
type mounted struct {
	names map[string]bool
	refs  map[types.ManagedObjectReference]bool
	vms   []types.ManagedObjectReference // that vCenter says use it
}

func (s *folder) mounts(ctx context.Context, dc *object.Datacenter) (mounted, error) {
	m := mounted{map[string]bool{}, map[types.ManagedObjectReference]bool{}, nil}
	list, err := s.ds.c.under(ctx, dc.Reference(), "Datastore", []string{"name", "summary.url", "vm"})
	if err != nil {
		return m, err
	}
	for _, o := range list {
		if url := text(o, "summary.url"); o.ref != s.ds.ref && (url == "" || url != s.ds.volume) {
			continue
		}
		m.names[text(o, "name")], m.refs[o.ref] = true, true
		vms, _ := get[[]types.ManagedObjectReference](o, "vm")
		m.vms = append(m.vms, vms...)
	}
	return m, nil
}

func (s *folder) usedIn(ctx context.Context, dc *object.Datacenter, m mounted, used map[string]string) error {
	vms, err := s.ds.c.under(ctx, dc.Reference(), "VirtualMachine", []string{"name", "config.hardware.device", "layoutEx", "snapshot"})
	if err != nil {
		return err
	}
	seen := map[types.ManagedObjectReference]bool{}
	for _, vm := range vms {
		seen[vm.ref] = true
		name := text(vm, "name")
		if err := s.note(vm, name, m, used); err != nil {
			return err
		}
		layout, _ := get[types.VirtualMachineFileLayoutEx](vm, "layoutEx")
		for _, f := range layout.File {
			s.noteFile(f.Name, nil, name, m, used)
		}
		info, _ := get[types.VirtualMachineSnapshotInfo](vm, "snapshot")
		for _, ref := range snapshots(info.RootSnapshotList) {
			snap, err := s.ds.c.retrieve(ctx, want{ref, []string{"config.hardware.device"}})
			if err != nil {
				return fmt.Errorf("snapshot of VM %s: %w", name, err)
			}
			if err := s.note(snap[0], name+" (snapshot)", m, used); err != nil {
				return err
			}
		}
	}
	for _, ref := range m.vms {
		if !seen[ref] {
			return fmt.Errorf("VM %s uses the datastore and is not shown to this user (R20), or just went away", ref.Value)
		}
	}
	return nil
}

func snapshots(list []types.VirtualMachineSnapshotTree) []types.ManagedObjectReference {
	var refs []types.ManagedObjectReference
	for _, t := range list {
		refs = append(append(refs, t.Snapshot), snapshots(t.ChildSnapshotList)...)
	}
	return refs
}

// note adds what the CD-ROM drives of a configuration name.
func (s *folder) note(o item, vm string, m mounted, used map[string]string) error {
	devices, ok := get[[]types.BaseVirtualDevice](o, "config.hardware.device")
	if !ok {
		return fmt.Errorf("the configuration of VM %s cannot be read now (is it inaccessible or orphaned?)", vm)
	}
	for _, d := range devices {
		if _, cd := d.(*types.VirtualCdrom); !cd {
			continue
		}
		if b, ok := d.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			f := b.GetVirtualDeviceFileBackingInfo()
			s.noteFile(f.FileName, f.Datastore, vm, m, used)
		}
	}
	return nil
}

// noteFile adds a file when it lies on the datastore and below the store's folder.
func (s *folder) noteFile(name string, ref *types.ManagedObjectReference, vm string, m mounted, used map[string]string) {
	var p object.DatastorePath
	if !p.FromString(name) || !m.names[p.Datastore] && (ref == nil || !m.refs[*ref]) {
		return
	}
	for _, root := range []string{s.in(""), s.root} { // a namespace has two names
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(p.Path, "/"), root+"/"); ok {
			if _, known := used[rest]; !known {
				used[rest] = vm
			}
		}
	}
}
