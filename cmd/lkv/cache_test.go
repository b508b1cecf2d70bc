package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/lkv-io/lkv/images"
)

// made is when every test image was made.
var made = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fillCache puts small images under the component references into a cache: enough of a kernel and of a boot loader
// for a build, and some incompressible bytes. None of them boots.
func fillCache(dir string) error {
	cache, err := images.OpenCache(dir)
	if err != nil {
		return err
	}
	noise := make([]byte, 64<<10)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
		noise[i] = byte(r.Uint32())
	}
	for ref, files := range map[string]map[string]string{
		"lkv/kernel:1":  {"kernel": kernelFile(), "kernel.tar": string(tarOf(map[string]string{"lib/modules/6.12.0-test/modules.dep": "a.ko:\n"}))},
		"lkv/init:1":    {"init": "init", "bin/sh": string(noise)},
		"lkv/runc:1":    {"usr/bin/runc": "runc"},
		"lkv/dhcp:1":    {"dhcp": "dhcp"},
		"lkv/persist:1": {"usr/bin/lkv-guest": "guest"},
		"lkv/boot:1": {"isolinux/isolinux.bin": strings.Repeat("I", 4096), "isolinux/ldlinux.c32": "ld",
			"isolinux/isohdpfx.bin": strings.Repeat("M", 432)},
	} {
		img, err := imageOf(files)
		if err != nil {
			return err
		}
		if _, err := cache.Put(context.Background(), ref, img); err != nil {
			return err
		}
	}
	return nil
}

// kernelFile has the marks by which the ISO writer knows a kernel.
func kernelFile() string {
	b := make([]byte, 8192)
	copy(b, "MZ")
	b[0x1fe], b[0x1ff] = 0x55, 0xaa
	copy(b[0x202:], "HdrS")
	b[0x206], b[0x207] = 0x0f, 0x02
	return string(b)
}

// tarOf returns an archive of executable files.
func tarOf(files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), ModTime: made, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			panic(err) // a buffer takes everything
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func imageOf(files map[string]string) (v1.Image, error) {
	data := tarOf(files)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Created = "linux", "amd64", v1.Time{Time: made}
	cf.Config.Entrypoint = []string{"/usr/bin/lkv-guest", "persist"}
	return mutate.ConfigFile(img, cf)
}
