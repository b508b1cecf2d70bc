package vsphere

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// wire counts what gets through.
type wire struct{ sent []string }

func (w *wire) RoundTrip(_ context.Context, req, _ soap.HasFault) error {
	w.sent = append(w.sent, method(req))
	return nil
}

func change(op types.VirtualDeviceConfigSpecOperation, file types.VirtualDeviceConfigSpecFileOperation, d types.BaseVirtualDevice) []types.BaseVirtualDeviceConfigSpec {
	return []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: op, FileOperation: file, Device: d}}
}

func reconfig(s types.VirtualMachineConfigSpec) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{Req: &types.ReconfigVM_Task{Spec: s}}
}

func move(from, to string, force bool) soap.HasFault {
	return &methods.MoveDatastoreFile_TaskBody{Req: &types.MoveDatastoreFile_Task{SourceName: from, DestinationName: to, Force: &force}}
}

const unfinished = "[ds] lkv/w/a.iso.lkv-part-0123abcd-99887766"

func copying(from, to string, force bool, dc *types.ManagedObjectReference) soap.HasFault {
	return &methods.CopyDatastoreFile_TaskBody{Req: &types.CopyDatastoreFile_Task{SourceName: from, SourceDatacenter: dc, DestinationName: to, DestinationDatacenter: dc, Force: &force}}
}

func ticketFor(method, u string) soap.HasFault {
	return &methods.AcquireGenericServiceTicketBody{Req: &types.AcquireGenericServiceTicket{Spec: &types.SessionManagerHttpServiceRequestSpec{Method: method, Url: u}}}
}

var (
	isoFile = "[ds] lkv/w/" + strings.Repeat("0a", 32) + ".iso"
	vmFile  = "[ds] lkv/w/" + strings.Repeat("0a", 32) + ".vmdk"
)

const ending = ".lkv-part-0123abcd-99887766"

