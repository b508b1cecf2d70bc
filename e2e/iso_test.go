//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

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

// component returns the files of a component image.
func component(t *testing.T, ref string) map[string][]byte {
	t.Helper()
	index, err := layout.ImageIndexFromPath(need(t, "LKV_CACHE"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] != ref {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		r := mutate.Extract(img)
		defer func() { _ = r.Close() }()
		files := map[string][]byte{}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return files
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg && !strings.HasSuffix(h.Name, ".ko") && h.Name != "kernel.tar" {
				if files[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(tr); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Fatalf("%s is not in the cache: run this through `make boot-test`", ref)
	return nil
}

// bench holds what the images of the matrix are made of.
type bench struct {
	boot    map[string][]byte
	kernel  []byte
	initrd  []byte
	payload [32]byte
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{boot: component(t, "docker.io/lkv/boot:1"), kernel: component(t, "docker.io/lkv/kernel:1")["kernel"]}
	dir, payload := t.TempDir(), make([]byte, 3<<20+1)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(payload)
	b.payload = sha256.Sum256(payload)
	if err := os.WriteFile(filepath.Join(dir, "payload"), payload, 0o600); err != nil {
		t.Fatal(err)
	}
	compile := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "init"), "./testdata/isoinit")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("build init: %v\n%s", err, out)
	}
	pack := exec.CommandContext(t.Context(), "cpio", "--quiet", "-o", "-H", "newc")
	pack.Dir, pack.Stdin = dir, strings.NewReader("init\npayload\n")
	var err error
	if b.initrd, err = pack.Output(); err != nil {
		t.Fatalf("cpio: %v", err)
	}
	return b
}

func (b *bench) options(cmdline string) iso.Options {
	return iso.Options{VolumeID: "LKV E2E", Cmdline: cmdline, Kernel: b.kernel, InitrdBound: int64(len(b.initrd)),
		BIOS: &iso.BIOS{Isolinux: b.boot["isolinux/isolinux.bin"], Ldlinux: b.boot["isolinux/ldlinux.c32"], Isohdpfx: b.boot["isolinux/isohdpfx.bin"]},
		EFI:  &iso.EFI{Stub: b.boot["efi/linuxx64.efi.stub"], OSRelease: "ID=lkv\n"}}
}

func (b *bench) grub(cmdline string) iso.Options {
	o := b.options(cmdline)
	o.EFI = &iso.EFI{Grub: &iso.Grub{Shim: b.boot["efi/shimx64.efi.signed"], Grub: b.boot["efi/gcdx64.efi.signed"], MokManager: b.boot["efi/mmx64.efi.signed"]}}
	return o
}

// write makes the image.
func (b *bench) write(t *testing.T, o iso.Options) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "e2e.iso"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := iso.New(f, o)
	if err == nil {
		_, err = w.Write(b.initrd)
	}
	if err == nil {
		err = w.Close()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// snakeoil is the signer whose certificate Debian's OVMF_VARS_4M.snakeoil.fd has in its db.
func snakeoil(t *testing.T) *iso.Signer {
	t.Helper()
	key, err := exec.CommandContext(t.Context(), "openssl", "pkey", "-in", snakeoilKey, "-passin", "pass:snakeoil").Output()
	if err != nil {
		t.Fatalf("decrypt snakeoil key: %v; on Debian: apt-get install ovmf openssl", err)
	}
	cert, err := os.ReadFile(snakeoilCert)
	if err != nil {
		t.Fatal(err)
	}
	s, err := iso.ReadSigner(key, cert)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var saidLine = regexp.MustCompile(`LKV-E2E payload=([0-9a-f]{64}) lockdown=("(?:[^"\\]|\\.)*") cmdline=("(?:[^"\\]|\\.)*")\r?\n`)

// boots starts the machine and checks what its kernel was given.
func (b *bench) boots(t *testing.T, c qemu.Config, cmdline string, locked bool) {
	t.Helper()
	c.Name, c.MemoryMiB = "iso", 512
	g := boot(t, c)
	said := saidLine.FindStringSubmatch(g.see(saidLine.String()))
	lockdown, err1 := strconv.Unquote(said[2])
	got, err2 := strconv.Unquote(said[3])
	if err1 != nil || err2 != nil || got != cmdline {
		t.Errorf("kernel command line\n got %s\nwant %s (%v, %v)", got, cmdline, err1, err2)
	}
	if said[1] != fmt.Sprintf("%x", b.payload) {
		t.Errorf("the initrd's payload has digest %s, want %x", said[1], b.payload)
	}
	if strings.Contains(lockdown, "[none]") == locked {
		t.Errorf("lockdown is %q, wanted: %v", lockdown, locked)
	}
	g.Kill()
}

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
	f, err := os.Create(uki)
	if err != nil {
		t.Fatal(err)
	}
	o := iso.Options{Kernel: b.kernel, Cmdline: hostile, EFI: &iso.EFI{Stub: b.boot["efi/linuxx64.efi.stub"], Signer: snakeoil(t)}}
	_, err = iso.WriteUKI(f, o, bytes.NewReader(b.initrd))
	if err := errors.Join(err, f.Close()); err != nil {
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
