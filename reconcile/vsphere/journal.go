package vsphere

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/journal"
)

// Journal begins a fleet in a journal: from now on no mutating call of this session is sent that does not stand in it.
// When the journal cannot be written, the call is not sent. VCenter is filled in.
func (f *Fleet) Journal(w *journal.Writer, about journal.Fleet) error {
	about.VCenter = f.c.vim.ServiceContent.About.InstanceUuid
	if _, err := w.Append(journal.Line{Fleet: &about}); err != nil {
		return err
	}
	f.c.Record(w)
	return nil
}

// Record makes every mutating call of this session stand in a journal before it is sent, also while no fleet has begun
// in it: those of a push.
func (c *Client) Record(w *journal.Writer) {
	if r := c.gate.log.Load(); r != nil && r.w == w {
		return // what it knows of calls that have not ended still holds
	}
	r := &recorder{w: w, seen: &c.gate.seen, vcenter: c.vim.ServiceContent.About.InstanceUuid,
		tasks: map[types.ManagedObjectReference]int{}, open: map[types.ManagedObjectReference]sentCall{}, shown: map[types.ManagedObjectReference]shownVM{}}
	c.gate.log.Store(r)
	c.files.log.Store(r)
}

// recorder writes what passes the wire into a journal. A nil one writes nothing.
type recorder struct {
	w       *journal.Writer
	seen    *sightings
	vcenter string

	mu    sync.Mutex
	peers []*recorder                               // of the other vCenters of the same fleet
	tasks map[types.ManagedObjectReference]int      // running tasks, to the lines of their intents
	open  map[types.ManagedObjectReference]sentCall // the last call on a VM
	shown map[types.ManagedObjectReference]shownVM  // what the journal says of a VM
}

type sentCall struct {
	line int
	done bool
}

// shownVM is the last look at a VM that was written.
type shownVM struct {
	look journal.Look
	call int // line of the last intent on the VM before it
}

// intent writes what is about to be sent, after everything that is newly known of VMs, and returns its line.
func (r *recorder) intent(req soap.HasFault) (int, error) {
	if r == nil {
		return 0, nil
	}
	for _, other := range r.others() {
		if err := other.catchUp(); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	vm, isVM := vmOf(req)
	if err := r.looks(vm); err != nil {
		return 0, err
	}
	in := r.describe(req)
	line, err := r.w.Append(journal.Line{Intent: &in})
	if err == nil && isVM {
		r.open[vm] = sentCall{line: line}
	}
	return line, err
}

// besides makes the looks of other vCenters stand in the journal before a call to this one: how many VMs of a fleet serve
// shows only in all of them.
func (r *recorder) besides(others []*recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers = others
}

func (r *recorder) others() []*recorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers
}

// catchUp writes what is newly known of VMs.
func (r *recorder) catchUp() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.looks(types.ManagedObjectReference{})
}

// result writes what the answer to a call was. That it cannot be written stops the next call, not this one.
func (r *recorder) result(line int, vm types.ManagedObjectReference, task *types.ManagedObjectReference, err error) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	res := journal.Result{Call: line, State: journal.Success}
	var f types.BaseMethodFault
	switch _, isFault := fault.As(err, &f); {
	case task != nil:
		res.State, res.Task = journal.Running, task.Value
		r.tasks[*task] = line
	case isFault:
		res.State, res.Fault = journal.Failed, faultName(f)
	case err != nil:
		res.State = journal.Unknown
	}
	if task == nil {
		r.finish(vm, line)
	}
	r.append(journal.Line{Result: &res})
}

// learned writes which tasks of this run have ended, and what became of VMs that were changed: the first whole read
// after each call.
func (r *recorder) learned(list []types.TaskInfo) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasksEnded(list)
	for vm, c := range r.open {
		v := r.seen.known(vm)
		if c.done && r.shown[vm].call != c.line && v.current() {
			_ = r.look(vm, v, lookOf(r.vcenter, vm, v)) // the next intent and the journal's end return the error
		}
	}
}

func (r *recorder) tasksEnded(list []types.TaskInfo) {
	for _, info := range list {
		line, ours := r.tasks[info.Task]
		if !ours {
			continue
		}
		delete(r.tasks, info.Task)
		res := journal.Result{Call: line, State: journal.Success, Task: info.Task.Value}
		if info.State == types.TaskInfoStateError {
			res.State = journal.Failed
			if info.Error != nil {
				res.Fault = faultName(info.Error.Fault)
			}
		}
		for vm := range r.open {
			r.finish(vm, line)
		}
		r.append(journal.Line{Result: &res})
	}
}

