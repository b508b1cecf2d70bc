package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/vmware/govmomi/object"
	containers "github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// TestParallelLives: VMs live at the same time while somebody reads the whole inventory; every data disk survives.
func TestParallelLives(t *testing.T) {
	const n = 8
	r := newRig(t, Config{Driver: Paper{BootDelay: 5 * time.Millisecond}})
	iso := r.iso("v1")
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { readAll(r, stop) })
	var lives sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		lives.Go(func() { errs[i] = live(r, fmt.Sprintf("w%d", i), iso) })
	}
	lives.Wait()
	close(stop)
	reader.Wait()
	r.must(errors.Join(errs...))
	r.must(r.lab.Invariants())
	for i := range n {
		if !exists(filepath.Join(r.lab.DatastoreDir("DC1", "vm-2"), fmt.Sprintf("lkv-disks/f/w%d-flat.vmdk", i))) {
			t.Errorf("disk of w%d is gone", i)
		}
	}
}

func readAll(r *rig, stop chan struct{}) {
	v, err := containers.NewManager(r.c.Client).CreateContainerView(r.ctx(), r.c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		r.Error(err)
		return
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		var vms []mo.VirtualMachine
		if err := v.Retrieve(r.ctx(), []string{"VirtualMachine"}, []string{"name", "config", "guest", "runtime"}, &vms); err != nil && kind(err) != "ManagedObjectNotFound" {
			r.Errorf("read: %v", err)
			return
		}
	}
}

// live is one VM's life, without a test's fatal errors: it runs beside others.
func live(r *rig, name, iso string) error {
	path := "[vm-2] lkv-disks/f/" + name + ".vmdk"
	if err := r.disk(path, 4); err != nil {
		return err
	}
	vm, err := r.try(spec(name, iso))
	if err != nil {
		return err
	}
	if err := r.change(vm, attach(path, 0)); err != nil {
		return err
	}
	for range 2 {
		if err := r.on(vm); err != nil {
			return err
		}
		r.await(vm, running)
		if err := r.off(vm); err != nil {
			return err
		}
	}
	if err := r.change(vm, edit(disksOf(r.props(vm))[0], types.VirtualDeviceConfigSpecOperationRemove, "")); err != nil {
		return err
	}
	return r.wait(vm.Destroy(r.ctx()))
}

// TestSlowTasks: with a task delay the caller gets its task at once, and others can read the VM meanwhile.
func TestSlowTasks(t *testing.T) {
	r := newRig(t, Config{TaskDelay: 300 * time.Millisecond})
	vm := r.create("w", r.iso("v1"))
	start := time.Now()
	task, err := vm.PowerOn(r.ctx())
	r.must(err)
	p := r.props(vm)
	if took := time.Since(start); took > 250*time.Millisecond || p.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("%s and %s after %s", task.Reference(), p.Runtime.PowerState, took)
	}
	var info mo.Task
	r.must(task.Properties(r.ctx(), task.Reference(), []string{"info"}, &info))
	if info.Info.State != types.TaskInfoStateRunning || *info.Info.Entity != vm.Reference() || info.Info.EntityName != "w" || info.Info.Name != "PowerOnVM_Task" {
		t.Errorf("task: %+v", info.Info)
	}
	var m mo.VirtualMachine
	r.must(vm.Properties(r.ctx(), vm.Reference(), []string{"recentTask"}, &m))
	if len(m.RecentTask) == 0 || m.RecentTask[len(m.RecentTask)-1] != task.Reference() {
		t.Errorf("recent tasks: %v", m.RecentTask)
	}
	r.must(task.Wait(r.ctx()))
}

// TestLabAgain: a lab that starts on an old directory keeps its files, so disks can be attached again.
func TestLabAgain(t *testing.T) {
	dir := t.TempDir()
	first := newRig(t, Config{Dir: dir})
	first.must(first.disk("[vm-1] lkv-disks/f/a.vmdk", 4))
	id, err := object.NewVirtualDiskManager(first.c.Client).QueryVirtualDiskUuid(first.ctx(), "[vm-1] lkv-disks/f/a.vmdk", first.dc)
	first.must(err)
	if _, err := Start(t.Context(), Config{Dir: dir, Driver: Paper{}}); err == nil || !strings.Contains(err.Error(), "another lab") {
		t.Errorf("two labs in one directory: %v", err)
	}
	first.must(first.lab.Close())
	second := newRig(t, Config{Dir: dir})
	vm := second.create("w", second.iso("v1"))
	second.must(second.change(vm, attach("[vm-1] lkv-disks/f/a.vmdk", 0)))
	if got := disksOf(second.props(vm))[0]; got.CapacityInBytes != 4*mib || got.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid != dashed(id) {
		t.Errorf("disk: %+v, want UUID %s", got, id)
	}
}

