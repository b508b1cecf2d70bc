package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// How a VM's firmware gets a key of one's own (Broadcom KB 377306, ESXi 7.0 and later). The keys live in the VM's NVRAM
// file. When that file has no Secure Boot configuration, because the VM was never powered on or somebody deleted the
// file, the firmware fills it from its defaults, and extraConfig adds to them: dbDefault.file0, file1 and so on name
// DER files in the VM's own directory. They are appended to VMware's and Microsoft's certificates (dbDefault.append =
// "FALSE" would drop those), so a VM with a key still starts Debian's shim. pkDefault and kekDefault only matter to
// whoever wants to change db later from inside the guest: they stay VMware's. NVRAM that was made once is never filled
// again, and nothing in the API shows what is in it; vmware.log does.
const keyOption = "uefi.secureBoot.dbDefault.file"

var (
	keyOptionName = regexp.MustCompile(`(?i)^uefi\.secureBoot\.dbDefault\.file[0-9]+$`)
	keyFileName   = regexp.MustCompile(`^lkv-db-([0-9a-f]{64})\.der$`)
)

// keyFile names the certificate's file in the VM's directory. The name says what is in it, so that the VM's
// configuration shows which keys it was made with, and no upload can replace another file.
func keyFile(key string) string { return "lkv-db-" + key + ".der" }

// keysOf reads which of lkv's certificates a VM's configuration names. People may add one by hand, as the KB says.
func keysOf(extra map[string]string) []string {
	var keys []string
	for k, v := range extra {
		if m := keyFileName.FindStringSubmatch(v); m != nil && keyOptionName.MatchString(k) {
			keys = append(keys, m[1])
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// freeKeyOption is the first number that is not taken by somebody else's certificate.
func freeKeyOption(extra map[string]string) string {
	taken := map[string]bool{}
	for k := range extra {
		taken[strings.ToLower(k)] = true
	}
	for i := 0; ; i++ {
		if k := fmt.Sprint(keyOption, i); !taken[strings.ToLower(k)] {
			return k
		}
	}
}

// home is a VM's own directory, as it is now.
type home struct {
	ds    datastore
	dir   string
	files []file
}

func (f *Fleet) home(ctx context.Context, v sighted) (home, error) {
	list, err := f.c.retrieve(ctx, want{v.ref, []string{"config.files.vmPathName"}})
	if err != nil {
		return home{}, fmt.Errorf("find the VM's directory: %w", err)
	}
	ds, vmx, err := f.c.beside(ctx, v.ref, text(list[0], "config.files.vmPathName"))
	if err != nil {
		return home{}, fmt.Errorf("find the VM's directory: %w", err)
	}
	h := home{ds: ds, dir: path.Dir(vmx)}
	if path.Ext(vmx) != ".vmx" || h.dir == "." {
		return home{}, fmt.Errorf("find the VM's directory: %q is no .vmx file in a directory", vmx)
	}
	h.files, err = ds.search(ctx, h.dir, "*")
	return h, err
}

func (h home) has(name string) bool {
	return slices.ContainsFunc(h.files, func(f file) bool { return f.name == name && !f.dir && f.size > 0 })
}

// started tells whether the firmware has started before: then its NVRAM is made. An empty file has nothing in it.
func (h home) started() bool {
	return slices.ContainsFunc(h.files, func(f file) bool { return strings.EqualFold(path.Ext(f.name), ".nvram") && f.size > 0 })
}

// keep uploads a certificate, unless it is there, and reads it back.
func (h home) keep(ctx context.Context, der []byte) error {
	p := path.Join(h.dir, keyFile(plan.KeyOf(der)))
	if ok, err := h.holds(ctx, p, der); ok || err != nil {
		return err
	}
	h.ds.c.files.permit(h.ds.url(p))
	if err := h.ds.put(ctx, p, bytes.NewReader(der), int64(len(der))); err != nil {
		return fmt.Errorf("upload %s: %w", h.ds.path(p), err)
	}
	ok, err := h.holds(ctx, p, der)
	if err == nil && !ok {
		err = fmt.Errorf("upload %s: it did not arrive whole", h.ds.path(p))
	}
	return err
}

func (h home) holds(ctx context.Context, p string, der []byte) (bool, error) {
	r, err := h.ds.open(ctx, p, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	got, err := io.ReadAll(io.LimitReader(r, int64(len(der))+1))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", h.ds.path(p), err)
	}
	return bytes.Equal(got, der), nil
}

// installKey uploads the certificate and then names it in the VM's configuration, which tells a later run that the step
// is done. It refuses a VM whose firmware has started, because nothing would read the certificate.
func (f *Fleet) installKey(ctx context.Context, s plan.InstallKey, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	key := plan.KeyOf(s.Certificate)
	if slices.Contains(v.vm.Keys, key) {
		return nil
	}
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, a key is only installed before the first power on", ErrChanged, v.vm.Power)
	}
	h, err := f.home(ctx, v)
	if err != nil {
		return err
	}
	if h.started() {
		return plan.Blocked{VM: s.VM(), Code: plan.R02, Reason: "its firmware has started before, and takes no key any more",
			Clear: "in the vSphere client delete the .nvram file in the VM's directory while the VM is off, and run lkv reconcile again"}
	}
	if err := h.keep(ctx, s.Certificate); err != nil {
		return err
	}
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: options(freeKeyOption(v.extra), keyFile(key))})
}

