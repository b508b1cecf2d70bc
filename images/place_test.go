package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestMirrors: mirrors in order, then the origin; a mirror can never give another digest than the lock's.
func TestMirrors(t *testing.T) {
	ctx := context.Background()
	origin, bad, good := newHub(t), newHub(t), newHub(t)
	img, other := anImage(t, 2), anImage(t, 2)
	ref := origin.push("acme/app:1", img)
	rules := func(mirrors ...string) []Rule {
		return []Rule{{Pattern: origin.host + "/acme/*", Mirrors: mirrors, Insecure: []string{origin.host, bad.host, good.host}}}
	}
	lock, _, err := origin.source(newCache(t)).Update(ctx, []string{ref}, always)
	if err != nil {
		t.Fatal(err)
	}
	good.push("copy/of/acme/app:1", img)
	bad.push("acme/app:1", other)
	bad.answer.Store(func(w http.ResponseWriter, r *http.Request) bool { // other content under the pinned digest
		if strings.HasSuffix(r.URL.Path, digest(t, img).String()) {
			raw, _ := other.RawManifest()
			w.Write(raw)
			return true
		}
		return false
	})
	fetch := func(lock Lock, rules []Rule) (*Source, error) {
		s := origin.source(newCache(t))
		s.Insecure, s.Rules, s.Lock = nil, rules, lock
		_, got, err := s.Image(ctx, ref)
		if err == nil && got != digest(t, img) {
			t.Errorf("got %s, want %s", got, digest(t, img))
		}
		return s, err
	}
	before := origin.calls.Load()
	if _, err := fetch(lock, rules(bad.host, good.host+"/copy/of")); err != nil || origin.calls.Load() != before {
		t.Errorf("second mirror: %v, %d calls to the origin", err, origin.calls.Load()-before)
	}
	if bad.calls.Load() == 0 {
		t.Error("the first mirror was not asked")
	}
	if _, err := fetch(lock, rules(bad.host)); err != nil || origin.calls.Load() == before {
		t.Errorf("origin: %v", err)
	}
	if _, err := fetch(Lock{}, rules(good.host+"/copy/of")); err != nil {
		t.Errorf("by tag: %v", err)
	}
	origin.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	if _, err := fetch(lock, rules(bad.host)); err == nil || !strings.Contains(err.Error(), "from mirror "+bad.host) || !strings.Contains(err.Error(), ref) {
		t.Errorf("error %v", err)
	}
	elsewhere := rules(good.host + "/copy/of")
	elsewhere[0].Pattern = origin.host + "/acme/ap"
	before = good.calls.Load()
	if _, err := fetch(lock, elsewhere); err == nil || good.calls.Load() != before {
		t.Errorf("a mirror nobody named for this image was asked: %v", err)
	}
}

// TestInsecureOnlyWhenNamed: no plain HTTP, not even on loopback, and no unverified certificate, unless it was named.
func TestInsecureOnlyWhenNamed(t *testing.T) {
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	tls := httptest.NewUnstartedServer(reg)
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	secure := strings.TrimPrefix(tls.URL, "https://")
	r, err := name.ParseReference(secure + "/a:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(r, anImage(t, 1), remote.WithTransport(tls.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	h := newHub(t)
	for ref, want := range map[string]string{h.push("a:1", anImage(t, 1)): "no plain HTTP to " + h.host, secure + "/a:1": "certificate"} {
		host, _, _ := strings.Cut(ref, "/")
		s := h.source(newCache(t))
		s.Insecure = nil
		if _, _, err := s.Image(context.Background(), ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", ref, err, want)
		}
		s.Insecure = []string{host}
		if _, _, err := s.Image(context.Background(), ref); err != nil {
			t.Errorf("%s, named: %v", ref, err)
		}
	}
}

// TestCredentials: from the Docker configuration and from a credential helper, for registries that want basic
// authentication or a token. What is secret stands in no error.
func TestCredentials(t *testing.T) {
	const user, password = "robot", "hunter2"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	for _, scheme := range []string{"basic", "token"} {
		for _, helper := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, helper %v", scheme, helper), func(t *testing.T) {
				h := newHub(t)
				ref := h.push("a:1", anImage(t, 1))
				var asked atomic.Int64
				h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/token" {
						if asked.Add(1); r.Header.Get("Authorization") != basic {
							w.WriteHeader(http.StatusUnauthorized)
							return true
						}
						io.WriteString(w, `{"token":"t0ken"}`)
						return true
					}
					want, challenge := basic, `Basic realm="x"`
					if scheme == "token" {
						want, challenge = "Bearer t0ken", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, h.host)
					}
					if r.Header.Get("Authorization") == want {
						return false
					}
					w.Header().Set("WWW-Authenticate", challenge)
					w.WriteHeader(http.StatusUnauthorized)
					return true
				})
				dir := t.TempDir()
				t.Setenv("DOCKER_CONFIG", dir)
				source := func(secret string) *Source {
					configure(t, dir, h.host, user, secret, helper)
					s := h.source(newCache(t))
					s.Keychain = nil
					return s
				}
				if _, _, err := source(password).Image(context.Background(), ref); err != nil {
					t.Error(err)
				}
				if scheme == "token" && asked.Load() == 0 {
					t.Error("the token server was not asked")
				}
				_, _, err := source("hunter3").Image(context.Background(), ref)
				if err == nil || !strings.Contains(err.Error(), "docker login "+h.host) {
					t.Errorf("wrong password: %v", err)
				}
				for _, secret := range []string{"hunter3", base64.StdEncoding.EncodeToString([]byte(user + ":hunter3"))} {
					if err != nil && strings.Contains(err.Error(), secret) {
						t.Errorf("a secret is shown: %v", err)
					}
				}
			})
		}
	}
}

