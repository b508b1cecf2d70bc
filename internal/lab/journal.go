package lab

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Call is one mutating call as it came in, executed or not.
type Call struct {
	N       int      // position in the journal, from 1
	Method  string   // SOAP method, or "PUT" for an upload
	Target  string   // inventory name of the object, "[datastore] path" for files
	FileOps []string // file operations of device changes: "add:create [ds] x.vmdk", "edit:replace …", "remove:destroy …"
	Keys    []string // extraConfig keys that the call sets, sorted
	ISO     string   // CD-ROM backing that the call sets
	Via     string   // host that took an upload itself; empty: vCenter did
	Version string   // changeVersion that the call demands; empty: none
}

// String is the call in one line.
func (c Call) String() string {
	s := fmt.Sprintf("%d %s %s", c.N, c.Method, c.Target)
	if c.ISO != "" {
		s += " iso=" + c.ISO
	}
	if len(c.FileOps) > 0 {
		s += " fileops=" + strings.Join(c.FileOps, ",")
	}
	return s
}

type journal struct {
	mu    sync.Mutex
	calls []Call
}

// Journal returns the mutating calls so far, in order. Login, searches and property reads are none.
func (l *Lab) Journal() []Call {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	return slices.Clone(l.journal.calls)
}

// ResetJournal forgets the calls so far; the next one is number 1.
func (l *Lab) ResetJournal() {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	l.journal.calls = nil
}

func (l *Lab) record(c Call) Call {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	c.N = len(l.journal.calls) + 1
	l.journal.calls = append(l.journal.calls, c)
	l.logf("%s", c)
	return c
}

// describe turns a SOAP call into its journal entry.
func (l *Lab) describe(m *simulator.Method) Call {
	c := Call{Method: m.Name, Target: l.nameOf(m.This)}
	switch b := m.Body.(type) {
	case *types.CreateVM_Task:
		c.Target = b.Config.Name
		c.spec(&b.Config)
	case *types.ReconfigVM_Task:
		c.Version = b.Spec.ChangeVersion
		c.spec(&b.Spec)
	case *types.Rename_Task:
		c.Target += " -> " + b.NewName
	default:
		if names := filesOf(m.Body); len(names) > 0 {
			c.Target = strings.Join(names, " -> ")
		}
	}
	return c
}

// filesOf returns the datastore paths that a file or disk call names.
func filesOf(body any) []string {
	switch b := body.(type) {
	case *types.MakeDirectory:
		return []string{b.Name}
	case *types.CreateDirectory:
		return []string{b.DisplayName}
	case *types.DeleteDatastoreFile_Task:
		return []string{b.Name}
	case *types.MoveDatastoreFile_Task:
		return []string{b.SourceName, b.DestinationName}
	case *types.CopyDatastoreFile_Task:
		return []string{b.SourceName, b.DestinationName}
	case *types.CreateVirtualDisk_Task:
		return []string{b.Name}
	case *types.DeleteVirtualDisk_Task:
		return []string{b.Name}
	case *types.ExtendVirtualDisk_Task:
		return []string{b.Name}
	case *types.MoveVirtualDisk_Task:
		return []string{b.SourceName, b.DestName}
	case *types.CopyVirtualDisk_Task:
		return []string{b.SourceName, b.DestName}
	case *types.SetVirtualDiskUuid:
		return []string{b.Name}
	}
	return nil
}

func (c *Call) spec(s *types.VirtualMachineConfigSpec) {
	for _, o := range s.ExtraConfig {
		c.Keys = append(c.Keys, o.GetOptionValue().Key)
	}
	slices.Sort(c.Keys)
	for _, change := range s.DeviceChange {
		d := change.GetVirtualDeviceConfigSpec()
		switch x := d.Device.(type) {
		case *types.VirtualDisk:
			if d.FileOperation != "" {
				c.FileOps = append(c.FileOps, fmt.Sprintf("%s:%s %s", d.Operation, d.FileOperation, backingFile(x)))
			}
		case *types.VirtualCdrom:
			if d.Operation != types.VirtualDeviceConfigSpecOperationRemove {
				c.ISO = backingFile(x)
			}
		}
	}
}

// backingFile is a device's datastore path; empty when it has no file.
func backingFile(d types.BaseVirtualDevice) string {
	if b, ok := d.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// nameOf is an object's inventory name, or its reference when it has none.
func (l *Lab) nameOf(ref types.ManagedObjectReference) string {
	ctx := l.context()
	obj := ctx.Map.Get(ref)
	e, ok := obj.(mo.Entity)
	if !ok {
		return ref.Value
	}
	name := ref.Value
	ctx.WithLock(obj, func() { name = e.Entity().Name })
	return name
}

// splitPath cuts "[ds] a/b" into its parts.
func splitPath(s string) (ds, path string, ok bool) {
	var p object.DatastorePath
	if !p.FromString(s) {
		return "", "", false
	}
	return p.Datastore, p.Path, true
}
