package images

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// signer is a key pair that openssl made and signs with: what we verify, we did not write.
type signer struct {
	t    *testing.T
	file string
	kind string
	Key
}

func newSigner(t *testing.T, kind string) signer {
	t.Helper()
	dir := t.TempDir()
	s := signer{t: t, file: filepath.Join(dir, kind+".pem"), kind: kind}
	args := map[string][]string{
		"ecdsa":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"ed25519": {"-algorithm", "ed25519"},
		"rsa":     {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		"rsa1024": {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"},
		"x25519":  {"-algorithm", "x25519"},
	}[kind]
	openssl(t, append([]string{"genpkey", "-quiet", "-out", s.file}, args...)...)
	key, err := ParseKey(kind+".pub", s.public())
	if err == nil {
		s.Key = key
	}
	return s
}

func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", args[0], err, complaint.String())
	}
	return out
}

func (s signer) public() []byte { return openssl(s.t, "pkey", "-in", s.file, "-pubout") }

func (s signer) sign(payload []byte) []byte {
	file := filepath.Join(s.t.TempDir(), "payload")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.kind == "ed25519" {
		return openssl(s.t, "pkeyutl", "-sign", "-inkey", s.file, "-rawin", "-in", file)
	}
	return openssl(s.t, "dgst", "-sha256", "-sign", s.file, file)
}

func payloadFor(h v1.Hash) []byte {
	return []byte(fmt.Sprintf(`{"critical":{"identity":{"docker-reference":"x"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}`, h))
}

// attach pushes a signature where cosign puts it.
func (h *hub) attach(repo string, subject v1.Hash, payload, sig []byte) {
	h.t.Helper()
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, payloadType),
		Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sig)},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.push(repo+":"+signatureTag(subject), img)
}

func TestSignatures(t *testing.T) {
	ctx := context.Background()
	for _, kind := range []string{"ecdsa", "ed25519", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			h := newHub(t)
			good, other := newSigner(t, kind), newSigner(t, "ecdsa")
			idx, img, _ := multi(t)
			ref := h.push("acme/app:1", idx)
			top, err := idx.Digest()
			if err != nil {
				t.Fatal(err)
			}
			s := h.source(newCache(t))
			s.Rules = []Rule{{Pattern: h.host + "/acme/*", Keys: []Key{good.Key}}}
			refused := func(what, want string) {
				t.Helper()
				_, _, err := s.Image(ctx, ref)
				if !errors.Is(err, ErrUnsigned) || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: error %v, want %q", what, err, want)
				}
				for _, w := range []string{ref, h.host + "/acme/*", good.String(), "cosign sign"} {
					if err != nil && !strings.Contains(err.Error(), w) {
						t.Errorf("%s: error %q lacks %q", what, err, w)
					}
				}
			}
			var blobs atomic.Int64
			h.answer.Store(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
					blobs.Add(1)
				}
				return false
			})
			refused("unsigned", "there is no signature")
			if n := blobs.Load(); n > 0 {
				t.Errorf("%d blobs were asked for before the signature was checked", n)
			}
			h.attach("acme/app", top, payloadFor(top), other.sign(payloadFor(top)))
			refused("signed by another", "a signature by another key")
			h.attach("acme/app", top, payloadFor(digest(t, anImage(t, 1))), good.sign(payloadFor(top)))
			refused("another payload", "a signature by another key")
			stray := payloadFor(digest(t, anImage(t, 1)))
			h.attach("acme/app", top, stray, good.sign(stray))
			refused("a signature of another image", "is for sha256:")
			odd := []byte(strings.Replace(string(payloadFor(top)), "container image", "x", 1))
			h.attach("acme/app", top, odd, good.sign(odd))
			refused("another kind of payload", "not a \"cosign container image signature\"")

			h.attach("acme/app", top, payloadFor(top), good.sign(payloadFor(top)))
			if _, got, err := s.Image(ctx, ref); err != nil || got != digest(t, img) {
				t.Fatalf("signed index: %s, %v", got, err)
			}
			before := h.calls.Load()
			s.Offline = true
			if _, _, err := s.Image(ctx, ref); err != nil || h.calls.Load() != before {
				t.Errorf("offline: %v, %d calls", err, h.calls.Load()-before)
			}
			s.Rules = []Rule{{Pattern: h.host + "/acme/*", Keys: []Key{other.Key}}}
			if _, _, err := s.Image(ctx, ref); !errors.Is(err, ErrUnsigned) || !errors.Is(err, ErrOffline) {
				t.Errorf("the key changed: %v", err)
			}
			s.Offline = false
			h.attach("acme/app", digest(t, img), payloadFor(digest(t, img)), other.sign(payloadFor(digest(t, img))))
			if _, _, err := s.Image(ctx, ref); err != nil {
				t.Errorf("signed again with the other key, the manifest this time: %v", err)
			}
		})
	}
}

