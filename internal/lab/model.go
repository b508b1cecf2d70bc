package lab

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// inventory is what was built at start: it never changes afterwards.
type inventory struct {
	datacenters map[string]*datacenter
	hosts       map[types.ManagedObjectReference]string                         // host name
	clusters    map[types.ManagedObjectReference][]types.ManagedObjectReference // hosts of a cluster
	folders     map[string]*object.Folder                                       // by reference of the parent, and name
}

type datacenter struct {
	name     string
	path     string // inventory path without the leading slash
	ref      types.ManagedObjectReference
	hosts    map[string]types.ManagedObjectReference
	stores   map[string]*store
	networks []string
}

// store is one datastore.
type store struct {
	Datastore
	dc  string
	dir string
	ref types.ManagedObjectReference

	mu   sync.Mutex
	free *int64 // set by SetFreeSpace
}

func (s *store) mountedOn(host string) bool { return slices.Contains(s.Hosts, host) }

// modelMu serialises the building of models: the simulator has globals that it writes meanwhile.
// It guards somebody else's state, so it cannot live in a Lab.
var modelMu sync.Mutex

// build makes the inventory with the simulator's own calls, without HTTP and so without the gate.
func (l *Lab) build(ctx context.Context) error {
	modelMu.Lock()
	defer modelMu.Unlock()
	m := simulator.VPX()
	m.Datacenter, m.Portgroup = 0, 0
	if err := m.Create(); err != nil {
		return fmt.Errorf("create model: %w", err)
	}
	l.model = m
	if si, ok := m.Map().Get(vim25.ServiceInstance).(*simulator.ServiceInstance); ok {
		si.Content.About.InstanceUuid = uuid.NewString() // the simulator's is the same everywhere
	}
	l.inv = inventory{datacenters: map[string]*datacenter{}, hosts: map[types.ManagedObjectReference]string{}, clusters: map[types.ManagedObjectReference][]types.ManagedObjectReference{}, folders: map[string]*object.Folder{}}
	c, err := vim25.NewClient(ctx, m.Service)
	if err != nil {
		return fmt.Errorf("create model: %w", err)
	}
	for _, d := range l.cfg.Datacenters {
		if err := l.buildDatacenter(ctx, c, d); err != nil {
			return fmt.Errorf("create datacenter %s: %w", d.Name, err)
		}
	}
	return nil
}

func (l *Lab) buildDatacenter(ctx context.Context, c *vim25.Client, d Datacenter) error {
	folder, err := l.folder(ctx, c, d.Folder)
	if err != nil {
		return err
	}
	dc, err := folder.CreateDatacenter(ctx, d.Name)
	if err != nil {
		return err
	}
	folders, err := dc.Folders(ctx)
	if err != nil {
		return err
	}
	b := &datacenter{name: d.Name, path: strings.TrimPrefix(d.Folder+"/"+d.Name, "/"), ref: dc.Reference(), hosts: map[string]types.ManagedObjectReference{}, stores: map[string]*store{}, networks: []string{defaultNetwork}}
	l.inv.datacenters[d.Name] = b
	for _, cl := range d.Clusters {
		if err := l.buildCluster(ctx, folders, b, cl); err != nil {
			return fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
	}
	for _, n := range d.Networks {
		if err := addNetwork(ctx, c, b, n); err != nil {
			return fmt.Errorf("network %s: %w", n, err)
		}
	}
	for _, s := range d.Datastores {
		if err := l.buildStore(ctx, c, b, s); err != nil {
			return fmt.Errorf("datastore %s: %w", s.Name, err)
		}
	}
	return buildPods(ctx, c, folders.DatastoreFolder, b, d.Datastores)
}

// folder makes inventory folders below the root, as far as they do not exist.
func (l *Lab) folder(ctx context.Context, c *vim25.Client, dir string) (*object.Folder, error) {
	at := object.NewRootFolder(c)
	for _, name := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		key := at.Reference().Value + "/" + name
		if l.inv.folders[key] == nil {
			plain, err := url.PathUnescape(name) // making a folder escapes its name
			if err != nil {
				return nil, fmt.Errorf("folder %s: %w", name, err)
			}
			f, err := at.CreateFolder(ctx, plain)
			if err != nil {
				return nil, fmt.Errorf("folder %s: %w", name, err)
			}
			l.inv.folders[key] = f
		}
		at = l.inv.folders[key]
	}
	return at, nil
}

