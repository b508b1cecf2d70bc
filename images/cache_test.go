package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sync/errgroup"
)

const writerEnv = "LKV_TEST_CACHE_WRITER"

// TestCacheWriter is no test of its own: TestTwoProcesses runs it in other processes.
func TestCacheWriter(t *testing.T) {
	dir := os.Getenv(writerEnv)
	if dir == "" {
		return // only of use to TestTwoProcesses
	}
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := c.Put(context.Background(), fmt.Sprintf("x/p%d:%d", os.Getpid(), i), anImage(t, 2)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoProcesses: two processes fill one cache while a third prunes it; no image and no blob is lost.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			cmd := exec.Command(os.Args[0], "-test.run=^TestCacheWriter$")
			cmd.Env = append(os.Environ(), writerEnv+"="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		})
	}
	for range 20 {
		if _, err := c.Prune(context.Background(), func(Entry) bool { return true }, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := c.List()
	if err != nil || len(list) != 20 {
		t.Fatalf("%d images, %v, want 20", len(list), err)
	}
	for _, e := range list {
		img, _, ok, err := c.Find(e.Ref, amd64)
		if err != nil || !ok {
			t.Fatalf("%s: %v, %v", e.Ref, ok, err)
		}
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", e.Ref, err)
		}
	}
}

// TestOthersReadTheCache: the directory is an OCI layout that other programs understand.
func TestOthersReadTheCache(t *testing.T) {
	c := newCache(t)
	want, err := c.Put(context.Background(), "lkv/a:1", anImage(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.FromPath(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.Image(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	shared := anImage(t, 2)
	for _, ref := range []string{"x/a:1", "x/b:1"} {
		if _, err := c.Put(ctx, ref, shared); err != nil {
			t.Fatal(err)
		}
	}
	other := anImage(t, 2)
	if _, err := c.Put(ctx, "x/c:1", other); err != nil {
		t.Fatal(err)
	}
	keepB := func(e Entry) bool { return e.Ref == "docker.io/x/b:1" }
	freed, err := c.Prune(ctx, keepB, false)
	if err != nil || freed.Bytes < 2048 {
		t.Fatalf("freed %+v, %v", freed, err)
	}
	list, err := c.List()
	if err != nil || len(list) != 1 || list[0].Ref != "docker.io/x/b:1" {
		t.Fatalf("%v, %v", list, err)
	}
	img, _, ok, err := c.Find("x/b:1", amd64)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	if c.blobs.has(digest(t, other), -1) {
		t.Error("a blob nothing refers to is still there")
	}
	if freed, err := c.Prune(ctx, keepB, false); err != nil || freed.Bytes != 0 {
		t.Errorf("second time: %+v, %v", freed, err)
	}
}

// TestPruneDry: what it says it would do is what it does; a use makes an image young again.
func TestPruneDry(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	for _, ref := range []string{"x/a:1", "x/b:1"} {
		h, err := c.Put(ctx, ref, anImage(t, 1))
		if err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-1000 * time.Hour)
		if err := os.Chtimes(c.blobs.path(h), long, long); err != nil {
			t.Fatal(err)
		}
	}
	part := filepath.Join(c.blobs.dir, "sha256", ".part-x")
	if err := os.WriteFile(part, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&Source{Cache: c, Platform: amd64, Offline: true}).Image(ctx, "x/b:1"); err != nil {
		t.Fatal(err)
	}
	young := func(e Entry) bool { return e.Used.After(time.Now().Add(-time.Hour)) }
	said, err := c.Prune(ctx, young, true)
	if err != nil || len(said.Images) != 1 || said.Images[0].Ref != "docker.io/x/a:1" || said.Blobs != 4 {
		t.Fatalf("%+v, %v", said, err)
	}
	if list, err := c.List(); err != nil || len(list) != 2 {
		t.Errorf("dry, but %v, %v", list, err)
	}
	did, err := c.Prune(ctx, young, false)
	if d := cmp.Diff(said, did); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if _, err := os.Stat(part); err == nil {
		t.Error("a download that was cut off is still there")
	}
	if list, err := c.List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestLockWaits: a lock another process holds is waited for, but not beyond the context.
func TestLockWaits(t *testing.T) {
	c := newCache(t)
	unlock, err := c.lock(context.Background(), blobsLock, exclusive)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Put(ctx, "x/a:1", anImage(t, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	unlock()
	if _, err := c.Put(context.Background(), "x/a:1", anImage(t, 1)); err != nil {
		t.Error(err)
	}
}

func TestDamagedIndex(t *testing.T) {
	c := newCache(t)
	if err := os.WriteFile(filepath.Join(c.Dir(), "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCache(c.Dir()); err == nil {
		t.Error("no error")
	}
	if _, _, _, err := c.Find("x", v1.Platform{}); err == nil {
		t.Error("a damaged index was taken for an empty one")
	}
}
