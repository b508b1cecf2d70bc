package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// question waits for a VM's pending question; nil after a while without one.
func (s *stage) question(vm *object.VirtualMachine) *types.VirtualMachineQuestionInfo {
	s.Helper()
	for range 500 {
		if q := s.props(vm).Runtime.Question; q != nil {
			return q
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// TestLockedDrive: changing the ISO under a running guest asks first, and nothing is changed until it is answered.
func TestLockedDrive(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(s *stage, id string) error
		want   string
		iso    bool
	}{
		"yes":       {func(s *stage, id string) error { return s.on1.Answer(s.ctx(), id, choiceYes) }, "ok", true},
		"no":        {func(s *stage, id string) error { return s.on1.Answer(s.ctx(), id, choiceNo) }, "GenericVmConfigFault", false},
		"power off": {func(s *stage, _ string) error { return s.off(s.on1) }, "ok", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			old := cdOf(s.props(s.on1))
			change := edit(cdrom(old.Key, old.ControllerKey, s.spare), types.VirtualDeviceConfigSpecOperationEdit, "")
			change.ExtraConfig = []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: "new"}}
			task, err := s.on1.Reconfigure(s.ctx(), change)
			s.must(err)
			q := s.question(s.on1)
			if q == nil || cdOf(s.props(s.on1)).Backing.(*types.VirtualCdromIsoBackingInfo).FileName != s.iso {
				t.Fatalf("question %+v, ISO changed before the answer", q)
			}
			if got := kind(s.on1.Answer(s.ctx(), "none", choiceYes)); got != "InvalidArgument" {
				t.Errorf("an answer to no question: %s", got)
			}
			s.must(c.answer(s, q.Id))
			if got := kind(task.Wait(s.ctx())); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			p := s.props(s.on1)
			if swapped := cdOf(p).Backing.(*types.VirtualCdromIsoBackingInfo).FileName == s.spare; swapped != c.iso || p.Runtime.Question != nil || said(p) != c.iso {
				t.Errorf("swapped %v, record written %v, question %+v", swapped, said(p), p.Runtime.Question)
			}
		})
	}
	s := newStage(t)
	s.must(s.change(s.on1, types.VirtualMachineConfigSpec{Annotation: "no question"}))
	old := cdOf(s.props(s.off1))
	s.must(s.change(s.off1, edit(cdrom(old.Key, old.ControllerKey, s.spare), types.VirtualDeviceConfigSpecOperationEdit, "")))
}

func said(p mo.VirtualMachine) bool {
	for _, o := range p.Config.ExtraConfig {
		if o.GetOptionValue().Key == "lkv.record" {
			return o.GetOptionValue().Value == "new"
		}
	}
	return false
}

// TestAtomic: of a reconfiguration with one part that is refused, no part is made, whichever comes first.
func TestAtomic(t *testing.T) {
	s := newStage(t)
	old := cdOf(s.props(s.off1))
	good := edit(cdrom(old.Key, old.ControllerKey, s.spare), types.VirtualDeviceConfigSpecOperationEdit, "").DeviceChange[0]
	noISO := edit(cdrom(old.Key, old.ControllerKey, "[iso-nfs] none.iso"), types.VirtualDeviceConfigSpecOperationEdit, "").DeviceChange[0]
	noDisk := attach("[vm-1] none.vmdk", 3).DeviceChange[0]
	disk := attach(s.disk, 4).DeviceChange[0]
	before := s.props(s.off1).Config
	for name, list := range map[string][]types.BaseVirtualDeviceConfigSpec{
		"bad ISO alone": {noISO}, "bad disk last": {good, noDisk}, "bad disk first": {noDisk, good}, "good disk, then a bad ISO": {disk, noISO},
	} {
		err := s.change(s.off1, types.VirtualMachineConfigSpec{
			Name: "renamed", Annotation: "half", NumCPUs: 2, MemoryMB: 128, DeviceChange: list,
			ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: "new"}},
		})
		if got := kind(err); got != "FileNotFound" {
			t.Errorf("%s: %s", name, got)
		}
		if diff := cmp.Diff(before, s.props(s.off1).Config, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: part of it was made:\n%s", name, diff)
		}
	}
}

// TestGrown: a disk that grows, alone or attached, grows on the datastore: its descriptor and its bytes file, and no
// byte that was there changes. Nobody deletes a file of an attached disk.
func TestGrown(t *testing.T) {
	s := newStage(t)
	s.await(s.on1, running)
	dir := filepath.Join(s.lab.DatastoreDir("DC1", "vm-1"), "lkv-disks/f")
	fm, vdm := object.NewFileManager(s.c.Client), object.NewVirtualDiskManager(s.c.Client)
	for _, f := range []string{"on.vmdk", "on-flat.vmdk", ""} {
		if got := kind(s.wait(fm.DeleteDatastoreFile(s.ctx(), "[vm-1] lkv-disks/f/"+f, s.dc))); got != "CannotDeleteFile" {
			t.Errorf("delete %q of an attached disk: %s", f, got)
		}
	}
	if got := kind(s.wait(vdm.ExtendVirtualDisk(s.ctx(), s.disk, s.dc, 16<<10, nil))); got != "FileLocked" {
		t.Errorf("extend the disk of a running VM: %s", got)
	}
	s.must(s.off(s.on1))
	local := filepath.Join(dir, "on.vmdk")
	before, err := os.ReadFile(flat(local))
	s.must(err)
	check := func(what string, size int64) {
		t.Helper()
		now, err := os.ReadFile(flat(local))
		s.must(err)
		desc, err := readDisk(local)
		s.must(err)
		if int64(len(now)) != size || desc.Capacity() != size || !bytes.Equal(now[:len(before)], before) {
			t.Errorf("%s: %d bytes, descriptor says %d, want %d; bytes kept: %v", what, len(now), desc.Capacity(), size, bytes.Equal(now[:len(before)], before))
		}
	}
	d := disksOf(s.props(s.on1))[0]
	d.CapacityInKB, d.CapacityInBytes = 12<<10, 12*mib
	s.must(s.change(s.on1, edit(d, types.VirtualDeviceConfigSpecOperationEdit, "")))
	check("grown while attached", 12*mib)
	s.must(s.change(s.on1, edit(disksOf(s.props(s.on1))[0], types.VirtualDeviceConfigSpecOperationRemove, "")))
	s.must(s.wait(vdm.ExtendVirtualDisk(s.ctx(), s.disk, s.dc, 16<<10, nil)))
	check("extended while alone", 16*mib)
	s.must(s.change(s.off1, attach(s.disk, 0)))
	if got := disksOf(s.props(s.off1))[0].CapacityInBytes; got != 16*mib {
		t.Errorf("attached with %d bytes", got)
	}
}
