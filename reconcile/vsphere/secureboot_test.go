package vsphere_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// ownKey is what an image signed with a key of one's own says about itself.
var ownKey = &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: []byte("a certificate, DER")}

// locked asks for Secure Boot on every VM.
func locked(d plan.Desired) plan.Desired {
	for i := range d.VMs {
		d.VMs[i].Firmware, d.VMs[i].SecureBoot = "efi", true
	}
	return d
}

// at is a file in the directory of the first VM.
func (r *rig) at(name string) string {
	return filepath.Join(r.lab.DatastoreDir("DC1", "vm-1"), one, name)
}

// made walks through the first creation up to, not including, the step of that kind, and returns that step.
func (r *rig) made(d plan.Desired, until string) plan.Step {
	r.Helper()
	for _, s := range plan.Compute(d, r.observe(d), time.Now()).Waves[0].Rolls[0].Steps {
		if kindOf(s) == until {
			return s
		}
		r.execute(s, d)
	}
	r.Fatalf("no %s is planned", until)
	return nil
}

// What vCenter has in the end: the flag, the certificate in the VM's directory, its name in the configuration. The
// lab's guest only comes up when its firmware was made with the certificate.
func TestKeyOfANewVM(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := locked(desired(2, r.signed("iso v1", ownKey)))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("create: %+v", res)
	}
	key := d.Image.Trust.Key()
	der, err := os.ReadFile(r.at("lkv-db-" + key + ".der"))
	if err != nil || string(der) != string(ownKey.Certificate) {
		t.Errorf("certificate %q, %v", der, err)
	}
	for _, v := range r.observe(d).VMs {
		if !v.SecureBoot || !slices.Equal(v.Keys, []string{key}) || v.Record.Key != key {
			t.Errorf("%+v", v)
		}
	}
	r.mutations()
	if res := r.run(d); res.Outcome != reconcile.Converged || len(r.mutations()) > 0 {
		t.Errorf("second run: %+v", res)
	}
}

// A number that the user's own certificate has is left to it.
func TestKeyBesideAnother(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := locked(desired(1, r.signed("iso v1", ownKey)))
	d.VMs[0].ExtraConfig["uefi.secureBoot.dbDefault.file0"] = "own.der"
	on := r.made(d, "PowerOn")
	if err := os.WriteFile(r.at("own.der"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.execute(on, d)
	raw, err := os.ReadFile(r.at(one + ".nvram"))
	if err != nil || !strings.Contains(string(raw), "YW5vdGhlcg==") || !strings.Contains(string(raw), "YSBjZXJ0aWZpY2F0ZSwgREVS") {
		t.Errorf("NVRAM %s, %v", raw, err)
	}
}

// An upload that was cut leaves a short file under the certificate's name; it is never what the VM's firmware reads.
func TestCutKey(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := locked(desired(1, r.signed("iso v1", ownKey)))
	install := r.made(d, "InstallKey")
	r.lab.OnCall(func(c lab.Call) lab.Fault {
		if c.Method == http.MethodPut {
			return lab.CutUpload
		}
		return lab.None
	})
	if err := r.fleet.Execute(t.Context(), install, d); err == nil {
		t.Fatal("a cut upload is taken for a whole one")
	}
	r.lab.OnCall(nil)
	name := "lkv-db-" + d.Image.Trust.Key() + ".der"
	if raw, err := os.ReadFile(r.at(name)); err != nil || len(raw) >= len(ownKey.Certificate) {
		t.Fatalf("the lab did not cut: %q, %v", raw, err)
	}
	if v := r.observe(d).VMs[0]; len(v.Keys) > 0 {
		t.Fatalf("the VM names a certificate that is not there: %v", v.Keys)
	}
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
}

// Firmware that has started takes no key, and firmware is not started when its certificate is gone.
func TestKeysTooLateOrGone(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := locked(desired(1, r.signed("iso v1", ownKey)))
	install := r.made(d, "InstallKey")
	nvram := r.at(one + ".nvram")
	if err := os.WriteFile(nvram, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.mutations()
	if b := r.refused(plan.R02, install, d); !strings.Contains(b.Clear, ".nvram") || len(r.mutations()) > 0 {
		t.Errorf("%s", b.Error())
	}
	if err := os.Remove(nvram); err != nil {
		t.Fatal(err)
	}
	r.execute(install, d)
	cert := r.at("lkv-db-" + d.Image.Trust.Key() + ".der")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	var on plan.PowerOn
	on.Name = one
	if b := r.refused(plan.R02, on, d); !strings.Contains(b.Reason, "is gone") {
		t.Errorf("%s", b.Error())
	}
	if err := os.WriteFile(cert, ownKey.Certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("%+v", res)
	}
}

// A VM that was made without the key: refused by the planner, and by the executor when the planner did not see it.
func TestKeyOfAnotherImage(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := locked(desired(1, r.signed("iso v1", &manifest.SecureBoot{Chain: manifest.ChainShim})))
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("create: %+v", res)
	}
	d.Image = r.signed("iso v2", ownKey)
	r.mutations()
	res := r.run(d)
	if res.Outcome != reconcile.Refused || len(res.Blocked) != 1 || res.Blocked[0].Code != plan.R02 || len(r.mutations()) > 0 {
		t.Fatalf("%+v", res)
	}
	var stop plan.Shutdown
	stop.Name, stop.Grace = one, time.Second
	swap := plan.InsertISO{ISO: d.Image.Paths["iso-DC1"], Record: r.observe(d).VMs[0].Record}
	swap.Name, swap.Record.Key = one, d.Image.Trust.Key()
	for _, s := range []plan.Step{claim("run-1", 2), stop, swap} {
		r.execute(s, d)
	}
	var on plan.PowerOn
	on.Name = one
	r.refused(plan.R02, on, d)
}

// Steps about Secure Boot need a claim and a VM that is off.
func TestSecureBootNeedsOff(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := locked(desired(1, r.signed("iso v1", &manifest.SecureBoot{Chain: manifest.ChainShim})))
	d.VMs[0].SecureBoot = false
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("create: %+v", res)
	}
	var enable plan.EnableSecureBoot
	var install plan.InstallKey
	enable.Name, install.Name, install.Certificate = one, one, ownKey.Certificate
	r.mutations()
	for _, s := range []plan.Step{enable, install} {
		if err := r.fleet.Execute(t.Context(), s, d); err == nil {
			t.Errorf("%s without a claim", s)
		}
	}
	if sent := r.mutations(); len(sent) > 0 {
		t.Errorf("sent %v", sent)
	}
	r.execute(claim("run-1", 2), d)
	r.mutations()
	for _, s := range []plan.Step{enable, install} {
		if err := r.fleet.Execute(t.Context(), s, d); err == nil {
			t.Errorf("%s while it is on", s)
		}
	}
	if sent := r.mutations(); len(sent) > 0 {
		t.Errorf("sent %v", sent)
	}
}
