package images

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What cosign writes beside an image (its signature specification): an image under the tag sha256-<hex>.sig, one
// layer per signature, the layer's bytes are what is signed.
const (
	payloadType         = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	payloadKind         = "cosign container image signature"
	maxPayload          = 64 << 10 // bytes; cosign writes about 250
	maxSignatures       = 100      // of one image
)

// Key is a public key that signs images.
type Key struct {
	name string // the file it came from, for messages
	id   string // start of the SHA-256 of its DER form
	pub  crypto.PublicKey
}

// ParseKey reads a public key in PEM form, as `cosign generate-key-pair` and openssl write it: ECDSA, Ed25519, or
// RSA of at least 2048 bits. Name is used in messages.
func ParseKey(name string, data []byte) (Key, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return Key{}, fmt.Errorf("read key %s: it must hold one PEM block PUBLIC KEY", name)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("read key %s: %w", name, err)
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return Key{}, fmt.Errorf("read key %s: an RSA key of %d bits, at least 2048 are needed", name, k.N.BitLen())
		}
	default:
		return Key{}, fmt.Errorf("read key %s: %T: only ECDSA, Ed25519 and RSA keys are supported", name, pub)
	}
	sum := sha256.Sum256(block.Bytes)
	return Key{name: name, id: hex.EncodeToString(sum[:6]), pub: pub}, nil
}

// String names the key for people.
func (k Key) String() string { return k.name + " (" + k.id + ")" }

// verify says whether sig is this key's signature of payload.
func (k Key) verify(payload, sig []byte) bool {
	sum := sha256.Sum256(payload)
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, payload, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil
	}
	return false
}

// signature is one signature as the cache keeps it. It is verified again whenever it counts, so that neither a
// changed key nor a changed cache is trusted.
type signature struct {
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

// signs says whether s is a signature of subject by one of the keys.
func (s signature) signs(subject v1.Hash, keys []Key) error {
	for _, k := range keys {
		if !k.verify(s.Payload, s.Signature) {
			continue
		}
		got, err := payloadDigest(s.Payload)
		if err != nil {
			return fmt.Errorf("signed by %s: %w", k, err)
		}
		if got != subject {
			return fmt.Errorf("the signature of %s is for %s", k, got)
		}
		return nil
	}
	return errNotSigned
}

var errNotSigned = errors.New("a signature by another key")

// payloadDigest returns the digest that a SimpleSigning payload is about.
func payloadDigest(payload []byte) (v1.Hash, error) {
	var doc struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if len(payload) > maxPayload {
		return v1.Hash{}, fmt.Errorf("a signed payload of %d bytes, at most %d are read", len(payload), maxPayload)
	}
	if err := json.Unmarshal(payload, &doc); err != nil {
		return v1.Hash{}, fmt.Errorf("read signed payload: %w", err)
	}
	if doc.Critical.Type != payloadKind {
		return v1.Hash{}, fmt.Errorf("the signed payload is a %q, not a %q", doc.Critical.Type, payloadKind)
	}
	h, err := v1.NewHash(doc.Critical.Image.Digest)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("read signed payload: digest %q: %w", doc.Critical.Image.Digest, err)
	}
	return h, nil
}

// signatureTag is where cosign puts the signatures of a digest.
func signatureTag(subject v1.Hash) string { return subject.Algorithm + "-" + subject.Hex + ".sig" }

// signatureLayers returns the payload blobs of a signature image with their signatures.
func signatureLayers(m *v1.Manifest) (layers []v1.Descriptor, sigs [][]byte) {
	for _, l := range m.Layers {
		sig, err := base64.StdEncoding.DecodeString(l.Annotations[signatureAnnotation])
		if l.MediaType != payloadType || err != nil || len(sig) == 0 || l.Size > maxPayload || len(layers) == maxSignatures {
			continue // not a signature; what remains decides
		}
		layers, sigs = append(layers, l), append(sigs, sig)
	}
	return layers, sigs
}
