package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// crowd is a vCenter with a fleet that is as it should be, among many VMs of others. It is the bare simulator: the lab
// makes its VMs one by one, and ten thousand take it an hour.
type crowd struct {
	testing.TB
	model *simulator.Model
	url   string
	fleet int
}

// crowdOf has that many VMs, the first of them the fleet's.
func crowdOf(t testing.TB, vms, fleet int) *crowd {
	t.Helper()
	m := simulator.VPX()
	m.Machine, m.Autostart = 1, false
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	c := &crowd{TB: t, model: m, fleet: fleet}
	s := m.Service.NewServer()
	t.Cleanup(s.Close)
	s.URL.User = nil
	c.url = s.URL.String()
	like := c.original()
	d := crowdWish(fleet)
	for i := range vms - 2 { // the simulator made two
		if i < fleet {
			c.add(like, d.VMs[i].Name, func(v *simulator.VirtualMachine) { c.own(v, d, i) })
		} else {
			c.add(like, fmt.Sprintf("other-%05d", i), func(*simulator.VirtualMachine) {})
		}
	}
	return c
}

func (c *crowd) original() *simulator.VirtualMachine {
	for _, o := range c.model.Map().All("VirtualMachine") {
		if v, ok := o.(*simulator.VirtualMachine); ok && strings.Contains(v.Name, "C0") {
			return v
		}
	}
	c.Fatal("the simulator made no VM")
	return nil
}

// add puts a copy of a VM beside it, with disks of its own.
func (c *crowd) add(like *simulator.VirtualMachine, name string, change func(*simulator.VirtualMachine)) {
	v := *like
	v.Self, v.Name = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-" + name}, name
	config := *like.Config
	v.Config = &config
	config.Name, config.InstanceUuid, config.ChangeVersion = name, "uuid-"+name, "1"
	config.ExtraConfig = slices.Clone(config.ExtraConfig)
	config.Hardware.Device = slices.Clone(config.Hardware.Device)
	for i, d := range config.Hardware.Device {
		if disk, ok := d.(*types.VirtualDisk); ok {
			config.Hardware.Device[i] = crowdDisk(disk.Key, disk.ControllerKey, "[LocalDS_0] "+name+"/disk.vmdk", crowdUUID(name))
		}
	}
	change(&v)
	ctx := c.model.Service.Context
	folder, ok := ctx.Map.Get(*like.Parent).(*mo.Folder)
	if !ok {
		if f, is := ctx.Map.Get(*like.Parent).(*simulator.Folder); is {
			folder, ok = &f.Folder, true
		}
	}
	if !ok {
		c.Fatalf("the VM's folder is a %T", ctx.Map.Get(*like.Parent))
	}
	folder.ChildEntity = append(folder.ChildEntity, v.Self)
	ctx.Map.Put(&v)
}

func crowdUUID(name string) string {
	hex := fmt.Sprintf("%x", name+strings.Repeat("-", 16))[:32]
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}

func crowdDisk(key, controller int32, file, uuid string) *types.VirtualDisk {
	unit := int32(0)
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{Key: key, ControllerKey: controller, UnitNumber: &unit, Backing: &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}, DiskMode: plan.DiskMode, Uuid: uuid}},
		CapacityInKB: 10 << 20, CapacityInBytes: 10 << 30,
	}
}

// crowdWish is the fleet, with one data disk each.
func crowdWish(n int) plan.Desired {
	d := plan.Desired{Fleet: "workers", Claimer: "run-1", TTL: time.Minute,
		Image: plan.Image{Name: "worker", Digest: strings.Repeat("ab", 32), ID: "sha256:id", Known: true, Boot: []string{"bios"},
			Paths:  map[string]string{"iso": "[LocalDS_0] lkv/worker.iso"},
			Mounts: []plan.Mount{{Path: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Gated: true}}},
		Rollout: plan.Rollout{Strategy: "in-place", MaxUnavailable: 1, OnFailure: "pause", Grace: time.Second, Timeout: time.Minute}}
	for i := range n {
		d.VMs = append(d.VMs, plan.WantVM{
			Name: fmt.Sprintf("wrk-%04d", i+1), Ordinal: i + 1, CPUs: 2, MemoryMiB: 512, Firmware: "bios",
			Place: plan.Placement{Datacenter: "DC0", Datastore: "LocalDS_0", Store: "iso"},
			Disks: []plan.WantDisk{{Name: "docker", Bytes: 10 << 30, Mount: "/var/lib/docker", Thin: true}},
		})
	}
	return d
}

