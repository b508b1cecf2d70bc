package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vim25/types"
)

// LibraryConfig names a content library as a place for ISOs.
type LibraryConfig struct {
	Name       string // of the store block
	Datacenter string // whose name of the library's datastore is used in paths; empty: the one that owns it
	Library    string // name of the content library; case counts
}

// Library is a content library as a store: an item for each image, a file in it for each ISO. It has the methods
// package push asks of a store. "worker/0123.iso" is the file 0123.iso of the item worker. An upload under way is an
// update session of the item, and nothing of it is in the item before Move completes the session; vCenter lets an
// item have one such session at a time. Files are read from the datastore, where VMs read them. Errors are
// *StoreError. Not supported: libraries whose storage is no datastore.
type Library struct {
	c     *Client
	api   *libraryAPI
	name  string
	lib   library.Library
	files *folder // the library's folder on its datastore; only read

	mu      sync.Mutex
	paths   map[string]string  // datastore paths of files that were looked at
	updates map[string]*update // update sessions by the temporary name of their file
	begun   int                // update sessions so far
}

// Library finds a content library. A subscribed one can only be read from.
func (c *Client) Library(ctx context.Context, cfg LibraryConfig) (*Library, error) {
	l := &Library{c: c, name: cfg.Name, paths: map[string]string{}, updates: map[string]*update{}}
	if !c.vcenter() {
		return nil, fmt.Errorf("store %s: a host by itself has no content library: use a datastore", cfg.Name)
	}
	l.api = c.libraries()
	err := again(ctx, func() (err error) { l.lib, err = l.api.named(ctx, cfg.Library); return err })
	if err == nil {
		err = again(ctx, func() error { return l.locate(ctx, cfg.Datacenter) })
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Name, err)
	}
	l.api.gate.ownLibrary(l.lib.ID, l.refused() == nil)
	return l, nil
}

