package vsphere

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Freed says what became of the place of a data disk that was deleted: an empty disk is made there when Left is empty.
type Freed struct {
	Marker string       `json:"marker"` // the folder that was removed; empty: there was none
	Left   []KeptMarker `json:"left"`
}

// KeptMarker is a folder that still says that the disk of a place was made, so that no second one is (R06).
type KeptMarker struct {
	Path string `json:"path"` // "[datastore] lkv-disks/<fleet>/<vm>-<disk>.made"
	Why  string `json:"why"`
}

// FreePlace removes the marker beside a data disk that DeleteDataDisk has deleted, so that an empty one may be made
// there. A person's word that the data is given up is about that one file only: markers of the same place on other
// datastores stay, and so does this one while a VM has the disk of the place elsewhere. A marker with something in it is
// a plan.Blocked, and so is one whose disk's file is there.
func (c *Client) FreePlace(ctx context.Context, datacenter, file string) (Freed, error) {
	out := Freed{Left: []KeptMarker{}}
	dc, err := c.datacenter(ctx, datacenter)
	if err != nil {
		return out, err
	}
	ds, rest, err := c.onePath(ctx, dc, file)
	if err != nil {
		return out, err
	}
	if out.Left, err = c.markersElsewhere(ctx, ds, rest); err != nil {
		return out, err
	}
	marked, err := ds.unused(ctx, file, rest)
	if err != nil || !marked {
		return out, err
	}
	mark := ds.path(marker(rest))
	users, all, err := c.diskUsers(ctx)
	if err == nil && len(all.Unread) > 0 {
		err = errors.New(all.Unread[0])
	}
	if err != nil {
		return out, fmt.Errorf("look whose place it is: %w", err)
	}
	if i := slices.IndexFunc(users, func(u diskUser) bool { return u.at(rest) }); i >= 0 {
		out.Left = append(out.Left, KeptMarker{mark, fmt.Sprintf("VM %s has the disk of this place elsewhere", users[i].name)})
		return out, nil
	}
	if err := ds.unmark(ctx, mark); err != nil {
		return out, err
	}
	out.Marker = mark
	return out, nil
}

// unused tells whether a disk has a marker that nothing lies in. Its file must not be there.
func (d datastore) unused(ctx context.Context, disk, rest string) (bool, error) {
	disks, made, err := d.content(ctx, path.Dir(rest))
	switch {
	case err != nil:
		return false, err
	case !dataDiskFile(disk) || slices.ContainsFunc(disks, func(f file) bool { return f.name == path.Base(rest) }):
		return false, plan.Blocked{Code: plan.R19, Reason: fmt.Sprintf("%s is there, or no data disk of lkv", disk), Clear: "lkv disks delete --path \"" + disk + "\""}
	case !slices.Contains(made, path.Base(rest)):
		return false, nil
	}
	inside, err := d.search(ctx, marker(rest), "*")
	if err == nil && len(inside) > 0 {
		err = plan.Blocked{Code: plan.R19, Reason: fmt.Sprintf("in the marker %s lies %s, which is not of lkv", d.path(marker(rest)), inside[0].name), Clear: "move it elsewhere, and remove the folder, in the vSphere client"}
	}
	return err == nil, err
}

// unmark removes a marker.
func (d datastore) unmark(ctx context.Context, mark string) error {
	ref := d.dc.Reference()
	d.c.gate.permitUnmark(ref, mark)
	res, err := methods.DeleteDatastoreFile_Task(ctx, d.c.vim, &types.DeleteDatastoreFile_Task{
		This: *d.c.vim.ServiceContent.FileManager, Name: mark, Datacenter: &ref,
	})
	if err == nil {
		_, err = d.c.await(ctx, res.Returnval, nil, taskTime)
	}
	if err != nil && !isMissing(err) {
		return fmt.Errorf("remove folder %s: %w", mark, refusal("", err))
	}
	return nil
}

// markersElsewhere lists markers of the same place on every other datastore of the vCenter.
func (c *Client) markersElsewhere(ctx context.Context, own datastore, rest string) ([]KeptMarker, error) {
	out, seen := []KeptMarker{}, map[string]bool{own.volume: true, "": false}
	all, err := c.datacenters(ctx)
	if err != nil {
		return out, err
	}
	for _, dc := range all {
		stores, err := c.datastores(ctx, dc, anyName)
		if err != nil {
			return out, err
		}
		for _, ds := range stores {
			if ds.ref == own.ref || ds.volume != "" && seen[ds.volume] || ds.out != "" {
				continue
			}
			seen[ds.volume] = ds.volume != ""
			_, made, err := ds.content(ctx, path.Dir(rest))
			if err != nil {
				return out, err
			}
			if slices.Contains(made, path.Base(rest)) {
				out = append(out, KeptMarker{ds.path(marker(rest)), "a disk of this place was made or attached on this datastore, too"})
			}
		}
	}
	slices.SortFunc(out, func(a, b KeptMarker) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// at tells whether the VM has or records the disk that counts as made at a path (plan.MadePath), wherever its file lies.
func (u diskUser) at(rest string) bool {
	name, _, _ := strings.Cut(u.name, "-retired-")
	for _, vm := range []string{u.name, name, strings.TrimSuffix(u.name, plan.GreenName(""))} {
		if slices.ContainsFunc(u.record, func(r plan.DiskRecord) bool { return plan.MadePath(u.fleet, vm, u.generation, r) == rest }) {
			return true
		}
	}
	return false
}

// permitUnmark allows the one removal of a marker, "[datastore] lkv-disks/<fleet>/<name>.made". The caller has just seen
// that it is empty, that the disk's file is gone, and that no VM has the disk of that place.
func (g *gate) permitUnmark(dc types.ManagedObjectReference, mark string) {
	g.permitOnce("unmark " + dc.String() + " " + mark)
}

// refuseFileDelete lets through an unfinished upload, a file of an image, and a marker that somebody permitted.
func (g *gate) refuseFileDelete(r *types.DeleteDatastoreFile_Task) string {
	if temporary(r.Name) || g.image(r.Datacenter, r.Name) {
		return ""
	}
	if !markerFolder(r.Name) || r.Datacenter == nil {
		return fmt.Sprintf("%s is no unfinished upload of lkv, no ISO of a store and no marker of a disk", r.Name)
	}
	if !g.use("unmark " + r.Datacenter.String() + " " + r.Name) {
		return fmt.Sprintf("nobody asked for the marker %s to be removed", r.Name)
	}
	if vm := g.seen.within(r.Name); vm != "" {
		return fmt.Sprintf("%s, or a disk in it, is attached to %s", strings.TrimSuffix(r.Name, markerExt), vm)
	}
	return ""
}

// markerFolder tells whether a datastore path is that of a marker.
func markerFolder(p string) bool {
	disk, ok := strings.CutSuffix(p, markerExt)
	return ok && dataDiskFile(disk+".vmdk") && strings.Count(p, "/") == 2 && !strings.HasSuffix(disk, "/")
}

// within names a VM that had the marker's disk, or anything in the marker, attached when it was last read.
func (s *sightings) within(mark string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, v := range s.vms {
		if slices.ContainsFunc(v.disks, func(d plan.Disk) bool { return strings.HasPrefix(d.Path, mark+"/") || marker(d.Path) == mark }) {
			return "VM " + v.name + " (" + ref.Value + ")"
		}
	}
	return ""
}