// own makes the VM one of the fleet that serves.
func (c *crowd) own(v *simulator.VirtualMachine, d plan.Desired, i int) {
	w := d.VMs[i]
	uuid, file := crowdUUID(w.Name), plan.DiskPath(d.Fleet, w, w.Disks[0])
	rec := plan.Record{Image: d.Image.Digest, ImageID: d.Image.ID, Token: plan.Token(d.Image.Digest, 1), Epoch: 1,
		Disks: []plan.DiskRecord{{Name: "docker", UUID: uuid, Path: file, Label: "docker", Filesystem: "ext4"}}}
	raw, err := encodeRecord(rec)
	if err != nil {
		c.Fatal(err)
	}
	says, err := json.Marshal(report.Report{Format: report.Format, Image: report.Image{Name: "worker", ID: d.Image.ID}, Token: rec.Token,
		State: report.Running, Disks: []report.Disk{{Mount: "/var/lib/docker", Serial: plan.SerialOf(uuid), Mounted: true}}})
	if err != nil {
		c.Fatal(err)
	}
	for i := range 80 { // what vSphere itself writes there
		v.Config.ExtraConfig = append(v.Config.ExtraConfig, options(fmt.Sprintf("pciBridge%d.functions", i), "8")...)
	}
	v.Config.ExtraConfig = append(v.Config.ExtraConfig, options(
		ownerKey, fmt.Sprintf(`{"fleet":%q,"ordinal":%d,"id":"test"}`, d.Fleet, w.Ordinal), recordKey, raw, report.Key, string(says))...)
	v.Config.Firmware, v.Config.Hardware.NumCPU, v.Config.Hardware.MemoryMB = "bios", 2, 512
	v.Runtime.PowerState, v.Runtime.ConnectionState = types.VirtualMachinePowerStatePoweredOn, types.VirtualMachineConnectionStateConnected
	guest := types.GuestInfo{}
	if v.Guest != nil {
		guest = *v.Guest
	}
	guest.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	v.Guest = &guest
	for j, dev := range v.Config.Hardware.Device {
		if disk, ok := dev.(*types.VirtualDisk); ok {
			v.Config.Hardware.Device[j] = crowdDisk(disk.Key, disk.ControllerKey, file, uuid)
		}
	}
	v.Config.Hardware.Device = append(v.Config.Hardware.Device, cdrom(3900, 200, 0, d.Image.Paths["iso"]))
}

// tally is what one plan took.
type tally struct {
	Calls   map[string]int // after login
	PeakMB  float64        // heap, live and garbage
	Seconds float64
	CPU     float64 // seconds
	Same    int
	Trouble string
}

func (t tally) total() int {
	n := 0
	for _, k := range t.Calls {
		n += k
	}
	return n
}

// planOnce does what lkv plan does with a fleet, looks times in one session, and tells what the last look took. Login
// and logout are not counted.
func planOnce(ctx context.Context, url string, fleet, looks int) (tally, error) {
	var mu sync.Mutex
	out := tally{}
	client, err := Connect(ctx, Config{URL: url, Username: "user", Password: "pass", Insecure: true, Trace: func(m string, mutating bool) {
		mu.Lock()
		defer mu.Unlock()
		out.Calls[m]++
		if mutating {
			out.Trouble = m + " changes something"
		}
	}})
	if err != nil {
		return out, err
	}
	f := client.Fleet(FleetConfig{OwnerID: "test", Now: time.Now})
	d := crowdWish(fleet)
	from := time.Now()
	for range looks {
		out.Calls = map[string]int{}
		o, err := f.Observe(ctx, d)
		if err != nil || o.Problem != "" {
			return out, fmt.Errorf("observe: %w, %s", err, o.Problem)
		}
		p := plan.Compute(d, o, time.Now())
		if err := plan.Check(p, o); err != nil {
			return out, err
		}
		if out.Same = len(p.Same); len(p.Blocked)+len(p.Waves) > 0 {
			out.Trouble = fmt.Sprintf("%d waves, blocked: %v", len(p.Waves), p.Blocked)
		}
	}
	out.Seconds = time.Since(from).Seconds()
	mu.Lock()
	calls := maps.Clone(out.Calls)
	mu.Unlock()
	err = client.Close(ctx)
	out.Calls = calls
	return out, err
}

// crowdEnv makes the test binary one lkv plan in a process of its own, so that its memory is not the simulator's.
const crowdEnv = "LKV_TEST_CROWD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(crowdEnv); spec != "" {
		os.Exit(planProcess(spec))
	}
	os.Exit(m.Run())
}

