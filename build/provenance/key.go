package provenance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// ErrSignature is what verifying gives when no key made the signature.
var ErrSignature = errors.New("no given key made this signature")

// Signer signs with a private key. Both kinds of key sign the same bytes the same way each time: Ed25519 does by
// definition, ECDSA as RFC 6979 says.
type Signer struct{ key crypto.Signer }

// Verifier verifies with a public key.
type Verifier struct {
	key crypto.PublicKey
	id  string
}

// ParseSigner reads a PEM private key: Ed25519 or ECDSA P-256, as PKCS #8 ("PRIVATE KEY"), as SEC 1 ("EC PRIVATE
// KEY"), or as cosign encrypts it with the password. The password is for that last kind only.
func ParseSigner(text, password []byte) (Signer, error) {
	block := find(text, "PRIVATE KEY")
	if block == nil {
		return Signer{}, errors.New("read private key: there is no PEM private key in it")
	}
	key, err := parsePrivate(block, password)
	if err != nil {
		return Signer{}, fmt.Errorf("read private key: %w", err)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return Signer{}, fmt.Errorf("read private key: %T cannot sign: make an Ed25519 or ECDSA P-256 key", key)
	}
	if err := known(s.Public()); err != nil {
		return Signer{}, fmt.Errorf("read private key: %w", err)
	}
	return Signer{s}, nil
}

func parsePrivate(block *pem.Block, password []byte) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("this old kind of encryption is not supported: write it again with openssl pkcs8 -topk8 -nocrypt")
		}
		return x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY":
		if len(password) == 0 {
			return nil, errors.New("it is encrypted and no password was given")
		}
		der, err := encrypted.Decrypt(block.Bytes, password)
		if err != nil {
			return nil, fmt.Errorf("wrong password or broken key: %w", err)
		}
		return x509.ParsePKCS8PrivateKey(der)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("encryption of PKCS #8 keys is not supported: decrypt it with openssl pkcs8, or use cosign's kind of encrypted key")
	}
	return nil, fmt.Errorf("%q is not supported: make an Ed25519 or ECDSA P-256 key", block.Type)
}

// ParseVerifier reads a PEM public key ("PUBLIC KEY"): Ed25519 or ECDSA P-256.
func ParseVerifier(text []byte) (Verifier, error) {
	block := find(text, "PUBLIC KEY")
	if block == nil {
		if find(text, "PRIVATE KEY") != nil {
			return Verifier{}, errors.New("read public key: this is a private key: keep it to yourself and give the public one")
		}
		return Verifier{}, errors.New("read public key: there is no PEM public key in it")
	}
	if block.Type != "PUBLIC KEY" {
		return Verifier{}, fmt.Errorf("read public key: %q is not supported: give an Ed25519 or ECDSA P-256 key", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err == nil {
		err = known(key)
	}
	if err != nil {
		return Verifier{}, fmt.Errorf("read public key: %w", err)
	}
	return verifierOf(key)
}

// find returns the first PEM block whose type ends so; openssl puts parameters in front.
func find(text []byte, ending string) *pem.Block {
	for {
		block, rest := pem.Decode(text)
		if block == nil || strings.HasSuffix(block.Type, ending) {
			return block
		}
		text = rest
	}
}

// known refuses keys whose signatures other programs would compute in some other way.
func known(key crypto.PublicKey) error {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("ECDSA %s is not supported: make an Ed25519 or ECDSA P-256 key", k.Curve.Params().Name)
	}
	return fmt.Errorf("%T is not supported: make an Ed25519 or ECDSA P-256 key", key)
}

func verifierOf(key crypto.PublicKey) (Verifier, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return Verifier{}, fmt.Errorf("describe public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return Verifier{key, hex.EncodeToString(sum[:])}, nil
}

// ID is the SHA-256 of the key's DER form in hex digits.
func (v Verifier) ID() string { return v.id }

// Verifier returns the public half.
func (s Signer) Verifier() (Verifier, error) { return verifierOf(s.key.Public()) }

// sign returns the signature over text: Ed25519 over the text itself, ECDSA in ASN.1 over its SHA-256.
func (s Signer) sign(text []byte) ([]byte, error) {
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		return s.key.Sign(nil, text, crypto.Hash(0))
	}
	sum := sha256.Sum256(text)
	return s.key.Sign(nil, sum[:], crypto.SHA256) // no random numbers: RFC 6979
}

func (v Verifier) verify(text, signature []byte) bool {
	switch k := v.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(k, text, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(text)
		return ecdsa.VerifyASN1(k, sum[:], signature)
	}
	return false
}
