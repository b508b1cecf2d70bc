package provenance

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Detached returns the signature over text in base64, as cosign's sign-blob writes it.
func (s Signer) Detached(text []byte) ([]byte, error) {
	sig, err := s.sign(text)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return []byte(base64.StdEncoding.EncodeToString(sig)), nil
}

// VerifyDetached returns the key that made a base64 signature over text. It gives ErrSignature when none did.
func VerifyDetached(text, signature []byte, keys []Verifier) (Verifier, error) {
	sig, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(signature)))
	if err != nil {
		return Verifier{}, fmt.Errorf("read signature: %w", err)
	}
	for _, k := range keys {
		if k.verify(text, sig) {
			return k, nil
		}
	}
	return Verifier{}, ErrSignature
}

// Envelope returns the statement in a signed DSSE envelope, as JSON with a final newline. Its payload is exactly what
// Statement.Write writes.
func (s Signer) Envelope(ctx context.Context, st Statement) ([]byte, error) {
	var payload bytes.Buffer
	if err := st.Write(&payload); err != nil {
		return nil, err
	}
	v, err := s.Verifier()
	if err != nil {
		return nil, err
	}
	es, err := dsse.NewEnvelopeSigner(party{Verifier: v, signer: s})
	if err != nil {
		return nil, fmt.Errorf("sign provenance: %w", err)
	}
	env, err := es.SignPayload(ctx, PayloadType, payload.Bytes())
	if err != nil {
		return nil, fmt.Errorf("sign provenance: %w", err)
	}
	text, err := json.MarshalIndent(env, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write envelope: %w", err)
	}
	return append(text, '\n'), nil
}

// Open returns the statement in a DSSE envelope, its exact bytes, and the key that signed it. It gives ErrSignature
// when none of the keys did; it never returns a statement that nobody vouches for.
func Open(ctx context.Context, envelope []byte, keys []Verifier) (Statement, []byte, Verifier, error) {
	fail := func(err error) (Statement, []byte, Verifier, error) { return Statement{}, nil, Verifier{}, err }
	env, payload, err := decode(envelope)
	if err != nil {
		return fail(err)
	}
	for _, k := range keys { // one at a time, for the library takes each ID once and talks about a second one
		ev, err := dsse.NewEnvelopeVerifier(party{Verifier: k})
		if err != nil {
			return fail(fmt.Errorf("verify provenance: %w", err))
		}
		if _, err := ev.Verify(ctx, &env); err != nil {
			continue
		}
		st, err := Parse(payload)
		if err != nil {
			return fail(err)
		}
		return st, payload, k, nil
	}
	return fail(ErrSignature)
}

// Payload returns the bytes inside a DSSE envelope without looking at its signatures.
func Payload(envelope []byte) ([]byte, error) {
	_, payload, err := decode(envelope)
	return payload, err
}

func decode(text []byte) (dsse.Envelope, []byte, error) {
	var env dsse.Envelope
	if err := json.Unmarshal(text, &env); err != nil {
		return env, nil, fmt.Errorf("read envelope: %w", err)
	}
	if env.PayloadType != PayloadType {
		return env, nil, fmt.Errorf("read envelope: type %.60q instead of %q", env.PayloadType, PayloadType)
	}
	payload, err := env.DecodeB64Payload()
	if err != nil {
		return env, nil, fmt.Errorf("read envelope: %w", err)
	}
	return env, payload, nil
}

// party is a key as the DSSE library wants it.
type party struct {
	Verifier
	signer Signer
}

func (p party) KeyID() (string, error)   { return p.id, nil }
func (p party) Public() crypto.PublicKey { return p.key }

func (p party) Sign(_ context.Context, text []byte) ([]byte, error) { return p.signer.sign(text) }

func (p party) Verify(_ context.Context, text, signature []byte) error {
	if !p.verify(text, signature) {
		return ErrSignature
	}
	return nil
}
