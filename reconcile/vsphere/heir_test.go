package vsphere_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// key is what a VM has under a key.
func (a *admin) key(name, key string) string {
	a.Helper()
	var vm mo.VirtualMachine
	ref := a.vm(name).Reference()
	if err := property.DefaultCollector(a.c.Client).RetrieveOne(a.Context(), ref, []string{"config.extraConfig"}, &vm); err != nil {
		a.Fatal(err)
	}
	text, _ := object.OptionValueList(vm.Config.ExtraConfig).GetString(key)
	return text
}

func (a *admin) setKey(name, key, value string) {
	a.Helper()
	a.change(name, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: key, Value: value}}})
}

// record writes fields into a VM's record, as another lkv would, and leaves the rest of it.
func (a *admin) record(name string, fields map[string]any) {
	a.Helper()
	out := map[string]any{}
	if err := json.Unmarshal([]byte(a.key(name, "lkv.record")), &out); err != nil {
		a.Fatal(err)
	}
	for k, v := range fields {
		out[k] = v
	}
	raw, err := json.Marshal(out)
	if err != nil {
		a.Fatal(err)
	}
	a.setKey(name, "lkv.record", string(raw))
}

// A disk leaves its VM only when the VM that is to replace it, of the same fleet, names that disk; and where its file was
// moved since, the new path stands there before (D5).
func TestHeirOfADisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	a := r.admin("DC1")
	d := r.stand(1)
	blue := r.vm(one, d)
	steps := handOver(d, blue)
	for _, s := range steps[:4] {
		r.execute(s, d)
	}
	detach, disk := steps[4], blue.Record.Disks[0]
	takes := func(uuid, path string) []map[string]string {
		return []map[string]string{{"name": disk.Name, "uuid": uuid, "path": path}}
	}
	r.mutations()
	for what, fields := range map[string]map[string]any{
		"a VM that replaces another one": {"replaces": "5000-elsewhere"},
		"a VM that takes another disk":   {"takes": takes("6000c290-0b1a-7e2f-8a4c-0123456789ab", disk.Path)},
		"a VM that takes nothing":        {"takes": nil},
	} {
		a.record(green, fields)
		if b := r.refused(plan.R06, detach, d); b.VM != one {
			t.Errorf("%s: %v", what, b)
		}
		r.still(what)
		a.record(green, map[string]any{"replaces": blue.ID, "takes": takes(disk.UUID, disk.Path)})
	}
	owner := a.key(green, "lkv.owner")
	a.setKey(green, "lkv.owner", "")
	r.refused(plan.R06, detach, d)
	r.still("a VM that is no fleet's")
	a.setKey(green, "lkv.owner", owner)
	a.record(green, map[string]any{"takes": takes(disk.UUID, "[vm-2] lkv-disks/workers/moved.vmdk")})
	r.execute(detach, d)
	if got := r.vm(green, d).Record.Takes; len(got) != 1 || got[0].Path != disk.Path || got[0].UUID != disk.UUID {
		t.Errorf("after the detach the disk is at %s, and its record says %+v", disk.Path, got)
	}
	if n := len(r.mutations()); n != 2 {
		t.Errorf("%d calls, want the record and the detach", n)
	}
	r.execute(steps[5], d)
	if v := r.vm(green, d); len(v.Disks) != 1 || v.Disks[0].UUID != blue.Disks[0].UUID {
		t.Errorf("%+v", v.Disks)
	}
}

// A retired VM is off the network, is not found under its old name, and a second one of that name is made by nobody.
func TestRetiredIsOffTheNetwork(t *testing.T) {
	t.Parallel()
	r, a, d := made(t)
	r.execute(shutdown(time.Second), d)
	r.execute(step(one, plan.Retire{To: retired, At: time.Now(), Why: "x"}), d)
	for _, dev := range a.devices(retired) {
		if _, card := dev.(types.BaseVirtualEthernetCard); card {
			if c := dev.GetVirtualDevice().Connectable; c == nil || c.StartConnected || c.Connected {
				t.Errorf("its network card: %+v", c)
			}
		}
	}
	if err := r.fleet.Execute(t.Context(), step(one, plan.Resize{CPUs: 1, MemoryMiB: 256}), d); err == nil {
		t.Error("it is found under the name that it had")
	}
	a.create(one)
	r.mutations()
	r.refused(plan.R22, step(retired, plan.Rename{To: one}), d)
	r.still("a name that somebody has")
}
