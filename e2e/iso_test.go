//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/internal/qemu"
)

// Command lines with whatever a boot loader could stumble over. GRUB cannot pass every quote.
const (
	hostile     = `console=ttyS0 quiet pct=%d%s bs=C:\new\\x a="b c" d='e f' $HOME ${x} $(y) ;{z}  |&<>~#! -- --initargs`
	hostileGrub = `console=ttyS0 quiet pct=%d%s "a=b c" "say hello  world" $HOME ${x} $(y) ;{z}  |&<>~#! -- --initargs`
)

// What each loader puts in front of the command line.
const (
	isolinuxBefore = "BOOT_IMAGE=/boot/vmlinuz initrd=/boot/initrd "
	grubBefore     = "BOOT_IMAGE=/boot/vmlinuz "
)

// Debian's firmware with a key that everybody has.
const (
	snakeoilKey  = "/usr/share/ovmf/PkKek-1-snakeoil.key"
	snakeoilCert = "/usr/share/ovmf/PkKek-1-snakeoil.pem"
	snakeoilVars = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"
)

// media are the ways to hand an image to a machine.
var media = map[string]func(path string) qemu.Config{
	"CD on AHCI": func(p string) qemu.Config { return qemu.Config{ISO: p} },
	"CD on IDE":  func(p string) qemu.Config { return qemu.Config{ISO: p, Machine: "pc"} },
	"virtio disk": func(p string) qemu.Config {
		return qemu.Config{Disks: []qemu.Disk{{Path: p, Controller: "virtio", Boot: true, Snapshot: true}}}
	},
	"SATA disk": func(p string) qemu.Config {
		return qemu.Config{Disks: []qemu.Disk{{Path: p, Controller: "ahci", Boot: true, Snapshot: true}}}
	},
	"USB stick": func(p string) qemu.Config {
		return qemu.Config{Disks: []qemu.Disk{{Path: p, Controller: "usb", Boot: true, Snapshot: true}}}
	},
}

// TestISOBoots is the matrix of firmware, medium and boot loader.
func TestISOBoots(t *testing.T) {
	b := newBench(t)
	signed := b.options(hostile)
	signed.EFI.Signer = snakeoil(t)
	both := b.grub(hostileGrub)
	longest := b.grub(hostileGrub + strings.Repeat("x", 2001-len(hostileGrub)))
	longest.BIOS, longest.Cmdline = nil, longest.Cmdline+strings.Repeat("y", 21)
	images := map[string]string{"uki": b.write(t, b.options(hostile)), "signed uki": b.write(t, signed), "grub": b.write(t, both), "longest grub": b.write(t, longest)}
	const bios, efi, own, microsoft = "SeaBIOS", "OVMF", "OVMF own key", "OVMF Microsoft keys"
	for _, tc := range []struct{ image, firmware, medium string }{
		{"uki", bios, "CD on AHCI"}, {"uki", bios, "CD on IDE"}, {"uki", bios, "virtio disk"}, {"uki", bios, "USB stick"},
		{"grub", bios, "SATA disk"},
		{"uki", efi, "CD on AHCI"}, {"uki", efi, "CD on IDE"}, {"uki", efi, "SATA disk"}, {"uki", efi, "USB stick"},
		{"grub", efi, "CD on AHCI"}, {"grub", efi, "CD on IDE"}, {"grub", efi, "virtio disk"}, {"grub", efi, "USB stick"},
		{"longest grub", efi, "CD on AHCI"},
		{"signed uki", own, "CD on AHCI"}, {"signed uki", own, "virtio disk"},
		{"grub", microsoft, "CD on AHCI"}, {"grub", microsoft, "USB stick"},
	} {
		t.Run(tc.image+"/"+tc.firmware+"/"+tc.medium, func(t *testing.T) {
			c := media[tc.medium](images[tc.image])
			cmdline, locked := hostile, false
			switch {
			case tc.firmware == bios && tc.image == "grub":
				cmdline = isolinuxBefore + hostileGrub
			case tc.firmware == bios:
				cmdline = isolinuxBefore + hostile
			case tc.image == "grub":
				cmdline = grubBefore + hostileGrub
			case tc.image == "longest grub":
				cmdline = grubBefore + longest.Cmdline
			}
			if tc.firmware != bios {
				c.Firmware = qemu.EFI
			}
			switch tc.firmware {
			case own:
				c.SecureBoot, c.Vars, locked = true, snakeoilVars, true
			case microsoft:
				c.SecureBoot, locked = true, true
			}
			b.boots(t, c, cmdline, locked)
		})
	}
}