// named returns the one library of that name.
func (a *libraryAPI) named(ctx context.Context, name string) (library.Library, error) {
	ids, err := a.ListLibraries(ctx)
	if err != nil {
		return library.Library{}, fmt.Errorf("list content libraries: %w", err)
	}
	var found []library.Library
	var others []string
	for _, id := range ids {
		lib, err := a.GetLibraryByID(ctx, id)
		if err != nil {
			return library.Library{}, fmt.Errorf("read content library %s: %w", id, err)
		}
		others = append(others, lib.Name)
		if lib.Name == name {
			found = append(found, *lib)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return library.Library{}, fmt.Errorf("there are %d content libraries named %q: give them different names", len(found), name)
	case len(ids) == 0:
		return library.Library{}, fmt.Errorf("content library %q not found: this user sees none (R20)", name)
	}
	return library.Library{}, fmt.Errorf("content library %q not found; there is: %s", name, sorted(others))
}

// locate finds the datastore of the library, as the datacenter knows it.
func (l *Library) locate(ctx context.Context, datacenter string) error {
	i := slices.IndexFunc(l.lib.Storage, func(s library.StorageBacking) bool { return s.DatastoreID != "" })
	if i < 0 {
		return fmt.Errorf("content library %s does not lie on a datastore, so VMs cannot boot from it: use another", l.lib.Name)
	}
	ref := types.ManagedObjectReference{Type: "Datastore", Value: l.lib.Storage[i].DatastoreID}
	own, err := l.c.retrieve(ctx, want{ref, []string{"name", "summary.url"}})
	if err != nil {
		return fmt.Errorf("read the datastore of content library %s: %w", l.lib.Name, err)
	}
	dc, local, err := l.within(ctx, datacenter, own[0])
	if err != nil {
		return err
	}
	list, err := usable(l.c.describe(ctx, dc, []types.ManagedObjectReference{local}))
	if err != nil {
		return fmt.Errorf("content library %s: %w", l.lib.Name, err)
	}
	l.files = &folder{ds: list[0], root: "contentlib-" + l.lib.ID, via: route{mode: ViaVCenter}}
	if l.files.ds.flat {
		if l.files.top, err = l.files.ds.topName(ctx, l.files.root); err != nil {
			return fmt.Errorf("content library %s: %w", l.lib.Name, err)
		}
	}
	return nil
}

// within returns the datacenter, and what the library's datastore is there: one storage has an object of its own in
// each datacenter that mounts it.
func (l *Library) within(ctx context.Context, name string, own item) (*object.Datacenter, types.ManagedObjectReference, error) {
	all, err := l.c.datacenters(ctx)
	if err == nil && name != "" {
		var dc *object.Datacenter
		dc, err = l.c.datacenter(ctx, name)
		all = []*object.Datacenter{dc}
	}
	if err != nil {
		return nil, own.ref, err
	}
	volume := text(own, "summary.url")
	for _, dc := range all {
		list, err := l.c.under(ctx, dc.Reference(), "Datastore", []string{"name", "summary.url"})
		if err != nil {
			return nil, own.ref, err
		}
		for _, o := range list {
			if o.ref == own.ref || name != "" && volume != "" && text(o, "summary.url") == volume {
				return dc, o.ref, nil
			}
		}
	}
	return nil, own.ref, fmt.Errorf("content library %s lies on datastore %s, which datacenter %s does not mount: use a library that lies there, for example one that subscribes to this one",
		l.lib.Name, text(own, "name"), cmp.Or(name, "of this user"))
}

// Reaches checks that VMs of a datacenter find the library's files under the paths that Path returns: the datacenter
// mounts the same datastore, by the same name.
func (l *Library) Reaches(ctx context.Context, datacenter string) error {
	return again(ctx, func() error {
		own := item{ref: l.files.ds.ref, props: map[string]types.AnyType{"name": l.files.ds.name, "summary.url": l.files.ds.volume}}
		dc, ref, err := l.within(ctx, datacenter, own)
		if err != nil {
			return fmt.Errorf("store %s: %w", l.name, err)
		}
		there, err := l.c.retrieve(ctx, want{ref, []string{"name"}})
		if err != nil {
			return fmt.Errorf("store %s: %w", l.name, err)
		}
		if got := text(there[0], "name"); got != l.files.ds.name {
			return fmt.Errorf("store %s: datastore %s is called %s in datacenter %s: write a store block with library = %q for each datacenter", l.name, l.files.ds.name, got, dc.InventoryPath, l.lib.Name)
		}
		return nil
	})
}

// refused says why nothing can be written to the library; nil: it can.
func (l *Library) refused() error {
	if l.lib.Type != "SUBSCRIBED" && l.lib.Subscription == nil {
		return nil
	}
	from := "another library"
	if s := l.lib.Subscription; s != nil && s.SubscriptionURL != "" {
		from = hidden(s.SubscriptionURL)
	}
	return judged(fmt.Errorf("content library %s is subscribed to %s and takes only what that one publishes: push to the publishing library, and let this one synchronise", l.lib.Name, from))
}

// Keeps says why no ISO of the library may be removed from here; empty: one may.
func (l *Library) Keeps() string {
	switch p := l.lib.Publication; {
	case l.refused() != nil:
		return "the library is subscribed: the one that publishes it decides"
	case p != nil && p.Published != nil && *p.Published:
		return "the library is published: nobody knows which VMs of its subscribers boot from it"
	}
	return ""
}

// Name returns the store's name in lkv.hcl.
func (l *Library) Name() string { return l.name }

// Path returns the datastore path of a file that Stat or List has found, "[ds] contentlib-…/…/0123_….iso". vCenter
// chooses it; of any other file it is the library's name for it.
func (l *Library) Path(p string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if real := l.paths[p]; real != "" {
		return real
	}
	return "library " + l.lib.Name + "/" + strings.TrimPrefix(p, "/")
}

// Free returns the free bytes of the library's datastore.
func (l *Library) Free(ctx context.Context) (int64, error) { return l.files.Free(ctx) }

// SealsTemporary says that what has a temporary name cannot be read back; see push.Sealed. vCenter is told size and
// SHA-256 of every file and compares them.
func (l *Library) SealsTemporary() bool { return true }

var errSealed = errors.New("an upload to a content library cannot be read before it is complete")
