package build

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
	"github.com/lkv-io/lkv/build/iso"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// file is one tar entry of a test image. The first letter of the name's suffix says what it is:
// "d/" a directory, "a->b" a link, "a=>b" a hard link, otherwise a file with the body.
type file struct {
	name, body string
	mode       int64
	uid        int
	xattrs     map[string]string
}

func (f file) header() *tar.Header {
	h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.uid, Gid: f.uid, ModTime: created.Add(-time.Hour), Typeflag: tar.TypeReg, Size: int64(len(f.body)), Format: tar.FormatPAX}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	for k, v := range f.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrPrefix+k] = v
	}
	switch {
	case strings.Contains(f.name, "=>"):
		h.Name, h.Linkname, _ = strings.Cut(f.name, "=>")
		h.Typeflag, h.Size = tar.TypeLink, 0
	case strings.Contains(f.name, "->"):
		h.Name, h.Linkname, _ = strings.Cut(f.name, "->")
		h.Typeflag, h.Size = tar.TypeSymlink, 0
	case strings.HasSuffix(f.name, "/"):
		h.Typeflag = tar.TypeDir
		if f.mode == 0 {
			h.Mode = 0o755
		}
	}
	return h
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.header()
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, f.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layerOf(t testing.TB, data []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// imageOf makes an image of layers; change may edit its config.
func imageOf(t testing.TB, change func(*v1.ConfigFile), layers ...[]file) v1.Image {
	t.Helper()
	img := empty.Image
	for _, files := range layers {
		var err error
		if img, err = mutate.AppendLayers(img, layerOf(t, tarOf(t, files...))); err != nil {
			t.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Created = "linux", "amd64", v1.Time{Time: created}
	if change != nil {
		change(cf)
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// shelf is Images from a map; it counts lookups.
type shelf map[string]v1.Image

func (s shelf) Attestations(context.Context, string, v1.Hash) ([][]byte, error) { return nil, nil }

func (s shelf) Image(_ context.Context, ref string) (v1.Image, v1.Hash, error) {
	img, ok := s[ref]
	if !ok {
		return nil, v1.Hash{}, fmt.Errorf("unknown image %s", ref)
	}
	h, err := img.Digest()
	return img, h, err
}

// entrypoint sets an image's command.
func entrypoint(args ...string) func(*v1.ConfigFile) {
	return func(c *v1.ConfigFile) { c.Config.Entrypoint = args }
}

// bzImage is enough of a kernel for the ISO writer: boot sector magic, header magic and a PE header's marks.
func bzImage() string {
	b := make([]byte, 8192)
	copy(b, "MZ")
	b[0x1fe], b[0x1ff] = 0x55, 0xaa
	copy(b[0x202:], "HdrS")
	b[0x206], b[0x207] = 0x0f, 0x02
	return string(b)
}

// aShelf has one image of each sort the tests use.
func aShelf(t testing.TB) shelf {
	t.Helper()
	modules := tarOf(t, file{name: "lib/"}, file{name: "lib/modules/"}, file{name: "lib/modules/6.12.0-test/"},
		file{name: "lib/modules/6.12.0-test/modules.dep", body: "a.ko:\n"}, file{name: "lib/modules/6.12.0-test/a.ko", body: "module"})
	return shelf{
		"lkv/kernel:1": imageOf(t, nil, []file{{name: "kernel", body: bzImage()}, {name: "kernel.tar", body: string(modules)}, {name: "System.map", body: "x"}}),
		"lkv/init:1": imageOf(t, nil, []file{{name: "bin/"}, {name: "bin/sh", body: "#!", mode: 0o755}, {name: "init", body: "init", mode: 0o755},
			{name: "etc/"}, {name: "etc/hostname", body: "build-host"}, {name: "dev/"}, {name: "dev/console", body: "x"}}),
		"lkv/runc:1":    imageOf(t, nil, []file{{name: "usr/"}, {name: "usr/bin/"}, {name: "usr/bin/runc", body: "runc", mode: 0o755}}),
		"lkv/persist:1": imageOf(t, entrypoint("/usr/bin/lkv-guest", "persist"), []file{{name: "usr/bin/lkv-guest", body: "guest", mode: 0o755}}),
		"lkv/dhcp:1":    imageOf(t, entrypoint("/dhcp"), []file{{name: "dhcp", body: "dhcp", mode: 0o755}}),
		"ghcr.io/x/app:1": imageOf(t, func(c *v1.ConfigFile) {
			c.Config.Cmd = []string{"/app"}
			c.Config.Labels = map[string]string{engineLabel: "28.1.0", mobyLabel: `{"capabilities":["CAP_NET_ADMIN"],"readonly":true}`}
		}, []file{{name: "app", body: "app v1", mode: 0o755}}),
		"lkv/boot:1": imageOf(t, nil, []file{{name: "isolinux/isolinux.bin", body: strings.Repeat("I", 4096)}, {name: "isolinux/ldlinux.c32", body: "ld"},
			{name: "isolinux/isohdpfx.bin", body: strings.Repeat("M", 432)}}),
	}
}

const smallYAML = `kernel:
  image: lkv/kernel:1
  cmdline: console=ttyS0
init:
  - lkv/init:1
  - lkv/runc:1
onboot:
  - name: dhcp
    image: lkv/dhcp:1
services:
  - name: app
    image: ghcr.io/x/app:1
  - name: again
    image: lkv/dhcp:1
files:
  - path: etc/motd
    contents: hello
    mode: "0644"
  - path: /opt/secret/key
    contents: k
`

func smallInput(t testing.TB, s shelf) Input {
	t.Helper()
	dir := t.TempDir()
	return Input{Name: "worker", YAML: []Source{{"worker.yml", []byte(smallYAML)}}, Arch: "amd64", Boot: []string{"bios"},
		Images: s, Out: filepath.Join(dir, "dist"), Cache: filepath.Join(dir, "cache")}
}

func mustBuild(t testing.TB, in Input) Result {
	t.Helper()
	r, err := Build(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// initrdOf returns the initrd of an ISO.
func initrdOf(t testing.TB, path string) []byte { return fileOf(t, path, iso.InitrdPath) }

// fileOf returns a file of an ISO.
func fileOf(t testing.TB, path, name string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := iso.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := img.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// inflate decompresses what the kernel would, zeros between segments skipped.
func inflate(t testing.TB, initrd []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for len(initrd) > 0 {
		if initrd[0] == 0 {
			initrd = initrd[1:]
			continue
		}
		var h zstd.Header
		if err := h.Decode(initrd); err != nil {
			t.Fatalf("%d bytes before the end: %v", len(initrd), err)
		}
		n := frameLen(t, initrd, h)
		d, err := zstd.NewReader(bytes.NewReader(initrd[:n]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&out, d); err != nil {
			t.Fatal(err)
		}
		d.Close()
		initrd = initrd[n:]
	}
	return out.Bytes()
}

// frameLen walks the blocks of one zstd frame, as RFC 8878 describes them.
func frameLen(t testing.TB, b []byte, h zstd.Header) int {
	t.Helper()
	n := h.HeaderSize
	for {
		head := int(b[n]) | int(b[n+1])<<8 | int(b[n+2])<<16
		last, kind, size := head&1, head>>1&3, head>>3
		n += 3
		if kind == 1 {
			size = 1
		}
		if n += size; last == 1 {
			break
		}
	}
	if h.HasCheckSum {
		n += 4
	}
	return n
}

func TestBuildSmall(t *testing.T) {
	r := mustBuild(t, smallInput(t, aShelf(t)))
	cpio := inflate(t, initrdOf(t, r.ISO))
	if !bytes.Contains(cpio, []byte("TRAILER!!!")) {
		t.Error("no trailer")
	}
	again := mustBuild(t, smallInputAt(smallInput(t, aShelf(t)), r))
	if !again.Cached {
		t.Error("second build was not cached")
	}
}

func smallInputAt(in Input, r Result) Input {
	in.Out = filepath.Dir(r.ISO)
	in.Cache = filepath.Join(filepath.Dir(in.Out), "cache")
	return in
}
