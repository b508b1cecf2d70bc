package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func always(string) bool { return true }
func never(string) bool  { return false }

func TestLockFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "lkv.lock")
	l, err := ReadLock(p)
	if err != nil || len(l.Images) != 0 {
		t.Fatalf("missing file: %+v, %v", l, err)
	}
	l.Images["docker.io/x/b:1"] = Pin{Platforms: map[string]string{"linux/amd64": "sha256:" + strings.Repeat("1", 64)}}
	l.Images["docker.io/x/a:1"] = Pin{Index: "sha256:" + strings.Repeat("3", 64), Platforms: map[string]string{"linux/amd64": "sha256:" + strings.Repeat("2", 64)}}
	if err := l.Write(p); err != nil {
		t.Fatal(err)
	}
	back, err := ReadLock(p)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, back); d != "" {
		t.Error(d)
	}
	first, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Write(p); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(p)
	if err != nil || string(first) != string(second) || second[len(second)-1] != '\n' {
		t.Errorf("%v\n%s\n%s", err, first, second)
	}
	if h, ok := back.Digest("x/a:1", amd64); !ok || h.Hex != strings.Repeat("2", 64) {
		t.Errorf("Digest = %s, %v", h, ok)
	}
	if _, ok := back.Digest("x/a:1", v1.Platform{OS: "linux", Architecture: "arm64"}); ok {
		t.Error("pinned for a platform that is not in the file")
	}
}

func TestLockFileIsRefused(t *testing.T) {
	for in, want := range map[string]string{
		`{`:                        "unexpected EOF",
		`{"format":2,"images":{}}`: "format 2, this lkv knows 1",
		`{"images":{}}`:            "format 0",
		`{"format":1,"image":{}}`:  "unknown field",
		`{"format":1,"images":{"docker.io/x/a:1":{"index":"sha256:12","platforms":{}}}}`:      `docker.io/x/a:1: index "sha256:12"`,
		`{"format":1,"images":{"a":{}}}`:                                                      `"a" is not a full image reference`,
		`{"format":1,"images":{"docker.io/x/a:1":{"platforms":{"linux/amd64":"sha256:12"}}}}`: `docker.io/x/a:1 for linux/amd64: digest "sha256:12"`,
	} {
		p := filepath.Join(t.TempDir(), "lkv.lock")
		if err := os.WriteFile(p, []byte(in), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(p); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: error %v, want %q", in, err, want)
		}
	}
}

func FuzzDecodeLock(f *testing.F) {
	f.Add(`{"format":1,"images":{"docker.io/x/a:1":{"index":"","platforms":{"linux/amd64":"sha256:1"}}}}`)
	f.Fuzz(func(t *testing.T, s string) {
		l, err := DecodeLock(strings.NewReader(s))
		if err != nil {
			return
		}
		p := filepath.Join(t.TempDir(), "l")
		if err := l.Write(p); err != nil {
			t.Fatal(err)
		}
		if back, err := ReadLock(p); err != nil || cmp.Diff(l, back) != "" {
			t.Errorf("%v %s", err, cmp.Diff(l, back))
		}
	})
}

// TestPinned: the tag moves at the registry, the lock keeps the digest, and update follows it.
func TestPinned(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	idx, one, _ := multi(t)
	ref := h.push("a:1", idx)
	s := h.source(newCache(t))
	lock, changes, err := s.Update(ctx, []string{ref, ref}, never)
	if err != nil || len(changes) != 1 || changes[0].Old != "" || changes[0].New != digest(t, one).String() {
		t.Fatalf("%+v, %v", changes, err)
	}
	if ih, err := idx.Digest(); err != nil || lock.Images[ref].Index != ih.String() {
		t.Errorf("pin %+v, want index %s, %v", lock.Images[ref], ih, err)
	}
	idx2, two, _ := multi(t)
	h.push("a:1", idx2)

	s = h.source(newCache(t)) // another machine: nothing cached
	s.Lock, s.Locked = lock, true
	if _, got, err := s.Image(ctx, ref); err != nil || got != digest(t, one) {
		t.Errorf("pinned: %s, %v, want %s", got, err, digest(t, one))
	}
	if _, changes, err = s.Update(ctx, []string{ref}, never); err != nil || len(changes) != 0 {
		t.Errorf("nothing asked: %+v, %v", changes, err)
	}
	lock, changes, err = s.Update(ctx, []string{ref}, always)
	want := []Change{{Ref: ref, Old: digest(t, one).String(), New: digest(t, two).String()}}
	if d := cmp.Diff(want, changes); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	s.Lock = lock
	if _, got, err := s.Image(ctx, ref); err != nil || got != digest(t, two) {
		t.Errorf("updated: %s, %v, want %s", got, err, digest(t, two))
	}
	if lock, changes, err = s.Update(ctx, nil, never); err != nil || len(lock.Images) != 0 || len(changes) != 1 || changes[0].New != "" {
		t.Errorf("dropped: %+v %+v, %v", lock, changes, err)
	}
}