func planProcess(spec string) int {
	var url string
	var fleet int
	if _, err := fmt.Sscan(spec, &url, &fleet); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	stop, peak := make(chan struct{}), make(chan float64)
	go func() { peak <- highest(stop) }()
	out, err := planOnce(context.Background(), url, fleet, 1)
	close(stop)
	if out.PeakMB = <-peak; err != nil {
		out.Trouble = err.Error()
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err == nil {
		out.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 1
	}
	return 0
}

// highest watches the heap until stop and returns its largest size in MB.
func highest(stop chan struct{}) float64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	top := uint64(0)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		metrics.Read(sample)
		top = max(top, sample[0].Value.Uint64())
		select {
		case <-stop:
			return float64(top) / 1e6
		case <-tick.C:
		}
	}
}

// apart plans in another process.
func (c *crowd) apart() tally {
	c.Helper()
	exe, err := os.Executable()
	if err != nil {
		c.Fatal(err)
	}
	cmd := exec.CommandContext(c.Context(), exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", crowdEnv, c.url, c.fleet))
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		c.Fatal(err)
	}
	var t tally
	if err := json.Unmarshal(raw, &t); err != nil || t.Trouble != "" || t.Same != c.fleet {
		c.Fatalf("plan: %v %+v", err, t)
	}
	return t
}

// TestPlanCalls: a plan with nothing to do takes as many calls for many VMs as for few, and one that looks again takes
// two. Login and logout are not counted. Ten thousand VMs take three calls more, because answers are cut into pages.
func TestPlanCalls(t *testing.T) {
	for _, n := range []struct{ vms, fleet int }{{30, 10}, {300, 100}} {
		c := crowdOf(t, n.vms, n.fleet)
		for looks, want := range map[int]int{1: 4, 2: 2} {
			got, err := planOnce(t.Context(), c.url, n.fleet, looks)
			if err != nil || got.Trouble != "" || got.Same != n.fleet {
				t.Fatalf("%d VMs: %v %+v", n.vms, err, got)
			}
			if got.total() != want {
				t.Errorf("%d VMs, look %d: %d calls %v, want %d", n.vms, looks, got.total(), got.Calls, want)
			}
		}
	}
}

// small asks for small pages, and lets one of them fail.
type small struct {
	soap.RoundTripper
	pages int // seen
	fails int // the page that is answered with a fault; 0: none
}

func (s *small) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	switch b := req.(type) {
	case *methods.RetrievePropertiesExBody:
		b.Req.Options.MaxObjects = 7
	case *methods.ContinueRetrievePropertiesExBody:
		if s.pages++; s.pages == s.fails {
			return errors.New("the page is gone")
		}
	}
	return s.RoundTripper.RoundTrip(ctx, req, res)
}

// Answers come in pages. Whichever is missing, the look shows nothing; when none is, it shows what one page would.
func TestPagesAreWholeOrAnError(t *testing.T) {
	c := crowdOf(t, 40, 12)
	client, err := Connect(t.Context(), Config{URL: c.url, Username: "user", Password: "pass", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	look := func() (plan.Observed, error) {
		f := client.Fleet(FleetConfig{OwnerID: "test", Now: time.Now})
		return f.Observe(t.Context(), crowdWish(12))
	}
	whole, err := look()
	if err != nil || whole.Problem != "" || len(whole.VMs) != 12 || len(whole.Files) != 12 {
		t.Fatalf("%v %+v", err, whole)
	}
	s := &small{RoundTripper: client.vim.RoundTripper}
	client.vim.RoundTripper = s
	paged, err := look()
	if diff := cmp.Diff(whole, paged); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	all := s.pages
	if all < 8 {
		t.Fatalf("only %d pages", all)
	}
	for s.fails = 1; s.fails <= all; s.fails++ {
		s.pages = 0
		if o, err := look(); err != nil || !strings.Contains(o.Problem, "the page is gone") || len(o.VMs)+len(o.Files) > 0 {
			t.Errorf("page %d: %v %+v", s.fails, err, o)
		}
	}
}

// BenchmarkPlan is one lkv plan with nothing to do, in a process of its own, against a vCenter of that many VMs.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []struct{ vms, fleet int }{{100, 20}, {1000, 200}, {10000, 200}, {10000, 1000}} {
		b.Run(fmt.Sprintf("%d/fleet=%d", n.vms, n.fleet), func(b *testing.B) {
			c := crowdOf(b, n.vms, n.fleet)
			runtime.GC()
			var t tally
			for b.Loop() {
				t = c.apart()
			}
			b.ReportMetric(float64(t.total()), "calls/op")
			b.ReportMetric(t.PeakMB, "peak-heap-MB")
			b.ReportMetric(t.CPU, "cpu-s/op")
			b.Logf("%v", t.Calls)
		})
	}
}
