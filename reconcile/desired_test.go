package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// written is a spec as specs leaves it, with its defaults filled in.
func written() (specs.Spec, specs.Fleet) {
	f := specs.Fleet{
		Name: "workers", Image: "worker", Channel: "latest", Size: 3, Pattern: "wrk-%02d",
		Placements: []specs.Placement{
			{VCenter: "main", Datacenter: "DC1", Cluster: "C1", Datastore: "ssd-1", Folder: "lkv/workers"},
			{VCenter: "main", Datacenter: "DC2", Host: "esx-9", Datastore: "ssd-9"},
		},
		VM: specs.VM{CPUs: 4, Memory: 8 * specs.GiB, Firmware: "efi", GuestID: "other4xLinux64Guest",
			Networks:  []specs.Network{{Name: "VM Network", Type: "vmxnet3"}},
			Guestinfo: map[string]string{"lkv.role": "worker"}, ExtraConfig: map[string]string{"disk.EnableUUID": "TRUE"}},
		Disks: []specs.Disk{{Name: "docker", Size: 100 * specs.GiB, Mount: "/var/lib/docker", Provisioning: "thin"},
			{Name: "logs", Size: specs.GiB, Mount: "/var/log", Provisioning: "thick", Datastore: "slow"}},
		Ready: specs.Ready{Tools: true, Mounted: true, TCP: "2375", Settle: 30 * time.Second, Timeout: 10 * time.Minute},
		Rollout: specs.Rollout{Strategy: specs.InPlace, Disk: specs.HandOver, MaxUnavailable: specs.Count{Percent: 25}, Order: "ordinal",
			OnFailure: specs.Pause, MaxFailed: 1, Grace: 2 * time.Minute},
	}
	s := specs.Spec{Fleets: []specs.Fleet{f}, Reconcile: specs.Reconcile{ClaimTTL: 2 * time.Minute},
		Stores: []specs.Store{{Name: "dc1", VCenter: "main", Datacenter: "DC1"}, {Name: "dc2", VCenter: "main", Datacenter: "DC2"}}}
	return s, f
}

func facts() Facts {
	return Facts{Digest: "sha256:" + newDigest, Paths: map[string]string{"dc1": newISO},
		Manifest: &manifest.Manifest{Format: 1, ID: "sha256:new", ISO: manifest.File{SHA256: newDigest}, Boot: []string{"uefi"},
			RAM:     manifest.RAM{Minimum: 1 << 30},
			Persist: []manifest.Persist{{Mount: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Gated: true}}}}
}

