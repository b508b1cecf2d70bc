package build

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/lkv-io/lkv/images"
)

// files lists a directory, "" when it does not exist.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestBadInput: a clear message, and nothing in the output directory.
func TestBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s shelf, in *Input)
		want   []string
	}{
		"unknown image": {func(s shelf, _ *Input) { delete(s, "lkv/dhcp:1") }, []string{"unknown image lkv/dhcp:1"}},
		"YAML": {func(_ shelf, in *Input) { in.YAML[0].Data = []byte("kernel: {image: x}\nonboots: []\n") },
			[]string{`worker.yml:2: unknown key "onboots" (did you mean "onboot"?)`}},
		"two files": {func(_ shelf, in *Input) {
			in.YAML = append(in.YAML, Source{"b.yml", []byte("x: 1\n")}, Source{"c.yml", []byte("services: 1\n")})
		}, []string{`b.yml:1: unknown key "x"`, `c.yml:1: "services" must be a list`}},
		"service twice": {func(_ shelf, in *Input) {
			in.YAML = append(in.YAML, Source{"b.yml", []byte("services: [{name: app, image: x}]\n")})
		}, []string{"b.yml: duplicate service name: app"}},
		"no kernel": {func(_ shelf, in *Input) { in.YAML[0].Data = []byte("init: [\"lkv/init:1\"]\n") }, []string{"worker.yml: no kernel"}},
		"no modules": {func(s shelf, _ *Input) {
			s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "kernel", body: bzImage()}})
		},
			[]string{`image lkv/kernel:1: it has no file "kernel.tar"`}},
		"no vmlinuz": {func(s shelf, _ *Input) { s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "bzImage", body: "x"}}) },
			[]string{`image lkv/kernel:1: it has no file "kernel"`}},
		"no boot loader": {func(_ shelf, in *Input) { in.Boot = []string{"uefi"} }, []string{`image lkv/boot:1: it has no file "efi/linuxx64.efi.stub"`}},
		"bad modules": {func(s shelf, _ *Input) {
			s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "kernel", body: bzImage()}, {name: "kernel.tar", body: strings.Repeat("x", 2048)}})
		}, []string{"image lkv/kernel:1: kernel.tar: read tar"}},
		"bad label": {func(s shelf, _ *Input) {
			s["lkv/dhcp:1"] = imageOf(t, func(c *v1.ConfigFile) { c.Config.Labels = map[string]string{mobyLabel: `{"bindz":[]}`} }, []file{{name: "a"}})
		}, []string{`onboot dhcp: image lkv/dhcp:1: label org.mobyproject.config:1: unknown key "bindz" (did you mean "binds"?)`}},
		"no command": {func(s shelf, _ *Input) { s["lkv/dhcp:1"] = imageOf(t, nil, []file{{name: "a"}}) },
			[]string{"onboot dhcp: image lkv/dhcp:1 has no command"}},
		"other machine": {func(s shelf, _ *Input) {
			s["lkv/dhcp:1"] = imageOf(t, func(c *v1.ConfigFile) { c.Architecture = "arm64" }, []file{{name: "a"}})
		}, []string{`image lkv/dhcp:1: it is for "arm64", the ISO for amd64`}},
		"bad name in a layer": {func(s shelf, _ *Input) {
			s["lkv/dhcp:1"] = imageOf(t, entrypoint("/a"), []file{{name: "a"}}, []file{{name: "/etc/passwd"}})
		}, []string{"image lkv/dhcp:1: layer 2 of 2 (sha256:", `entry "/etc/passwd": absolute name`}},
		"missing source": {func(_ shelf, in *Input) {
			in.YAML = append(in.YAML, Source{"b.yml", []byte("files: [{path: a, source: nowhere}]\n")})
		}, []string{"b.yml:1: file a: read source: stat nowhere"}},
		"home": {func(_ shelf, in *Input) {
			in.YAML = append(in.YAML, Source{"b.yml", []byte("files: [{path: a, source: ~/x}]\n")})
		}, []string{"b.yml: file a: source ~/x: the home directory is not known"}},
		"directory and file": {func(s shelf, _ *Input) {
			s["lkv/runc:1"] = imageOf(t, nil, []file{{name: "bin->usr/bin"}, {name: "usr/bin/runc", body: "r"}})
		}, []string{`image lkv/runc:1: "/bin" is a directory in an earlier component`}},
		"command line": {func(_ shelf, in *Input) {
			in.YAML[0].Data = []byte(strings.Replace(smallYAML, "cmdline: console=ttyS0", `cmdline: "a\nb"`, 1))
		}, []string{"write ISO: "}},
		"not a kernel": {func(s shelf, _ *Input) {
			m := tarOf(t, file{name: "lib/"})
			s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "kernel", body: "ELF"}, {name: "kernel.tar", body: string(m)}})
		}, []string{`image lkv/kernel:1: its file "kernel" is no x86 kernel (bzImage)`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := aShelf(t)
			in := smallInput(t, s)
			c.change(s, &in)
			_, err := Build(context.Background(), in)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
			if left := filesIn(t, in.Out); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// TestDamagedBlob goes through the real cache: a blob that is cut short or has another byte is named with image
// and layer, whatever the decompressor thinks of it, and nothing reaches the output or the segment cache.
func TestDamagedBlob(t *testing.T) {
	ctx := context.Background()
	s := rootShelf(t)
	s["ghcr.io/x/app:1"] = imageOf(t, entrypoint("/app"), []file{{name: "base", body: "b"}}, []file{{name: "app", body: strings.Repeat("some text ", 5000), mode: 0o755}})
	for name, damage := range map[string]func([]byte) []byte{
		"truncated":     func(b []byte) []byte { return b[:len(b)/2] },
		"flipped":       func(b []byte) []byte { b[len(b)/2] ^= 0x40; return b },
		"end flipped":   func(b []byte) []byte { b[len(b)-3] ^= 1; return b },
		"grown":         func(b []byte) []byte { return append(b, 0) },
		"garbage":       func(b []byte) []byte { return make([]byte, len(b)) },
		"emptied":       func([]byte) []byte { return nil },
		"start flipped": func(b []byte) []byte { b[0] ^= 1; return b },
	} {
		for _, mode := range []string{rootInitrd, rootSquashfs} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				cache, err := images.OpenCache(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				for ref, img := range s {
					if _, err := cache.Put(ctx, ref, img); err != nil {
						t.Fatal(err)
					}
				}
				layers, err := s["ghcr.io/x/app:1"].Layers()
				if err != nil {
					t.Fatal(err)
				}
				h, err := layers[1].Digest()
				if err != nil {
					t.Fatal(err)
				}
				blob := filepath.Join(cache.Dir(), "blobs", "sha256", h.Hex)
				data, err := os.ReadFile(blob)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(blob, damage(data), 0o644); err != nil {
					t.Fatal(err)
				}
				in := smallInput(t, nil)
				in.Rootfs = mode
				in.Images = &images.Source{Cache: cache, Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Offline: true}
				_, err = Build(ctx, in)
				if !errors.Is(err, images.ErrDamaged) || !strings.Contains(err.Error(), "image ghcr.io/x/app:1: layer 2 of 2 ("+h.String()+")") {
					t.Errorf("error %v", err)
				}
				if left := filesIn(t, in.Out); left != "" {
					t.Errorf("left behind: %s", left)
				}
				if left := filesIn(t, filepath.Join(in.Cache, "tmp")); left != "" {
					t.Errorf("left in the cache: %s", left)
				}
			})
		}
	}
}

// cancelled is an image whose layers end a context in the middle.
type cancelled struct {
	v1.Image
	cancel context.CancelFunc
}

func (c cancelled) Layers() ([]v1.Layer, error) {
	list, err := c.Image.Layers()
	if err != nil {
		return nil, err
	}
	return []v1.Layer{cancelling{list[0], c.cancel}}, nil
}

type cancelling struct {
	v1.Layer
	cancel context.CancelFunc
}

func (c cancelling) Compressed() (io.ReadCloser, error) {
	c.cancel()
	return c.Layer.Compressed()
}

// TestInterrupt: a build that is told to stop leaves nothing under a final name.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := aShelf(t)
	s["lkv/dhcp:1"] = cancelled{s["lkv/dhcp:1"], cancel}
	in := smallInput(t, s)
	if _, err := Build(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left := filesIn(t, in.Out); left != "" {
		t.Errorf("left behind: %s", left)
	}
}
