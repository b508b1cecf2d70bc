//go:build e2e

package e2e

import (
	"archive/tar"
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
