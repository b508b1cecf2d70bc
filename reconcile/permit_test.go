package reconcile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// rules are those of an executor and of a vCenter, as a pure function of what is there. They know nothing of plans.
type rules struct {
	off  string          // a guard that is broken on purpose, see TestKillTable
	full bool            // no datastore has room
	gone map[string]bool // ISOs that are not there
}

var errChanged = errors.New("the VM was changed by somebody else")

func refused(s plan.Step, code plan.Code, format string, args ...any) error {
	return plan.Blocked{VM: s.VM(), Code: code, Reason: fmt.Sprintf(format, args...)}
}

// on tells whether a guard is in force.
func (x rules) on(guard string) bool { return x.off != guard }

// permit tells that a step is done already, or why it is refused.
func (x rules) permit(o plan.Observed, s plan.Step, d plan.Desired, now time.Time) (done bool, err error) {
	switch s := s.(type) {
	case plan.CreateDisk:
		return x.createDisk(o, s, d)
	case plan.CreateVM:
		return x.createVM(o, s, d, now)
	case plan.DestroyVM:
		if at(o, s.VM()) == nil {
			return true, nil
		}
	case plan.Rename:
		if v := at(o, s.To); v != nil {
			if v.Fleet == d.Fleet && v.Record.Replaces == "" && v.Record.Retired.IsZero() && v.Record.Owner == d.Claimer {
				return true, nil
			}
			return false, refused(s, plan.R22, "%s has the name", v.Ref)
		}
	case plan.Retire:
		if v := at(o, s.To); v != nil && v.Fleet == d.Fleet && !v.Record.Retired.IsZero() {
			return true, nil
		}
	}
	v := at(o, s.VM())
	switch {
	case v == nil:
		return false, errors.New("no such VM")
	case len(v.Busy) > 0:
		return false, refused(s, plan.R08, "busy: %s", v.Busy[0])
	}
	switch s := s.(type) {
	case plan.AwaitTask:
		return v.Task == "", nil
	case plan.Claim:
		return x.claim(*v, s, now)
	case plan.Adopt:
		if v.Fleet != "" {
			return v.Fleet == s.Fleet, refused(s, plan.R22, "it belongs to %s", v.Fleet)
		}
		return false, nil
	}
	if v.Fleet != d.Fleet {
		return false, errors.New("no such VM in the fleet")
	}
	same := x.recorded(o, *v, s)
	switch s.(type) {
	case plan.Drain, plan.Restore, plan.Disown, plan.Recall: // of claimed VMs only
	default:
		if same {
			return true, nil
		}
	}
	switch s.(type) {
	case plan.Mark, plan.Pause:
		return false, nil
	case plan.Fail:
		if v.Record.Owner == "" {
			return false, nil
		}
	}
	if x.on("claim") && (v.Record.Owner != d.Claimer || !now.Before(v.Record.Expires)) {
		return false, refused(s, plan.R16, "the claim is %q's until %s, not %q's", v.Record.Owner, v.Record.Expires, d.Claimer)
	}
	if same {
		return true, nil
	}
	return x.change(o, *v, s)
}

// recorded tells whether a step that only writes the record would write what is there.
func (x rules) recorded(o plan.Observed, v plan.VM, s plan.Step) bool {
	switch s := s.(type) {
	case plan.Release:
		return v.Record.Owner == "" && v.Record.Started.IsZero() && !v.Record.Due
	case plan.Mark:
		return s.Ill.IsZero() == v.Record.Ill.IsZero()
	case plan.Unblock, plan.Fail, plan.Pause, plan.Drain, plan.Restore, plan.Disown, plan.Recall:
		return reflect.DeepEqual(at(o.After(s), v.Name).Record, at(o.Clone(), v.Name).Record)
	}
	return false
}

