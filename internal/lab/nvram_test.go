package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/manifest"
)

// signedISO is an ISO with that Secure Boot chain.
func (r *rig) signedISO(content string, s *manifest.SecureBoot) string {
	r.Helper()
	p := r.iso(content)
	_, rest, _ := splitPath(p)
	file := filepath.Join(r.lab.DatastoreDir("DC1", "iso-nfs"), strings.TrimSuffix(rest, ".iso")+".manifest.json")
	man, err := readManifest(strings.TrimSuffix(file, ".manifest.json") + ".iso")
	r.must(err)
	man.SecureBoot, man.Persist = s, nil
	f, err := os.Create(file)
	r.must(err)
	defer f.Close()
	r.must(man.Write(f))
	return p
}

// lastLine waits until the VM's console says something, and returns its last line.
func (r *rig) lastLine(vm string, lines int) string {
	r.Helper()
	for range 500 {
		v, err := r.lab.VM(vm)
		r.must(err)
		if raw, err := os.ReadFile(v.Serial); err == nil && strings.Count(string(raw), "\n") >= lines {
			all := strings.Split(strings.TrimSpace(string(raw)), "\n")
			return all[len(all)-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Fatal("the console is silent")
	return ""
}

// TestSecureBoot: which ISO starts on which VM. The key is named in the VM's configuration before its first power on.
func TestSecureBoot(t *testing.T) {
	cert := []byte("a certificate")
	for name, c := range map[string]struct {
		firmware string
		secure   bool
		key      string // content of the certificate in the VM's directory; empty: none
		iso      *manifest.SecureBoot
		says     string
	}{
		"off, unsigned":         {"efi", false, "", nil, "booted"},
		"on, unsigned":          {"efi", true, "a certificate", nil, "Security Violation: the ISO is not signed"},
		"on, shim":              {"efi", true, "", &manifest.SecureBoot{Chain: manifest.ChainShim}, "booted"},
		"on, key":               {"efi", true, "a certificate", &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: cert}, "booted"},
		"on, shim beside a key": {"efi", true, "a certificate", &manifest.SecureBoot{Chain: manifest.ChainShim}, "booted"},
		"on, another key":       {"efi", true, "another", &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: cert}, "Security Violation: the ISO is signed with a key that is not in db"},
		"on, no key":            {"efi", true, "", &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: cert}, "Security Violation: the ISO is signed with a key that is not in db"},
		"BIOS":                  {"bios", false, "another", nil, "booted"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			sp := spec("w", r.signedISO("v1", c.iso))
			sp.Firmware, sp.BootOptions = c.firmware, &types.VirtualMachineBootOptions{EfiSecureBootEnabled: &c.secure}
			if c.key != "" {
				sp.ExtraConfig = append(sp.ExtraConfig, &types.OptionValue{Key: "uefi.secureBoot.dbDefault.file0", Value: "k.der"})
			}
			vm, err := r.try(sp)
			r.must(err)
			if c.key != "" {
				r.must(os.WriteFile(filepath.Join(r.lab.DatastoreDir("DC1", "vm-1"), "w", "k.der"), []byte(c.key), 0o600))
			}
			r.must(r.on(vm))
			if got := r.lastLine("w", 1); !strings.HasPrefix(got, c.says) {
				t.Errorf("console: %s", got)
			}
		})
	}
}

// TestNVRAM: it is made once; what the configuration says later, nobody reads, until the file is deleted.
func TestNVRAM(t *testing.T) {
	r := newRig(t, Config{})
	dir := filepath.Join(r.lab.DatastoreDir("DC1", "vm-1"), "w")
	name := func(n int, file string) types.VirtualMachineConfigSpec {
		return types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: fmt.Sprint("UEFI.secureBoot.dbDefault.file", n), Value: file}}}
	}
	sp := spec("w", r.signedISO("v1", &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: []byte("b")}))
	sp.Firmware, sp.BootOptions = "efi", &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(true)}
	vm, err := r.try(sp)
	r.must(err)
	r.must(r.change(vm, name(10, "b.der")))
	r.must(r.change(vm, name(2, "a.der")))
	if got := kind(r.on(vm)); got != "FileNotFound" {
		t.Fatalf("powered on without its certificates: %s", got)
	}
	for _, f := range []string{"a", "b", "c"} {
		r.must(os.WriteFile(filepath.Join(dir, f+".der"), []byte(f), 0o600))
	}
	r.must(r.on(vm))
	want := `{"db":["YQ==","Yg=="]}`
	nvram := func() string {
		raw, err := os.ReadFile(filepath.Join(dir, "w.nvram"))
		r.must(err)
		return string(raw)
	}
	if diff := cmp.Diff(want, nvram()); diff != "" {
		t.Errorf("by number (-want +got):\n%s", diff)
	}
	r.must(r.off(vm))
	r.must(r.change(vm, name(2, "c.der")))
	r.must(r.on(vm))
	if diff := cmp.Diff(want, nvram()); diff != "" {
		t.Errorf("made again (-want +got):\n%s", diff)
	}
	r.must(r.off(vm))
	r.must(os.Remove(filepath.Join(dir, "w.nvram")))
	r.must(r.on(vm))
	if got := nvram(); got != `{"db":["Yw==","Yg=="]}` {
		t.Errorf("deleted and made again: %s", got)
	}
	r.must(r.off(vm))
	r.must(os.WriteFile(filepath.Join(dir, "w.nvram"), []byte("x"), 0o600))
	if got := kind(r.on(vm)); got != "FileFault" {
		t.Errorf("broken NVRAM: %s", got)
	}
	if p := r.props(vm); p.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("refused, and %s", p.Runtime.PowerState)
	}
}
