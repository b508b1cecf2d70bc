package vsphere

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// ForbiddenError says that a call was not sent, because it could touch a data disk or is none that lkv makes (D1).
// It is always a bug in lkv, never a state of vCenter.
type ForbiddenError struct {
	Call string // SOAP method or HTTP method
	Why  string
}

// Error implements error.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%s was not sent: %s (a bug in lkv; nothing was changed)", e.Call, e.Why)
}

// gate is the filter on the wire. It stands between this whole package and the session, so that a mistake in any
// step, or in govmomi, ends here instead of in vCenter.
type gate struct {
	next  soap.RoundTripper
	trace func(method string, mutating bool)
	seen  sightings
	log   atomic.Pointer[recorder] // nil: no journal

	mu      sync.Mutex
	permits map[string]bool                       // what was proved or asked for, each good for one call: see permit and its like
	roots   map[string]bool                       // folders of stores, by datacenter and path
	copies  map[types.ManagedObjectReference]bool // tasks of copies, the only ones that may be cancelled
}

func newGate(next soap.RoundTripper, trace func(method string, mutating bool)) *gate {
	return &gate{next: next, trace: trace, permits: map[string]bool{}, roots: map[string]bool{}, copies: map[types.ManagedObjectReference]bool{}}
}

// RoundTrip implements soap.RoundTripper.
func (g *gate) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	name := method(req)
	if err := admitted(name); err != nil {
		return err
	}
	k := calls[name]
	if why := g.refuse(req); why != "" {
		if since := g.overtaken(req); since != "" {
			return fmt.Errorf("%s was not sent: %s, %s: %w", name, why, since, ErrChanged)
		}
		return &ForbiddenError{name, why}
	}
	if g.trace != nil && k != login {
		g.trace(name, k == writes)
	}
	switch k {
	case reads:
		return g.read(ctx, req, res)
	case writes:
		return g.write(ctx, req, res)
	}
	return g.next.RoundTrip(ctx, req, res)
}

// overtaken tells what became of the read that a call on a VM rests on, when it does not hold any more: the VM was
// changed, or a later read failed, as it does when any VM that it asks for is gone. Then a refusal is no bug; one that is
// comes again after the next read.
func (g *gate) overtaken(req soap.HasFault) string {
	vm, ok := vmOf(req)
	if !ok {
		return ""
	}
	version := ""
	if b, ok := req.(*methods.ReconfigVM_TaskBody); ok {
		version = b.Req.Spec.ChangeVersion
	}
	return g.seen.since(vm, version)
}

// since says why what was read of a VM, under that changeVersion when it is given, does not hold any more.
func (s *sightings) since(ref types.ManagedObjectReference, version string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vms[ref]
	switch {
	case v == nil:
		return ""
	case v.failed != "":
		return v.failed
	case version != "" && v.item.props != nil && version != text(v.item, versionPath):
		return "it was read again since, under another changeVersion"
	}
	return ""
}

// admitted refuses a method that lkv has no use for.
func admitted(name string) error {
	if calls[name] == unknown {
		return &ForbiddenError{name, "it is not among the calls lkv makes"}
	}
	return nil
}

// read sends a call that changes nothing, and learns from the answer what VMs are now and which tasks have ended.
func (g *gate) read(ctx context.Context, req, res soap.HasFault) error {
	sent := g.seen.now()
	err := g.next.RoundTrip(ctx, req, res)
	g.log.Load().learned(g.seen.learn(sent, req, res, err))
	return err
}

// write sends a call that changes something, after it stands in the journal.
func (g *gate) write(ctx context.Context, req, res soap.HasFault) error {
	line, err := g.log.Load().intent(req)
	if err != nil {
		return fmt.Errorf("%s was not sent, nothing was changed: %w", method(req), err)
	}
	vm, isVM := vmOf(req)
	if isVM {
		g.seen.leave(vm)
	}
	err = g.next.RoundTrip(ctx, req, res)
	task := taskOf(res, err)
	g.log.Load().result(line, vm, task, err)
	if isVM {
		g.seen.arrive(vm, task)
	}
	if _, copying := res.(*methods.CopyDatastoreFile_TaskBody); copying && task != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.copies[*task] = true
	}
	return err
}

