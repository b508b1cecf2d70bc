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
	entries, err := early.Back(desc, p.files[report.ImagePath[1:]])
	entries = append(early.Front(desc.Modules), entries...)
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
