package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
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
	Offline   bool              // never speak to a registry
	Insecure  []string          // registries ("host:port") that may be spoken to over plain HTTP
	Keychain  authn.Keychain    // nil means the Docker configuration of the user
	Transport http.RoundTripper // nil means go-containerregistry's default
	Progress  func(ref string)  // called before an image is fetched from a registry; may be nil
}

// Image returns the image ref means and the digest of its manifest. A pinned reference gives exactly the pinned
// digest. The cache is asked first; an image fetched from a registry is stored in it. All bytes are verified.
func (s *Source) Image(ctx context.Context, ref string) (v1.Image, v1.Hash, error) {
	canonical, err := Canonical(ref)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	pin, pinned := s.Lock.Digest(canonical, s.Platform)
	if s.Locked && !pinned {
		return nil, v1.Hash{}, fmt.Errorf("image %s for %s: %w: it is not pinned (lkv lock)", ref, s.Platform, ErrLocked)
	}
	img, h, err := s.cached(canonical, pin, pinned)
	if err == nil && img != nil {
		return img, h, nil
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, v1.Hash{}, fmt.Errorf("image %s: %w", ref, err)
	}
	img, h, ferr := s.fetched(ctx, ref, canonical, pin, pinned)
	if ferr != nil && err != nil {
		return nil, v1.Hash{}, fmt.Errorf("image %s: %w (and fetching it again: %w)", ref, err, ferr)
	}
	return img, h, ferr
}

// cached returns a nil image when the cache does not hold what is wanted.
func (s *Source) cached(canonical string, pin v1.Hash, pinned bool) (v1.Image, v1.Hash, error) {
	if pinned {
		if !s.Cache.blobs.has(pin, -1) {
			return nil, v1.Hash{}, nil
		}
		img, err := s.Cache.image(pin)
		return img, pin, err
	}
	img, e, ok, err := s.Cache.Find(canonical, s.Platform)
	if err != nil || !ok {
		return nil, v1.Hash{}, err
	}
	return img, e.Digest, nil
}

func (s *Source) fetched(ctx context.Context, ref, canonical string, pin v1.Hash, pinned bool) (v1.Image, v1.Hash, error) {
	if local(canonical) {
		return nil, v1.Hash{}, s.notBuilt(ref, canonical, pin, pinned)
	}
	if s.Offline {
		return nil, v1.Hash{}, fmt.Errorf("image %s for %s: %w: run once without --offline", ref, s.Platform, ErrOffline)
	}
	if s.Progress != nil {
		s.Progress(ref)
	}
	img, index, err := s.pull(ctx, canonical, pin, pinned)
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("fetch image %s: %w", ref, err)
	}
	h, err := s.Cache.put(ctx, canonical, img, index)
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("fetch image %s: %w", ref, err)
	}
	if pinned && h != pin {
		return nil, v1.Hash{}, fmt.Errorf("image %s: %w: pinned %s, got %s", ref, ErrLocked, pin, h)
	}
	img, err = s.Cache.image(h)
	return img, h, err
}

func (s *Source) notBuilt(ref, canonical string, pin v1.Hash, pinned bool) error {
	c := component(canonical)
	if _, e, ok, err := s.Cache.Find(canonical, s.Platform); pinned && ok && err == nil {
		return fmt.Errorf("image %s: %w: pinned %s, the cache has %s: run lkv lock --update %s", ref, ErrLocked, pin, e.Digest, ref)
	}
	return fmt.Errorf("%w %s for %s: it is one of lkv's own components; make it with: lkv images build %s", ErrUnknown, ref, s.Platform, c)
}

// pull resolves a reference at its registry and picks the platform. The returned image is still remote.
func (s *Source) pull(ctx context.Context, canonical string, pin v1.Hash, pinned bool) (v1.Image, v1.Hash, error) {
	r, err := s.reference(canonical)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	if pinned {
		r = r.Context().Digest(pin.String())
	}
	desc, err := remote.Get(r, s.options(ctx)...)
	if err != nil {
		return nil, v1.Hash{}, explain(err, r)
	}
	if !desc.MediaType.IsIndex() {
		img, err := desc.Image()
		if err != nil {
			return nil, v1.Hash{}, err
		}
		return img, v1.Hash{}, s.fits(img)
	}
	idx, err := desc.ImageIndex()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	img, err := s.pick(idx)
	return img, desc.Digest, err
}