func (x rules) claim(v plan.VM, s plan.Claim, now time.Time) (bool, error) {
	r := v.Record
	switch {
	case r.Owner == s.Owner && r.Epoch == s.Epoch:
		return r.Expires.Equal(s.Expires) && r.Started.Equal(s.Started) && (r.Due || !s.Due), nil
	case x.on("live claim") && r.Owner != "" && r.Owner != s.Owner && now.Before(r.Expires):
		return false, refused(s, plan.R16, "claimed by %s, epoch %d", r.Owner, r.Epoch)
	case x.on("epoch") && r.Epoch != s.Epoch-1:
		return false, refused(s, plan.R16, "epoch %d of %q", r.Epoch, r.Owner)
	}
	return false, nil
}

func (x rules) createDisk(o plan.Observed, s plan.CreateDisk, d plan.Desired) (bool, error) {
	for _, f := range o.Files {
		switch {
		case f.Path == s.Path && f.Bytes == s.Disk.Bytes:
			return true, nil
		case f.Path == s.Path || inDatastore(f.Path) == inDatastore(s.Path):
			return false, refused(s, plan.R06, "the file exists as %s with %d bytes", f.Path, f.Bytes)
		}
	}
	for _, v := range o.VMs {
		for _, r := range slices.Concat(v.Record.Disks, v.Record.Takes) {
			if x.on("never existed") && v.Fleet == d.Fleet && (r.Path == s.Path || v.Name == s.VM() && r.Name == s.Disk.Name) {
				return false, refused(s, plan.R06, "the record of %s names it", v.Name)
			}
		}
	}
	switch {
	case x.on("never existed") && slices.Contains(o.Made, inDatastore(s.Path)):
		return false, refused(s, plan.R06, "it was made once")
	case x.full:
		return false, refused(s, plan.R21, "no room")
	}
	return false, nil
}

func (x rules) createVM(o plan.Observed, s plan.CreateVM, d plan.Desired, now time.Time) (bool, error) {
	for _, v := range o.VMs {
		r := v.Record
		same := v.Name == s.VM()
		switch {
		case same && v.Fleet == s.Fleet && r.Owner == s.Record.Owner && r.Epoch == s.Record.Epoch:
			return true, nil
		case same && v.Fleet != s.Fleet:
			return false, refused(s, plan.R22, "somebody's VM has the name")
		case same && r.Owner != "" && now.Before(r.Expires):
			return false, refused(s, plan.R16, "claimed by %s", r.Owner)
		case same:
			return false, errChanged
		case s.Record.Replaces == "" && v.Fleet == s.Fleet && v.Ordinal == s.Want.Ordinal && r.Retired.IsZero():
			return false, refused(s, plan.R22, "%s has its place", v.Name)
		}
	}
	for _, r := range s.Record.Disks {
		if f := fileAt(o, r.Path); f == nil || r.UUID != "" && f.UUID != r.UUID {
			return false, refused(s, plan.R06, "disk file %s is gone or another one", r.Path)
		}
	}
	if x.gone[s.ISO] || s.ISO == "" {
		return false, refused(s, plan.R01, "ISO %s is not there", s.ISO)
	}
	if s.Record.Replaces == "" {
		return false, nil
	}
	blue := byID(o, s.Record.Replaces)
	if x.on("blue's claim") && (blue == nil || !blue.Record.Retired.IsZero() || blue.Record.Owner != d.Claimer || !now.Before(blue.Record.Expires)) {
		return false, refused(s, plan.R16, "what it is to replace is not claimed by %s any more", d.Claimer)
	}
	return false, nil
}