// permit allows the one creation of a disk file.
func (g *gate) permit(dc types.ManagedObjectReference, file string) {
	g.permitOnce("create " + dc.String() + " " + file)
}

func (g *gate) refuse(req soap.HasFault) string {
	switch b := req.(type) {
	case *methods.DeleteDatastoreFile_TaskBody:
		return g.refuseFileDelete(b.Req)
	case *methods.CopyDatastoreFile_TaskBody:
		return g.refuseCopy(b.Req)
	case *methods.CancelTaskBody:
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.copies[b.Req.This] {
			return fmt.Sprintf("%s is no copy that was started here", b.Req.This.Value)
		}
	case *methods.AcquireGenericServiceTicketBody:
		return refuseTicket(b.Req.Spec)
	case *methods.MoveDatastoreFile_TaskBody:
		return refuseMove(b.Req)
	case *methods.CreateVirtualDisk_TaskBody:
		return g.refuseCreate(b.Req)
	case *methods.CreateVM_TaskBody:
		return cmp.Or(refuseExtra(b.Req.Config.ExtraConfig), refuseNew(b.Req.Config.DeviceChange))
	case *methods.ReconfigVM_TaskBody:
		return g.refuseReconfig(b.Req)
	case *methods.ExtendVirtualDisk_TaskBody:
		return g.refuseExtend(b.Req)
	case *methods.Destroy_TaskBody:
		return g.refuseDestroy(b.Req)
	case *methods.Rename_TaskBody:
		return g.refuseRename(b.Req)
	case *methods.DeleteVirtualDisk_TaskBody:
		return g.refuseDelete(b.Req)
	}
	return ""
}

// refuseMove lets through only a finished upload that gets its final name, and overwriting only for small files.
func refuseMove(r *types.MoveDatastoreFile_Task) string {
	if !temporary(r.SourceName) || temporary(r.DestinationName) {
		return fmt.Sprintf("%s is no finished upload of lkv", r.SourceName)
	}
	if ext := path.Ext(r.DestinationName); r.Force != nil && *r.Force && ext != ".json" && ext != ".sig" {
		return fmt.Sprintf("it would overwrite %s", r.DestinationName)
	}
	return ""
}

func (g *gate) refuseCreate(r *types.CreateVirtualDisk_Task) string {
	_, rest, _ := strings.Cut(r.Name, "] ")
	if !strings.HasPrefix(rest, plan.DiskFolder+"/") || strings.Contains(rest, "..") {
		return fmt.Sprintf("%s does not lie under %s/", r.Name, plan.DiskFolder)
	}
	if r.Datacenter == nil || !g.use("create "+r.Datacenter.String()+" "+r.Name) {
		return fmt.Sprintf("nobody proved that %s never existed (D7)", r.Name)
	}
	return ""
}

// diskKey are keys of extraConfig that say in the words of a .vmx file which disks a VM has, how they are written to
// and locked, and what a power off does to them. Case does not count.
var diskKey = regexp.MustCompile(`(?i)^(?:(?:scsi|sata|ide|nvme|nvdimm)[0-9]|disk\.|snapshot\.)`)

func refuseExtra(list []types.BaseOptionValue) string {
	for _, o := range list {
		if k := o.GetOptionValue().Key; k != uuidKey && diskKey.MatchString(k) {
			return fmt.Sprintf("the key %s is about disks", k)
		}
	}
	return ""
}

// refuseFiles lets no file operation through, whatever the device.
func refuseFiles(d *types.VirtualDeviceConfigSpec) string {
	switch {
	case d.FileOperation != "":
		return fmt.Sprintf("file operation %q on a %T", d.FileOperation, d.Device)
	case d.Device == nil:
		return "it names no device"
	case len(d.Profile) > 0 || d.Backing != nil:
		return fmt.Sprintf("it would change the policy or the files of a %T", d.Device)
	}
	return ""
}