// D1: whoever asks, these calls do not leave the process.
func TestGateRefuses(t *testing.T) {
	disk := dataDisk(1000, 0, "[ds] lkv-disks/f/a.vmdk", 1<<30)
	dc := types.ManagedObjectReference{Type: "Datacenter", Value: "dc-1"}
	const add, edit, remove = types.VirtualDeviceConfigSpecOperationAdd, types.VirtualDeviceConfigSpecOperationEdit, types.VirtualDeviceConfigSpecOperationRemove
	for name, req := range map[string]soap.HasFault{
		"destroy a VM":              &methods.Destroy_TaskBody{Req: &types.Destroy_Task{}},
		"unregister a VM":           &methods.UnregisterVMBody{Req: &types.UnregisterVM{}},
		"relocate a VM":             &methods.RelocateVM_TaskBody{Req: &types.RelocateVM_Task{}},
		"clone a VM":                &methods.CloneVM_TaskBody{Req: &types.CloneVM_Task{}},
		"revert to a snapshot":      &methods.RevertToSnapshot_TaskBody{Req: &types.RevertToSnapshot_Task{}},
		"delete a disk":             &methods.DeleteVirtualDisk_TaskBody{Req: &types.DeleteVirtualDisk_Task{}},
		"move a disk":               &methods.MoveVirtualDisk_TaskBody{Req: &types.MoveVirtualDisk_Task{}},
		"copy over a disk":          &methods.CopyVirtualDisk_TaskBody{Req: &types.CopyVirtualDisk_Task{}},
		"wipe a disk":               &methods.ZeroFillVirtualDisk_TaskBody{Req: &types.ZeroFillVirtualDisk_Task{}},
		"copy a file":               &methods.CopyDatastoreFile_TaskBody{Req: &types.CopyDatastoreFile_Task{}},
		"delete an ISO":             &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: "[ds] lkv/w/a.iso"}},
		"delete a disk's file":      &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: "[ds] lkv-disks/f/a.lkv-part-0123abcd-99.vmdk"}},
		"delete an ISO elsewhere":   &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: strings.Replace(isoFile, "lkv", "other", 1), Datacenter: &dc}},
		"delete another DC's ISO":   &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: isoFile, Datacenter: &types.ManagedObjectReference{Type: "Datacenter", Value: "dc-2"}}},
		"delete a disk by digest":   &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: vmFile, Datacenter: &dc}},
		"copy an ISO elsewhere":     copying(isoFile, "[ds] other/x.iso"+ending, false, &dc),
		"copy to a final name":      copying(isoFile, strings.Replace(isoFile, "/w/", "/x/", 1), false, &dc),
		"copy over a file":          copying(isoFile, isoFile+ending, true, &dc),
		"copy a disk by digest":     copying(vmFile, isoFile+ending, false, &dc),
		"copy to a disk's name":     copying(isoFile, vmFile+ending, false, &dc),
		"copy an unfinished upload": copying(isoFile+ending, isoFile+ending+"0", false, &dc),
		"copy from nowhere":         copying(isoFile, isoFile+ending, false, nil),
		"cancel a task":             &methods.CancelTaskBody{Req: &types.CancelTask{This: types.ManagedObjectReference{Type: "Task", Value: "task-1"}}},
		"a ticket for a download":   ticketFor("httpGet", "https://h/folder/lkv/w/a.iso"+ending+"?dsName=ds"),
		"a ticket for a disk":       ticketFor("httpPut", "https://h/folder/vm/a-flat.vmdk?dsName=ds"),
		"a ticket by its query":     ticketFor("httpPut", "https://h/folder/vm/a-flat.vmdk?x="+ending),
		"a ticket for no file":      ticketFor("httpPut", "https://h/cgi-bin/x"+ending),
		"delete a folder":           &methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: "[ds] lkv-disks"}},
		"move a disk's file":        move("[ds] lkv-disks/f/a.vmdk", "[ds] x.vmdk", false),
		"overwrite a disk's file":   move(unfinished, "[ds] lkv-disks/f/a.vmdk", true),
		"overwrite an ISO":          move(unfinished, "[ds] lkv/w/a.iso", true),
		"create a disk unproven":    &methods.CreateVirtualDisk_TaskBody{Req: &types.CreateVirtualDisk_Task{Name: "[ds] lkv-disks/f/a.vmdk", Datacenter: &dc}},
		"create a disk elsewhere":   &methods.CreateVirtualDisk_TaskBody{Req: &types.CreateVirtualDisk_Task{Name: "[ds] vm/a.vmdk", Datacenter: &dc}},
		"create a disk outside":     &methods.CreateVirtualDisk_TaskBody{Req: &types.CreateVirtualDisk_Task{Name: "[ds] lkv-disks/../vm/a.vmdk", Datacenter: &dc}},
		"create with a VM":          &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{DeviceChange: change(add, "create", disk)}}},
		"attach with a VM":          &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{DeviceChange: change(add, "", disk)}}},
		"create while adding":       reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(add, "create", disk)}),
		"replace while editing":     reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(edit, "replace", disk)}),
		"edit a disk":               reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(edit, "", disk)}),
		"destroy while removing":    reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(remove, "destroy", disk)}),
		"detach a disk":             reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(remove, "", disk)}),
		"remove a controller":       reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(remove, "", pvscsi())}),
		"change a controller":       reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(edit, "", pvscsi())}),
		"neither add nor edit":      reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change("", "", pvscsi())}),
		"add a disk that forgets":   reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(add, "", diskWith(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.DiskMode = "independent_nonpersistent" }))}),
		"add a shared disk":         reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(add, "", diskWith(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.Sharing = "sharingMultiWriter" }))}),
		"add a linked clone":        reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(add, "", diskWith(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.Parent = &types.VirtualDiskFlatVer2BackingInfo{} }))}),
		"add a disk without a file": reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(add, "", diskWith(func(b *types.VirtualDiskFlatVer2BackingInfo) { b.FileName = "" }))}),
		"add a raw disk":            reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change(add, "", &types.VirtualDisk{VirtualDevice: types.VirtualDevice{Backing: &types.VirtualDiskRawDiskMappingVer1BackingInfo{}}})}),
		"a policy for a disk": reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: add, Device: disk, Profile: []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{}}}}}),
		"encrypt":                   reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Crypto: &types.CryptoSpecEncrypt{}}),
		"revert at power off":       reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Flags: &types.VirtualMachineFlagInfo{SnapshotPowerOffBehavior: "revertToSnapshot"}}),
		"a disk's mode by its key":  reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", ExtraConfig: options("scsi0:0.mode", "independent-nonpersistent")}),
		"a disk by its key":         &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{ExtraConfig: options("SCSI0:1.fileName", "/vmfs/volumes/ds/other.vmdk")}}},
		"no locks":                  &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{ExtraConfig: options("disk.locking", "FALSE")}}},
		"revert by its key":         &methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{ExtraConfig: options("snapshot.action", "autoRevert")}}},
		"change without version":    reconfig(types.VirtualMachineConfigSpec{NumCPUs: 2}),
		"move the VM's files":       reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", Files: &types.VirtualMachineFileInfo{}}),
		"turn off Secure Boot":      reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", BootOptions: &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(false)}}),
		"drop Microsoft's keys":     reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", ExtraConfig: options("UEFI.secureBoot.dbDefault.append", "FALSE")}),
		"somebody else's key":       reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", ExtraConfig: options(keyOption+"0", "/vmfs/volumes/ds/other.der")}),
		"govmomi's own disk change": reconfig(helped(t, disk)),
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			w := &wire{}
			g := newGate(w, func(m string, _ bool) { t.Errorf("traced %s", m) })
			g.own(dc, "[ds] lkv")
			err := g.RoundTrip(t.Context(), req, nil)
			var f *ForbiddenError
			if !errors.As(err, &f) || len(w.sent) > 0 {
				t.Errorf("error %v, sent %v", err, w.sent)
			}
		})
	}
}