// change is about the steps that change more than the record.
func (x rules) change(o plan.Observed, v plan.VM, s plan.Step) (bool, error) {
	mustBeOff := func() error {
		if x.on("off") && v.Power != plan.Off {
			return fmt.Errorf("%w: it is %s", errChanged, v.Power)
		}
		return nil
	}
	switch s := s.(type) {
	case plan.Shutdown:
		return v.Power == plan.Off, nil
	case plan.PowerOn:
		return x.powerOn(o, v, s)
	case plan.InsertISO:
		if next := at(o.After(s), v.Name); v.ISO == s.ISO && reflect.DeepEqual(next.Record, at(o.Clone(), v.Name).Record) {
			return true, nil
		}
		if x.gone[s.ISO] {
			return false, refused(s, plan.R01, "ISO %s is not there", s.ISO)
		}
		return false, mustBeOff()
	case plan.Resize:
		return v.CPUs == s.CPUs && v.MemoryMiB == s.MemoryMiB, mustBeOff()
	case plan.EnableSecureBoot:
		return v.SecureBoot, mustBeOff()
	case plan.InstallKey, plan.Retire:
		return false, mustBeOff()
	case plan.AttachDisk:
		return x.attach(o, v, s, mustBeOff)
	case plan.DetachDisk:
		return x.detach(o, v, s, mustBeOff)
	case plan.GrowDisk:
		i := slices.IndexFunc(v.Disks, func(a plan.Disk) bool { return a.UUID == s.Disk.UUID })
		switch {
		case i < 0:
			return false, refused(s, plan.R06, "the disk is not attached")
		case v.Disks[i].Bytes >= s.Bytes:
			return true, nil
		case x.full:
			return false, refused(s, plan.R21, "no room")
		}
		return false, mustBeOff()
	case plan.DestroyVM:
		return false, x.destroy(o, v, s)
	}
	return false, nil
}

func (x rules) attach(o plan.Observed, v plan.VM, s plan.AttachDisk, mustBeOff func() error) (bool, error) {
	if slices.ContainsFunc(v.Disks, func(a plan.Disk) bool { return a.Path == s.Disk.Path }) {
		return true, nil
	}
	known := func(r plan.DiskRecord) bool { return r.Name == s.Disk.Name && r.Path == s.Disk.Path }
	f := fileAt(o, s.Disk.Path)
	switch {
	case x.on("record first") && !slices.ContainsFunc(slices.Concat(v.Record.Disks, v.Record.Takes), known):
		return false, refused(s, plan.R06, "the disk does not stand in the record")
	case f == nil || s.Disk.UUID != "" && s.Disk.UUID != f.UUID:
		return false, refused(s, plan.R06, "the file is gone or another one")
	}
	for _, other := range o.VMs {
		if x.on("one VM per disk") && slices.ContainsFunc(other.Disks, func(a plan.Disk) bool { return a.UUID == f.UUID }) {
			return false, refused(s, plan.R07, "the disk is attached to %s", other.Name)
		}
	}
	return false, mustBeOff()
}

func (x rules) detach(o plan.Observed, v plan.VM, s plan.DetachDisk, mustBeOff func() error) (bool, error) {
	if !slices.ContainsFunc(v.Disks, func(a plan.Disk) bool { return a.UUID == s.Disk.UUID }) {
		return true, nil
	}
	heir := slices.ContainsFunc(o.VMs, func(h plan.VM) bool {
		return v.ID != "" && h.ID != "" && (h.Record.Replaces == v.ID || v.Record.Replaces == h.ID) && slices.ContainsFunc(h.Record.Takes, func(r plan.DiskRecord) bool { return r.UUID == s.Disk.UUID })
	})
	if x.on("heir") && v.Record.Retired.IsZero() && !heir {
		return false, refused(s, plan.R06, "no VM that replaces it waits for the disk")
	}
	return false, mustBeOff()
}

