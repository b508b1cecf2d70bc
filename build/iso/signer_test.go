package iso

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/foxboron/go-uefi/pkcs7"
)

// keyPair makes a self-signed certificate and returns key and certificate as PEM.
func keyPair(t testing.TB, key crypto.Signer) (keyPEM, certPEM []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "lkv test db"},
		NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(4e9, 0)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
}

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signer(t testing.TB, key, cert []byte) *Signer {
	t.Helper()
	s, err := ReadSigner(key, cert)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSigned: sbverify and go-uefi accept the kernel image inside an ISO, for both kinds of keys; the bytes repeat;
// and one changed byte anywhere makes sbverify refuse it.
func TestSigned(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey(t, 2048), "ECDSA": ecKey(t)} {
		keyPEM, certPEM := keyPair(t, key)
		o, initrd := sample(), noise(7, 300_001)
		o.EFI.Signer = signer(t, keyPEM, append(bytes.Clone(certPEM), certPEM...)) // one more certificate to carry
		f, l := build(t, o, initrd, 4097)
		uki := f.b[l.UKI.Offset : l.UKI.Offset+l.UKI.Size]
		cert, image := save(t, "db.pem", certPEM), save(t, "x.efi", uki)
		if out := run(t, "sbsigntool", "sbverify", "--cert", cert, image); !strings.Contains(out, "Signature verification OK") || strings.Contains(out, "warning") {
			t.Errorf("%s: sbverify says\n%s", name, out)
		}
		if name == "RSA" { // go-uefi takes every key for RSA
			verifyPKCS7(t, uki, o.EFI.Signer.cert)
		}
		if again, _ := build(t, o, initrd, 9999); !bytes.Equal(again.b, f.b) {
			t.Errorf("%s: another run gave other bytes", name)
		}
		unsigned := o
		unsigned.EFI = &EFI{Stub: o.EFI.Stub, OSRelease: o.EFI.OSRelease, Uname: o.EFI.Uname}
		_, plain := build(t, unsigned, initrd, 4097)
		if plain.UKI.Offset != l.UKI.Offset || plain.Kernel != l.Kernel || plain.UKI.Size >= l.UKI.Size {
			t.Errorf("%s: signing moved more than the end: %+v, unsigned %+v", name, l, plain)
		}
		for _, at := range []int64{100, l.Initrd.Offset - l.UKI.Offset, l.Kernel.Offset - l.UKI.Offset, l.UKI.Size / 2} {
			bad := bytes.Clone(uki)
			bad[at]++
			if runs(t, "sbverify", "--cert", cert, save(t, "bad.efi", bad)) {
				t.Errorf("%s: byte %d was changed and the signature is still good", name, at)
			}
		}
	}
}

// verifyPKCS7 checks the signature's structure with go-uefi.
func verifyPKCS7(t *testing.T, uki []byte, cert *x509.Certificate) {
	t.Helper()
	le := binary.LittleEndian
	pe := int(le.Uint32(uki[60:]))
	at, size := le.Uint32(uki[pe+peSecurity:]), le.Uint32(uki[pe+peSecurity+4:])
	if int(at+size) != len(uki) || at%8 != 0 || size%8 != 0 {
		t.Fatalf("certificate table at %d, %d bytes, in a file of %d", at, size, len(uki))
	}
	p, err := pkcs7.ParsePKCS7(uki[at+8 : at+le.Uint32(uki[at:])])
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Verify(cert); err != nil || !ok {
		t.Errorf("go-uefi: %v, %v", ok, err)
	}
}

func TestReadSigner(t *testing.T) {
	key, cert := keyPair(t, rsaKey(t, 2048))
	other, _ := keyPair(t, rsaKey(t, 2048))
	short, shortCert := keyPair(t, rsaKey(t, 1024))
	for name, c := range map[string]struct {
		key, cert []byte
		want      string
	}{
		"no certificate":     {key, key, "is not a certificate"},
		"empty certificate":  {key, nil, "no PEM block CERTIFICATE"},
		"other key":          {other, cert, "not the key of the certificate"},
		"short key":          {short, shortCert, "1024 bits"},
		"encrypted key":      {[]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), cert, "openssl pkey"},
		"damaged key":        {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), cert, "read Secure Boot key"},
		"certificate as key": {cert, cert, "no PEM block PRIVATE KEY"},
	} {
		if _, err := ReadSigner(c.key, c.cert); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
	o := sample()
	o.EFI.Signer = signer(t, key, cert)
	if _, err := New(plain{&memory{}}, o); err == nil || !strings.Contains(err.Error(), "ReaderAt") {
		t.Errorf("a file that cannot be read was accepted: %v", err)
	}
}