// diskWith is a data disk to attach, with its backing changed.
func diskWith(change func(*types.VirtualDiskFlatVer2BackingInfo)) *types.VirtualDisk {
	d := dataDisk(1000, 0, "[ds] lkv-disks/f/a.vmdk", 1<<30)
	change(d.Backing.(*types.VirtualDiskFlatVer2BackingInfo))
	return d
}

// helped is what govmomi's helper makes of editing a disk: a replacement of its file.
func helped(t *testing.T, d types.BaseVirtualDevice) types.VirtualMachineConfigSpec {
	t.Helper()
	list, err := object.VirtualDeviceList{d}.ConfigSpec(types.VirtualDeviceConfigSpecOperationEdit)
	if err != nil {
		t.Fatal(err)
	}
	return types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: list}
}

func TestGateLetsThroughWhatLkvDoes(t *testing.T) {
	disk := dataDisk(1000, 0, "[ds] lkv-disks/f/a.vmdk", 1<<30)
	dc := types.ManagedObjectReference{Type: "Datacenter", Value: "dc-1"}
	file := "[ds] lkv-disks/f/a.vmdk"
	w := &wire{}
	g := newGate(w, nil)
	g.permit(dc, file)
	g.own(dc, "[ds] lkv")
	create := &methods.CreateVirtualDisk_TaskBody{Req: &types.CreateVirtualDisk_Task{Name: file, Datacenter: &dc}}
	for _, req := range []soap.HasFault{
		create,
		&methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: unfinished}},
		&methods.DeleteDatastoreFile_TaskBody{Req: &types.DeleteDatastoreFile_Task{Name: isoFile, Datacenter: &dc}},
		copying(isoFile, isoFile+ending, false, &dc),
		ticketFor("httpPut", "https://h/folder/lkv/w/a%20b.iso"+ending+"?dsName=ds"),
		move(unfinished, "[ds] lkv/w/a.iso", false),
		move(unfinished, "[ds] lkv/w/channels/latest.json", true),
		move(unfinished, "[ds] lkv/w/a.manifest.json.sig", true),
		reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change("add", "", disk)}),
		reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", DeviceChange: change("edit", "", cdrom(1, 2, 0, "[ds] a.iso"))}),
		reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", ExtraConfig: options(keyOption+"12", keyFile(strings.Repeat("0", 64)))}),
		reconfig(types.VirtualMachineConfigSpec{ChangeVersion: "1", BootOptions: bootOptions(true)}),
		&methods.CreateVM_TaskBody{Req: &types.CreateVM_Task{Config: types.VirtualMachineConfigSpec{DeviceChange: change("add", "", pvscsi()),
			ExtraConfig: options(uuidKey, "TRUE", recordKey, "{}", ownerKey, "{}", "guestinfo.disk.size", "1", "sched.scsi0:0.shares", "low")}}},
	} {
		if err := g.RoundTrip(t.Context(), req, nil); err != nil {
			t.Errorf("%T: %v", req, err)
		}
	}
	if len(w.sent) != 13 {
		t.Errorf("sent %v", w.sent)
	}
	if err := g.RoundTrip(t.Context(), create, nil); err == nil {
		t.Error("one permit created two disks")
	}
}

