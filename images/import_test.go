package images

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}

// aLayout writes a layout with an index and a plain image, as skopeo and crane do.
func aLayout(t *testing.T) (dir string, idx v1.ImageIndex, amd, plain v1.Image) {
	t.Helper()
	dir = t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	idx, amd, _ = multi(t)
	plain = anImage(t, 2)
	if err := p.AppendIndex(idx, layout.WithAnnotations(map[string]string{refName: "ghcr.io/x/many:1"})); err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(plain, layout.WithAnnotations(map[string]string{refName: "v1", containerdName: "docker.io/x/plain:v1"})); err != nil {
		t.Fatal(err)
	}
	return dir, idx, amd, plain
}

// tarred packs a directory with somebody else's tar.
func tarred(t *testing.T, dir string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.tar")
	if out, err := exec.Command("tar", append(args, "-cf", file, "-C", dir, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return file
}

func TestImportLayout(t *testing.T) {
	ctx := context.Background()
	dir, idx, amd, plain := aLayout(t)
	top, err := idx.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"directory": dir, "tar": tarred(t, dir), "tar.gz": tarred(t, dir, "-z")} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			got, err := c.Import(ctx, Import{Path: path, Platform: amd64})
			if err != nil || len(got) != 2 {
				t.Fatalf("%+v, %v", got, err)
			}
			s := &Source{Cache: c, Platform: amd64, Offline: true, Transport: refuse{t}}
			for ref, want := range map[string]v1.Image{"ghcr.io/x/many:1": amd, "x/plain:v1": plain} {
				img, h, err := s.Image(ctx, ref)
				if err != nil || h != digest(t, want) {
					t.Fatalf("%s: %s, %v", ref, h, err)
				}
				if err := validate.Image(img); err != nil {
					t.Errorf("%s: %v", ref, err)
				}
			}
			if pin, err := s.Resolve(ctx, "ghcr.io/x/many:1"); err != nil || pin.Index != top.String() {
				t.Errorf("pin %+v, %v, want index %s", pin, err, top)
			}
			if _, err := c.Import(ctx, Import{Path: path, Platform: arm64}); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "x/plain:v1") {
				t.Errorf("for another platform: %v", err)
			}
			for pick, ref := range map[string]string{"v1": "y/a:1", "docker.io/x/plain:v1": "y/b:1", digest(t, plain).String(): "y/c:1"} {
				got, err := c.Import(ctx, Import{Path: path, Platform: amd64, Pick: pick, Ref: ref})
				if err != nil || len(got) != 1 || got[0].Ref != "docker.io/"+ref || got[0].Digest != digest(t, plain) {
					t.Errorf("--pick %s: %+v, %v", pick, got, err)
				}
			}
		})
	}
}

func TestImportIsRefused(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string, layer string) string // returns what to import
		in    Import
		is    error
		want  string
	}{
		"wrong digest": {func(t *testing.T, dir, layer string) string { spoil(t, layer); return dir }, Import{}, ErrDamaged, "layer 1 of 2"},
		"wrong digest in a tar": {func(t *testing.T, dir, layer string) string { spoil(t, layer); return tarred(t, dir) }, Import{}, ErrDamaged,
			"store blob sha256:"},
		"missing layer":        {func(t *testing.T, dir, layer string) string { remove(t, layer); return dir }, Import{}, ErrDamaged, "is missing"},
		"missing layer in tar": {func(t *testing.T, dir, layer string) string { remove(t, layer); return tarred(t, dir) }, Import{}, ErrDamaged, "is missing"},
		"truncated layer":      {func(t *testing.T, dir, layer string) string { truncate(t, layer); return dir }, Import{}, ErrDamaged, "bytes instead of"},
		"truncated tar": {func(t *testing.T, dir, layer string) string { f := tarred(t, dir); truncate(t, f); return f }, Import{}, nil,
			""},
		"no layout":    {func(t *testing.T, dir, layer string) string { return t.TempDir() }, Import{}, ErrFormat, "no index.json"},
		"another file": {func(t *testing.T, dir, layer string) string { return layer }, Import{}, ErrFormat, "neither"},
		"other tar":    {func(t *testing.T, dir, layer string) string { return tarred(t, filepath.Dir(layer)) }, Import{}, ErrFormat, "neither index.json"},
		"empty index": {func(t *testing.T, dir, layer string) string {
			return write(t, dir, `{"schemaVersion":2,"manifests":[]}`)
		}, Import{}, ErrFormat, "lists no manifests"},
		"broken index":  {func(t *testing.T, dir, layer string) string { return write(t, dir, `{`) }, Import{}, ErrFormat, "index.json"},
		"two, one name": {func(t *testing.T, dir, layer string) string { return dir }, Import{Ref: "x:1"}, nil, "choose with --pick"},
		"no such image": {func(t *testing.T, dir, layer string) string { return dir }, Import{Pick: "v2"}, nil, `there is no "v2"`},
		"nothing there": {func(t *testing.T, dir, layer string) string { return filepath.Join(dir, "none") }, Import{}, os.ErrNotExist, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, _, plain := aLayout(t)
			m, err := plain.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			in := c.in
			in.Platform = amd64
			in.Path = c.spoil(t, dir, filepath.Join(dir, "blobs", "sha256", m.Layers[0].Digest.Hex))
			cache := newCache(t)
			_, err = cache.Import(ctx, in)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), in.Path) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if list, err := cache.List(); err != nil || len(list) != 0 {
				t.Errorf("the cache names %v, %v", list, err)
			}
			if cache.blobs.has(m.Layers[0].Digest, -1) && errors.Is(c.is, ErrDamaged) {
				t.Error("the bad layer is in the cache")
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, index string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
