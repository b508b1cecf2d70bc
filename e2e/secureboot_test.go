//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
)

// TestSecureBoot boots whole images under firmware that refuses what nobody vouches for: one signed with a key of our
// own, whose UKI is larger than El Torito's size field can say, and one that Debian's shim and GRUB start.
func TestSecureBoot(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "db.key")
	run(t, "openssl", "pkey", "-in", snakeoilKey, "-passin", "pass:snakeoil", "-out", plain)
	for _, c := range []struct {
		name, chain, vars string
		flags             []string
	}{
		{"own key", manifest.ChainKey, snakeoilVars, []string{"--secure-boot-key", plain, "--secure-boot-cert", snakeoilCert}},
		{"shim and GRUB", manifest.ChainShim, "", []string{"--efi", "grub"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := buildRoot(t, "secure", "squashfs", c.flags...)
			if s := v.manifest.SecureBoot; s == nil || s.Chain != c.chain {
				t.Errorf("the manifest says %+v", s)
			}
			g := boot(t, qemu.Config{Name: "secure", ISO: v.iso, Firmware: qemu.EFI, SecureBoot: true, Vars: c.vars, Disks: []qemu.Disk{{Path: blankDisk(t, 256<<20)}}})
			g.see(`lkv: services started`)
			g.asRoot("mount -t securityfs none /sys/kernel/security 2>/dev/null || true; grep -F [integrity] /sys/kernel/security/lockdown")
			g.shutdown()
		})
	}
}
