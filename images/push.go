package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Push copies an image of the cache, by the reference from, to a registry under the reference to, and returns the
// digest of its manifest. Blobs the registry has are not sent; present says that it had the whole image under that
// reference. Afterwards the registry is asked what the reference means: another digest is an error.
func (s *Source) Push(ctx context.Context, from, to string) (h v1.Hash, present bool, err error) {
	img, e, ok, err := s.Cache.Find(from, s.Platform)
	if err == nil && !ok {
		err = fmt.Errorf("%w %s for %s: it is not in the cache", ErrUnknown, from, s.Platform)
	}
	if err != nil {
		return v1.Hash{}, false, err
	}
	if s.Offline {
		return v1.Hash{}, false, fmt.Errorf("push image %s: %w", to, ErrOffline)
	}
	r, err := parse(to)
	if err == nil && slices.Contains(s.insecure(), r.Context().RegistryStr()) {
		r, err = parse(to, name.Insecure)
	}
	if err != nil {
		return v1.Hash{}, false, err
	}
	opts, done := s.options(ctx)
	defer done()
	head, err := remote.Head(r, opts...)
	var te *transport.Error
	switch {
	case err == nil && head.Digest == e.Digest:
		return e.Digest, true, nil
	case err != nil && (!errors.As(err, &te) || te.StatusCode != http.StatusNotFound):
		return v1.Hash{}, false, fmt.Errorf("push image %s: %w", to, explain(err, r))
	}
	if err := remote.Write(r, img, opts...); err != nil {
		return v1.Hash{}, false, fmt.Errorf("push image %s: %w", to, explain(err, r))
	}
	got, err := remote.Get(r, opts...)
	if err != nil {
		return v1.Hash{}, false, fmt.Errorf("check pushed image %s: %w", to, explain(err, r))
	}
	if d := digestOf(got.Manifest); d != e.Digest {
		return v1.Hash{}, false, fmt.Errorf("check pushed image %s: %w: sent %s, the registry has %s", to, ErrDamaged, e.Digest, d)
	}
	return e.Digest, false, nil
}

// options are those of go-containerregistry, with our guard below.
func (s *Source) options(ctx context.Context) ([]remote.Option, func()) {
	g, done := s.guard()
	k := s.Keychain
	if k == nil {
		k = authn.DefaultKeychain
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(k), remote.WithTransport(g)}, done
}

// Export writes an image of the cache into an OCI layout in a directory, beside what is there already.
func (c *Cache) Export(ref string, p v1.Platform, dir string) (v1.Hash, error) {
	img, e, ok, err := c.Find(ref, p)
	if err == nil && !ok {
		err = fmt.Errorf("%w %s for %s: it is not in the cache", ErrUnknown, ref, p)
	}
	if err != nil {
		return v1.Hash{}, err
	}
	to, err := layout.FromPath(dir)
	if err != nil {
		to, err = layout.Write(dir, empty.Index)
	}
	if err == nil {
		err = to.ReplaceImage(img, func(d v1.Descriptor) bool { return d.Annotations[refName] == e.Ref },
			layout.WithAnnotations(map[string]string{refName: e.Ref}), layout.WithPlatform(e.Platform))
	}
	if err != nil {
		return v1.Hash{}, fmt.Errorf("export image %s to %s: %w", ref, dir, err)
	}
	return e.Digest, nil
}