// TestSignatureOfAnImageThatWasThere: a rule counts for images that were cached before there was one, and for pins.
func TestSignatureOfAnImageThatWasThere(t *testing.T) {
	ctx := context.Background()
	h := newHub(t)
	k := newSigner(t, "ecdsa")
	img := anImage(t, 1)
	ref := h.push("a:1", img)
	s := h.source(newCache(t))
	lock, _, err := s.Update(ctx, []string{ref}, always)
	if err != nil {
		t.Fatal(err)
	}
	s.Rules = []Rule{{Pattern: "*", Keys: []Key{k.Key}}}
	for _, s.Lock = range []Lock{{}, lock} {
		if _, _, err := s.Image(ctx, ref); !errors.Is(err, ErrUnsigned) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := s.Resolve(ctx, ref); !errors.Is(err, ErrUnsigned) {
		t.Errorf("resolve: %v", err)
	}
	h.attach("a", digest(t, img), payloadFor(digest(t, img)), k.sign(payloadFor(digest(t, img))))
	if _, _, err := s.Image(ctx, ref); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(s.Cache.signaturePath(digest(t, img)), []byte(`[{"payload":"e30=","signature":"e30="}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Offline = true
	if _, _, err := s.Image(ctx, ref); !errors.Is(err, ErrUnsigned) {
		t.Errorf("the cache's word was taken: %v", err)
	}
}

// TestComponentsAreExempt unless somebody asks for more.
func TestComponentsAreExempt(t *testing.T) {
	ctx := context.Background()
	c := newCache(t)
	if _, err := c.Put(ctx, "lkv/a:1", anImage(t, 1)); err != nil {
		t.Fatal(err)
	}
	k := newSigner(t, "ecdsa")
	for pattern, ok := range map[string]bool{"*": true, "docker.io/*": true, "docker.io/lkv/*": false, "docker.io/lkv/a": false, "docker.io/lkv/b": true} {
		s := &Source{Cache: c, Platform: amd64, Rules: []Rule{{Pattern: pattern, Keys: []Key{k.Key}}}, Transport: refuse{t}}
		if _, _, err := s.Image(ctx, "lkv/a:1"); (err == nil) != ok {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

func TestKeys(t *testing.T) {
	for kind, want := range map[string]string{"ecdsa": "", "ed25519": "", "rsa": "", "rsa1024": "at least 2048", "x25519": "only ECDSA"} {
		_, err := ParseKey("k.pub", newSigner(t, kind).public())
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "k.pub")) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	pub := string(newSigner(t, "ecdsa").public())
	for _, bad := range []string{"", "x", pub + pub, strings.ReplaceAll(pub, "PUBLIC", "PRIVATE"), strings.Replace(pub, "M", "A", 1)} {
		if _, err := ParseKey("k.pub", []byte(bad)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

func TestMatch(t *testing.T) {
	rules := []Rule{{Pattern: "*"}, {Pattern: "ghcr.io/*"}, {Pattern: "ghcr.io/acme/*"}, {Pattern: "ghcr.io/acme/app"}, {Pattern: "*/app"}, {Pattern: "docker.io/library/*"}, {Pattern: "ghcr.io/*/tools/*-x"}}
	for ref, want := range map[string]string{
		"ghcr.io/acme/app:1": "ghcr.io/acme/app", "ghcr.io/acme/app/deep:1": "ghcr.io/acme/*", "ghcr.io/acme/other": "ghcr.io/acme/*",
		"ghcr.io/x": "ghcr.io/*", "quay.io/x/app": "*/app", "quay.io/x/apps": "*", "redis": "docker.io/library/*",
		"index.docker.io/library/redis": "docker.io/library/*", "registry-1.docker.io/library/redis": "docker.io/library/*",
		"GHCR.io/acme/app": "ghcr.io/acme/app", "ghcr.io:443/acme/app": "ghcr.io/acme/app", "ghcr.io:444/acme/app": "*/app",
		"ghcr.io/b/tools/a-x": "ghcr.io/*/tools/*-x", "ghcr.io/b/tools/x": "ghcr.io/*", "lkv/kernel:1": "",
	} {
		r, err := parse(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if got, _ := match(rules, spellRepo(r.Context())); got.Pattern != want {
			t.Errorf("%s: rule %q, want %q", ref, got.Pattern, want)
		}
	}
	for text, ok := range map[string]bool{"aXbYc": true, "abc": true, "ac": false, "acb": false, "abbc": true, "aXbYcZ": false} {
		if glob("a*b*c", text) != ok {
			t.Errorf("a*b*c and %s: %v", text, !ok)
		}
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(payloadFor(digestOf(nil)))
	f.Add([]byte(`{"critical":{"image":{"docker-manifest-digest":"sha256:x"},"type":"cosign container image signature"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := payloadDigest(raw)
		if err == nil && (len(h.Hex) != 64 && len(h.Hex) != 128 || !json.Valid(raw) || !strings.Contains(string(raw), h.Hex)) {
			t.Errorf("digest %s of %q", h, raw)
		}
	})
}
