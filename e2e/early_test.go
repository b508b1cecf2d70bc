//go:build e2e

package e2e

import (
	"bytes"
	"testing"

	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
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
test $(stat -c %a /) = 751
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
	g.see(`lkv: image early sha256:`)
	g.see(`lkv: services started`)
	g.t.Log(g.asRoot(rootCheck))
	if r := g.report(); r.State != report.Running || r.Image.Name != "early" {
		g.t.Errorf("report: %+v", r)
	}
}

// ballast makes the squashfs so large that its limit is well above what the kernel alone needs.
const ballast = 64 << 20

func TestSquashfsRoot(t *testing.T) {
	p := takeApart(t, ballast)
	initrd := p.initrd(t, rootdesc.ModeSquashfs)
	image := p.iso(t, initrd, nil)
	limit := 3*len(initrd)>>20 + 64 // 2U + C + 64 MiB; nothing of this initrd is compressed
	t.Logf("squashfs %d KiB, early initrd %d KiB, rule says %d MiB", len(p.squashfs)>>10, len(initrd)>>10, limit)

	t.Run("at the limit", func(t *testing.T) {
		g := boot(t, qemu.Config{Name: "squashfs", ISO: image, MemoryMiB: limit})
		g.whole()
		g.shutdown()
	})
	t.Run("below the limit", func(t *testing.T) {
		g := boot(t, qemu.Config{Name: "squashfs-small", ISO: image, MemoryMiB: limit - 32})
		g.see(`lkv: this VM has too little memory for its image early: `)
		g.shutdown()
	})
}

func TestCDRoot(t *testing.T) {
	p := takeApart(t, 0)
	initrd := p.initrd(t, rootdesc.ModeCD)
	right := p.iso(t, initrd, p.squashfs)
	other := bytes.Clone(p.squashfs)
	other[len(other)/2] ^= 1
	wrong := p.iso(t, initrd, other)
	for _, c := range []struct {
		name string
		qemu.Config
		device string
	}{
		{"AHCI", qemu.Config{ISO: right}, "sr0"},
		{"IDE", qemu.Config{ISO: right, Machine: "pc"}, "sr0"},
		{"USB stick", qemu.Config{Disks: []qemu.Disk{{Path: right, Controller: "usb", Boot: true, Snapshot: true}}}, "sda"},
		{"disk beside a wrong CD", qemu.Config{ISO: wrong, Disks: []qemu.Disk{{Path: right, Controller: "virtio", Snapshot: true}}}, "vda"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.Name, c.MemoryMiB = "cd", 256
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
		g.see(`lkv: waiting for the medium with volume ID "` + volume + `"`)
		g.see(`lkv: no medium has this image's root file system: .*seen: sr0 \(lkv/root.squashfs: sha256 .*\), sda \(no ISO 9660 volume\)`)
		g.shutdown()
		if digest(t, blank) != before {
			t.Error("the disk was written to")
		}
	})
}
