package conformance

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/lkv-io/lkv/e2e/conformance/oracle"
	"github.com/lkv-io/lkv/e2e/conformance/unpack"
	cpio "github.com/surma/gocpio"
)

// beyondTests has a test for each of Beyond.
var beyondTests = map[string]func(*testing.T, oracle.Caches){
	"big-file": testBigFile, "old-file": testOldFile, "other-registry": testOtherRegistry, "zstd-layer": testZstdLayer,
	"damaged-blob": testDamagedBlob, "absolute-parent": testAbsoluteParent,
}

func TestBeyond(t *testing.T) {
	c := newCaches(t)
	addAll(t, c, job{images: shared(t)})
	if len(beyondTests) != len(Beyond) {
		t.Errorf("%d tests for %d entries", len(beyondTests), len(Beyond))
	}
	for _, b := range Beyond {
		if f := beyondTests[b.ID]; f == nil {
			t.Errorf("%s has no test", b.ID)
		} else {
			t.Run(b.ID, func(t *testing.T) { f(t, c) })
		}
	}
}

// service is YAML with one service.
func service(ref string) string { return base + "services:\n- {name: app, image: \"" + ref + "\"}\n" }

// try runs lkv build and returns its initrd, or its message.
func try(t testing.TB, c oracle.Caches, yaml string) (*unpack.Root, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "0.yml"), yaml)
	write(t, filepath.Join(dir, "lkv.hcl"), "image \"test\" {\n  linuxkit = [\"0.yml\"]\n}\n")
	cmd := exec.CommandContext(t.Context(), filepath.Join(need(t, "LKV_BIN", "the directory with the lkv program"), "lkv"),
		"build", "--offline", "--progress", "none", "--cache", c.LKV, "--out", "out")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, string(out)
	}
	r := unpack.NewRoot()
	if err := unpack.Initrd(read(t, lkvBuild(t, c, dir).initrd), r.Add); err != nil {
		t.Fatal(err)
	}
	return r, ""
}

// tryLinuxKit builds the same with LinuxKit and returns what the kernel makes of its initrd.
func tryLinuxKit(t testing.TB, c oracle.Caches, yaml string) (*unpack.Root, error) {
	t.Helper()
	dir := t.TempDir()
	m, err := oracle.Config([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "linuxkit")
	if err := oracle.KernelInitrd(m, c.LinuxKit, dir, base); err != nil {
		return nil, err
	}
	r := unpack.NewRoot()
	return r, unpack.Initrd(read(t, base+"-initrd.img"), r.Add)
}

// layerImage is an image of one layer as it is.
func layerImage(t testing.TB, data []byte, kind types.MediaType) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(data, kind))
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.Created, cf.OS, cf.Architecture, cf.Config = v1.Time{Time: created}, "linux", "amd64", run
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

func testBigFile(t *testing.T, c oracle.Caches) {
	var b, head bytes.Buffer
	if err := cpio.NewWriter(&b).WriteHeader(&cpio.Header{Name: "big", Mode: 0o644, Type: cpio.TYPE_REG, Size: 1 << 32}); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Initrd(b.Bytes(), unpack.NewRoot().Add); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("LinuxKit writes 4 GiB correctly now: %v", err)
	}
	h := tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 1 << 32, Mode: 0o644}
	if err := tar.NewWriter(&head).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	addAll(t, c, job{images: map[string]v1.Image{"t/big:1": layerImage(t, head.Bytes(), types.OCIUncompressedLayer)}})
	if _, msg := try(t, c, service("t/big:1")); !strings.Contains(msg, "4 GiB") || !strings.Contains(msg, "t/big:1: layer 1 of 1") {
		t.Errorf("lkv: %s", msg)
	}
}

func testOldFile(t *testing.T, c oracle.Caches) {
	addAll(t, c, job{images: map[string]v1.Image{"t/old:1": imageOf(t, run, entries{{name: "app", mtime: time.Unix(-86400, 0)}})}})
	if _, err := tryLinuxKit(t, c, service("t/old:1")); err == nil {
		t.Error("LinuxKit writes old files correctly now")
	}
	r, msg := try(t, c, service("t/old:1"))
	if r == nil || r.Find("containers/services/app/lower/app").Mtime != 0 {
		t.Errorf("lkv: %s", msg)
	}
}

func testOtherRegistry(t *testing.T, c oracle.Caches) {
	app := imageOf(t, run, files("app"))
	for _, ref := range []string{"ghcr.io/x:1", "localhost:5000/x:1"} {
		if err := c.AddAs(ref, app); err != nil {
			t.Fatal(err)
		}
		if _, err := tryLinuxKit(t, c, service(ref)); err == nil || !strings.Contains(err.Error(), ref) {
			t.Errorf("LinuxKit finds %s: %v", ref, err)
		}
		if r, msg := try(t, c, service(ref)); r == nil || r.Find("containers/services/app/lower/app") == nil {
			t.Errorf("lkv: %s", msg)
		}
	}
}

func testZstdLayer(t *testing.T, c oracle.Caches) {
	data := files("app").pack(t)
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	addAll(t, c, job{images: map[string]v1.Image{
		"t/zstd:1":  layerImage(t, e.EncodeAll(data, nil), "application/vnd.oci.image.layer.v1.tar+zstd"),
		"t/plain:1": layerImage(t, data, types.OCIUncompressedLayer),
	}})
	if r, err := tryLinuxKit(t, c, service("t/zstd:1")); err == nil && r.Find("containers/services/app/lower/app") != nil {
		t.Error("LinuxKit reads zstd now")
	} else {
		t.Log("LinuxKit:", err)
	}
	for _, ref := range []string{"t/zstd:1", "t/plain:1"} {
		if r, msg := try(t, c, service(ref)); r == nil || r.Find("containers/services/app/lower/app") == nil {
			t.Errorf("lkv, %s: %s", ref, msg)
		}
	}
}

func testDamagedBlob(t *testing.T, c oracle.Caches) {
	img, evil := imageOf(t, run, files("app", "only-here")), imageOf(t, run, entries{{name: "app", body: "evil"}})
	addAll(t, c, job{images: map[string]v1.Image{"t/damaged:1": img}})
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if layers, err = evil.Layers(); err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{c.LKV, c.LinuxKit} {
		write(t, filepath.Join(d, "blobs", "sha256", digest.Hex), string(data))
	}
	if r, err := tryLinuxKit(t, c, service("t/damaged:1")); err != nil || string(r.Find("containers/services/app/lower/app").Data) != "evil" {
		t.Errorf("LinuxKit notices now: %v", err)
	}
	if _, msg := try(t, c, service("t/damaged:1")); !strings.Contains(msg, digest.Hex[:12]) {
		t.Errorf("lkv: %s", msg)
	}
}

func testAbsoluteParent(t *testing.T, c oracle.Caches) {
	addAll(t, c, job{images: map[string]v1.Image{"t/up:1": imageOf(t, run, entries{{name: "app"}, {name: "../../../../etc/evil", body: "x"}})}})
	if r, err := tryLinuxKit(t, c, service("t/up:1")); err == nil && r.Find("etc/evil") == nil {
		t.Error("LinuxKit keeps names inside of the image now")
	}
	if _, msg := try(t, c, service("t/up:1")); !strings.Contains(msg, "t/up:1: layer 1 of 1") || !strings.Contains(msg, "..") {
		t.Errorf("lkv: %s", msg)
	}
}