// keyed checks before a power on that the firmware starts the ISO: it knows the key, or will read it now.
func (f *Fleet) keyed(ctx context.Context, v sighted) error {
	key := v.vm.Record.Key
	if !v.vm.SecureBoot || key == "" {
		return nil
	}
	if !slices.Contains(v.vm.Keys, key) {
		return plan.Blocked{VM: v.vm.Name, Code: plan.R02, Reason: "its firmware has Secure Boot on and was not made with the key of its ISO",
			Clear: "sign the image with the key the VM was made with"}
	}
	h, err := f.home(ctx, v)
	if err != nil {
		return err
	}
	if !h.started() && !h.has(keyFile(key)) {
		return plan.Blocked{VM: v.vm.Name, Code: plan.R02,
			Reason: fmt.Sprintf("its firmware is about to make its NVRAM, and the certificate %s is gone", h.ds.path(path.Join(h.dir, keyFile(key)))),
			Clear:  "put the image's certificate there, in DER form, with the datastore browser"}
	}
	return nil
}

// enableSecureBoot turns Secure Boot on for a VM that is off.
func (f *Fleet) enableSecureBoot(ctx context.Context, s plan.EnableSecureBoot, desired plan.Desired) error {
	v, err := f.claimed(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	if v.vm.SecureBoot {
		return nil
	}
	if v.vm.Power != plan.Off {
		return fmt.Errorf("%w: it is %s, its boot options are only changed while it is off", ErrChanged, v.vm.Power)
	}
	return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{BootOptions: bootOptions(true)})
}

// bootOptions boots from the CD-ROM first.
func bootOptions(secure bool) *types.VirtualMachineBootOptions {
	b := &types.VirtualMachineBootOptions{BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableCdromDevice{}}}
	if secure {
		b.EfiSecureBootEnabled = types.NewBool(true)
	}
	return b
}

// secureBootOf reads whether Secure Boot is on.
func secureBootOf(it item) bool {
	b, _ := get[types.VirtualMachineBootOptions](it, "config.bootOptions")
	return b.EfiSecureBootEnabled != nil && *b.EfiSecureBootEnabled
}

// refuseSecureBoot lets a change of an existing VM turn Secure Boot on, never off, and touch nothing of its keys but to
// name certificates that installKey uploads.
func refuseSecureBoot(s *types.VirtualMachineConfigSpec) string {
	if b := s.BootOptions; b != nil && b.EfiSecureBootEnabled != nil && !*b.EfiSecureBootEnabled {
		return "it would turn Secure Boot off"
	}
	for _, o := range s.ExtraConfig {
		kv := o.GetOptionValue()
		if strings.HasPrefix(strings.ToLower(kv.Key), "uefi.") &&
			(!keyOptionName.MatchString(kv.Key) || !keyFileName.MatchString(fmt.Sprint(kv.Value))) {
			return fmt.Sprintf("the key %s is about the firmware", kv.Key)
		}
	}
	return ""
}