func (x rules) powerOn(o plan.Observed, v plan.VM, s plan.PowerOn) (bool, error) {
	if v.Power == plan.On {
		return true, nil
	}
	for _, r := range v.Record.Disks {
		if x.on("complete") && !slices.ContainsFunc(v.Disks, func(a plan.Disk) bool { return a.UUID == r.UUID }) {
			return false, refused(s, plan.R06, "disk %s is recorded but not attached", r.Name)
		}
	}
	switch {
	case x.on("complete") && len(v.Disks) != len(v.Record.Disks):
		return false, refused(s, plan.R06, "%d disks attached, %d recorded", len(v.Disks), len(v.Record.Disks))
	case x.gone[v.ISO] || v.ISO == "":
		return false, refused(s, plan.R01, "ISO %q is not there", v.ISO)
	case v.SecureBoot && v.Record.Key != "" && !slices.Contains(v.Keys, v.Record.Key):
		return false, refused(s, plan.R02, "the firmware does not know the key")
	}
	for _, other := range o.VMs {
		for _, a := range other.Disks {
			if other.ID != v.ID && other.Power == plan.On && slices.ContainsFunc(v.Disks, func(b plan.Disk) bool { return a.UUID == b.UUID }) {
				return false, fmt.Errorf("failed to lock the file %s: %s has it", a.Path, other.Name)
			}
		}
	}
	return false, nil
}

func (x rules) destroy(o plan.Observed, v plan.VM, s plan.DestroyVM) error {
	switch {
	case x.on("retired") && (v.Record.Retired.IsZero() || v.Power != plan.Off):
		return refused(s, plan.R19, "it is %s and was not retired", v.Power)
	case x.on("empty") && len(v.Disks) > 0:
		return refused(s, plan.R19, "disk %s is attached", v.Disks[0].Path)
	}
	for _, f := range o.Files {
		if x.on("folder") && strings.HasPrefix(f.Path, v.Home+"/") {
			return refused(s, plan.R19, "disk file %s lies in its folder", f.Path)
		}
	}
	return nil
}

// effect is what a step that is permitted does: After, and what vCenter adds to it. Destroying a VM takes everything
// along that is attached to it or lies in its folder (L1, L9).
func effect(o plan.Observed, s plan.Step) plan.Observed {
	out := o.After(s)
	switch s := s.(type) {
	case plan.CreateDisk:
		f := &out.Files[len(out.Files)-1]
		f.UUID = fmt.Sprintf("6000C291-%x", sha256.Sum256([]byte(f.Path)))[:25]
	case plan.CreateVM:
		v := &out.VMs[len(out.VMs)-1]
		n := 1
		for _, x := range o.VMs {
			if strings.HasPrefix(x.ID, "id-"+v.Name+"-") {
				n++
			}
		}
		v.ID, v.Ref = fmt.Sprintf("id-%s-%d", v.Name, n), fmt.Sprintf("vm-%s-%d", v.Name, n)
		v.Host, v.Home = fmt.Sprintf("esx-%d", v.Ordinal%2+1), fmt.Sprintf("[ssd-1] %s", v.Name)
	case plan.DestroyVM:
		v := at(o, s.VM())
		out.Files = slices.DeleteFunc(out.Files, func(f plan.DiskFile) bool {
			return strings.HasPrefix(f.Path, v.Home+"/") || slices.ContainsFunc(v.Disks, func(a plan.Disk) bool { return a.Path == f.Path })
		})
	}
	return out
}

func at(o plan.Observed, name string) *plan.VM {
	if i := slices.IndexFunc(o.VMs, func(v plan.VM) bool { return v.Name == name }); i >= 0 {
		return &o.VMs[i]
	}
	return nil
}

func byID(o plan.Observed, id string) *plan.VM {
	if i := slices.IndexFunc(o.VMs, func(v plan.VM) bool { return v.ID == id }); i >= 0 {
		return &o.VMs[i]
	}
	return nil
}

func fileAt(o plan.Observed, path string) *plan.DiskFile {
	if i := slices.IndexFunc(o.Files, func(f plan.DiskFile) bool { return f.Path == path }); i >= 0 {
		return &o.Files[i]
	}
	return nil
}

func inDatastore(path string) string {
	if _, rest, ok := strings.Cut(path, "] "); ok {
		return rest
	}
	return path
}
