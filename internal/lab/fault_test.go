package lab

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// TestFaults: each fault at one reconfiguration; what the client sees, and whether the change was made.
func TestFaults(t *testing.T) {
	r := newRig(t, Config{})
	iso := r.iso("v1")
	for _, c := range []struct {
		fault Fault
		want  string // fault type; empty: the connection was cut
		done  bool
	}{
		{None, "ok", true}, {Refuse, "HostCommunication", false}, {Drop, "", false}, {LoseReply, "", true},
		{FailTask, "HostCommunication", false}, {CutUpload, "", false}, {FullStore, "HostCommunication", false},
	} {
		vm := r.create("w"+strings.Repeat("x", int(c.fault)), iso)
		calls := 0
		r.lab.OnCall(func(call Call) Fault {
			calls++
			if call.Method != "ReconfigVM_Task" || call.N != len(r.lab.Journal()) {
				t.Errorf("call %+v", call)
			}
			return c.fault
		})
		err := r.change(vm, types.VirtualMachineConfigSpec{Annotation: "x"})
		r.lab.OnCall(nil)
		if got := kind(err); c.want != "" && got != c.want || c.want == "" && !strings.Contains(got, "EOF") {
			t.Errorf("fault %d: %s", c.fault, got)
		}
		done := false
		for range 50 { // the task of a lost reply may still run
			if done = r.props(vm).Config.Annotation == "x"; done == c.done {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if done != c.done || calls != 1 {
			t.Errorf("fault %d: done %v, want %v; %d calls", c.fault, done, c.done, calls)
		}
	}
}

// TestSessions: an expired session gets NotAuthenticated until the client logs in again; a wrong password never works.
func TestSessions(t *testing.T) {
	r := newRig(t, Config{})
	vm := r.create("w", r.iso("v1"))
	r.lab.ExpireSessions()
	if got := kind(r.change(vm, types.VirtualMachineConfigSpec{Annotation: "x"})); got != "NotAuthenticated" {
		t.Errorf("change in an expired session: %s", got)
	}
	if n := len(r.lab.Journal()); n != 1 {
		t.Errorf("%d calls in the journal: a call without a session counts as none", n)
	}
	again := login(t, r.lab)
	vm = object.NewVirtualMachine(again.Client, vm.Reference())
	r.must(r.change(vm, types.VirtualMachineConfigSpec{Annotation: "x"}))
	r.lab.OnCall(func(Call) Fault { return ExpireAll })
	if got := kind(r.change(vm, types.VirtualMachineConfigSpec{Annotation: "y"})); got != "NotAuthenticated" {
		t.Errorf("ExpireAll: %s", got)
	}
	if err := again.Login(r.ctx(), url.UserPassword("administrator@lab.local", "wrong")); kind(err) != "InvalidLogin" {
		t.Errorf("wrong password: %v", err)
	}
}

func (r *rig) put(path, content string) error {
	ds, err := r.f.Datastore(r.ctx(), "iso-nfs")
	r.must(err)
	p := soap.DefaultUpload
	p.ContentLength = int64(len(content))
	return ds.Upload(r.ctx(), strings.NewReader(content), path, &p)
}

// TestUploads: an upload needs a session, faults cut it as the network would, files in use stay, and the journal knows.
func TestUploads(t *testing.T) {
	r := newRig(t, Config{})
	content := strings.Repeat("0123456789", 100000)
	local := filepath.Join(r.lab.DatastoreDir("DC1", "iso-nfs"), "up/x.iso")
	size := func() int64 {
		info, err := os.Stat(local)
		if err != nil {
			return -1
		}
		return info.Size()
	}
	for _, c := range []struct {
		fault Fault
		fails bool
		size  int64
	}{{Refuse, true, -1}, {Drop, true, -1}, {FullStore, true, -1}, {ExpireAll, true, -1}, {CutUpload, true, 500000}, {LoseReply, true, 1000000}, {None, false, 1000000}} {
		r.lab.OnCall(func(Call) Fault { return c.fault })
		err := r.put("up/x.iso", content)
		if (err != nil) != c.fails || size() != c.size {
			t.Errorf("fault %d: %v, file of %d bytes, want %d", c.fault, err, size(), c.size)
		}
		r.lab.OnCall(nil)
		if c.fault == ExpireAll {
			r.again()
		}
	}
	j := r.lab.Journal()
	if len(j) != 7 || j[0].String() != "1 PUT [iso-nfs] up/x.iso" {
		t.Errorf("journal: %v", j)
	}
	r.must(r.lab.SetFreeSpace("DC1", "iso-nfs", 10))
	if err := r.put("up/y.iso", content); err == nil || !strings.Contains(err.Error(), "507") {
		t.Errorf("upload to a full datastore: %v", err)
	}
	r.must(r.lab.SetFreeSpace("DC1", "iso-nfs", -1))
	r.must(r.on(r.create("w", r.iso("v1"))))
	iso, _, _ := strings.Cut(cdOf(r.props(r.lookup("w"))).Backing.(*types.VirtualCdromIsoBackingInfo).FileName, " ")
	_, path, _ := splitPath(cdOf(r.props(r.lookup("w"))).Backing.(*types.VirtualCdromIsoBackingInfo).FileName)
	if err := r.put(path, "overwritten"); err == nil || iso != "[iso-nfs]" {
		t.Errorf("overwriting the ISO of a running VM works: %v", err)
	}
	res, err := http.DefaultClient.Do(&http.Request{Method: http.MethodGet, URL: r.c.URL()})
	if err == nil {
		res.Body.Close()
		t.Error("a client that does not know the authority got an answer")
	}
	bare := soap.NewClient(r.c.URL(), false)
	r.must(bare.SetRootCAs(r.lab.CAFile()))
	req, err := http.NewRequestWithContext(r.ctx(), http.MethodPut, strings.Replace(r.lab.URL(), "/sdk", "/folder/z?dcPath=DC1&dsName=vm-1", 1), bytes.NewReader(nil))
	r.must(err)
	r.must(bare.Do(r.ctx(), req, func(res *http.Response) error {
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("upload without a session: %s", res.Status)
		}
		return nil
	}))
}

func (r *rig) lookup(name string) *object.VirtualMachine {
	r.Helper()
	vm, err := r.f.VirtualMachine(r.ctx(), name)
	r.must(err)
	return vm
}

// TestSearch: one entry per disk, with its capacity; no pattern means all files; downloads give the bytes back.
func TestSearch(t *testing.T) {
	r := newRig(t, Config{})
	r.must(r.disk("[vm-1] lkv-disks/f/a.vmdk", 8))
	ds, err := r.f.Datastore(r.ctx(), "vm-1")
	r.must(err)
	b, err := ds.Browser(r.ctx())
	r.must(err)
	task, err := b.SearchDatastore(r.ctx(), "[vm-1] lkv-disks/f", &types.HostDatastoreBrowserSearchSpec{Details: &types.FileQueryFlags{FileType: true, FileSize: true}})
	r.must(err)
	info, err := task.WaitForResult(r.ctx())
	r.must(err)
	files := info.Result.(types.HostDatastoreBrowserSearchResults).File
	if len(files) != 1 || files[0].(*types.VmDiskFileInfo).CapacityKb != 8<<10 {
		t.Errorf("files: %+v", files)
	}
	if n := len(r.lab.Journal()); n != 2 {
		t.Errorf("%d calls in the journal, want MakeDirectory and CreateVirtualDisk_Task", n)
	}
	task, err = b.SearchDatastore(r.ctx(), "[vm-1] nowhere", nil)
	if got := kind(r.wait(task, err)); got != "FileNotFound" {
		t.Errorf("missing directory: %s", got)
	}
	r.must(r.lab.SetAccessible("DC1", "vm-1", false))
	task, err = b.SearchDatastore(r.ctx(), "[vm-1] lkv-disks/f", nil)
	if got := kind(r.wait(task, err)); got != "InaccessibleDatastore" {
		t.Errorf("inaccessible datastore: %s", got)
	}
	r.must(r.lab.SetAccessible("DC1", "vm-1", true))
	body, _, err := ds.Download(r.ctx(), "lkv-disks/f/a.vmdk", nil)
	r.must(err)
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil || !bytes.Contains(text, []byte("ddb.uuid")) {
		t.Errorf("download: %q, %v", text, err)
	}
}

// TestBehaviours of paper guests.
func TestBehaviours(t *testing.T) {
	how := map[string]Behaviour{
		"no-tools": {NoTools: true}, "never-ready": {NeverReady: true}, "fail-mount": {FailMount: true}, "stale": {StaleToken: true},
		"ignore": {IgnoreShutdown: true}, "reboot": {RebootOnShutdown: true}, "slow": {BootDelay: 100 * time.Millisecond, IP: "10.0.0.9"}, "dies": {OffAfter: 10 * time.Millisecond},
	}
	r := newRig(t, Config{Driver: Paper{Behave: func(vm string, boot int) Behaviour { return how[vm] }}})
	iso := r.iso("v1")
	vms := map[string]*object.VirtualMachine{}
	for name := range how {
		vms[name] = r.create(name, iso)
		path := "[vm-1] lkv-disks/f/" + name + ".vmdk"
		r.must(r.disk(path, 8))
		r.must(r.change(vms[name], attach(path, 0)))
		r.must(r.on(vms[name]))
	}
	if rep := r.await(vms["fail-mount"], func(rep report.Report) bool { return true }); rep.State != report.Failed || rep.Disks[0].Mounted {
		t.Errorf("fail-mount: %+v", rep)
	}
	if rep := r.await(vms["stale"], running); rep.Token != "" {
		t.Errorf("stale: %+v", rep)
	}
	r.await(vms["slow"], running)
	if ip := r.props(vms["slow"]).Guest.IpAddress; ip != "10.0.0.9" {
		t.Errorf("slow: address %s", ip)
	}
	if got := kind(vms["no-tools"].ShutdownGuest(r.ctx())); got != "ToolsUnavailable" {
		t.Errorf("no-tools: %s", got)
	}
	r.awaitPower(vms["dies"], types.VirtualMachinePowerStatePoweredOff)
	first := r.await(vms["reboot"], running)
	r.await(vms["ignore"], running)
	for _, name := range []string{"ignore", "reboot"} {
		r.must(vms[name].ShutdownGuest(r.ctx()))
	}
	r.await(vms["reboot"], func(rep report.Report) bool { return rep.BootID != first.BootID })
	for _, name := range []string{"ignore", "reboot", "never-ready"} {
		if s := r.props(vms[name]).Runtime.PowerState; s != types.VirtualMachinePowerStatePoweredOn {
			t.Errorf("%s: %s", name, s)
		}
	}
	for _, o := range r.props(vms["never-ready"]).Config.ExtraConfig {
		if o.GetOptionValue().Key == report.Key {
			t.Error("never-ready: it has a report")
		}
	}
	r.must(r.lab.CutPower("ignore"))
	if v, err := r.lab.VM("ignore"); err != nil || v.Power != "poweredOff" || v.Boots != 1 || v.Serial == "" {
		t.Errorf("after the power cut: %+v, %v", v, err)
	}
	r.must(r.lab.Invariants())
}