// TestBadConfig: everything wrong is an error that names it, and leaves nothing running.
func TestBadConfig(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	one := func(d Datacenter) Config {
		return Config{Dir: t.TempDir(), Driver: Paper{}, Datacenters: []Datacenter{d}}
	}
	c1 := []Cluster{{"C1", 1}}
	for want, cfg := range map[string]Config{
		"needs a directory":      {},
		"address already in use": {Dir: t.TempDir(), Driver: Paper{}, Listen: taken.Addr().String()},
		"not a directory":        {Dir: filepath.Join(file, "x"), Driver: Paper{}},
		"no hosts":               one(Datacenter{Name: "A"}),
		`datacenter name "a/b"`:  one(Datacenter{Name: "a/b", Clusters: c1}),
		`datastore name ""`:      one(Datacenter{Name: "A", Clusters: c1, Datastores: []Datastore{{}}}),
		`no host "h"`:            one(Datacenter{Name: "A", Clusters: c1, Datastores: []Datastore{{Name: "d", Hosts: []string{"h"}}}}),
	} {
		l, err := Start(t.Context(), cfg)
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAddressOf(t *testing.T) {
	ifs := []qemu.Interface{{Name: "lo", IPv4: []string{"127.0.0.1"}}, {Name: "docker0", MAC: "02:42:00:00:00:01", IPv4: []string{"172.17.0.1"}},
		{Name: "eth0", MAC: "00:0C:29:00:00:01", IPv4: []string{"169.254.3.4", "192.168.127.2"}}}
	for mac, want := range map[string]string{"00:0c:29:00:00:01": "192.168.127.2", "00:0c:29:00:00:02": ""} {
		if got := addressOf(ifs, mac); got != want {
			t.Errorf("%s: %q, want %q", mac, got, want)
		}
	}
}

// TestPaperDisks: whose disk is whose, and which one a paper guest leaves alone.
func TestPaperDisks(t *testing.T) {
	dir := t.TempDir()
	blank := func(name, content string) BootDisk {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p, 4*mib); err != nil {
			t.Fatal(err)
		}
		return BootDisk{Path: p, Serial: strings.Repeat(name, 16), Bytes: 4 * mib}
	}
	foreign, empty := blank("f", "somebody's data"), blank("e", "")
	m := &paperMachine{b: Boot{VM: "w", Dir: dir, Disks: []BootDisk{foreign, empty}}}
	docker := persistOf("docker", "ext4")
	first := m.persist(docker, map[string]bool{})
	again := m.persist(docker, map[string]bool{})
	if !first.Formatted || first.Serial != empty.Serial || first.Device != "/dev/sdb1" || again.Formatted || again.UUID != first.UUID {
		t.Errorf("blank disk: %+v, then %+v", first, again)
	}
	if d := m.persist(persistOf("docker", "xfs"), map[string]bool{}); d.Mounted || !strings.Contains(d.Error, "ext4 on the disk") {
		t.Errorf("other file system: %+v", d)
	}
	if d := m.persist(persistOf("other", "ext4"), map[string]bool{}); d.Mounted || d.Error != "no disk for it" {
		t.Errorf("no blank disk left: %+v", d)
	}
	b, err := os.ReadFile(foreign.Path)
	if err != nil || !strings.HasPrefix(string(b), "somebody's data\x00") {
		t.Error("the foreign disk was touched")
	}
	force := persistOf("other", "ext4")
	force.Force = true
	if d := m.persist(force, map[string]bool{}); !d.Formatted {
		t.Errorf("force: %+v", d)
	}
}

func persistOf(label, fs string) manifest.Persist {
	return manifest.Persist{Mount: "/m", Label: label, Filesystem: fs, Via: "lkv"}
}
