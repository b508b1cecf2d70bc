package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// datastore is one datastore of one datacenter.
type datastore struct {
	c       *Client
	dc      *object.Datacenter
	ref     types.ManagedObjectReference
	name    string
	free    int64
	room    int64 // free without what thin disks may still come to take
	browser types.ManagedObjectReference
	volume  string                         // URL, the same for every datastore object of one storage
	hosts   []types.ManagedObjectReference // that mount it, accessible and writable
	live    []types.ManagedObjectReference // those of them that are connected and not in maintenance; only in a Store
	out     string                         // why nothing can be put there; empty when all is well
	named   bool                           // the fleet names it
	flat    bool                           // no folders at the root, as on vSAN
}

// usable leaves out datastores that nothing can be put on. When none is left it says why.
func usable(list []datastore, err error) ([]datastore, error) {
	if err != nil {
		return nil, err
	}
	var good []datastore
	var why []string
	for _, d := range list {
		if d.out == "" {
			good = append(good, d)
		} else {
			why = append(why, d.name+" is "+d.out)
		}
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("no datastore to use: %s", strings.Join(why, ", "))
	}
	return good, nil
}

// describe reads datastores, most free space first.
func (c *Client) describe(ctx context.Context, dc *object.Datacenter, refs []types.ManagedObjectReference) ([]datastore, error) {
	var wants []want
	for _, ref := range refs {
		wants = append(wants, want{ref, append([]string{"host"}, storeProps...)})
	}
	objects, err := c.retrieve(ctx, wants...)
	if err != nil {
		return nil, fmt.Errorf("read datastores: %w", err)
	}
	return c.described(dc, objects), nil
}

// storeProps is what described needs, but for the hosts: there are many of them, and few calls ask who mounts what.
var storeProps = []string{"name", "summary", "browser", "capability"}

func (c *Client) described(dc *object.Datacenter, objects []item) []datastore {
	var list []datastore
	for _, o := range objects {
		sum, _ := get[types.DatastoreSummary](o, "summary")
		d := datastore{c: c, dc: dc, ref: o.ref, name: text(o, "name"), free: sum.FreeSpace, room: sum.FreeSpace - sum.Uncommitted, volume: sum.Url}
		switch {
		case !sum.Accessible:
			d.out = "not accessible"
		case sum.MaintenanceMode != "" && sum.MaintenanceMode != string(types.DatastoreSummaryMaintenanceModeStateNormal):
			d.out = "in maintenance mode"
		}
		d.browser, _ = get[types.ManagedObjectReference](o, "browser")
		mounts, _ := get[[]types.DatastoreHostMount](o, "host")
		for _, m := range mounts {
			if (m.MountInfo.Accessible == nil || *m.MountInfo.Accessible) && m.MountInfo.AccessMode != string(types.HostMountModeReadOnly) {
				d.hosts = append(d.hosts, m.Key)
			}
		}
		capability, _ := get[types.DatastoreCapability](o, "capability")
		d.flat = capability.TopLevelDirectoryCreateSupported != nil && !*capability.TopLevelDirectoryCreateSupported
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b datastore) int { return cmp.Or(cmp.Compare(b.free, a.free), strings.Compare(a.name, b.name)) })
	return list
}

// onePath finds the datastore that a datastore path like "[ds] a/b.iso" names, and the rest of the path.
func (c *Client) onePath(ctx context.Context, dc *object.Datacenter, p string) (datastore, string, error) {
	var dp object.DatastorePath
	if !dp.FromString(p) {
		return datastore{}, "", fmt.Errorf("%q is no datastore path: want \"[datastore] folder/file\"", p)
	}
	list, err := usable(c.datastores(ctx, dc, dp.Datastore))
	if err != nil {
		return datastore{}, "", err
	}
	i := slices.IndexFunc(list, func(d datastore) bool { return d.name == dp.Datastore })
	if i < 0 {
		return datastore{}, "", fmt.Errorf("datastore %q not found in %s", dp.Datastore, dc.InventoryPath)
	}
	return list[i], dp.Path, nil
}

// path writes a path on the datastore the way vCenter does.
func (d datastore) path(p string) string {
	return (&object.DatastorePath{Datastore: d.name, Path: p}).String()
}

// file is one file as the datastore browser shows it.
type file struct {
	name     string
	friendly string // what people call it, where that is something else
	size     int64  // what it takes on the datastore
	capacity int64  // of a disk, bytes; 0 when the browser does not say
	changed  time.Time
	dir      bool
}

