package vsphere

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// What lkv doctor asks. All of it reads, and nothing of it is part of a run.

// API returns the version of the vSphere API, for example "8.0.3.0".
func (c *Client) API() string { return c.vim.ServiceContent.About.ApiVersion }

// VCenter tells whether this is a vCenter, and not a host by itself, on which there are only stores.
func (c *Client) VCenter() bool { return c.vcenter() }

// Time returns what the server's clock says.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	t, err := methods.GetCurrentTime(ctx, c.vim)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask for the time: %w", err)
	}
	return *t, nil
}

// CertificateEnd returns when the certificate that the server presents ends. Its first contact is a connection of its
// own, verified as any other.
func CertificateEnd(ctx context.Context, cfg Config) (time.Time, error) {
	u, err := cfg.address()
	if err != nil || u.Scheme != "https" {
		return time.Time{}, err
	}
	conf, err := cfg.verification(u.Host)
	if err != nil {
		return time.Time{}, err
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "443")
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("connect to %s: %w", u.Host, explain(err, u.Host))
	}
	defer conn.Close()
	state, ok := conn.(*tls.Conn)
	if !ok || len(state.ConnectionState().PeerCertificates) == 0 {
		return time.Time{}, fmt.Errorf("connect to %s: it presents no certificate", u.Host)
	}
	return state.ConnectionState().PeerCertificates[0].NotAfter, nil
}

// Refused returns a missing privilege as the refusal that it is (R20), wherever an error comes from; every other error as
// it is.
func Refused(err error) error {
	if f := denial(err); f != nil {
		return plan.Blocked{Code: plan.R20, Reason: fmt.Sprintf("privilege %s is missing on %s", f.PrivilegeId, nameOf(f.Object)),
			Clear: "give the role of lkv's user this privilege, on that object and its parents; lkv doctor shows all that are missing"}
	}
	return err
}

// denial returns the fault by which vCenter says that a privilege is missing; nil when the error is another one.
func denial(err error) *types.NoPermission {
	var f *types.NoPermission
	if _, ok := fault.As(err, &f); !ok {
		return nil
	}
	return f
}

func nameOf(ref *types.ManagedObjectReference) string {
	if ref == nil {
		return "an object that vCenter does not name"
	}
	return ref.Value
}

// refused is Refused with the object's name in the inventory, where this user may read it.
func (c *Client) refused(ctx context.Context, err error) error {
	var b plan.Blocked
	f := denial(err)
	if f == nil || f.Object == nil || !errors.As(Refused(err), &b) {
		return Refused(err)
	}
	if list, err := c.retrieve(ctx, want{*f.Object, []string{"name"}}); err == nil {
		b.Reason += fmt.Sprintf(" (%s %s)", f.Object.Type, plain(text(list[0], "name")))
	}
	return b
}

// Reach says how one datastore of a store can be used now.
type Reach struct {
	Datastore string
	Free      int64  // bytes
	Hosts     int    // that mount it and can write to it
	Out       string // why no file goes there; empty when all is well
}

// Reach looks at the store's datastores afresh.
func (s *Store) Reach(ctx context.Context) ([]Reach, error) {
	var out []Reach
	for _, m := range s.members {
		list, err := m.ds.c.describe(ctx, m.ds.dc, []types.ManagedObjectReference{m.ds.ref})
		if err != nil {
			return nil, err
		}
		d := list[0]
		out = append(out, Reach{Datastore: d.name, Free: d.free, Hosts: len(d.hosts), Out: d.out})
	}
	for _, why := range s.dark {
		name, state, _ := strings.Cut(why, " is ")
		out = append(out, Reach{Datastore: name, Out: state})
	}
	return out, nil
}

// Placed says where a VM could run.
type Placed struct {
	Where string   // cluster, host or resource pool
	Fit   int      // hosts that are up and reach the VM's datastores, ISO and networks
	Unfit []string // the others, with the reason
}

// Placement looks for what the placement of a VM names, the folder excepted, which is made; iso is the datastore path of
// its ISO, "" when there is none yet. What is not there is an error that names what there is.
func (c *Client) Placement(ctx context.Context, w plan.WantVM, iso string) (Placed, error) {
	s, err := c.siteOf(ctx, w, iso)
	if err != nil {
		return Placed{}, err
	}
	var wants []want
	for _, ref := range s.hosts {
		wants = append(wants, want{ref, []string{"name", "runtime.connectionState", "runtime.inMaintenanceMode", "parent", "network"}})
	}
	items, err := c.retrieve(ctx, wants...)
	if err != nil {
		return Placed{}, fmt.Errorf("read hosts: %w", err)
	}
	p := Placed{Where: s.where}
	for _, it := range items {
		if why := s.unfit(it); why != "" {
			p.Unfit = append(p.Unfit, text(it, "name")+" "+why)
		} else {
			p.Fit++
		}
	}
	slices.Sort(p.Unfit)
	return p, nil
}

func (c *Client) siteOf(ctx context.Context, w plan.WantVM, iso string) (site, error) {
	var paths []string
	if iso != "" {
		paths = append(paths, iso)
	}
	for _, d := range w.Disks {
		if d.Datastore != "" {
			paths = append(paths, (&object.DatastorePath{Datastore: last(d.Datastore), Path: plan.DiskFolder}).String())
		}
	}
	return c.site(ctx, w, paths)
}

// Lack is a privilege that the session's user does not have on an object.
type Lack struct {
	Privilege string
	Phase     string // what it is for, see Privileges
	On        string // "VM wrk-01", "datastore vm-1"
}

