package vsphere_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

const markerOfFirst = "[vm-1] lkv-disks/workers/wrk-01-docker.made"

// goes takes the first VM out of lkv's hands and out of the inventory; its disk stays as an orphan.
func (r *rig) goes(a *admin) {
	r.Helper()
	if err := r.lab.CutPower("wrk-01"); err != nil {
		r.Fatal(err)
	}
	a.detach("wrk-01")
	a.must(a.vm("wrk-01").Destroy(r.Context()))
	r.c = r.connect()
	r.fleet = r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
}

// held tries to remove the marker of the first VM's disk, which must be refused with the code.
func (r *rig) held(code plan.Code, why string) {
	r.Helper()
	r.mutations()
	_, err := r.c.FreePlace(r.Context(), "DC1", diskOfFirst)
	var b plan.Blocked
	if !errors.As(err, &b) || b.Code != code || !strings.Contains(b.Reason, why) {
		r.Errorf("got %v, want %s about %q", err, code, why)
	}
	if sent := r.mutations(); len(sent) > 0 {
		r.Errorf("refused, and %v was sent", sent)
	}
}

// remove removes a folder.
func (a *admin) remove(path string) {
	a.Helper()
	a.must(object.NewFileManager(a.c.Client).DeleteDatastoreFile(a.Context(), path, a.dc))
}

// A place whose disk was deleted on purpose gets an empty disk; whose disk is only gone, none.
func TestPlaceIsFreed(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	a := r.admin("DC1")
	r.goes(a)
	r.held(plan.R19, "is there")
	if err := r.c.DeleteDataDisk(t.Context(), "DC1", diskOfFirst); err != nil {
		t.Fatal(err)
	}
	if res := r.run(d); res.Outcome != reconcile.Refused || len(res.Blocked) != 1 || res.Blocked[0].Code != plan.R06 {
		t.Errorf("with the marker: %+v", res)
	}
	a.folder(markerOfFirst + "/x")
	r.held(plan.R19, "lies x")
	a.remove(markerOfFirst + "/x")
	a.folder("[vm-2] lkv-disks/workers/wrk-01-docker.made")
	r.mutations()
	got, err := r.c.FreePlace(t.Context(), "DC1", diskOfFirst)
	if err != nil || got.Marker != markerOfFirst || len(got.Left) != 1 || got.Left[0].Path != "[vm-2] lkv-disks/workers/wrk-01-docker.made" {
		t.Errorf("%v %+v", err, got)
	}
	if sent := r.mutations(); !slices.Equal(sent, []string{"DeleteDatastoreFile_Task"}) {
		t.Errorf("sent: %v", sent)
	}
	if got, err = r.c.FreePlace(t.Context(), "DC1", diskOfFirst); err != nil || got.Marker != "" || len(got.Left) != 1 {
		t.Errorf("again: %v %+v", err, got)
	}
	r.fleet = r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	if res := r.run(d); res.Outcome != reconcile.Refused {
		t.Errorf("with a marker elsewhere: %+v", res)
	}
	a.remove("[vm-2] lkv-disks/workers/wrk-01-docker.made")
	r.fleet = r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Errorf("freed: %+v", res)
	}
}

// The marker stays while a VM of the fleet has the disk of the place elsewhere: it is that disk's, too.
func TestPlaceOfADiskThatLiesElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	r.stand(1)
	a := r.admin("DC1")
	if err := r.lab.CutPower("wrk-01"); err != nil {
		t.Fatal(err)
	}
	var vm mo.VirtualMachine
	if err := a.vm("wrk-01").Properties(t.Context(), a.vm("wrk-01").Reference(), []string{"config.extraConfig"}, &vm); err != nil {
		t.Fatal(err)
	}
	raw, _ := object.OptionValueList(vm.Config.ExtraConfig).GetString("lkv.record")
	a.detach("wrk-01")
	a.move(diskOfFirst, "[vm-2] elsewhere.vmdk")
	moved := strings.Replace(raw, diskOfFirst, "[vm-2] elsewhere.vmdk", 1)
	if moved == raw {
		t.Fatalf("the record names no disk: %s", raw)
	}
	a.change("wrk-01", types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: moved}}})
	r.mutations()
	got, err := r.c.FreePlace(t.Context(), "DC1", diskOfFirst)
	if sent := r.mutations(); err != nil || got.Marker != "" || len(got.Left) != 1 || got.Left[0].Path != markerOfFirst || len(sent) > 0 {
		t.Errorf("%v %+v %v", err, got, sent)
	}
	a.change("wrk-01", types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "lkv.record", Value: ""}}})
	if got, err = r.c.FreePlace(t.Context(), "DC1", diskOfFirst); err != nil || got.Marker != markerOfFirst {
		t.Errorf("%v %+v", err, got)
	}
}
