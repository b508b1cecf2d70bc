package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrUnsigned is wrapped by every refusal of an image without the signature its rule asks for.
var ErrUnsigned = errors.New("not signed as it must be")

// admit refuses an image that its rule wants signed and that isn't. A signature of the image's manifest counts, and
// one of an index that holds it. Nothing of an image is used before.
func (s *Source) admit(ctx context.Context, w want, image v1.Hash) error {
	r, err := parse(w.canonical)
	if err != nil {
		return err
	}
	rule, ok := match(s.Rules, spellRepo(r.Context()))
	if !ok || len(rule.Keys) == 0 {
		return nil
	}
	subjects := append([]v1.Hash{image}, s.Cache.holders(w, image)...)
	var seen []error
	for _, subject := range subjects {
		sigs, err := s.Cache.signatures(subject)
		if err == nil {
			err = anySigns(sigs, subject, rule.Keys)
		}
		if err == nil {
			return nil
		}
		seen = append(seen, err)
	}
	switch {
	case local(w.canonical):
		err = fmt.Errorf("lkv's own components are built here and carry no signature: leave docker.io/lkv/ out of the pattern")
	case s.Offline:
		err = fmt.Errorf("no valid signature is in the cache (%w): run once without --offline", ErrOffline)
	default:
		err = s.askSignatures(ctx, r, subjects, rule.Keys)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("image %s (%s): %w: registry %q asks for a cosign signature by %s: %w; sign it with `cosign sign --key …` or correct cosign_keys",
		w.ref, image, ErrUnsigned, rule.Pattern, names(rule.Keys), errors.Join(append(known(seen), err)...))
}

// known leaves out what only says that the cache holds nothing.
func known(errs []error) (out []error) {
	for _, err := range errs {
		if !errors.Is(err, errNoSignature) {
			out = append(out, err)
		}
	}
	return out
}

func names(keys []Key) string {
	var out []string
	for _, k := range keys {
		out = append(out, k.String())
	}
	return strings.Join(out, " or ")
}

var errNoSignature = errors.New("there is no signature")

func anySigns(sigs []signature, subject v1.Hash, keys []Key) error {
	err := errNoSignature
	for _, sig := range sigs {
		if err = sig.signs(subject, keys); err == nil {
			return nil
		}
	}
	return err
}

// askSignatures looks for signatures beside the image, at its mirrors and its origin, and remembers a valid one.
func (s *Source) askSignatures(ctx context.Context, r name.Reference, subjects []v1.Hash, keys []Key) error {
	repos, err := s.places(r)
	if err != nil {
		return err
	}
	var errs []error
	for _, repo := range repos {
		p, err := s.connect(ctx, repo, "pull")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, subject := range subjects {
			sigs, err := s.fetchSignatures(ctx, p, subject)
			if err == nil {
				err = anySigns(sigs, subject, keys)
			}
			if err == nil {
				p.close()
				return s.Cache.remember(subject, sigs)
			}
			errs = append(errs, fmt.Errorf("%s: %w", p.repo, err))
		}
		p.close()
	}
	return errors.Join(errs...)
}

func (s *Source) fetchSignatures(ctx context.Context, p *place, subject v1.Hash) ([]signature, error) {
	doc, err := p.document(ctx, signatureTag(subject))
	if errors.Is(err, ErrUnknown) {
		return nil, errNoSignature
	}
	if err != nil {
		return nil, err
	}
	if doc.image == nil {
		return nil, fmt.Errorf("%w: %s is an index", ErrFormat, signatureTag(subject))
	}
	layers, sigs := signatureLayers(doc.image)
	var out []signature
	for i, l := range layers {
		payload, err := p.small(ctx, l)
		if err != nil {
			return nil, err
		}
		out = append(out, signature{payload, sigs[i]})
	}
	return out, nil
}

// small reads a blob whole, verified, without the cache.
func (p *place) small(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	var data []byte
	err := p.wait.again(ctx, func() (bool, error) {
		body, _, err := p.blob(ctx, d.Digest, 0)
		if err != nil {
			return false, err
		}
		defer func() { _ = body.Close() }()
		data, err = io.ReadAll(io.LimitReader(line{body}, d.Size+1))
		return false, err
	})
	if err == nil && digestOf(data) != d.Digest {
		err = fmt.Errorf("%w: it is %s", ErrDamaged, digestOf(data))
	}
	if err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w", d.Digest, redact(err))
	}
	return data, nil
}

// Signatures lie beside the blobs, by the digest they are about.
func (c *Cache) signaturePath(subject v1.Hash) string {
	return filepath.Join(c.dir, "signatures", subject.Hex+".json")
}

func (c *Cache) signatures(subject v1.Hash) ([]signature, error) {
	data, err := os.ReadFile(c.signaturePath(subject))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	var out []signature
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read signatures in the cache: %w", err)
	}
	return out, nil
}

func (c *Cache) remember(subject v1.Hash, sigs []signature) error {
	data, err := json.Marshal(sigs)
	if err != nil {
		return fmt.Errorf("remember signatures: %w", err)
	}
	path := c.signaturePath(subject)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("remember signatures: %w", err)
	}
	return replaceFile(path, append(data, '\n'))
}

// holders returns the indexes in the cache that are known to hold an image: nested ones count through those around.
func (c *Cache) holders(w want, image v1.Hash) []v1.Hash {
	var out []v1.Hash
	tops := []v1.Hash{w.index}
	if m, err := c.index(); err == nil {
		for _, d := range m.Manifests {
			if d.Digest == image {
				tops = append(tops, entryOf(d).Index)
			}
		}
	}
	for i, top := range tops {
		if top != (v1.Hash{}) && !slices.Contains(tops[:i], top) {
			out = append(out, c.path(top, image, 0)...)
		}
	}
	return out
}

// path returns the indexes from h down to image, none when h does not lead there.
func (c *Cache) path(h, image v1.Hash, depth int) []v1.Hash {
	d, err := c.document(h)
	if err != nil || d.index == nil || depth >= maxNesting {
		return nil
	}
	for _, m := range d.index.Manifests {
		if m.Digest == image {
			return []v1.Hash{h}
		}
		if !m.MediaType.IsIndex() {
			continue
		}
		if below := c.path(m.Digest, image, depth+1); below != nil {
			return append([]v1.Hash{h}, below...)
		}
	}
	return nil
}
