package iso

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Signer signs unified kernel images for Secure Boot, by a key of the user's own whose certificate the firmware
// must have in its db. The same key and file give the same signature: there is no signing time in it, RSA signs by
// PKCS #1 v1.5, and ECDSA by RFC 6979.
type Signer struct {
	key   crypto.Signer
	cert  *x509.Certificate
	chain []byte // further certificates, DER
}

// minRSA is the shortest RSA key that firmware is sure to take, in bits.
const minRSA = 2048

// ReadSigner reads a private key (PKCS #8, PKCS #1 or SEC 1, not encrypted; RSA of 2048 bits and more, or ECDSA) and
// its certificate, both PEM. Certificates behind the first one are stored with the signature. RSA of 2048 bits is what
// all firmware takes; ECDSA was checked with sbverify, and some firmware has no code for it.
func ReadSigner(key, cert []byte) (*Signer, error) {
	s := &Signer{}
	for rest := cert; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil || b.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("read Secure Boot certificate: PEM block %q is not a certificate: %w", b.Type, err)
		}
		if s.cert == nil {
			s.cert = c
		} else {
			s.chain = append(s.chain, c.Raw...)
		}
	}
	if s.cert == nil {
		return nil, errors.New("read Secure Boot certificate: there is no PEM block CERTIFICATE")
	}
	var err error
	if s.key, err = readKey(key); err != nil {
		return nil, fmt.Errorf("read Secure Boot key: %w", err)
	}
	if k, ok := s.key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(s.cert.PublicKey) {
		return nil, errors.New("read Secure Boot key: it is not the key of the certificate")
	}
	return s, nil
}

func readKey(text []byte) (crypto.Signer, error) {
	var key any
	err := errors.New("there is no PEM block PRIVATE KEY; decrypt an encrypted one with: openssl pkey")
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		switch b.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		}
	}
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < minRSA {
			return nil, fmt.Errorf("RSA of %d bits; firmware wants %d or more", n, minRSA)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("a %T is neither RSA nor ECDSA", key)
}

// room bounds the length of the certificate table in bytes.
func (s *Signer) room() int64 {
	if s == nil {
		return 0
	}
	return int64(len(s.cert.Raw)+len(s.cert.RawIssuer)+len(s.chain)) + 4096
}
