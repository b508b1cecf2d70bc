package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/internal/ui"
)

// aRegistry is a registry on loopback that speaks plain HTTP.
func aRegistry(t *testing.T) (host string) {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// What a registry block says reaches the fetch: the mirror is asked, over plain HTTP because it is named, and the
// image's progress is shown.
func TestRegistryBlocksReachTheSource(t *testing.T) {
	host := aRegistry(t)
	img, err := imageOf(map[string]string{"a": strings.Repeat("a", 100)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(host + "/hub/acme/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(r, img); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	spec := "image \"a\" {\n  linuxkit = [\"a.yml\"]\n}\n"
	rule := "registry \"registry.example.invalid/acme/*\" {\n  mirrors  = [\"" + host + "/hub\"]\n  insecure = [\"" + host + "\"]\n}\n"
	for file, text := range map[string]string{
		"lkv.hcl": spec + rule,
		"a.yml":   "kernel:\n  image: registry.example.invalid/acme/app:1\ninit:\n  - registry.example.invalid/acme/app:1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cache := filepath.Join(dir, "cache")
	if err := fillCache(cache); err != nil {
		t.Fatal(err)
	}
	var out, shown bytes.Buffer
	code := run(context.Background(), system{
		Args: []string{"lkv", "lock", "-f", filepath.Join(dir, "lkv.hcl"), "--cache", cache}, Stdout: &out, Stderr: &shown, Env: map[string]string{}, Now: time.Now,
	})
	if code != 0 || !strings.Contains(out.String(), "registry.example.invalid/acme/app:1") ||
		!strings.Contains(shown.String(), "fetch registry.example.invalid/acme/app:1 done in") {
		t.Errorf("exit code %d\n%s\n%s", code, out.String(), shown.String())
	}
}

// Components arrive at a registry under its own name, once.
func TestPushComponents(t *testing.T) {
	host := aRegistry(t)
	cache, err := images.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := fillCache(cache.Dir()); err != nil {
		t.Fatal(err)
	}
	src := &images.Source{Cache: cache, Insecure: []string{host}}
	src.Platform.OS, src.Platform.Architecture = "linux", "amd64"
	for _, want := range []string{"sent", "present"} {
		var shown bytes.Buffer
		p := ui.NewProgress(&shown, ui.Plain, time.Now)
		list := []built{{Name: "init", Ref: "lkv/init:1"}, {Name: "runc", Ref: "lkv/runc:1"}}
		if err := pushComponents(context.Background(), src, list, host+"/acme/", p); err != nil {
			t.Fatal(err)
		}
		if list[1].Pushed != host+"/acme/runc:1" || strings.Count(shown.String(), ": "+want+"\n") != 2 {
			t.Errorf("%+v\n%s", list, shown.String())
		}
	}
	resp, err := http.Get("http://" + host + "/v2/acme/runc/manifests/1")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", resp, err)
	}
	if err == nil {
		resp.Body.Close()
	}
}