func TestDesiredOf(t *testing.T) {
	s, f := written()
	got, err := DesiredOf(s, f, facts(), "me", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Desired{
		Fleet: "workers", Claimer: "me", TTL: 2 * time.Minute,
		Image: plan.Image{Name: "worker", Digest: newDigest, ID: "sha256:new", Paths: map[string]string{"dc1": newISO}, RAM: 1 << 30,
			Boot: []string{"uefi"}, Known: true,
			Mounts: []plan.Mount{{Path: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Gated: true}}},
		Rollout: plan.Rollout{Strategy: "in-place", MaxUnavailable: 1, OnFailure: "pause", MaxFailed: 1, Grace: 2 * time.Minute,
			Timeout: 10 * time.Minute, Settle: 30 * time.Second},
	}
	dc1 := plan.Placement{VCenter: "main", Datacenter: "DC1", Cluster: "C1", Datastore: "ssd-1", Folder: "lkv/workers", Store: "dc1"}
	dc2 := plan.Placement{VCenter: "main", Datacenter: "DC2", Host: "esx-9", Datastore: "ssd-9", Store: "dc2"}
	for i, place := range []plan.Placement{dc1, dc2, dc1} {
		name := []string{"wrk-01", "wrk-02", "wrk-03"}[i]
		want.VMs = append(want.VMs, plan.WantVM{Name: name, Ordinal: i + 1, Place: place, CPUs: 4, MemoryMiB: 8192, Firmware: "efi",
			GuestID: "other4xLinux64Guest", Networks: []plan.Network{{Name: "VM Network", Type: "vmxnet3"}},
			ExtraConfig: map[string]string{"guestinfo.lkv.hostname": name, "guestinfo.lkv.role": "worker", "disk.EnableUUID": "TRUE"},
			Disks: []plan.WantDisk{{Name: "docker", Bytes: 100 << 30, Mount: "/var/lib/docker", Thin: true},
				{Name: "logs", Bytes: 1 << 30, Mount: "/var/log", Datastore: "slow"}}})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDesiredOfVariants(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *specs.Fleet, x *Facts)
		says  string // part of the error; "" is none
		holds func(d plan.Desired) bool
	}{
		"no manifest":             {func(_ *specs.Fleet, x *Facts) { x.Manifest = nil }, "", func(d plan.Desired) bool { return !d.Image.Known && d.Image.Digest == newDigest }},
		"manifest of another ISO": {func(_ *specs.Fleet, x *Facts) { x.Manifest.ISO.SHA256 = oldDigest }, "", func(d plan.Desired) bool { return !d.Image.Known && d.Image.Mounts == nil }},
		"own key": {func(f *specs.Fleet, x *Facts) {
			f.VM.SecureBoot, x.Manifest.SecureBoot = true, &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: []byte("der")}
		}, "", func(d plan.Desired) bool {
			return d.VMs[2].SecureBoot && d.Image.Trust.Chain == plan.ChainKey && d.Image.Trust.Key() == plan.KeyOf([]byte("der"))
		}},
		"shim, not asked for": {func(_ *specs.Fleet, x *Facts) {
			x.Manifest.SecureBoot = &manifest.SecureBoot{Chain: manifest.ChainShim}
		}, "",
			func(d plan.Desired) bool {
				return !d.VMs[0].SecureBoot && d.Image.Trust.Chain == plan.ChainShim && d.Image.Trust.Key() == ""
			}},
		"names":            {func(f *specs.Fleet, _ *Facts) { f.Size, f.Names = 0, []string{"b", "a"} }, "", func(d plan.Desired) bool { return len(d.VMs) == 2 && d.VMs[0].Name == "b" && d.VMs[0].Ordinal == 1 }},
		"own host name":    {func(f *specs.Fleet, _ *Facts) { f.VM.Guestinfo["lkv.hostname"] = "x" }, "", func(d plan.Desired) bool { return d.VMs[0].ExtraConfig["guestinfo.lkv.hostname"] == "x" }},
		"no gate by tools": {func(f *specs.Fleet, _ *Facts) { f.Ready.Tools, f.Ready.Mounted = false, false }, "", func(d plan.Desired) bool { return d.Rollout.NoTools && d.Rollout.NoMounted }},
		"empty":            {func(f *specs.Fleet, _ *Facts) { f.Size = 0 }, "", func(d plan.Desired) bool { return len(d.VMs) == 0 && d.Rollout.MaxUnavailable == 1 }},
		"pinned":           {func(f *specs.Fleet, _ *Facts) { f.Digest = "sha256:" + newDigest }, "", func(plan.Desired) bool { return true }},
		"pinned elsewhere": {func(f *specs.Fleet, _ *Facts) { f.Digest = "sha256:" + oldDigest }, "pins ISO", nil},
		"glob":             {func(f *specs.Fleet, _ *Facts) { f.Placements[0].Datastore = "ssd-*" }, "pattern", nil},
		"glob of a disk":   {func(f *specs.Fleet, _ *Facts) { f.Disks[1].Datastore = "ssd-*" }, "disk logs", nil},
		"no datastore":     {func(f *specs.Fleet, _ *Facts) { f.Placements[1].Datastore = "" }, "wrk-02", nil},
		"rollback":         {func(f *specs.Fleet, _ *Facts) { f.Rollout.OnFailure = specs.Rollback }, "", func(d plan.Desired) bool { return d.Rollout.OnFailure == "rollback" }},
		"blue-green and drain": {func(f *specs.Fleet, _ *Facts) {
			f.Rollout.Strategy, f.Rollout.Disk, f.Drain = specs.BlueGreen, specs.Fresh, &specs.Drain{Command: []string{"x"}}
			f.Rollout.MaxUnavailable, f.ScaleIn.Max = specs.Count{}, specs.Count{Percent: 50}
		}, "", func(d plan.Desired) bool {
			r := d.Rollout
			return r.Strategy == plan.BlueGreen && r.Disk == plan.Fresh && r.Surge == 1 && r.MaxUnavailable == 0 && r.Drain && r.ScaleIn == 1
		}},
		"window": {func(f *specs.Fleet, _ *Facts) {
			f.Rollout.Window = &specs.Window{From: 22 * time.Hour, To: 5 * time.Hour, TZ: "Europe/Vienna"}
		}, "", func(d plan.Desired) bool {
			return d.Rollout.Window.Zone.String() == "Europe/Vienna" && d.Rollout.Window.From == 22*time.Hour
		}},
		"no such zone": {func(f *specs.Fleet, _ *Facts) { f.Rollout.Window = &specs.Window{TZ: "Mars/Olympus"} }, "Mars", nil},
		"swarm":        {func(f *specs.Fleet, _ *Facts) { f.Drain = &specs.Drain{Swarm: &specs.Swarm{}} }, "Swarm", nil},
		"policy": {func(f *specs.Fleet, x *Facts) {
			f.MaxAge, f.HealAfter, f.Rollout.Canaries, f.Rollout.Bake, x.Manifest.Engine = 90*24*time.Hour, time.Minute, 2, time.Hour, "28.3.1"
		}, "", func(d plan.Desired) bool {
			r := d.Rollout
			return r.MaxAge == 90*24*time.Hour && r.Heal == time.Minute && r.Canaries == 2 && r.Bake == time.Hour && d.Image.Engine == "28.3.1"
		}},
	} {
		s, f := written()
		x := facts()
		c.spoil(&f, &x)
		d, err := DesiredOf(s, f, x, "me", nil)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && !c.holds(d) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	s, f := written()
	f.Placements[0].Datastore = "ssd-*"
	d, err := DesiredOf(s, f, facts(), "me", func(_ specs.Placement, ds string, _ Load) (string, error) {
		return strings.ReplaceAll(ds, "*", "7"), nil
	})
	if err != nil || d.VMs[0].Place.Datastore != "ssd-7" {
		t.Errorf("picked %+v, %v", d.VMs[0].Place, err)
	}
	full := errors.New("all are full")
	if _, err = DesiredOf(s, f, facts(), "me", func(specs.Placement, string, Load) (string, error) { return "", full }); !errors.Is(err, full) {
		t.Errorf("the pick's error is lost: %v", err)
	}
}

// What is picked a datastore for says what will lie there: disks without one of their own lie where the VM does.
func TestPickKnowsWhatForAndHowMuch(t *testing.T) {
	s, f := written()
	f.Placements, f.VM.Memory = f.Placements[:1], 2*specs.GiB
	f.Disks = []specs.Disk{{Name: "docker", Size: 100 * specs.GiB}, {Name: "logs", Size: specs.GiB, Datastore: "ssd"}, {Name: "db", Size: 3 * specs.GiB}}
	var got []Load
	d, err := DesiredOf(s, f, facts(), "me", func(_ specs.Placement, ds string, l Load) (string, error) {
		got = append(got, l)
		return fmt.Sprint(ds, len(got)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Load{{"wrk-01/logs", []string{"wrk-01-logs.vmdk"}, 1 << 30}, {"wrk-01", []string{"wrk-01-docker.vmdk", "wrk-01-db.vmdk"}, 105 << 30}}
	if diff := cmp.Diff(want, got[:2]); diff != "" {
		t.Error(diff)
	}
	if w := d.VMs[0]; w.Place.Datastore != f.Placements[0].Datastore+"2" || w.Disks[1].Datastore != "ssd1" || w.Disks[0].Datastore != "" {
		t.Errorf("%+v", w)
	}
}
