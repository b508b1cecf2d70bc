package vsphere

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// look reads everything a plan rests on: the fleet's VMs, VMs that have a wanted name, data disk files, and whoever
// else holds one of the fleet's disks. It takes a call for the cheap pass over everything, one for the VMs of the fleet,
// and one for each page of others' VMs that were not seen before; listing files takes some for each datastore.
func (f *Fleet) look(ctx context.Context, desired plan.Desired) (sight, error) {
	return f.lookFor(ctx, desired, f.cfg.AllFiles)
}

// lookFor looks again when a VM or task goes away between two reads, which makes the second one fail.
func (f *Fleet) lookFor(ctx context.Context, desired plan.Desired, allFiles bool) (s sight, err error) {
	for range 3 {
		if s, err = f.lookOnce(ctx, desired, allFiles); !isFault[*types.ManagedObjectNotFound](err) {
			break
		}
	}
	return s, err
}

func (f *Fleet) lookOnce(ctx context.Context, desired plan.Desired, allFiles bool) (sight, error) {
	all, places, err := f.survey(ctx)
	if err != nil {
		return sight{}, err
	}
	if err := f.vanished(all, desired); err != nil {
		return sight{}, err
	}
	stores, hidden, err := f.diskStores(ctx, places, f.here(desired))
	if err != nil {
		return sight{}, err
	}
	var ours []brief
	for _, b := range all {
		if f.mine(b, desired.Fleet) || wanted(desired, b.name) {
			ours = append(ours, b)
		}
	}
	f.locate(places, ours)
	s := sight{hidden: hidden}
	if s.vms, err = f.closely(ctx, ours); err != nil {
		return sight{}, err
	}
	f.remember(desired.Fleet, s.vms)
	strangers, err := f.strangers(ctx, all, stores, s.vms)
	if err != nil {
		return sight{}, err
	}
	f.forget(all)
	if allFiles || !settled(f.here(desired), s.vms) {
		s.files, s.marked, err = f.files(ctx, desired.Fleet, stores, s.vms, allFiles)
	} else {
		s.files = attachedFiles(desired.Fleet, s.vms)
	}
	if err != nil {
		return sight{}, err
	}
	s.made = merged(s.marked, madeBy(desired, s.vms))
	s.vms = append(s.vms, holders(s, all, strangers)...)
	return s, nil
}

func wanted(desired plan.Desired, name string) bool {
	return slices.ContainsFunc(desired.VMs, func(w plan.WantVM) bool { return w.Name == name })
}

func (f *Fleet) remember(fleet string, vms []sighted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range vms {
		if v.vm.Fleet == fleet {
			f.known[fleet+"/"+v.vm.Name] = v.ref
		}
	}
}

// vanished refuses a look in which a VM that was ours, or may be, shows no configuration: its record, and so its disks,
// are unknown. A VM that is not listed at all was taken out by somebody.
func (f *Fleet) vanished(all []brief, desired plan.Desired) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range all {
		if text(b.item, "config.changeVersion") != "" {
			continue
		}
		for _, ref := range f.known {
			if ref == b.ref {
				return fmt.Errorf("VM %s of fleet %s shows no configuration: it is inaccessible", b.name, desired.Fleet)
			}
		}
		if w := pathNamed(desired, b.name); w != "" {
			return fmt.Errorf("VM %q shows no configuration and may be %s: bring its storage back, or take it out of the inventory if it is gone for good", plain(b.name), w)
		}
	}
	return nil
}

// copied is what vSphere adds to the name of a VM's folder and files when the name is taken.
var copied = regexp.MustCompile(`_[0-9]+$`)

// pathNamed returns the wanted VM that an inaccessible VM may be: a host that lost its storage shows it under the path
// of its .vmx file, and neither its name nor its owner.
func pathNamed(desired plan.Desired, name string) string {
	_, rest, _ := strings.Cut(plain(name), "] ")
	file, ok := strings.CutSuffix(path.Base(cmp.Or(rest, plain(name))), ".vmx")
	if !ok {
		return ""
	}
	for _, w := range desired.VMs {
		if file == w.Name || copied.ReplaceAllString(file, "") == w.Name {
			return w.Name
		}
	}
	return ""
}

