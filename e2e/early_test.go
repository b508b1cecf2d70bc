//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/lkv-io/lkv/build/early"
	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
)

// parts is what the ISOs of these tests are made from: the root file system of an ordinary build as a squashfs that
// mksquashfs made, and the same build's kernel and boot loader.
type parts struct {
	squashfs []byte
	kernel   []byte
	bios     iso.BIOS
	tree     early.ModuleTree
	files    map[string][]byte // of the root file system
}

const volume = "LKV-EARLY"

func takeApart(t *testing.T, ballast int) parts {
	t.Helper()
	dir := t.TempDir()
	yml, err := os.ReadFile("testdata/boot.yml")
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/boot.yml", yml)
	put(t, dir+"/early.hcl", []byte("image \"early\" {\n  linuxkit = [\"boot.yml\"]\n}\n"))
	lkv(t, dir, "-f", "early.hcl", "build", "--offline", "--json")
	found, err := filepath.Glob(dir + "/dist/*.iso")
	if err != nil || len(found) != 1 {
		t.Fatalf("%d ISOs (%v)", len(found), err)
	}
	f, err := os.Open(found[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	image, err := iso.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) []byte {
		b, err := image.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mbr := make([]byte, 432)
	if _, err := f.ReadAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	p := parts{kernel: get("boot/vmlinuz"), files: map[string][]byte{}}
	p.bios = iso.BIOS{Isolinux: get("isolinux/isolinux.bin"), Ldlinux: get("isolinux/ldlinux.c32"), Isohdpfx: mbr}
	p.squashfs = squash(t, p.unpack(t, inflate(t, get("boot/initrd")), ballast))
	return p
}

// inflate decodes the initrd's zstd frames, between which there may be zeros.
func inflate(t *testing.T, initrd []byte) []byte {
	t.Helper()
	var out []byte
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for initrd = bytes.TrimLeft(initrd, "\x00"); len(initrd) > 0; initrd = bytes.TrimLeft(initrd, "\x00") {
		var h zstd.Header
		if err := h.Decode(initrd); err != nil {
			t.Fatal(err)
		}
		n, last := h.HeaderSize, false
		for !last {
			block := int(initrd[n]) | int(initrd[n+1])<<8 | int(initrd[n+2])<<16
			size := block >> 3
			if block>>1&3 == 1 { // one byte, repeated
				size = 1
			}
			n, last = n+3+size, block&1 == 1
		}
		if h.HasCheckSum {
			n += 4
		}
		if out, err = z.DecodeAll(initrd[:n], out); err != nil {
			t.Fatal(err)
		}
		initrd = initrd[n:]
	}
	return out
}

// unpack reads the initrd into p.files and returns it as tar, with so many bytes more that nothing can compress.
func (p *parts) unpack(t *testing.T, cpio []byte, ballast int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	first := map[string]string{}
	for at := 0; at < len(cpio); {
		if cpio[at] == 0 {
			at++
			continue
		}
		var v [13]int64
		for i := range v {
			n, err := strconv.ParseInt(string(cpio[at+6+8*i:at+14+8*i]), 16, 64)
			if err != nil {
				t.Fatalf("initrd, byte %d: %v", at, err)
			}
			v[i] = n
		}
		name := string(cpio[at+110 : at+110+int(v[11])-1])
		at = (at + 110 + int(v[11]) + 3) &^ 3
		data := cpio[at : at+int(v[6])]
		at = (at + int(v[6]) + 3) &^ 3
		if name == "TRAILER!!!" {
			continue
		}
		h := &tar.Header{Name: name, Mode: v[1] & 0o7777, Uid: int(v[2]), Gid: int(v[3]), Devmajor: v[9], Devminor: v[10]}
		id := strconv.FormatInt(v[0], 10) + " " + strconv.FormatInt(v[7], 10) + " " + strconv.FormatInt(v[8], 10)
		switch v[1] &^ 0o7777 {
		case 0o040000:
			h.Typeflag = tar.TypeDir
		case 0o120000:
			h.Typeflag, h.Linkname, data = tar.TypeSymlink, string(data), nil
		case 0o020000:
			h.Typeflag = tar.TypeChar
		case 0o060000:
			h.Typeflag = tar.TypeBlock
		case 0o100000:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
			if to, ok := first[id]; ok && v[4] > 1 {
				h.Typeflag, h.Linkname, h.Size, data = tar.TypeLink, to, 0, nil
			}
			first[id] = name
			p.files[name] = data
			if dir, ok := strings.CutSuffix(name, "/modules.dep"); ok {
				p.tree.Release, p.tree.Dep = path.Base(dir), data
			}
			if strings.HasSuffix(name, "/modules.builtin") {
				p.tree.Builtin = data
			}
		default:
			t.Fatalf("%s: mode %o", name, v[1])
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	noise := make([]byte, ballast)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	if err := w.WriteHeader(&tar.Header{Name: "ballast", Mode: 0o600, Size: int64(ballast)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func squash(t *testing.T, tarball []byte) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "root.squashfs")
	cmd := exec.CommandContext(t.Context(), "mksquashfs", "-", out, "-tar", "-comp", "zstd", "-Xcompression-level", "3", "-root-mode", "751", "-no-progress", "-quiet")
	cmd.Stdin = bytes.NewReader(tarball)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mksquashfs (Debian package squashfs-tools): %v\n%s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// initrd writes the early initrd with somebody else's cpio.
func (p parts) initrd(t *testing.T, mode string) []byte {
	t.Helper()
	modules, err := early.Modules(p.tree, mode)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(p.squashfs)
	desc := rootdesc.Root{Mode: mode, Volume: volume, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(p.squashfs)), Modules: modules, Init: "/sbin/init"}
	entries, err := early.Describe(desc, p.files[report.ImagePath[1:]])
	if err != nil {
		t.Fatal(err)
	}
	guest, err := os.ReadFile(filepath.Join(need(t, "LKV_BIN"), "lkv-guest"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var names strings.Builder
	for _, e := range entries {
		name := filepath.Join(dir, e.Path)
		names.WriteString(e.Path + "\n")
		if e.Mode.IsDir() {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		put(t, name, map[early.Source][]byte{early.Made: e.Data, early.Guest: guest, early.Module: p.files[e.Path], early.Squashfs: p.squashfs}[e.Source])
		if err := os.Chmod(name, e.Mode&fs.ModePerm); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(names.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	return out
}

// iso writes an ISO with that initrd; onMedium is its lkv/root.squashfs, none when nil.
func (p parts) iso(t *testing.T, initrd, onMedium []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "early.iso")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	o := iso.Options{VolumeID: volume, BIOS: &p.bios, Cmdline: "console=tty0 console=ttyS0 panic=10", Kernel: p.kernel, InitrdBound: int64(len(initrd))}
	if onMedium != nil {
		o.Files = []iso.Extra{{Path: rootdesc.OnMedium, Data: onMedium}}
	}
	w, err := iso.New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(initrd); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

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