// refuseNew lets a new VM have any device but a disk.
func refuseNew(list []types.BaseVirtualDeviceConfigSpec) string {
	for _, c := range list {
		d := c.GetVirtualDeviceConfigSpec()
		if why := refuseFiles(d); why != "" {
			return why
		}
		if _, disk := d.Device.(*types.VirtualDisk); disk {
			return "a new VM gets its data disks afterwards, one by one"
		}
		if d.Operation != types.VirtualDeviceConfigSpecOperationAdd {
			return fmt.Sprintf("it would change a %T of a VM that is not there", d.Device)
		}
	}
	return ""
}

// refuseAttach lets through only a whole disk file, for one VM, in a mode that keeps what is written (D4).
func refuseAttach(d *types.VirtualDisk) string {
	b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	switch {
	case !ok || b.FileName == "" || b.Parent != nil:
		return "it would attach something else than a whole disk file"
	case b.DiskMode != plan.DiskMode || b.Sharing != "" && b.Sharing != string(types.VirtualDiskSharingSharingNone):
		return fmt.Sprintf("it would attach a disk with mode %q, sharing %q", b.DiskMode, b.Sharing)
	}
	return ""
}

// folderGate watches datastore access over HTTP: a PUT replaces what lies under the name, so only temporary names
// are ever written, and the one certificate that installKey is about to upload. Nothing is deleted that way.
type folderGate struct {
	next  http.RoundTripper
	trace func(method string, mutating bool)
	log   *atomic.Pointer[recorder] // shared by vCenter and the hosts that it sends uploads to; nil: no journal

	mu      sync.Mutex
	permits map[string]bool // certificates, by path and query, each good for one PUT
}

// permit allows one upload of a certificate into the directory of a VM whose firmware has not started yet.
func (g *folderGate) permit(u *url.URL) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.permits[u.Path+"?"+u.RawQuery] = true
}

// certificate is the largest one that is uploaded, in bytes. Those of firmware have one or two thousand.
const certificate = 64 << 10

// permitted uses up a permit. Whatever was permitted, only a certificate's name in a VM's directory gets through.
func (g *folderGate) permitted(r *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := r.URL.Path + "?" + r.URL.RawQuery
	ok := g.permits[key]
	delete(g.permits, key)
	p, _ := strings.CutPrefix(r.URL.Path, "/folder/")
	dir, name := path.Split(p)
	return ok && keyFileName.MatchString(name) && dir != "" && path.Clean(p) == p && !strings.HasPrefix(p, "../") &&
		!strings.HasPrefix(p, plan.DiskFolder+"/") && r.ContentLength > 0 && r.ContentLength <= certificate
}

// RoundTrip implements http.RoundTripper.
func (g *folderGate) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, "/folder/") {
		return g.next.RoundTrip(r)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		if !temporary(r.URL.Path) && !g.permitted(r) {
			return nil, &ForbiddenError{r.Method, r.URL.Path + " is no temporary name of lkv, and no certificate of a VM that is being made"}
		}
		if g.trace != nil {
			g.trace(r.Method, true)
		}
		return g.put(r)
	default:
		return nil, &ForbiddenError{r.Method, "lkv only reads and uploads datastore files"}
	}
	return g.next.RoundTrip(r)
}

// put sends an upload, after it stands in the journal.
func (g *folderGate) put(r *http.Request) (*http.Response, error) {
	log := g.recorder()
	line, err := log.upload(r)
	if err != nil {
		return nil, fmt.Errorf("%s was not sent, nothing was changed: %w", r.Method, err)
	}
	res, err := g.next.RoundTrip(r)
	log.uploaded(line, res, err)
	return res, err
}

func (g *folderGate) recorder() *recorder {
	if g.log == nil {
		return nil
	}
	return g.log.Load()
}