// diskStores returns the datastores that may hold the fleet's data disks: those the fleet names, and every other one
// of the same datacenters, because a disk stays where it was made when the fleet names another datastore later. One
// that the fleet names and that cannot be read is an error: what lies there is unknown, not gone. Any other that cannot
// be read is hidden: it stops nothing but the making of disks.
func (f *Fleet) diskStores(ctx context.Context, at places, desired plan.Desired) ([]datastore, []plan.Hidden, error) {
	var stores []datastore
	var hidden []plan.Hidden
	seen := map[[2]string]bool{}
	add := func(dcName, name string, strict bool) error {
		if seen[[2]string{dcName, name}] {
			return nil
		}
		seen[[2]string{dcName, name}] = true
		list, err := at.datastores(ctx, f.c, dcName, name)
		if err != nil {
			return err
		}
		for _, ds := range list {
			if ds.out != "" && strict {
				return fmt.Errorf("datastore %s is %s", ds.name, ds.out)
			}
			if ds.out != "" {
				hidden = append(hidden, plan.Hidden{Datacenter: dcName, Datastore: ds.name, Why: ds.out})
			}
			if ds.out == "" && !slices.ContainsFunc(stores, func(o datastore) bool { return o.ref == ds.ref }) {
				ds.named = strict
				stores = append(stores, ds)
			}
		}
		return nil
	}
	for _, strict := range []bool{true, false} {
		for _, w := range desired.VMs {
			for _, d := range w.Disks {
				name := orElse(d.Datastore, w.Place.Datastore)
				if !strict {
					name = anyName
				}
				if err := add(w.Place.Datacenter, name, strict); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	if f.cfg.VCenter != "" && len(desired.VMs) == 0 { // nothing is placed in this one of several vCenters, and any disk may lie here
		for _, dc := range at.all {
			if err := add(dc.InventoryPath, anyName, false); err != nil {
				return nil, nil, err
			}
		}
		for i := range hidden {
			hidden[i].VCenter = f.cfg.VCenter
		}
	}
	return stores, hidden, nil
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// strangers returns what VMs that are not ours have attached, as far as they use a datastore of ours. Devices are
// expensive to read, so they are read again only when the VM's configuration changed.
func (f *Fleet) strangers(ctx context.Context, all []brief, stores []datastore, vms []sighted) (map[types.ManagedObjectReference][]plan.Disk, error) {
	near, skip := map[types.ManagedObjectReference]bool{}, map[types.ManagedObjectReference]bool{}
	for _, ds := range stores {
		near[ds.ref] = true
	}
	for _, v := range vms {
		skip[v.ref] = true
		for _, ref := range diskDatastores(v.devices) {
			near[ref] = true
		}
	}
	out := map[types.ManagedObjectReference][]plan.Disk{}
	var wants []want
	f.mu.Lock()
	for _, b := range all {
		uses, _ := get[[]types.ManagedObjectReference](b.item, "datastore")
		if skip[b.ref] || !slices.ContainsFunc(uses, func(r types.ManagedObjectReference) bool { return near[r] }) {
			continue
		}
		h, ok := f.seen.strange[b.ref]
		if ok && h.version == text(b.item, "config.changeVersion") && h.version != "" {
			out[b.ref] = h.disks
			continue
		}
		wants = append(wants, want{b.ref, []string{"config.changeVersion", "config.hardware.device"}})
	}
	f.mu.Unlock()
	if err := f.meet(ctx, wants, out); err != nil {
		return nil, fmt.Errorf("read who else uses the datastores: %w", err)
	}
	return out, nil
}

// meet reads what strangers have attached, into out. Nothing but the disks is kept, page by page: the devices of ten
// thousand VMs are too much to have at once. Whoever was met stays met when a later page fails.
func (f *Fleet) meet(ctx context.Context, wants []want, out map[types.ManagedObjectReference][]plan.Disk) error {
	if len(wants) == 0 {
		return nil
	}
	err := f.c.pages(ctx, filters(wants), func(o item) error {
		devices, _ := get[[]types.BaseVirtualDevice](o, "config.hardware.device")
		h := held{text(o, "config.changeVersion"), disksOf(devices)}
		out[o.ref] = h.disks
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen.strange[o.ref] = h
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range wants {
		if _, ok := out[w.ref]; !ok {
			return fmt.Errorf("vCenter did not show %s", w.ref.Value)
		}
	}
	return nil
}

func diskDatastores(devices []types.BaseVirtualDevice) []types.ManagedObjectReference {
	var refs []types.ManagedObjectReference
	for _, d := range devices {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok && b.GetVirtualDeviceFileBackingInfo().Datastore != nil {
			refs = append(refs, *b.GetVirtualDeviceFileBackingInfo().Datastore)
		}
	}
	return refs
}

// holders returns the strangers that have one of the fleet's disks attached, so that the planner sees it on two VMs.
func holders(s sight, all []brief, strangers map[types.ManagedObjectReference][]plan.Disk) []sighted {
	ours := map[string]bool{}
	for _, v := range s.vms {
		if v.vm.Fleet == "" {
			continue
		}
		for _, d := range v.vm.Disks {
			ours[d.UUID] = true
		}
		for _, d := range slices.Concat(v.vm.Record.Disks, v.vm.Record.Takes) {
			ours[canonical(d.UUID)] = true
		}
	}
	for _, file := range s.files {
		ours[file.UUID] = true
	}
	delete(ours, "")
	var out []sighted
	for _, b := range all {
		disks := strangers[b.ref]
		if slices.ContainsFunc(disks, func(d plan.Disk) bool { return ours[d.UUID] }) {
			out = append(out, sighted{ref: b.ref, vm: plan.VM{
				Name: b.name, Ref: b.ref.Value, ChangeVersion: text(b.item, "config.changeVersion"), Disks: disks,
			}})
		}
	}
	return out
}
