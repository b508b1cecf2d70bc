//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
)

// asRoot runs a script in PID 1's mount namespace.
func (g *guest) asRoot(script string) string {
	g.t.Helper()
	return g.sh("cat >/run/check <<\\EOF\n" + script + "\nEOF\nif ! nsenter -t 1 -m /bin/sh -ex /run/check >/run/said 2>&1; then cat /run/said /proc/1/mountinfo >&2; exit 1; fi; cat /run/said")
}

// rootCheck looks at a machine that has booted: the root is the overlay and nothing else of the early initrd is in
// sight, the root can be written, and an overlay goes on top of it, as every writable container's does.
const rootCheck = `
grep " / / rw[^-]* - overlay overlay " /proc/1/mountinfo
if grep -E " /[.]lkv|- (iso9660|squashfs|rootfs) " /proc/1/mountinfo; then exit 1; fi
test ! -e /.lkv/root.json -a ! -e /.lkv/root.squashfs
test $(stat -c %a /) = 755
echo new > /etc/new
mkdir -p /run/o/u /run/o/w /run/o/m
mount -t overlay -o lowerdir=/etc,upperdir=/run/o/u,workdir=/run/o/w overlay /run/o/m
grep new /run/o/m/new
umount /run/o/m
grep MemAvailable /proc/meminfo
`

// whole checks a machine that has booted with its services, which are containers.
func (g *guest) whole() {
	g.t.Helper()
	g.see(`lkv: image boot sha256:`)
	g.see(`lkv: services started`)
	g.t.Log(g.asRoot(rootCheck))
	if r := g.report(); r.State != report.Running || r.Image.Name != "boot" {
		g.t.Errorf("report: %+v", r)
	}
}

// TestCDRoot boots a squashfs on the ISO from every kind of medium, and finds the right one among several.
func TestCDRoot(t *testing.T) {
	right := buildRoot(t, "cd", "cd").iso
	wrong := filepath.Join(t.TempDir(), "wrong.iso")
	data, err := os.ReadFile(right)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("hsqs"))+1<<20] ^= 1 // a byte in the middle of the squashfs
	if err := os.WriteFile(wrong, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		qemu.Config
		device string
	}{
		{"AHCI", qemu.Config{ISO: right}, "sr0"},
		{"USB stick", qemu.Config{Disks: []qemu.Disk{{Path: right, Controller: "usb", Boot: true, Snapshot: true}}}, "sd[ab]"},
		{"disk beside a wrong CD", qemu.Config{ISO: wrong, Disks: []qemu.Disk{{Path: right, Controller: "virtio", Snapshot: true}}}, "vda"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.Name, c.MemoryMiB = "cd", 256
			c.Disks = append(c.Disks, qemu.Disk{Path: blankDisk(t, 256<<20)})
			g := boot(t, c.Config)
			if c.ISO == wrong {
				g.see(`lkv: sr0 has the right volume ID but another image: `)
			}
			g.see(`lkv: root file system found on ` + c.device)
			g.whole()
			g.shutdown()
		})
	}
	t.Run("no right one", func(t *testing.T) {
		blank := blankDisk(t, 16<<20)
		before := digest(t, blank)
		g := boot(t, qemu.Config{Name: "cd-wrong", ISO: wrong, MemoryMiB: 256, Disks: []qemu.Disk{{Path: blank}}})
		g.see(`lkv: waiting for the medium with volume ID "LKV_BOOT"`)
		g.see(`lkv: no medium has this image's root file system: .*seen: sr0 \(lkv/root.squashfs: sha256 .*\), sda \(no ISO 9660 volume\)`)
		g.shutdown()
		if digest(t, blank) != before {
			t.Error("the disk was written to")
		}
	})
}
