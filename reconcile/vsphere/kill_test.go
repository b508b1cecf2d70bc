package vsphere_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// guard is one line that keeps a disk, or a VM of somebody else, from harm; without is the line as a mistake would leave
// it. The tests named must notice.
type guard struct {
	what, file, line, without, tests string
}

var guards = []guard{
	{"a claim of another run is respected", "change.go", "\treturn f.otherClaim(v)\n}\n\n// otherClaim is", "\treturn nil\n}\n\n// otherClaim is", "TestClaims|TestGuarded"},
	{"an unclaimed VM is left alone", "change.go", `return fmt.Errorf("%w: nobody has claimed it", ErrChanged)`, "return nil", "TestClaims|TestGuarded"},
	{"a busy VM is left alone", "change.go", "if len(v.vm.Busy) > 0 {\n\t\treturn plan.Blocked{VM: v.vm.Name, Code: plan.R08", "if false {\n\t\treturn plan.Blocked{VM: v.vm.Name, Code: plan.R08", "TestGuarded"},
	{"a live claim is not taken over", "change.go", "case r.Owner != \"\" && r.Owner != s.Owner && r.Expires.After(f.cfg.Now()):", "case false:", "TestClaims|TestSweep/in-place"},
	{"a stale epoch is refused", "change.go", "case r.Epoch != s.Epoch-1:", "case false:", "TestClaims|TestLateRunCannotWrite"},
	{"writes carry the changeVersion", "change.go", "spec.ChangeVersion = v.vm.ChangeVersion", "", "TestConcurrentChange|TestClaims"},
	{"the changeVersion is the one that was read", "change.go", "spec.ChangeVersion = v.vm.ChangeVersion", `spec.ChangeVersion = v.vm.ChangeVersion; if l, e := f.read(ctx, []types.ManagedObjectReference{v.ref}); e == nil { spec.ChangeVersion = l[0].vm.ChangeVersion }`, "TestConcurrentChange"},
	{"an ISO is swapped while off only", "change.go", "if v.vm.Power != plan.Off {\n\t\treturn fmt.Errorf(\"%w: it is %s, its ISO", "if false {\n\t\treturn fmt.Errorf(\"%w: it is %s, its ISO", "TestNothingChangesWhileOn"},
	{"a missing ISO is not inserted", "change.go", "if err := f.c.isoThere(ctx, v, s.ISO); err != nil {", "if err := f.c.isoThere(ctx, v, s.ISO); false {", "TestNothingChangesWhileOn"},
	{"a disk of another VM is not attached", "change.go", "if other.ref != v.ref && slices", "if false && slices", "TestDiskOnTwoVMs|TestL10"},
	{"a file with another UUID is not attached", "change.go", "if k < 0 || r.Disks[i].UUID", "if k < 0 || false && r.Disks[i].UUID", "TestGuarded"},
	{"power on needs the recorded disks", "power.go", "if err := complete(v); err != nil {", "if err := complete(v); false {", "TestPowerOnChecks"},
	{"power on needs no other disk", "power.go", "if len(v.vm.Disks) != len(v.vm.Record.Disks) {", "if false {", "TestPowerOnChecks"},
	{"power on needs disks that keep what is written", "power.go", "if d.Parent || d.Shared || d.Mode", "if false && d.Mode", "TestL06|TestL07"},
	{"power on needs the ISO", "power.go", "if err := f.c.isoThere(ctx, v, v.vm.ISO); err != nil {", "if err := f.c.isoThere(ctx, v, v.vm.ISO); false {", "TestPowerOnChecks"},
	{"a disk is detached while off only", "replace.go", "if v.vm.Power != plan.Off {\n\t\treturn fmt.Errorf(\"%w: it is %s, disks are only detached", "if false {\n\t\treturn fmt.Errorf(\"%w: it is %s, disks are only detached", "TestWhatMayNotBeDestroyedOrDetached"},
	{"a disk leaves only when a record awaits it", "replace.go", "if err := f.awaited(ctx, v, disk, desired); err != nil {", "if false {\n\t\t\terr := f.awaited(ctx, v, disk, desired)", "TestWhatMayNotBeDestroyedOrDetached"},
	{"a disk with a parent is not detached", "replace.go", "if !d.Parent && !d.Shared {", "if true {", "TestL06"},
	{"a disk goes only to the VM that replaces its VM", "replace.go", `if heir.vm.Fleet != desired.Fleet || v.vm.ID == "" || !heirs {`, "if _ = heirs; heir.vm.Fleet != desired.Fleet {", "TestHeirOfADisk"},
	{"and only when that one names the disk", "replace.go", "return canonical(d.UUID) == disk.UUID })", "return true })", "TestHeirOfADisk"},
	{"a retired VM is off the network", "replace.go", "c.GetVirtualDevice().Connectable = &types.VirtualDeviceConnectInfo{}", "", "TestRetiredIsOff"},
	{"a disk is found by its UUID", "replace.go", "return s.Disk.UUID != \"\" && d.UUID == canonical(s.Disk.UUID)", "return true", "TestL04|TestL05"},
	{"only a retired VM is destroyed", "replace.go", "case v.vm.Record.Retired.IsZero():\n\t\treturn \"it was not retired\"", "case false:\n\t\treturn \"it was not retired\"", "TestGuarded"},
	{"a VM with a disk is not destroyed", "replace.go", "case len(v.vm.Disks) > 0:", "case false:", "TestL01|TestWhatMayNot"},
	{"nor one with a disk file in its folder", "replace.go", "if len(left) > 0 {", "if false {", "TestL09"},
	{"the filter asks for a permit to destroy", "gatevm.go", "case !permitted:\n\t\treturn fmt.Sprintf(\"nobody proved", "case false && !permitted:\n\t\treturn fmt.Sprintf(\"nobody proved", "TestGate|TestPermits|TestEveryOther"},
	{"the filter counts disks before a destroy", "gatevm.go", "case len(disksOf(devices)) > 0:", "case false:", "TestGate|TestPermits|TestEveryOther"},
	{"the filter lets no file operation pass", "gate.go", "case d.FileOperation != \"\":", "case false:", "TestGate"},
	{"the filter lets no call through that lkv does not make", "gate.go", "if calls[name] == unknown {", "if false {", "TestGate|TestPermits|TestEveryOther|TestL06"},
	{"the filter wants a changeVersion", "gatevm.go", "if s.ChangeVersion == \"\" {", "if false {", "TestGate|TestPermits|TestEveryOther"},
	{"the filter lets nothing but capacity of a disk change", "gatevm.go", "if !reflect.DeepEqual(&want, d) {", "if false {", "TestGate|TestPermits|TestEveryOther"},
	{"no disk is made twice", "diskfiles.go", "if err := f.neverExisted(ctx, s, desired); err != nil {", "if err := f.neverExisted(ctx, s, desired); false {", "TestDiskIsNeverMadeTwice|TestL08"},
	{"no disk is made where there is no room", "diskfiles.go", "if ds.free >= need {", "if true {", "TestFullDatastore|TestL17"},
	{"no disk grows where there is no room", "grow.go", "ds.free < need {", "false && ds.free < need {", "TestL17"},
	{"a disk never shrinks", "grow.go", "case now.Bytes >= s.Bytes:\n\t\treturn nil", "case now.Bytes == s.Bytes:\n\t\treturn nil", "TestGuarded"},
	{"disks grow while off only", "grow.go", "case v.vm.Power != plan.Off:", "case false:", "TestGuarded"},
	{"only a VM that is off is retired", "replace.go", "if v.vm.Power != plan.Off {\n\t\treturn fmt.Errorf(\"%w: it is %s, only a VM that is off", "if false {\n\t\treturn fmt.Errorf(\"%w: it is %s, only a VM that is off", "TestGuarded"},
	{"a VM of a fleet is not adopted", "adopt.go", "case v.extra[ownerKey] != \"\":", "case false:", "TestStepsOfPeople"},
	{"a marker is removed by permit only", "unmark.go", `if !g.use("unmark " + r.Datacenter.String() + " " + r.Name) {`, "if false {", "TestGate|TestPermits"},
	{"a marker with something in it stays", "unmark.go", "if err == nil && len(inside) > 0 {", "if false {", "TestPlaceIsFreed"},
	{"a marker of a disk that lies elsewhere stays", "unmark.go", "return u.at(rest) }); i >= 0 {", "return u.at(rest) }); i >= 0 && false {", "TestPlaceOfADisk"},
	{"a failed read stops everything", "fleet.go", "return plan.Observed{Problem: err.Error()}, nil\n}", "return plan.Observed{}, nil\n}", "TestL16"},
}

