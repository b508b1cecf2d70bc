package provenance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openssl(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// kinds are the ways in which openssl makes keys that are known here.
var kinds = map[string][]string{
	"ed25519": {"genpkey", "-algorithm", "ed25519"},
	"pkcs8":   {"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
	"sec1":    {"ecparam", "-name", "prime256v1", "-genkey"},
}

// pair makes a key pair and returns it with the file of its public half.
func pair(t testing.TB, args ...string) (Signer, Verifier, string) {
	t.Helper()
	dir := t.TempDir()
	private, public := filepath.Join(dir, "key.pem"), filepath.Join(dir, "pub.pem")
	openssl(t, append(args, "-out", private)...)
	openssl(t, "pkey", "-in", private, "-pubout", "-out", public)
	s, err := ParseSigner(read(t, private), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseVerifier(read(t, public))
	if err != nil {
		t.Fatal(err)
	}
	if own, err := s.Verifier(); err != nil || own.ID() != v.ID() {
		t.Errorf("public half of the private key: %v %v, want %v", own.ID(), err, v.ID())
	}
	return s, v, public
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opensslVerifies asks openssl, as cosign's verify-blob would be asked, whether a signature is right.
func opensslVerifies(t testing.TB, public string, text, sig []byte) {
	t.Helper()
	dir := t.TempDir()
	textFile, sigFile := filepath.Join(dir, "text"), filepath.Join(dir, "sig")
	for path, b := range map[string][]byte{textFile: text, sigFile: sig} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", textFile, "-sigfile", sigFile}
	if strings.Contains(string(openssl(t, "pkey", "-pubin", "-in", public, "-text", "-noout")), "P-256") {
		args = []string{"dgst", "-sha256", "-verify", public, "-signature", sigFile, textFile}
	}
	openssl(t, args...)
}

func TestOpensslAgrees(t *testing.T) {
	text := []byte("manifest\n")
	for name, args := range kinds {
		t.Run(name, func(t *testing.T) {
			s, v, public := pair(t, args...)
			sig, err := s.Detached(text)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(string(sig))
			if err != nil {
				t.Fatal(err)
			}
			opensslVerifies(t, public, text, raw)
			if again, err := s.Detached(text); err != nil || !bytes.Equal(sig, again) {
				t.Errorf("signing twice gives two signatures: %v", err)
			}
			_, other, _ := pair(t, args...)
			if k, err := VerifyDetached(text, append(sig, '\n'), []Verifier{other, v}); err != nil || k.ID() != v.ID() {
				t.Errorf("got %v, %v", k.ID(), err)
			}
			for what, err := range map[string]error{
				"other text": second(VerifyDetached([]byte("manifest"), sig, []Verifier{v})), "other key": second(VerifyDetached(text, sig, []Verifier{other})),
				"no key": second(VerifyDetached(text, sig, nil)), "nothing signed": second(VerifyDetached(text, nil, []Verifier{v})),
			} {
				if !errors.Is(err, ErrSignature) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := VerifyDetached(text, []byte("<html>"), []Verifier{v}); err == nil || errors.Is(err, ErrSignature) {
				t.Errorf("not base64: %v", err)
			}
		})
	}
}

func second[A any](_ A, err error) error { return err }

// RFC 6979, A.2.5: P-256 with SHA-256, message "sample".
func TestSignatureIsThatOfRFC6979(t *testing.T) {
	d, _ := hex.DecodeString("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Signer{key}.sign([]byte("sample"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
	if got := hex.EncodeToString(sig); got != want {
		t.Errorf("got %s", got)
	}
}

func TestEnvelope(t *testing.T) {
	ctx := context.Background()
	for name, args := range kinds {
		t.Run(name, func(t *testing.T) {
			s, v, public := pair(t, args...)
			env, err := s.Envelope(ctx, example().Statement())
			if err != nil {
				t.Fatal(err)
			}
			if again, err := s.Envelope(ctx, example().Statement()); err != nil || !bytes.Equal(env, again) {
				t.Errorf("two envelopes differ: %v", err)
			}
			var doc struct {
				Payload    []byte
				Signatures []struct{ Sig []byte }
			}
			if err := json.Unmarshal(env, &doc); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(doc.Payload, written(t, example().Statement())) {
				t.Error("the payload is not the statement as it is written without a signature")
			}
			opensslVerifies(t, public, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(PayloadType), PayloadType, len(doc.Payload), doc.Payload), doc.Signatures[0].Sig)

			_, other, _ := pair(t, args...)
			st, payload, k, err := Open(ctx, env, []Verifier{other, v, v})
			if d := cmp.Diff(example().Statement(), st); err != nil || d != "" || k.ID() != v.ID() || !bytes.Equal(payload, doc.Payload) {
				t.Errorf("%v %s", err, d)
			}
			if _, _, _, err := Open(ctx, env, []Verifier{other}); !errors.Is(err, ErrSignature) {
				t.Errorf("other key: %v", err)
			}
			if _, _, _, err := Open(ctx, bytes.Replace(env, []byte(k.ID()), []byte(""), 1), []Verifier{v}); err != nil {
				t.Errorf("without the hint at the key: %v", err)
			}
			forged := bytes.Replace(env, []byte(base64.StdEncoding.EncodeToString(doc.Payload)), []byte(base64.StdEncoding.EncodeToString(append(doc.Payload, ' '))), 1)
			if _, _, _, err := Open(ctx, forged, []Verifier{v}); !errors.Is(err, ErrSignature) {
				t.Errorf("forged payload: %v", err)
			}
			if b, err := Payload(forged); err != nil || !bytes.HasPrefix(b, doc.Payload) {
				t.Errorf("payload: %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	s, v, _ := pair(t, kinds["ed25519"]...)
	wrong := example().Statement()
	wrong.PredicateType = "https://spdx.dev/Document"
	sbom, err := s.Envelope(ctx, wrong)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":       {"", "read envelope: unexpected end"},
		"not JSON":      {"<html>", "invalid character"},
		"other type":    {`{"payloadType":"text/plain"}`, `type "text/plain"`},
		"not base64":    {`{"payloadType":"` + PayloadType + `","payload":"<>"}`, "base64"},
		"no signature":  {`{"payloadType":"` + PayloadType + `","payload":""}`, "no given key"},
		"bad signature": {`{"payloadType":"` + PayloadType + `","payload":"","signatures":[{"sig":"<>"}]}`, "no given key"},
		"signed SBOM":   {string(sbom), "this is no SLSA provenance v1"},
	} {
		if _, _, _, err := Open(ctx, []byte(tc.text), []Verifier{v}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := Signer{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))} // the same in every fuzzing process
	v, err := s.Verifier()
	if err != nil {
		f.Fatal(err)
	}
	env, err := s.Envelope(context.Background(), example().Statement())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(env)
	f.Fuzz(func(t *testing.T, text []byte) {
		st, _, _, err := Open(context.Background(), text, []Verifier{v})
		if err == nil && cmp.Diff(example().Statement(), st) != "" {
			t.Errorf("a statement that was never signed: %+v", st)
		}
	})
}