// Lacks returns the privileges that are missing for what a VM of a fleet goes through where it is placed, and for the
// VMs of the fleet that are there. what chooses among the phases.
func (c *Client) Lacks(ctx context.Context, w plan.WantVM, iso string, vms []plan.VM, what func(Privilege) bool) ([]Lack, error) {
	user, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	places, err := c.objects(ctx, w, iso, vms)
	if err != nil {
		return nil, err
	}
	var out []Lack
	for _, kind := range []Kind{OnDatacenter, OnFolder, OnPool, OnDatastore, OnNetwork, OnVM} {
		needs := slices.DeleteFunc(Privileges(), func(p Privilege) bool { return p.On != kind || !what(p) })
		if len(needs) == 0 || len(places[kind]) == 0 {
			continue
		}
		missing, err := c.missing(ctx, user, places[kind], needs)
		if err != nil {
			return nil, err
		}
		out = append(out, missing...)
	}
	return out, nil
}

// spot is an object of the inventory with what people call it.
type spot struct {
	ref  types.ManagedObjectReference
	name string
}

// objects finds the objects that privileges are about.
func (c *Client) objects(ctx context.Context, w plan.WantVM, iso string, vms []plan.VM) (map[Kind][]spot, error) {
	s, err := c.siteOf(ctx, w, iso)
	if err != nil {
		return nil, err
	}
	out := map[Kind][]spot{OnDatacenter: {{s.dc.Reference(), "datacenter " + s.dc.InventoryPath}}}
	folder, err := c.nearest(ctx, s.dc, w.Place.Folder)
	if err != nil {
		return nil, err
	}
	out[OnFolder] = []spot{folder}
	for _, ds := range s.needs {
		out[OnDatastore] = append(out[OnDatastore], spot{ds.ref, "datastore " + ds.name})
	}
	for _, n := range s.nets {
		out[OnNetwork] = append(out[OnNetwork], spot{n.Reference(), "network " + n.name})
	}
	pool := s.pool
	if pool == nil {
		h, err := c.host(ctx, s, func(fit []item) item { return fewest(fit, nil) })
		if err != nil {
			return nil, err
		}
		pool = &h.pool
	}
	out[OnPool] = []spot{{*pool, "resource pool of " + s.where}}
	for _, v := range vms {
		out[OnVM] = append(out[OnVM], spot{types.ManagedObjectReference{Type: "VirtualMachine", Value: v.Ref}, "VM " + v.Name})
	}
	if len(vms) == 0 {
		out[OnVM] = []spot{folder} // what VMs will inherit
	}
	for kind, list := range out {
		slices.SortFunc(list, func(a, b spot) int { return strings.Compare(a.name, b.name) })
		out[kind] = slices.CompactFunc(list, func(a, b spot) bool { return a.ref == b.ref })
	}
	return out, nil
}

// nearest returns the VM folder of that path, or the nearest one above it that exists: the rest is made there.
func (c *Client) nearest(ctx context.Context, dc *object.Datacenter, dir string) (spot, error) {
	folders, err := dc.Folders(ctx)
	if err != nil {
		return spot{}, fmt.Errorf("read the folders of datacenter %s: %w", dc.Name(), err)
	}
	at, name := folders.VmFolder, "VM folder of "+dc.Name()
	dir = strings.TrimPrefix(dir, folders.VmFolder.InventoryPath)
	for _, part := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		next, err := c.child(ctx, at, part)
		if err != nil {
			return spot{}, err
		}
		if next == nil {
			break
		}
		at, name = next, "VM folder "+part
	}
	return spot{at.Reference(), name}, nil
}

// user returns the name that vCenter knows this session's user by.
func (c *Client) user(ctx context.Context) (string, error) {
	list, err := c.retrieve(ctx, want{*c.vim.ServiceContent.SessionManager, []string{"currentSession"}})
	if err != nil {
		return "", fmt.Errorf("read the session: %w", err)
	}
	s, ok := get[types.UserSession](list[0], "currentSession")
	if !ok || s.UserName == "" {
		return "", fmt.Errorf("read the session: vCenter does not say who its user is")
	}
	return s.UserName, nil
}

// missing asks which of the privileges the user does not have on the objects.
func (c *Client) missing(ctx context.Context, user string, places []spot, needs []Privilege) ([]Lack, error) {
	req := types.HasUserPrivilegeOnEntities{This: *c.vim.ServiceContent.AuthorizationManager, UserName: user}
	for _, p := range places {
		req.Entities = append(req.Entities, p.ref)
	}
	phase := map[string]string{}
	for _, n := range needs {
		req.PrivId = append(req.PrivId, n.ID)
		phase[n.ID] = n.Phase
	}
	res, err := methods.HasUserPrivilegeOnEntities(ctx, c.vim, &req)
	if err != nil {
		return nil, fmt.Errorf("ask for the privileges of %s: %w", user, Refused(err))
	}
	var out []Lack
	answered := 0
	for _, e := range res.Returnval {
		i := slices.IndexFunc(places, func(p spot) bool { return p.ref == e.Entity })
		for _, a := range e.PrivAvailability {
			if answered++; i >= 0 && !a.IsGranted {
				out = append(out, Lack{Privilege: a.PrivId, Phase: phase[a.PrivId], On: places[i].name})
			}
		}
	}
	if answered < len(places)*len(needs) {
		return nil, fmt.Errorf("ask for the privileges of %s: vCenter answered %d of %d questions", user, answered, len(places)*len(needs))
	}
	return out, nil
}
