package vsphere_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// diskStep makes a disk of that name on the VM's place.
func diskStep(vm, disk, path string, d plan.Desired) plan.CreateDisk {
	mk := plan.CreateDisk{Place: d.VMs[0].Place, Disk: d.VMs[0].Disks[0], Path: path}
	mk.Name, mk.Disk.Name = vm, disk
	return mk
}

// D7: a disk whose file lies on another datastore, without a marker yet, is not made a second time.
func TestDiskOnAnotherDatastoreIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	r.execute(diskStep(one, "docker", "[vm-2] lkv-disks/workers/wrk-01-docker.vmdk", d), d)
	r.mutations()
	b := r.refused(plan.R06, diskStep(one, "docker", "[vm-1] lkv-disks/workers/wrk-01-docker.vmdk", d), d)
	if !strings.Contains(b.Reason, "exists as [vm-2]") {
		t.Errorf("reason %q", b.Reason)
	}
	r.still("a disk that lies elsewhere")
}

// D7: whatever a record says of a disk counts: its path under any VM, its name under its own; and nothing else does.
func TestMemoriesOfADisk(t *testing.T) {
	t.Parallel()
	r, a, d := made(t)
	r.execute(shutdown(time.Second), d)
	disk := r.observe(d).VMs[0].Record.Disks[0]
	r.execute(diskStep("wrk-07", "docker", "[vm-1] lkv-disks/workers/wrk-07-docker.vmdk", d), d) // another VM's
	r.execute(diskStep(one, "logs", "[vm-1] lkv-disks/workers/wrk-01-logs.vmdk", d), d)          // another disk
	dir := filepath.Join(r.lab.DatastoreDir("DC1", "vm-1"), plan.DiskFolder)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	says := func(path string) map[string]any {
		if path == "" {
			return map[string]any{"disks": nil}
		}
		return map[string]any{"disks": []map[string]string{{"name": disk.Name, "uuid": disk.UUID, "path": path}}}
	}
	r.mutations()
	try := func(what string, record map[string]any, s plan.CreateDisk) {
		t.Helper()
		a.record(one, record)
		if b := r.refused(plan.R06, s, d); !strings.Contains(b.Reason, "stands in the record of VM wrk-01") {
			t.Errorf("%s: %q", what, b.Reason)
		}
		r.still(what)
	}
	try("a VM has it, and no record", says(""), diskStep("wrk-08", "docker", disk.Path, d))
	a.detach(one)
	try("another VM's record has its path", says(disk.Path), diskStep("wrk-08", "docker", disk.Path, d))
	try("its record has its name", says("[vm-2] elsewhere/x.vmdk"), diskStep(one, "docker", disk.Path, d))
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
}

// A disk grows only where it is attached, and not under a snapshot.
func TestOnlyAnAttachedDiskGrows(t *testing.T) {
	t.Parallel()
	r, _, d := made(t)
	r.execute(shutdown(time.Second), d)
	disk := r.observe(d).VMs[0].Record.Disks[0]
	r.mutations()
	for _, uuid := range []string{"", "6000c290-0b1a-7e2f-8a4c-0123456789ab"} {
		other := disk
		other.UUID = uuid
		r.refused(plan.R06, step(one, plan.GrowDisk{Disk: other, Bytes: 128 << 20}), d)
	}
	r.still("a disk that it does not have")
}
