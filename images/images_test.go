package images

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// anImage returns a random image for linux/amd64 with n layers.
func anImage(t *testing.T, n int64) v1.Image {
	t.Helper()
	return forPlatform(t, amd64, n)
}

func forPlatform(t *testing.T, p v1.Platform, n int64) v1.Image {
	t.Helper()
	img, err := random.Image(2048, n)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = p.OS, p.Architecture
	img, err = mutate.ConfigFile(img, cf)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newCache(t *testing.T) *Cache {
	t.Helper()
	c, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCanonical(t *testing.T) {
	sha := "@sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for in, want := range map[string]string{
		"redis":                    "docker.io/library/redis:latest",
		"redis:7":                  "docker.io/library/redis:7",
		"lkv/kernel:1":             "docker.io/lkv/kernel:1",
		"docker.io/lkv/kernel:1":   "docker.io/lkv/kernel:1",
		"docker.io/redis":          "docker.io/library/redis:latest",
		"index.docker.io/a/b:1":    "docker.io/a/b:1",
		"linuxkit/init:abc":        "docker.io/linuxkit/init:abc",
		"ghcr.io/x":                "ghcr.io/x:latest",
		"ghcr.io/x/y:1":            "ghcr.io/x/y:1",
		"localhost:5000/x":         "localhost:5000/x:latest",
		"localhost/x:1":            "localhost/x:1",
		"registry.example/a/b/c:1": "registry.example/a/b/c:1",
		"linuxkit/init:v1" + sha:   "docker.io/linuxkit/init" + sha,
		"linuxkit/init" + sha:      "docker.io/linuxkit/init" + sha,
	} {
		got, err := Canonical(in)
		if err != nil || got != want {
			t.Errorf("Canonical(%q) = %q, %v, want %q", in, got, err, want)
		}
		if again, err := Canonical(got); err != nil || again != got {
			t.Errorf("Canonical(%q) = %q, %v: not stable", got, again, err)
		}
	}
	for _, in := range []string{"ghcr.io/good/../evil/x:1", "../../x", "", "A/B", "x:y:z", "x@sha256:12", "a b"} {
		if got, err := Canonical(in); err == nil {
			t.Errorf("Canonical(%q) = %q, want an error", in, got)
		}
	}
}

func TestLocal(t *testing.T) {
	for in, want := range map[string]bool{
		"lkv/kernel:1": true, "docker.io/lkv/init": true, "ghcr.io/lkv/kernel:1": false,
		"registry.example/lkv/kernel:1": false, "lkvx/kernel": false, "redis": false, "??": false,
	} {
		c, err := Canonical(in)
		if got := err == nil && local(c); got != want {
			t.Errorf("local(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestPutThenImage(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	want := anImage(t, 3)
	h, err := c.Put(ctx, "lkv/kernel:1", want)
	if err != nil || h != digest(t, want) {
		t.Fatalf("Put = %s, %v", h, err)
	}
	again, err := OpenCache(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{Cache: again, Platform: amd64, Offline: true}
	img, got, err := s.Image(ctx, "docker.io/lkv/kernel:1")
	if err != nil || got != h {
		t.Fatalf("Image = %s, %v, want %s", got, err, h)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	list, err := again.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Size == 0 {
		t.Fatalf("List = %+v", list)
	}
	list[0].Size, list[0].Used = 0, time.Time{}
	if d := cmp.Diff([]Entry{{Ref: "docker.io/lkv/kernel:1", Platform: amd64, Digest: h}}, list); d != "" {
		t.Error(d)
	}
}

func TestPutReplaces(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	if _, err := c.Put(ctx, "lkv/a:1", anImage(t, 1)); err != nil {
		t.Fatal(err)
	}
	want, err := c.Put(ctx, "lkv/a:1", anImage(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	arm, err := c.Put(ctx, "lkv/a:1", forPlatform(t, v1.Platform{OS: "linux", Architecture: "arm64"}, 1))
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("List = %v, %v", list, err)
	}
	if list[0].Digest != want || list[1].Digest != arm {
		t.Errorf("List = %v, want %s and %s", list, want, arm)
	}
}