type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

func TestFolderGate(t *testing.T) {
	for _, c := range []struct {
		method, path string
		ok           bool
	}{
		{"GET", "/folder/lkv/w/a.iso", true},
		{"PUT", "/folder/lkv/w/a b%.iso.lkv-part-0123abcd-99887766", true},
		{"POST", "/sdk", true},
		{"PUT", "/folder/lkv/w/a.iso", false},
		{"PUT", "/folder/lkv-disks/f/a-flat.vmdk", false},
		{"POST", "/folder/lkv-disks/f/a-flat.vmdk", false},
		{"DELETE", "/folder/lkv/w/a.iso.lkv-part-0123abcd-99887766", false},
	} {
		sent := false
		g := &folderGate{next: carrier(func(*http.Request) (*http.Response, error) {
			sent = true
			return &http.Response{Body: io.NopCloser(strings.NewReader(""))}, nil
		})}
		r, err := http.NewRequestWithContext(t.Context(), c.method, "https://vc/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path = c.path
		res, err := g.RoundTrip(r)
		if err == nil {
			res.Body.Close()
		}
		if sent != c.ok || (err == nil) != c.ok {
			t.Errorf("%s %s: sent %v, error %v", c.method, c.path, sent, err)
		}
	}
}

// Whatever is permitted by mistake, a PUT goes to a certificate's name in a VM's directory, once, and nowhere else.
func TestFolderGateLetsOneKeyThrough(t *testing.T) {
	name := keyFile(strings.Repeat("0a", 32))
	for _, c := range []struct {
		path string
		size int64
		ok   bool
	}{
		{"/folder/wrk-01/" + name, 900, true},
		{"/folder/5f3c-uuid/wrk 01/" + name, certificate, true},
		{"/folder/wrk-01/" + name, certificate + 1, false},
		{"/folder/wrk-01/" + name, 0, false},
		{"/folder/wrk-01/" + name, -1, false},
		{"/folder/" + name, 900, false},
		{"/folder/lkv-disks/f/" + name, 900, false},
		{"/folder/wrk-01/../lkv-disks/f/" + name, 900, false},
		{"/folder/../x/" + name, 900, false},
		{"/folder/wrk-01/wrk-01.vmx", 900, false},
		{"/folder/wrk-01/wrk-01.nvram", 900, false},
		{"/folder/wrk-01/wrk-01.vmdk", 900, false},
		{"/folder/wrk-01/" + name + ".vmdk", 900, false},
		{"/folder/wrk-01/x" + name, 900, false},
		{"/folder/lkv-disks/f/a-flat.vmdk", 900, false},
	} {
		sent := 0
		g := &folderGate{permits: map[string]bool{}, next: carrier(func(*http.Request) (*http.Response, error) {
			sent++
			return &http.Response{Body: io.NopCloser(strings.NewReader(""))}, nil
		})}
		put := func(ds string) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://vc/?dcPath=DC1&dsName="+ds, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Path, r.ContentLength = c.path, c.size
			if res, err := g.RoundTrip(r); err == nil {
				res.Body.Close()
			}
		}
		put("vm-1")
		if sent != 0 {
			t.Errorf("%s: sent without a permit", c.path)
		}
		g.permit(&url.URL{Path: c.path, RawQuery: "dcPath=DC1&dsName=vm-1"})
		put("vm-2")
		if sent != 0 {
			t.Errorf("%s: the permit is for another datastore", c.path)
		}
		put("vm-1")
		put("vm-1")
		if (sent == 1) != c.ok || sent > 1 {
			t.Errorf("%s, %d bytes: sent %d times, ok %v", c.path, c.size, sent, c.ok)
		}
	}
}
