package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// The promise of docs/refusals.md, code by code: somebody brings the refusal about, as things like that happen, does what
// it says, and it is gone. What is typed is taken from the refusal itself.
//
// Not here: R09, R10, R11 and R18 come with Swarm; R12 after a failed roll, R17 and R13 of a pause are obeyed in
// TestMissionAfterAFailedRoll, TestSavedPlan and TestPauseAndResume; R20 needs a vCenter with roles, which the lab has not.

// printed is a command line in what clears a refusal.
var printed = regexp.MustCompile(`lkv [a-z][^;,()&]*`)

// refusal returns what a plan says under a code, of that VM or, without one, of any; nil when it says nothing.
func (m *mission) refusal(code plan.Code, vm string) *ui.Blocked {
	m.t.Helper()
	var doc ui.PlanDoc
	var out bytes.Buffer
	got := run(m.t.Context(), m.here(&out, "plan", "--json"))
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		m.t.Fatalf("plan: exit code %d: %v\n%s", got, err, &out)
	}
	for _, b := range doc.Fleets[0].Blocked {
		if b.Code == string(code) && (vm == "" || b.VM == vm) {
			if got != exitRefused && code != plan.R13 {
				m.t.Errorf("%s, and exit code %d", code, got)
			}
			return &b
		}
	}
	return nil
}

// here is a run on this machine.
func (m *mission) here(out *bytes.Buffer, args ...string) system {
	return system{Args: append([]string{"lkv", "-f", filepath.Join(m.dir, "lkv.hcl"), "--progress", "none"}, args...), Stdin: strings.NewReader(""),
		Stdout: out, Stderr: out, Env: m.env, Now: time.Now, Rand: &m.num, Version: "test", Host: "here"}
}

// expect wants a refusal whose remedy says all that, and returns the remedy.
func (m *mission) expect(code plan.Code, vm string, says ...string) string {
	m.t.Helper()
	b := m.refusal(code, vm)
	if b == nil {
		m.t.Fatalf("nothing says %s of %q:\n%s", code, vm, m.anyhow("plan"))
	}
	for _, s := range says {
		if !strings.Contains(b.Clear, s) {
			m.t.Errorf("%s %s: %s; to clear: %s: it does not say %q", b.VM, b.Code, b.Reason, b.Clear, s)
		}
	}
	return b.Clear
}

// obey types the commands that a remedy prints. The build lies where this test put it.
func (m *mission) obey(clear string) {
	m.t.Helper()
	lines := printed.FindAllString(clear, -1)
	if len(lines) == 0 {
		m.t.Fatalf("nothing to type in %q", clear)
	}
	for _, line := range lines {
		args := strings.Fields(line)[1:]
		switch args[0] {
		case "build":
			args = append(args, "--offline", "--out", filepath.Join(m.dir, "dist"))
		case "push":
			args = append(args, "--out", filepath.Join(m.dir, "dist"))
		}
		m.lkv(exitOK, args...)
	}
}

// anyhow runs lkv whatever comes of it.
func (m *mission) anyhow(args ...string) string {
	var out bytes.Buffer
	_ = run(m.t.Context(), m.here(&out, args...))
	return out.String()
}

// gone wants the refusal to be cleared.
func (m *mission) gone(code plan.Code, vm string) {
	m.t.Helper()
	if b := m.refusal(code, vm); b != nil {
		m.t.Errorf("after all of that %s %s stands: %s; to clear: %s", b.VM, b.Code, b.Reason, b.Clear)
	}
}

// well wants everything to be as it was: the fleet converges, with the disks that it had.
func (m *mission) well(disks map[string]string) {
	m.t.Helper()
	m.lkv(exitOK, "reconcile")
	if now := m.disks(); !maps.Equal(disks, now) {
		m.t.Errorf("the disks were %v, now %v", disks, now)
	}
	if err := m.lab.Invariants(); err != nil {
		m.t.Error(err)
	}
}

