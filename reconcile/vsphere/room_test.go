package vsphere

import (
	"slices"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// What thin disks were promised and do not take yet is free, and no room; a datastore need not say it.
func TestRoom(t *testing.T) {
	at := func(name string, free, uncommitted int64) item {
		return item{types.ManagedObjectReference{Type: "Datastore", Value: name}, map[string]types.AnyType{"name": name,
			"summary": types.DatastoreSummary{Accessible: true, FreeSpace: free, Uncommitted: uncommitted}}}
	}
	list := (&Client{}).described(nil, []item{at("a", 1000, 900), at("b", 300, 0), at("c", 500, 300)})
	if list[0].name != "a" || list[0].free != 1000 {
		t.Errorf("files go by what is free: %+v", list)
	}
	var p promises
	var got string
	for range 5 {
		got += p.to(list, 80).name // 300, 200, 100 have b, c and a
	}
	if got != "bbcbc" {
		t.Errorf("chosen: %s", got)
	}
}

// R21: a thick disk needs all its bytes, a thin one no more than thinReserve of them.
func TestRoomForADisk(t *testing.T) {
	for _, c := range []struct {
		bytes, free int64
		thin, fits  bool
	}{
		{64 << 20, 64 << 20, false, true},
		{64 << 20, 64<<20 - 1, false, false},
		{8 << 30, 8<<30 - 1, false, false},
		{8 << 30, thinReserve, true, true},
		{8 << 30, thinReserve - 1, true, false},
		{64 << 20, 64 << 20, true, true},
		{64 << 20, 64<<20 - 1, true, false},
	} {
		var s plan.CreateDisk
		s.Disk = plan.WantDisk{Bytes: c.bytes, Thin: c.thin}
		if err := roomFor(datastore{free: c.free, room: -1 << 40}, s); (err == nil) != c.fits {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A fleet is settled, so that nobody asks for its files, only while nothing can be made, attached or taken.
func TestSettled(t *testing.T) {
	wish := plan.Desired{Fleet: "f", Rollout: plan.Rollout{Strategy: "in-place"},
		VMs: []plan.WantVM{{Name: "a", Disks: []plan.WantDisk{{Name: "docker"}}}, {Name: "b"}}}
	for what, c := range map[string]struct {
		change func(d *plan.Desired, vms []sighted)
		want   bool
	}{
		"as it should be":       {func(*plan.Desired, []sighted) {}, true},
		"a stranger takes":      {func(_ *plan.Desired, v []sighted) { v[2].vm.Record.Takes = make([]plan.DiskRecord, 1) }, true},
		"blue-green":            {func(d *plan.Desired, _ []sighted) { d.Rollout.Strategy = "blue-green" }, false},
		"a VM is another's":     {func(_ *plan.Desired, v []sighted) { v[1].vm.Fleet = "g" }, false},
		"a VM is missing":       {func(_ *plan.Desired, v []sighted) { v[1].vm.Name = "z" }, false},
		"one takes a disk":      {func(_ *plan.Desired, v []sighted) { v[1].vm.Record.Takes = make([]plan.DiskRecord, 1) }, false},
		"one is retired":        {func(_ *plan.Desired, v []sighted) { v[1].vm.Record.Retired = time.Unix(1, 0) }, false},
		"a disk is off":         {func(_ *plan.Desired, v []sighted) { v[0].vm.Disks = nil }, false},
		"it has another disk":   {func(_ *plan.Desired, v []sighted) { v[0].vm.Disks[0].UUID = "y" }, false},
		"the UUID is not known": {func(_ *plan.Desired, v []sighted) { v[0].vm.Record.Disks[0].UUID, v[0].vm.Disks[0].UUID = "", "" }, false},
		"a disk is wanted more": {func(d *plan.Desired, _ []sighted) { d.VMs[1].Disks = []plan.WantDisk{{Name: "docker"}} }, false},
		"a disk of other name":  {func(d *plan.Desired, _ []sighted) { d.VMs[0].Disks = []plan.WantDisk{{Name: "logs"}} }, false},
	} {
		d := wish
		d.VMs = slices.Clone(wish.VMs)
		vms := []sighted{
			{vm: plan.VM{Fleet: "f", Name: "a", Disks: []plan.Disk{{UUID: "x"}}, Record: plan.Record{Disks: []plan.DiskRecord{{Name: "docker", UUID: "x"}}}}},
			{vm: plan.VM{Fleet: "f", Name: "b"}}, {vm: plan.VM{Name: "c"}}}
		c.change(&d, vms)
		if got := settled(d, vms); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