// TestLockedRefuses: with --locked an image that is not pinned is refused, and so is one that drifted.
func TestLockedRefuses(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	old := anImage(t, 1)
	if _, err := c.Put(ctx, "lkv/a:1", old); err != nil {
		t.Fatal(err)
	}
	s := &Source{Cache: c, Platform: amd64, Locked: true, Offline: true}
	if _, _, err := s.Image(ctx, "lkv/a:1"); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "lkv/a:1") || !strings.Contains(err.Error(), "lkv lock") {
		t.Errorf("not pinned: %v", err)
	}
	s.Lock = Lock{Images: map[string]Pin{"docker.io/lkv/a:1": {Platforms: map[string]string{"linux/amd64": digest(t, old).String()}}}}
	if _, err := c.Put(ctx, "lkv/a:1", anImage(t, 1)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := s.Image(ctx, "lkv/a:1"); err != nil || got != digest(t, old) {
		t.Errorf("the pinned content is still in the cache: %s, %v", got, err)
	}
	if _, err := c.Prune(ctx, func(Entry) bool { return true }, false); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Image(ctx, "lkv/a:1")
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "lkv lock --update lkv/a:1") {
		t.Errorf("drifted: %v", err)
	}
}

// TestDriftIsRefused: whatever changed at the registry or in the lock file, --locked uses the pinned bytes or nothing.
func TestDriftIsRefused(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	idx, _, _ := multi(t)
	ref := h.push("a:1", idx)
	lock, _, err := h.source(newCache(t)).Update(ctx, []string{ref}, always)
	if err != nil {
		t.Fatal(err)
	}
	moved, _, _ := multi(t)
	h.push("a:1", moved)
	gone := "sha256:" + strings.Repeat("9", 64)
	pin := func(index, platform string) Lock {
		return Lock{Images: map[string]Pin{ref: {Index: index, Platforms: map[string]string{"linux/amd64": platform}}}}
	}
	was := lock.Images[ref]
	now, err := h.source(newCache(t)).Resolve(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lock Lock
		is   error
		want string
	}{
		"the tag moved, the lock did not":      {lock, nil, ""},
		"no pin":                               {Lock{}, ErrLocked, "lkv lock"},
		"no pin for this platform":             {Lock{Images: map[string]Pin{ref: {Platforms: map[string]string{"linux/arm64": gone}}}}, ErrLocked, "for linux/amd64"},
		"a platform digest of another index":   {pin(was.Index, now.Platforms["linux/amd64"]), ErrLocked, "does not hold"},
		"the digest of another platform":       {pin(was.Index, gone), ErrLocked, "does not hold"},
		"an index nobody has":                  {pin(gone, was.Platforms["linux/amd64"]), ErrUnknown, gone},
		"an index in place of the image":       {pin("", was.Index), ErrLocked, "does not hold"},
		"an image that is gone, without index": {pin("", gone), ErrUnknown, gone},
	} {
		s := h.source(newCache(t))
		s.Lock, s.Locked = c.lock, true
		_, got, err := s.Image(ctx, ref)
		if c.is == nil {
			if err != nil || got.String() != was.Platforms["linux/amd64"] {
				t.Errorf("%s: %s, %v", name, got, err)
			}
			continue
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ref) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// TestSupersededImagesStay: the image a tag meant before can still be pinned, listed and pruned.
func TestSupersededImagesStay(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	s := h.source(newCache(t))
	old, next := anImage(t, 1), anImage(t, 1)
	ref := h.push("a:1", old)
	lock, _, err := s.Update(ctx, []string{ref}, always)
	if err != nil {
		t.Fatal(err)
	}
	h.push("a:1", next)
	if _, err := s.Resolve(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Cache.Prune(ctx, func(Entry) bool { return true }, false); err != nil || len(got.Images) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	s.Offline, s.Lock = true, lock
	if _, got, err := s.Image(ctx, ref); err != nil || got != digest(t, old) {
		t.Errorf("pinned: %s, %v", got, err)
	}
	s.Lock = Lock{}
	if _, got, err := s.Image(ctx, ref); err != nil || got != digest(t, next) {
		t.Errorf("not pinned: %s, %v", got, err)
	}
	byDigest := h.host + "/a@" + digest(t, old).String()
	if _, got, err := s.Image(ctx, byDigest); err != nil || got != digest(t, old) {
		t.Errorf("by digest: %s, %v", got, err)
	}
	got, err := s.Cache.Prune(ctx, func(e Entry) bool { return e.Ref != byDigest }, false)
	if err != nil || len(got.Images) != 1 || s.Cache.blobs.has(digest(t, old), -1) {
		t.Errorf("%+v, %v", got, err)
	}
}