// buildPods puts datastores into their datastore clusters.
func buildPods(ctx context.Context, c *vim25.Client, folder *object.Folder, b *datacenter, list []Datastore) error {
	pods := map[string]*object.StoragePod{}
	for _, d := range list {
		if d.Pod == "" {
			continue
		}
		pod := pods[d.Pod]
		if pod == nil {
			var err error
			if pod, err = folder.CreateStoragePod(ctx, d.Pod); err != nil {
				return fmt.Errorf("datastore cluster %s: %w", d.Pod, err)
			}
			pods[d.Pod] = pod
		}
		task, err := pod.MoveInto(ctx, []types.ManagedObjectReference{b.stores[d.Name].ref})
		if err == nil {
			err = task.Wait(ctx)
		}
		if err != nil {
			return fmt.Errorf("datastore cluster %s: %w", d.Pod, err)
		}
	}
	return nil
}

func (l *Lab) buildCluster(ctx context.Context, folders *object.DatacenterFolders, b *datacenter, cl Cluster) error {
	cluster, err := folders.HostFolder.CreateCluster(ctx, cl.Name, types.ClusterConfigSpecEx{})
	if err != nil {
		return err
	}
	for n := range cl.Hosts {
		name := HostName(b.name, cl.Name, n+1)
		task, err := cluster.AddHost(ctx, types.HostConnectSpec{HostName: name}, true, nil, nil)
		if err != nil {
			return err
		}
		info, err := task.WaitForResult(ctx)
		if err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
		ref := info.Result.(types.ManagedObjectReference) //nolint:forcetypeassert // AddHost_Task returns a host
		b.hosts[name] = ref
		l.inv.hosts[ref] = name
		l.inv.clusters[cluster.Reference()] = append(l.inv.clusters[cluster.Reference()], ref)
	}
	return nil
}

// addNetwork adds a port group, on any host: the simulator keeps one network object per datacenter and name.
func addNetwork(ctx context.Context, c *vim25.Client, b *datacenter, name string) error {
	if slices.Contains(b.networks, name) {
		return nil
	}
	for _, ref := range b.hosts {
		ns, err := object.NewHostSystem(c, ref).ConfigManager().NetworkSystem(ctx)
		if err != nil {
			return err
		}
		b.networks = append(b.networks, name)
		return ns.AddPortGroup(ctx, types.HostPortGroupSpec{Name: name, VswitchName: "vSwitch0"})
	}
	return nil
}

func (l *Lab) buildStore(ctx context.Context, c *vim25.Client, b *datacenter, d Datastore) error {
	s := &store{Datastore: d, dc: b.name, dir: l.DatastoreDir(b.name, d.Name)}
	if d.Same != "" {
		s.dir = l.DatastoreDir(path.Split(d.Same))
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	for _, h := range d.Hosts {
		dss, err := object.NewHostSystem(c, b.hosts[h]).ConfigManager().DatastoreSystem(ctx)
		if err != nil {
			return err
		}
		ds, err := dss.CreateLocalDatastore(ctx, d.Name, s.dir)
		if err != nil {
			return err
		}
		if ref := ds.Reference(); ref.Value != "" { // empty for the second and further hosts
			s.ref = ref
		}
	}
	b.stores[d.Name] = s
	kind := "VMFS"
	if d.NFS {
		kind = "NFS"
	}
	if d.VSAN {
		kind = "vsan"
	}
	l.update(s.ref, types.PropertyChange{Name: "summary.type", Val: kind},
		types.PropertyChange{Name: "summary.multipleHostAccess", Val: len(d.Hosts) > 1})
	if ds, ok := l.model.Map().Get(s.ref).(*simulator.Datastore); ok {
		l.context().WithLock(ds, func() { ds.Capability.TopLevelDirectoryCreateSupported = types.NewBool(!d.VSAN) })
	}
	return l.refresh(s)
}

// storeAt finds a datastore by its datacenter's inventory path and its name; nil when there is none.
func (l *Lab) storeAt(dcPath, name string) *store {
	for _, d := range l.inv.datacenters {
		if d.path == strings.TrimPrefix(dcPath, "/") {
			return d.stores[name]
		}
	}
	return nil
}

// store finds a datastore by datacenter and name; nil when there is none.
func (l *Lab) store(dc, name string) *store {
	if d := l.inv.datacenters[dc]; d != nil {
		return d.stores[name]
	}
	return nil
}

// context is a fresh lock owner: the simulator's locks are re-entrant per context.
func (l *Lab) context() *simulator.Context {
	c := *l.model.Service.Context
	c.Context = context.Background()
	return &c
}

// update changes properties of an object under its lock, so that waiting clients see them.
func (l *Lab) update(ref types.ManagedObjectReference, changes ...types.PropertyChange) {
	ctx := l.context()
	obj := ctx.Map.Get(ref)
	if obj == nil {
		return // it was destroyed meanwhile
	}
	ctx.WithLock(obj, func() { ctx.Update(obj, changes) })
}