// configure writes a Docker configuration that knows a password, or the helper that does.
func configure(t *testing.T, dir, host, user, password string, helper bool) {
	t.Helper()
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	if helper {
		config = fmt.Sprintf(`{"credHelpers":{%q:"fake"}}`, host)
		bin := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\nread -r asked\n[ \"$1\" = get ] && [ \"$asked\" = %q ] || exit 1\necho '{\"ServerURL\":\"%s\",\"Username\":\"%s\",\"Secret\":\"%s\"}'\n", host, host, user, password)
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-fake"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPush: an image arrives whole, once; a registry that keeps something else is found out.
func TestPush(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	s := h.source(newCache(t))
	want, err := s.Cache.Put(ctx, "lkv/a:1", anImage(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	to := h.host + "/acme/a:1"
	for i, there := range []bool{false, true} {
		before := h.calls.Load()
		got, present, err := s.Push(ctx, "lkv/a:1", to)
		if err != nil || got != want || present != there {
			t.Errorf("push %d: %s, %v, %v", i+1, got, present, err)
		}
		if n := h.calls.Load() - before; there && n > 3 {
			t.Errorf("%d requests for what is there", n)
		}
	}
	other := h.source(newCache(t))
	if _, got, err := other.Image(ctx, to); err != nil || got != want {
		t.Errorf("fetched: %s, %v", got, err)
	}
	if _, _, err := s.Push(ctx, "lkv/b:1", to); !errors.Is(err, ErrUnknown) {
		t.Errorf("not in the cache: %v", err)
	}
	s.Insecure = nil
	if _, _, err := s.Push(ctx, "lkv/a:1", to); err == nil || !strings.Contains(err.Error(), "no plain HTTP") {
		t.Errorf("plain HTTP: %v", err)
	}
	s.Insecure = []string{h.host}
	h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/2") {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			io.WriteString(w, `{}`)
			return true
		}
		return false
	})
	if _, _, err := s.Push(ctx, "lkv/a:1", h.host+"/acme/a:2"); !errors.Is(err, ErrDamaged) {
		t.Errorf("the registry keeps something else: %v", err)
	}
}

// TestExport: what is exported can be imported, twice into one directory.
func TestExport(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	dir := filepath.Join(t.TempDir(), "new")
	for _, ref := range []string{"x/a:1", "x/b:1", "x/a:1"} {
		want, err := c.Put(ctx, ref, anImage(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Export(ref, amd64, dir); err != nil || got != want {
			t.Errorf("%s: %s, %v", ref, got, err)
		}
	}
	got, err := newCache(t).Import(ctx, Import{Path: dir, Platform: amd64})
	if err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Export("x/c:1", amd64, dir); !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v", err)
	}
}

// TestCancelled: a caller who gives up is not kept waiting for a registry that does not answer.
func TestCancelled(t *testing.T) {
	h := newHub(t)
	ref := h.push("a:1", anImage(t, 1))
	ctx, cancel := context.WithCancel(context.Background())
	h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	done := make(chan error, 1)
	go func() {
		_, _, err := h.source(newCache(t)).Image(ctx, ref)
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("still waiting")
	}
}