// Name and the rest make file an fs.FileInfo.
func (f file) Name() string       { return f.name }
func (f file) Size() int64        { return f.size }
func (f file) ModTime() time.Time { return f.changed }
func (f file) IsDir() bool        { return f.dir }
func (f file) Sys() any           { return nil }
func (f file) Mode() fs.FileMode {
	if f.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// search lists a folder of the datastore. A folder that is certainly not there is fs.ErrNotExist.
func (d datastore) search(ctx context.Context, dir, pattern string, query ...types.BaseFileQuery) ([]file, error) {
	res, err := methods.SearchDatastore_Task(ctx, d.c.vim, &types.SearchDatastore_Task{
		This: d.browser, DatastorePath: d.path(dir),
		SearchSpec: &types.HostDatastoreBrowserSearchSpec{
			Query:        query,
			Details:      &types.FileQueryFlags{FileType: true, FileSize: true, Modification: true, FileOwner: false},
			MatchPattern: []string{pattern},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path(dir), err)
	}
	info, err := d.c.await(ctx, res.Returnval, nil, taskTime)
	if isMissing(err) {
		return nil, fmt.Errorf("list %s: %w", d.path(dir), fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path(dir), err)
	}
	found, ok := info.Result.(types.HostDatastoreBrowserSearchResults)
	if !ok {
		return nil, fmt.Errorf("list %s: vCenter answered with a %T", d.path(dir), info.Result)
	}
	var list []file
	for _, f := range found.File {
		in := f.GetFileInfo()
		one := file{name: in.Path, friendly: in.FriendlyName, size: in.FileSize}
		if in.Modification != nil {
			one.changed = *in.Modification
		}
		switch x := f.(type) {
		case *types.VmDiskFileInfo:
			one.capacity = x.CapacityKb << 10
		case *types.FolderFileInfo:
			one.dir = true
		}
		list = append(list, one)
	}
	return list, nil
}

// stat looks at one file. The whole folder is listed, because patterns have no way to quote a name.
func (d datastore) stat(ctx context.Context, p string) (file, error) {
	list, err := d.search(ctx, path.Dir(p), "*")
	if err != nil {
		return file{}, err
	}
	for _, f := range list {
		if f.name == path.Base(p) && !f.dir {
			return f, nil
		}
	}
	return file{}, fmt.Errorf("%s: %w", d.path(p), fs.ErrNotExist)
}

// mkdir makes a folder with its parents; one that exists is fine.
func (d datastore) mkdir(ctx context.Context, dir string) error {
	dir = path.Clean(dir)
	if dir == "." {
		return nil
	}
	if top, _, _ := strings.Cut(dir, "/"); d.flat {
		if _, err := d.namespace(ctx, top); err != nil {
			return err
		}
		if top == dir {
			return nil
		}
	}
	dc := d.dc.Reference()
	_, err := methods.MakeDirectory(ctx, d.c.vim, &types.MakeDirectory{
		This: *d.c.vim.ServiceContent.FileManager, Name: d.path(dir), Datacenter: &dc, CreateParentDirectories: types.NewBool(true),
	})
	if err != nil && !isFault[*types.FileAlreadyExists](err) {
		return fmt.Errorf("make folder %s: %w", d.path(dir), err)
	}
	return nil
}

// topName returns the name on the datastore of a top folder that people call top. On vSAN and vVol the two differ:
// people see "lkv", and the folder is a namespace object whose name is its UUID.
func (d datastore) topName(ctx context.Context, top string) (string, error) {
	list, err := d.search(ctx, "", "*")
	if err != nil {
		return "", err
	}
	for _, f := range list {
		if f.dir && (f.friendly == top || f.name == top) {
			return f.name, nil
		}
	}
	return "", fmt.Errorf("%s: %w", d.path(top), fs.ErrNotExist)
}

// namespace makes a top folder on a datastore that has no plain ones (vSAN, vVol), unless it exists. It returns the
// folder's name on the datastore.
func (d datastore) namespace(ctx context.Context, top string) (string, error) {
	name, err := d.topName(ctx, top)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return name, err
	}
	ns := object.NewDatastoreNamespaceManager(d.c.vim)
	made, err := ns.CreateDirectory(ctx, object.NewDatastore(d.c.vim, d.ref), top, "")
	if isFault[*types.FileAlreadyExists](err) { // somebody else made it just now
		return d.topName(ctx, top)
	}
	if err != nil {
		return "", fmt.Errorf("make top folder %s: %w", d.path(top), err)
	}
	return path.Base(made), nil // "/vmfs/volumes/vsan:…/<uuid>"
}

// reachable says of datastores that no host which works has mounted that nothing can be put there: vCenter hands
// every upload on to a host. A host without vCenter takes uploads in maintenance, too.
func (c *Client) reachable(ctx context.Context, list []datastore) ([]datastore, error) {
	if !c.vcenter() {
		return list, nil
	}
	for i := range list {
		d := &list[i]
		if d.out != "" {
			continue
		}
		d.out = "mounted on no host that can write to it"
		if len(d.hosts) == 0 {
			continue
		}
		var wants []want
		for _, h := range d.hosts {
			wants = append(wants, want{h, []string{"name", "runtime.connectionState", "runtime.inMaintenanceMode"}})
		}
		hosts, err := c.retrieve(ctx, wants...)
		if err != nil {
			return nil, fmt.Errorf("read the hosts of datastore %s: %w", d.name, err)
		}
		var why []string
		for _, h := range hosts {
			state, _ := get[types.HostSystemConnectionState](h, "runtime.connectionState")
			resting, _ := get[bool](h, "runtime.inMaintenanceMode")
			switch {
			case state != types.HostSystemConnectionStateConnected:
				why = append(why, text(h, "name")+" is "+string(state))
			case resting:
				why = append(why, text(h, "name")+" is in maintenance mode")
			default:
				d.live = append(d.live, h.ref)
			}
		}
		d.out = ""
		if len(d.live) == 0 {
			d.out = "mounted on no host that is connected and outside maintenance (" + sorted(why) + ")"
		}
	}
	return list, nil
}
