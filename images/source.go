package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Errors that callers tell apart.
var (
	ErrUnknown  = errors.New("unknown image")
	ErrOffline  = errors.New("not in the cache and offline")
	ErrLocked   = errors.New("differs from the lock file")
	ErrPlatform = errors.New("no image for this platform")
)

// Source finds images for one platform. Cache and Platform must be set; the zero value of the rest is usable.
type Source struct {
	Cache     *Cache
	Platform  v1.Platform
	Lock      Lock              // pinned digests; a reference that is pinned resolves to nothing else
	Locked    bool              // refuse references the lock does not pin
	Offline   bool              // never speak to a registry: no socket is opened
	Insecure  []string          // registries ("host:port") that may be spoken to over plain HTTP or with an unverified certificate
	Rules     []Rule            // mirrors and signatures by repository
	Keychain  authn.Keychain    // nil means the Docker configuration of the user
	Transport http.RoundTripper // nil means go-containerregistry's default
	Progress  func(Event)       // told while an image is fetched, one call at a time; may be nil

	wait waiter // tests don't wait
}

// Event says how far the fetch of an image is. The last one of a fetch that succeeds has Done equal to Total.
type Event struct {
	Ref   string // as asked for
	Done  int64  // bytes of config and layers that are in the cache; may go back when a download starts over
	Total int64
}

// want is what somebody asks for.
type want struct {
	ref, canonical string
	pin            v1.Hash // the digest it must have; zero when it isn't pinned
	index          v1.Hash // the index the digest was found in; zero when there is none
}

func (w want) pinned() bool { return w.pin != v1.Hash{} }

func (s *Source) want(ref string) (want, error) {
	canonical, err := Canonical(ref)
	if err != nil {
		return want{}, err
	}
	w := want{ref: ref, canonical: canonical}
	pin, ok := s.Lock.Digest(canonical, s.Platform)
	if ok {
		w.pin = pin
		if h, err := v1.NewHash(s.Lock.Images[canonical].Index); err == nil {
			w.index = h
		}
	}
	return w, nil
}

// Image returns the image ref means and the digest of its manifest. A pinned reference gives exactly the pinned
// digest. The cache is asked first; an image fetched from a registry is stored in it. All bytes are verified. It
// fails with ErrLocked, ErrOffline, ErrUnknown, ErrPlatform, ErrUnsigned, ErrFormat or ErrDamaged where they apply.
func (s *Source) Image(ctx context.Context, ref string) (v1.Image, v1.Hash, error) {
	w, err := s.want(ref)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	if s.Locked && !w.pinned() {
		return nil, v1.Hash{}, fmt.Errorf("image %s for %s: %w: it is not pinned (lkv lock)", ref, s.Platform, ErrLocked)
	}
	img, h, err := s.cached(w)
	if err == nil && img != nil {
		if err := s.admit(ctx, w, h); err != nil {
			return nil, v1.Hash{}, err
		}
		return img, h, s.Cache.used(h)
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, v1.Hash{}, fmt.Errorf("image %s: %w", ref, err)
	}
	img, h, ferr := s.fetched(ctx, w)
	if ferr != nil && err != nil {
		return nil, v1.Hash{}, fmt.Errorf("image %s: %w (and fetching it again: %w)", ref, err, ferr)
	}
	return img, h, ferr
}

// cached returns a nil image when the cache does not hold what is wanted.
func (s *Source) cached(w want) (v1.Image, v1.Hash, error) {
	if w.pinned() {
		if !s.Cache.blobs.has(w.pin, -1) {
			return nil, v1.Hash{}, nil
		}
		img, err := s.Cache.image(w.pin)
		return img, w.pin, err
	}
	img, e, ok, err := s.Cache.Find(w.canonical, s.Platform)
	if err != nil || !ok {
		return nil, v1.Hash{}, err
	}
	return img, e.Digest, nil
}

func (s *Source) notBuilt(w want) error {
	c := component(w.canonical)
	if _, e, ok, err := s.Cache.Find(w.canonical, s.Platform); w.pinned() && ok && err == nil {
		return fmt.Errorf("image %s: %w: pinned %s, the cache has %s: run lkv lock --update %s", w.ref, ErrLocked, w.pin, e.Digest, w.ref)
	}
	return fmt.Errorf("%w %s for %s: it is one of lkv's own components; make it with: lkv images build %s", ErrUnknown, w.ref, s.Platform, c)
}
