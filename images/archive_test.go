package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// archiveOf writes a docker save archive with somebody else's writer.
func archiveOf(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "docker.tar")
	refs := map[name.Reference]v1.Image{}
	for ref, img := range images {
		r, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		refs[r] = img
	}
	if err := tarball.MultiRefWriteToFile(file, refs); err != nil {
		t.Fatal(err)
	}
	return file
}

// rewrite copies an archive and lets change have a look at every file; nil drops it.
func rewrite(t *testing.T, file string, change func(h *tar.Header, data []byte) (*tar.Header, []byte)) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		h, data = change(h, data)
		if h == nil {
			continue
		}
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "new.tar")
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// withFile adds the first layer of another archive under a name, at the end.
func withFile(t *testing.T, file, from, name string) string {
	t.Helper()
	var layer []byte
	rewrite(t, from, func(h *tar.Header, data []byte) (*tar.Header, []byte) {
		if layer == nil && strings.HasSuffix(h.Name, ".tar.gz") {
			layer = data
		}
		return h, data
	})
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), layer, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-rf", file, "-C", dir, name).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return file
}

func diffIDs(t *testing.T, img v1.Image) []v1.Hash {
	t.Helper()
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return cf.RootFS.DiffIDs
}

// TestImportDockerArchive: compressed or not, two images that share layers, links in place of layers: the same image
// has the same digest, and its layers those the config names.
func TestImportDockerArchive(t *testing.T) {
	ctx := context.Background()
	one := anImage(t, 2)
	extra, err := one.Layers()
	if err != nil {
		t.Fatal(err)
	}
	two, err := mutate.AppendLayers(forPlatform(t, amd64, 1), extra[0])
	if err != nil {
		t.Fatal(err)
	}
	file := archiveOf(t, map[string]v1.Image{"docker.io/x/one:1": one, "ghcr.io/x/two:2": two})
	unpacked := rewrite(t, file, func(h *tar.Header, data []byte) (*tar.Header, []byte) {
		if !strings.HasSuffix(h.Name, ".tar.gz") {
			return h, data
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
		return h, data
	})
	moved := false
	linked := rewrite(t, file, func(h *tar.Header, data []byte) (*tar.Header, []byte) {
		switch {
		case !moved && strings.HasSuffix(h.Name, ".tar.gz"): // a link in front, and what it names in place of the config's copy
			moved = true
			return &tar.Header{Name: h.Name, Typeflag: tar.TypeSymlink, Linkname: "moved/layer", Mode: 0o644}, nil
		}
		return h, data
	})
	linked = withFile(t, linked, file, "moved/layer")
	var digests []v1.Hash
	for _, path := range []string{file, unpacked, linked} {
		c := newCache(t)
		got, err := c.Import(ctx, Import{Path: path, Platform: amd64})
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %+v, %v", path, got, err)
		}
		img, h, err := (&Source{Cache: c, Platform: amd64, Offline: true}).Image(ctx, "ghcr.io/x/two:2")
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, h)
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range layers {
			rc, err := l.Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(rc)
			if err != nil || digestOf(data) != diffIDs(t, two)[i] {
				t.Errorf("layer %d: %s, %v", i, digestOf(data), err)
			}
			rc.Close()
		}
		if _, err := c.Import(ctx, Import{Path: path, Platform: arm64}); !errors.Is(err, ErrPlatform) {
			t.Errorf("for another platform: %v", err)
		}
		if got, err := c.Import(ctx, Import{Path: path, Platform: amd64, Pick: "ghcr.io/x/two:2", Ref: "y:1"}); err != nil || len(got) != 1 || got[0].Ref != "docker.io/library/y:1" {
			t.Errorf("pick: %+v, %v", got, err)
		}
	}
	if len(slices.Compact(digests)) != 1 {
		t.Errorf("one image, several digests: %v", digests)
	}
}

func TestDockerArchiveIsRefused(t *testing.T) {
	img := anImage(t, 2)
	file := archiveOf(t, map[string]v1.Image{"docker.io/x/one:1": img})
	n := 0
	onLayer := func(do func(h *tar.Header, data []byte) (*tar.Header, []byte)) func(h *tar.Header, data []byte) (*tar.Header, []byte) {
		n = 0
		return func(h *tar.Header, data []byte) (*tar.Header, []byte) {
			if strings.HasSuffix(h.Name, ".tar.gz") {
				if n++; n == 2 {
					return do(h, data)
				}
			}
			return h, data
		}
	}
	for name, c := range map[string]struct {
		change func(h *tar.Header, data []byte) (*tar.Header, []byte)
		is     error
		want   string
	}{
		"missing layer": {onLayer(func(h *tar.Header, data []byte) (*tar.Header, []byte) { return nil, nil }), ErrDamaged, "layer 2 of 2 is missing"},
		"other layer": {onLayer(func(h *tar.Header, data []byte) (*tar.Header, []byte) { return h, []byte("something else") }), ErrDamaged,
			"docker.io/x/one:1"},
		"cut layer": {onLayer(func(h *tar.Header, data []byte) (*tar.Header, []byte) { return h, data[:len(data)/2] }), nil, "unexpected EOF"},
		"other config": {func(h *tar.Header, data []byte) (*tar.Header, []byte) {
			if strings.HasPrefix(h.Name, "sha256:") || strings.HasSuffix(h.Name, ".json") && h.Name != "manifest.json" {
				return h, append(data, ' ')
			}
			return h, data
		}, ErrDamaged, "config"},
		"no list": {func(h *tar.Header, data []byte) (*tar.Header, []byte) {
			if h.Name == "manifest.json" {
				return h, []byte("{")
			}
			return h, data
		}, ErrFormat, "manifest.json"},
	} {
		t.Run(name, func(t *testing.T) {
			n = 0
			path := rewrite(t, file, c.change)
			cache := newCache(t)
			_, err := cache.Import(context.Background(), Import{Path: path, Platform: amd64})
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if list, err := cache.List(); err != nil || len(list) != 0 {
				t.Errorf("the cache names %v, %v", list, err)
			}
		})
	}
}