// TestKillTable removes one guard at a time, in a copy that only the compiler sees, and wants a test to fail each time. It
// runs with LKV_SWEEP=1 only; otherwise it checks that every guard is still where the table says.
func TestKillTable(t *testing.T) {
	t.Parallel() // beside the sweeps, which mostly wait
	if sweeping() {
		whole := guard{file: guards[0].file}
		for _, g := range guards {
			whole.tests = strings.TrimPrefix(whole.tests+"|"+g.tests, "|")
		}
		source, err := os.ReadFile(whole.file)
		if err != nil {
			t.Fatal(err)
		}
		if killed, out := survives(t, whole, string(source)); killed != "SURVIVES" {
			t.Fatalf("with every guard in place: %s\n%s", killed, out)
		}
	}
	for _, g := range guards {
		t.Run(g.what, func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(g.file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), g.line); n != 1 {
				t.Fatalf("%s has the guard %d times: %q", g.file, n, g.line)
			}
			if !sweeping() {
				return
			}
			killed, out := survives(t, g, strings.Replace(string(source), g.line, g.without, 1))
			t.Logf("%s: %s", g.file, killed)
			if killed == "SURVIVES" || killed == "does not compile" {
				t.Errorf("%s\n%s", killed, out)
			}
		})
	}
}

// survives runs the tests that must notice that a guard is gone, and says which did.
func survives(t *testing.T, g guard, mutant string) (killed, out string) {
	t.Helper()
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, g.file), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(g.file)
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{changed: []byte(mutant), overlay: list} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout", "5m", "-overlay", overlay, "-run", g.tests, ".")
	cmd.Env = append(os.Environ(), "LKV_SWEEP=")
	raw, err := cmd.CombinedOutput()
	out = string(raw)
	switch {
	case err == nil:
		return "SURVIVES", out
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return "does not compile", out
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
			return fmt.Sprint("killed by ", strings.Fields(name)[0]), out
		}
	}
	return "killed: the tests did not end", out
}