// pick chooses the first image of an index that has our OS and architecture.
func (s *Source) pick(idx v1.ImageIndex) (v1.Image, error) {
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	var have []string
	for _, d := range m.Manifests {
		if d.Platform == nil || !d.MediaType.IsImage() || d.MediaType == types.DockerManifestSchema1 {
			continue
		}
		if samePlatform(d.Platform, &s.Platform) {
			return idx.Image(d.Digest)
		}
		have = append(have, d.Platform.String())
	}
	slices.Sort(have)
	return nil, fmt.Errorf("%w: wanted %s, there is %s", ErrPlatform, s.Platform, strings.Join(slices.Compact(have), ", "))
}

// fits refuses a plain image whose config names another platform.
func (s *Source) fits(img v1.Image) error {
	cf, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	if cf.OS == "" && cf.Architecture == "" {
		return nil
	}
	if p := (v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant}); !samePlatform(&p, &s.Platform) {
		return fmt.Errorf("%w: wanted %s, it is for %s", ErrPlatform, s.Platform, p)
	}
	return nil
}

func (s *Source) reference(canonical string) (name.Reference, error) {
	r, err := parse(canonical)
	if err != nil || !slices.Contains(s.Insecure, r.Context().RegistryStr()) {
		return r, err
	}
	return parse(canonical, name.Insecure)
}

func (s *Source) options(ctx context.Context) []remote.Option {
	k := s.Keychain
	if k == nil {
		k = authn.DefaultKeychain
	}
	out := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(k), remote.WithPlatform(s.Platform)}
	if s.Transport != nil {
		out = append(out, remote.WithTransport(s.Transport))
	}
	return out
}

// Resolve asks what ref means now, whatever the lock says: the registry, or the cache for lkv's own components
// and when offline. The image is in the cache afterwards.
func (s *Source) Resolve(ctx context.Context, ref string) (Pin, error) {
	canonical, err := Canonical(ref)
	if err != nil {
		return Pin{}, err
	}
	free := *s
	free.Lock, free.Locked = Lock{}, false
	if !free.Offline && !local(canonical) {
		if _, _, err := free.fetched(ctx, ref, canonical, v1.Hash{}, false); err != nil {
			return Pin{}, err
		}
	} else if _, _, err := free.Image(ctx, ref); err != nil {
		return Pin{}, err
	}
	_, e, ok, err := s.Cache.Find(canonical, s.Platform)
	if err != nil || !ok {
		return Pin{}, fmt.Errorf("resolve image %s: stored image not found: %w", ref, err)
	}
	pin := Pin{Platforms: map[string]string{platformKey(s.Platform): e.Digest.String()}}
	if e.Index != (v1.Hash{}) {
		pin.Index = e.Index.String()
	}
	return pin, nil
}

// Update returns a lock that pins refs: those already pinned keep their digest unless fresh says to look again.
// Pins of other references are dropped, pins for other platforms of the same content are kept.
func (s *Source) Update(ctx context.Context, refs []string, fresh func(ref string) bool) (Lock, []Change, error) {
	out := Lock{Format: LockFormat, Images: map[string]Pin{}}
	key := platformKey(s.Platform)
	var changes []Change
	for _, ref := range refs {
		c, err := Canonical(ref)
		if err != nil {
			return Lock{}, nil, err
		}
		if _, done := out.Images[c]; done {
			continue
		}
		old := s.Lock.Images[c]
		if old.Platforms[key] != "" && !fresh(ref) {
			out.Images[c] = old
			continue
		}
		pin, err := s.Resolve(ctx, ref)
		if err != nil {
			return Lock{}, nil, err
		}
		if pin.Index == old.Index {
			for p, d := range old.Platforms {
				if p != key {
					pin.Platforms[p] = d
				}
			}
		}
		out.Images[c] = pin
		if old.Platforms[key] != pin.Platforms[key] {
			changes = append(changes, Change{Ref: c, Old: old.Platforms[key], New: pin.Platforms[key]})
		}
	}
	for _, c := range slices.Sorted(maps.Keys(s.Lock.Images)) {
		if _, ok := out.Images[c]; !ok {
			changes = append(changes, Change{Ref: c, Old: s.Lock.Images[c].Platforms[key]})
		}
	}
	return out, changes, nil
}
