package provenance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

func TestEncryptedKey(t *testing.T) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 1))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	box, err := encrypted.Encrypt(der, []byte("secret")) // what cosign calls
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"COSIGN", "SIGSTORE"} {
		text := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED " + kind + " PRIVATE KEY", Bytes: box})
		s, err := ParseSigner(text, []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		if !key.PublicKey.Equal(s.key.Public()) {
			t.Errorf("%s: another key", kind)
		}
		for password, want := range map[string]string{"": "no password was given", "wrong": "wrong password"} {
			if _, err := ParseSigner(text, []byte(password)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want an error with %q", kind, err, want)
			}
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	made := func(args ...string) []byte {
		path := filepath.Join(dir, "key.pem")
		openssl(t, append(args, "-out", path)...)
		return read(t, path)
	}
	good := made(kinds["ed25519"]...)
	for name, tc := range map[string]struct {
		text   []byte
		secret bool
		want   string
	}{
		"nothing":              {nil, true, "no PEM private key"},
		"text":                 {[]byte("hunter2"), true, "no PEM private key"},
		"RSA":                  {made("genpkey", "-algorithm", "RSA"), true, "*rsa.PublicKey is not supported"},
		"PKCS #1":              {made("genrsa", "-traditional"), true, `"RSA PRIVATE KEY" is not supported`},
		"P-384":                {made("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"), true, "ECDSA P-384 is not supported"},
		"X25519":               {made("genpkey", "-algorithm", "X25519"), true, "cannot sign"},
		"encrypted PKCS #8":    {made("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"), true, "decrypt it with openssl pkcs8"},
		"encrypted SEC 1":      {encryptedSEC1(t, dir), true, "openssl pkcs8 -topk8 -nocrypt"},
		"garbage":              {[]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), true, "asn1"},
		"no public":            {nil, false, "no PEM public key"},
		"private for public":   {good, false, "keep it to yourself"},
		"garbage public":       {[]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), false, "asn1"},
		"other kind of public": {[]byte("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n"), false, `"RSA PUBLIC KEY" is not supported`},
	} {
		var err error
		if tc.secret {
			_, err = ParseSigner(tc.text, nil)
		} else {
			_, err = ParseVerifier(tc.text)
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func encryptedSEC1(t testing.TB, dir string) []byte {
	plain, out := filepath.Join(dir, "plain.pem"), filepath.Join(dir, "sec1.pem")
	openssl(t, append(kinds["sec1"], "-out", plain)...)
	openssl(t, "ec", "-in", plain, "-aes256", "-passout", "pass:x", "-out", out)
	return read(t, out)
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\ne30=\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if v, err := ParseVerifier(text); err == nil && len(v.ID()) != 64 {
			t.Errorf("ID %q", v.ID())
		}
		if s, err := ParseSigner(text, []byte("x")); err == nil && s.key == nil {
			t.Error("no key")
		}
	})
}