func (r *recorder) finish(vm types.ManagedObjectReference, line int) {
	if c, ok := r.open[vm]; ok && c.line == line {
		c.done = true
		r.open[vm] = c
	}
}

// append writes a line whose error the next intent and the journal's end return.
func (r *recorder) append(l journal.Line) { _, _ = r.w.Append(l) }

// upload writes that a file is about to be uploaded.
func (r *recorder) upload(req *http.Request) (int, error) {
	if r == nil {
		return 0, nil
	}
	p := strings.TrimPrefix(req.URL.Path, "/folder/")
	if ds := req.URL.Query().Get("dsName"); ds != "" {
		p = "[" + ds + "] " + p
	}
	return r.w.Append(journal.Line{Intent: &journal.Intent{Method: req.Method, Paths: []string{p}, Bytes: req.ContentLength,
		Target: journal.Target{VCenter: r.vcenter, Kind: "Datastore", Name: req.URL.Query().Get("dsName")}}})
}

// library writes that something is about to be changed in a content library: which call, on what, and the name of the
// file that it is about. What else it carries stays out.
func (r *recorder) library(call, id string, b restBody, req *http.Request) (int, error) {
	if r == nil {
		return 0, nil
	}
	in := journal.Intent{Method: "library " + call, Name: b.Name, Target: journal.Target{VCenter: r.vcenter, Kind: "ContentLibrary", Ref: id}}
	switch {
	case req.Method == http.MethodPut:
		in.Name, in.Bytes = path.Base(req.URL.Path), req.ContentLength
	case b.File != nil:
		in.Name = b.File.Name
	case b.Create != nil:
		in.Name, in.Target.Ref = b.Create.Name, cmp.Or(b.Create.Item, b.Create.Library)
	}
	return r.w.Append(journal.Line{Intent: &in})
}

// uploaded writes what came of an upload, or of a call to a content library.
func (r *recorder) uploaded(line int, res *http.Response, err error) {
	if r == nil {
		return
	}
	out := journal.Result{Call: line, State: journal.Success}
	switch {
	case err != nil:
		out.State = journal.Unknown
	case res.StatusCode >= http.StatusMultipleChoices:
		out.State, out.Fault = journal.Failed, fmt.Sprintf("HTTP %d", res.StatusCode)
	}
	r.append(journal.Line{Result: &out})
}

// faultName is the type of a fault. What a fault says in words stays out of the journal.
func faultName(f types.BaseMethodFault) string {
	t := reflect.TypeOf(f)
	if t == nil {
		return "unknown"
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// looks writes what is newly known: of the VM that is about to be changed, of every VM with an owner, and of whoever
// else has one of their disks.
func (r *recorder) looks(about types.ManagedObjectReference) error {
	current := r.seen.all()
	disks := map[string]bool{}
	for ref, v := range current {
		if ref == about || ownedBy(v.item) != "" {
			for _, d := range lookOf(r.vcenter, ref, v).Disks {
				disks[d.UUID] = true
			}
		}
	}
	delete(disks, "")
	var errs []error
	for _, ref := range inOrder(current) {
		v := current[ref]
		l := lookOf(r.vcenter, ref, v)
		shares := slices.ContainsFunc(l.Disks, func(d journal.Disk) bool { return disks[d.UUID] })
		if _, known := r.shown[ref]; ref == about || v.failed == "" && (known || ownedBy(v.item) != "" || shares) {
			errs = append(errs, r.look(ref, v, l))
		}
	}
	return errors.Join(errs...)
}

// look writes one look, unless the journal says the same already.
func (r *recorder) look(ref types.ManagedObjectReference, v seenVM, l journal.Look) error {
	call := r.open[ref]
	switch {
	case v.failed != "" || call.line == 0 || v.current():
	case call.done || !v.midway():
		return nil // what is known is from before the call ended
	default:
		l.During = call.line
	}
	was, known := r.shown[ref]
	if known && was.call == call.line && reflect.DeepEqual(was.look, l) {
		return nil
	}
	line := l
	if _, err := r.w.Append(journal.Line{Look: &line}); err != nil {
		return err
	}
	r.shown[ref] = shownVM{look: l, call: call.line}
	return nil
}

// inOrder returns the VMs in a stable order.
func inOrder(m map[types.ManagedObjectReference]seenVM) []types.ManagedObjectReference {
	var refs []types.ManagedObjectReference
	for ref := range m {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b types.ManagedObjectReference) int { return cmp.Compare(a.Value, b.Value) })
	return refs
}