// TestGrubOwnMedium: with another image of the same label in the machine, GRUB boots the one it came from.
func TestGrubOwnMedium(t *testing.T) {
	b := newBench(t)
	c := media["virtio disk"](b.write(t, b.grub("console=ttyS0 quiet other")))
	c.ISO, c.Firmware = b.write(t, b.grub("console=ttyS0 quiet own")), qemu.EFI
	b.boots(t, c, grubBefore+"console=ttyS0 quiet own", false)
}

// TestISORefused: firmware with Secure Boot starts neither an unsigned image nor one of another key, and GRUB behind
// shim no kernel that was changed.
func TestISORefused(t *testing.T) {
	b := newBench(t)
	signed := b.options(hostile)
	signed.EFI.Signer = snakeoil(t)
	changed := b.grub(hostileGrub)
	changed.Kernel = bytes.Clone(b.kernel)
	changed.Kernel[len(changed.Kernel)/2]++
	for name, c := range map[string]qemu.Config{
		"changed kernel, Microsoft keys": {ISO: b.write(t, changed)},
		"unsigned, own key":              {ISO: b.write(t, b.options(hostile)), Vars: snakeoilVars},
		"snakeoil key, Microsoft keys":   {ISO: b.write(t, signed)},
	} {
		t.Run(name, func(t *testing.T) {
			c.Firmware, c.SecureBoot, c.MemoryMiB = qemu.EFI, true, 512
			g := boot(t, c)
			refusal := `(?i)access denied|security violation`
			if strings.HasPrefix(name, "changed") {
				refusal = `bad shim signature`
			}
			g.see(refusal)
			g.Kill()
			if log, err := os.ReadFile(g.Serial()); err != nil || bytes.Contains(log, []byte("LKV-E2E")) {
				t.Errorf("it booted (%v)", err)
			}
		})
	}
}

// TestOtherOutputs boots kernel and initrd without a loader, and the kernel image as the only file of a disk.
func TestOtherOutputs(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	kernel, initrd, uki, disk := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd"), filepath.Join(dir, "uki.efi"), filepath.Join(dir, "disk")
	for path, content := range map[string][]byte{kernel: b.kernel, initrd: b.initrd} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("kernel and initrd", func(t *testing.T) {
		b.boots(t, qemu.Config{Kernel: kernel, Initrd: initrd, Cmdline: hostile}, hostile, false)
	})
	o := b.options(hostile)
	o.EFI.Signer = snakeoil(t)
	f, err := os.Open(b.write(t, o))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, err := iso.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := image.ReadFile(iso.UKIPath) // what lkv build --also uki writes
	if err := errors.Join(err, os.WriteFile(uki, alone, 0o600)); err != nil {
		t.Fatal(err)
	}
	run(t, "sbverify", "--cert", snakeoilCert, uki)
	run(t, "mformat", "-C", "-i", disk, "-T", "131072", "::")
	run(t, "mmd", "-i", disk, "::EFI", "::EFI/BOOT")
	run(t, "mcopy", "-i", disk, uki, "::EFI/BOOT/BOOTX64.EFI")
	t.Run("kernel image", func(t *testing.T) {
		b.boots(t, qemu.Config{Disks: media["virtio disk"](disk).Disks, Firmware: qemu.EFI, SecureBoot: true, Vars: snakeoilVars}, hostile, true)
	})
}