// manifests edits the manifest of the newest ISO on every store, as another image's would read.
func (m *mission) manifests(edit func(map[string]any)) {
	m.t.Helper()
	digest := m.current()
	for _, dc := range []string{"DC1", "DC2"} {
		path := filepath.Join(m.lab.DatastoreDir(dc, "iso-nfs"), "lkv", "host", digest+".manifest.json")
		raw, err := os.ReadFile(path)
		if err != nil {
			m.t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(raw, &doc); err != nil {
			m.t.Fatal(err)
		}
		edit(doc)
		if raw, err = json.Marshal(doc); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

func TestRefusalsOfImagesAreCleared(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	disks := m.disks()
	store := filepath.Join(m.lab.DatastoreDir("DC2", "iso-nfs"), "lkv", "host")

	m.remove(filepath.Join(store, "channels", "latest.json"))
	m.obey(m.expect(plan.R01, "", "lkv push --image host --channel latest"))
	m.gone(plan.R01, "")

	m.release("2")
	m.remove(filepath.Join(store, m.current()+".iso"))
	m.obey(m.expect(plan.R01, "host-02", "lkv push --image host --channel latest --store dc2"))
	m.gone(plan.R01, "")

	m.remove(filepath.Join(store, m.current()+".manifest.json")) // without it the ISO is not complete
	m.obey(m.expect(plan.R01, "host-02", "lkv push --image host --channel latest --store dc2"))
	m.gone(plan.R01, "")

	// R02: what is to be written is said, and clears it.
	m.manifests(func(doc map[string]any) { doc["ram"].(map[string]any)["minimum"] = 2 << 30 })
	clear := m.expect(plan.R02, "host-01", "give the fleet's VMs memory = ", "lkv build --image host && lkv push --image host --channel latest")
	m.write("lkv.hcl", strings.Replace(missionSpec, `memory = "1GiB"`, regexp.MustCompile(`memory = "[^"]+"`).FindString(clear), 1))
	m.gone(plan.R02, "")
	m.write("lkv.hcl", strings.Replace(missionSpec, `label = "docker"`, `label = "other"`, 1))
	m.obey("lkv build && lkv push")
	clear = m.expect(plan.R02, "host-01", `write label = "docker" into persist "/var/lib/docker" of the image`)
	m.write("lkv.hcl", strings.Replace(missionSpec, `label = "docker"`, regexp.MustCompile(`label = "[^"]+"`).FindString(clear), 1))
	m.obey(clear)
	m.gone(plan.R02, "")

	m.manifests(func(doc map[string]any) { doc["persist"].([]any)[0].(map[string]any)["force"] = true })
	clear = m.expect(plan.R03, "host-01", "remove -force from the format", "lkv build --image host && lkv push --image host --channel latest")
	m.edit("3")
	m.obey(clear)
	m.gone(plan.R03, "")

	engine := func(version string) func(map[string]any) { return func(doc map[string]any) { doc["engine"] = version } }
	m.manifests(engine("29.0.0"))
	m.well(disks)
	m.release("4")
	m.manifests(engine("28.3.0"))
	clear = m.expect(plan.R04, "host-01", "build the image with the newer engine", "lkv build --image host && lkv push --image host --channel latest")
	m.edit("5")
	m.obey(clear)
	m.manifests(engine("29.0.1"))
	m.gone(plan.R04, "")
	m.well(disks)
}

// remove deletes a file that must be there.
func (m *mission) remove(path string) {
	m.t.Helper()
	if err := os.Remove(path); err != nil {
		m.t.Fatal(err)
	}
}

// edit changes the image's LinuxKit YAML and builds nothing.
func (m *mission) edit(name string) {
	m.write("host.yml", strings.Replace(missionYAML, "RELEASE", name, 1))
}

func TestRefusalsOfDisksAreCleared(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	disks, o := m.disks(), m.operator("DC1")

	// R05: somebody made the disk forget what is written to it.
	o.off("host-01")
	o.mode("host-01", "independent_nonpersistent")
	m.expect(plan.R05, "host-01", "independent persistent")
	o.mode("host-01", "independent_persistent")
	m.gone(plan.R05, "")

	// R06: detached, and the file is in its place.
	path := o.detach("host-01", "")
	m.obey(m.expect(plan.R06, "host-01", "lkv disks attach --vm host-01 --disk docker"))
	m.gone(plan.R06, "")
	m.well(disks)

	// The same while the VM is on.
	o.detach("host-01", "")
	clear := m.expect(plan.R06, "host-01", "shut the VM down, then lkv disks attach")
	o.off("host-01")
	m.obey(clear)
	m.gone(plan.R06, "")

	// Moved meanwhile: it is followed, and need not go back.
	o.detach("host-01", "")
	moved := strings.Replace(path, "host-01-docker", "kept", 1)
	o.move(path, moved)
	m.expect(plan.R06, "host-01", "in the vSphere client attach it to the VM as an existing hard disk, from where it is now: "+moved)
	o.attach("host-01", moved, 3)
	m.gone(plan.R06, "")
	o.detach("host-01", "")
	o.move(moved, path)
	m.obey(m.expect(plan.R06, "host-01", "lkv disks attach --vm host-01"))
	m.well(disks)

	// Away, where no look finds it; a backup brings it back.
	o.off("host-01")
	o.detach("host-01", "")
	o.move(path, "[vm-2] away.vmdk")
	clear = m.expect(plan.R06, "host-01", "find its file", "lkv disks attach --vm host-01 --disk docker")
	m.lkv(exitRefused, "disks", "attach", "--vm", "host-01", "--disk", "docker")
	o.move("[vm-2] away.vmdk", path)
	m.obey(clear)
	m.gone(plan.R06, "")
	m.well(disks)

	// Another disk besides.
	o.blank("[vm-1] other.vmdk")
	o.attach("host-01", "[vm-1] other.vmdk", 5)
	m.expect(plan.R06, "host-01", "in the vSphere client remove it from the VM, keeping its file")
	o.detach("host-01", "[vm-1] other.vmdk")
	m.gone(plan.R06, "")

	// R07: another VM has it.
	o.off("host-01")
	o.detach("host-01", "")
	o.stranger("stranger")
	o.attach("stranger", path, 3)
	m.expect(plan.R07, "host-01", "remove the disk from every VM but its own, keeping its file")
	o.detach("stranger", path)
	m.gone(plan.R07, "")
	m.obey(m.expect(plan.R06, "host-01", "lkv disks attach"))
	m.gone(plan.R06, "")
	m.well(disks)

	// R06: the VM is gone, and its disk has another name.
	o.off("host-03")
	path = o.detach("host-03", "")
	o.must(o.vm("host-03").Destroy(t.Context()))
	moved = strings.Replace(path, "host-03-docker", "whose", 1)
	o.move(path, moved)
	clear = m.expect(plan.R06, "host-03", "find the file (no VM has, or would get, "+moved+")", "give it the path lkv-disks/docker/host-03-docker.vmdk again", "lkv reconcile")
	if strings.Contains(clear, "disks attach") {
		t.Errorf("there is no VM to attach it to: %s", clear)
	}
	o.move(moved, path)
	m.gone(plan.R06, "")
	m.well(disks)

	// R06: the fleet wants what cannot be.
	m.write("lkv.hcl", strings.Replace(missionSpec, `"64MiB"`, `"32MiB"`, 1))
	m.expect(plan.R06, "host-01", "write the size that the disk has, or a larger one")
	m.write("lkv.hcl", missionSpec)
	m.gone(plan.R06, "")
	m.well(disks)
}

// mode changes the mode of a VM's only disk.
func (o *operator) mode(name, mode string) {
	o.Helper()
	for _, d := range o.disks(name) {
		d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).DiskMode = mode
		o.change(name, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: d})
	}
}

func TestRefusalsOfFleetsAreCleared(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	disks, o := m.disks(), m.operator("DC1")

	// R08.
	o.off("host-01")
	if err := o.vm("host-01").MarkAsTemplate(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.expect(plan.R08, "host-01", "make the template a VM again")
	pool, err := o.f.ResourcePool(t.Context(), "C1/Resources")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.vm("host-01").MarkAsVirtualMachine(t.Context(), *pool, nil); err != nil {
		t.Fatal(err)
	}
	m.gone(plan.R08, "")
	m.well(disks)

	// R13, without a pause: the window.
	day := map[bool]string{true: "Tue", false: "Fri"}[time.Now().Weekday() >= time.Thursday || time.Now().Weekday() == time.Sunday]
	m.release("2")
	m.write("lkv.hcl", strings.Replace(missionSpec, "  ready {", "  rollout {\n    window {\n      days = \""+day+"\"\n      from = \"01:00\"\n      to = \"02:00\"\n      tz = \"UTC\"\n    }\n  }\n  ready {", 1))
	m.expect(plan.R13, "", "wait until", "or change the window")
	m.write("lkv.hcl", missionSpec)
	m.gone(plan.R13, "")
	m.well(disks)

	// R12, the brake.
	for _, vm := range []string{"host-01", "host-02", "host-03"} {
		if err := m.lab.CutPower(vm); err != nil {
			t.Fatal(err)
		}
	}
	m.obey(m.expect(plan.R12, "", "lkv reconcile --ignore-brake"))
	m.gone(plan.R12, "")
	m.well(disks)

	// R14, and R22 of a VM that was let go.
	m.write("lkv.hcl", strings.Replace(missionSpec, "size  = 3", "size  = 1", 1))
	m.obey(m.expect(plan.R14, "", "lkv forget --fleet docker --vm host-02"))
	m.gone(plan.R14, "")
	m.write("lkv.hcl", missionSpec)
	m.obey(m.expect(plan.R22, "host-02", "lkv adopt --fleet docker --ordinal 2 --vm host-02"))
	m.gone(plan.R22, "")
	m.well(disks)

	// R15: what may hold a disk of a VM to be made is not to be seen.
	m.write("lkv.hcl", strings.Replace(missionSpec, "size  = 3", "size  = 5", 1))
	if err := m.lab.SetAccessible("DC1", "vm-2", false); err != nil {
		t.Fatal(err)
	}
	m.expect(plan.R15, "host-05", "bring the datastore back")
	if err := m.lab.SetAccessible("DC1", "vm-2", true); err != nil {
		t.Fatal(err)
	}
	m.gone(plan.R15, "")

	// R21 is found out by the run.
	free := func(bytes int64) {
		for _, ds := range []string{"vm-1", "vm-2"} {
			if err := m.lab.SetFreeSpace("DC1", ds, bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	free(1 << 20)
	var last reconcile.Result
	if err := json.Unmarshal([]byte(lastLine(m.lkv(exitRefused, "reconcile", "--json"))), &last); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(last.Blocked, func(b plan.Blocked) bool { return b.Code == plan.R21 && b.VM == "host-05" }); i < 0 || !strings.Contains(last.Blocked[i].Clear, "make room on the datastore") {
		t.Errorf("%+v", last.Blocked)
	}
	free(1 << 40)
	m.lkv(exitOK, "reconcile")

	// R22: somebody has the name.
	o.stranger("host-07")
	m.write("lkv.hcl", strings.Replace(missionSpec, "size  = 3", "size  = 7", 1))
	m.expect(plan.R22, "host-07", "rename that VM in the vSphere client")
	o.must(o.vm("host-07").Rename(t.Context(), "somebody"))
	m.gone(plan.R22, "")

	// R16: another machine began, and died.
	m.write("lkv.hcl", strings.Replace(missionSpec, "size  = 3", "size  = 5", 1))
	env := maps.Clone(m.env)
	m.env["LKV_CACHE"] = filepath.Join(m.dir, "elsewhere")
	m.release2("3", env)
	m.lkv(exitPending, "reconcile", "--max-steps", "1", "--target", "host-01")
	m.env = env
	m.expect(plan.R16, "host-01", "wait until that run is done, or until its claim has expired")
	var out bytes.Buffer
	late := m.here(&out, "plan")
	late.Now = func() time.Time { return time.Now().Add(10 * time.Minute) } // claim_ttl, and the grace of a shutdown
	if _ = run(t.Context(), late); strings.Contains(out.String(), "R16") || !strings.Contains(out.String(), "host-01") {
		t.Errorf("after claim_ttl: %s", &out)
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// release2 is release with another cache for it.
func (m *mission) release2(name string, env map[string]string) {
	m.t.Helper()
	now := m.env
	m.env = env
	m.release(name)
	m.env = now
}

// R19: gc and disks delete leave alone what they cannot account for.
func TestRefusalsOfGCAreCleared(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	m.release("1")
	m.lkv(exitOK, "reconcile")
	o := m.operator("DC1")
	m.write("lkv.hcl", strings.Replace(strings.Replace(missionSpec, "  ready {", shrinking, 1), "size  = 3", "size  = 2", 1))
	m.lkv(exitOK, "reconcile")
	retired := ""
	for _, v := range m.lab.VMs() {
		if strings.HasPrefix(v.Name, "host-03-retired-") {
			retired = v.Name
		}
	}
	var path string
	for at := range o.disks(retired) {
		path = at
	}
	if out := m.complaint(exitRefused, "disks", "delete", "--path", path, "--yes-delete", path); !strings.Contains(out, "R19") || !strings.Contains(out, "lkv gc when that VM is retired") {
		t.Errorf("%s", out)
	}
	o.blank("[vm-1] other.vmdk")
	o.attach(retired, "[vm-1] other.vmdk", 5)
	if out := m.lkv(exitRefused, "gc", "--yes", "--vms", "--older-than", "0s"); !strings.Contains(out, "R19") || !strings.Contains(out, "in the vSphere client remove it from the VM, keeping its file") {
		t.Errorf("%s", out)
	}
	o.detach(retired, "[vm-1] other.vmdk")
	m.lkv(exitOK, "gc", "--yes", "--vms", "--older-than", "0s")
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
	m.lkv(exitOK, "disks", "delete", "--path", path, "--yes-delete", path)
}
