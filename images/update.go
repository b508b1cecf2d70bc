package images

import (
	"context"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
		if _, _, err := free.fetched(ctx, want{ref: ref, canonical: canonical}); err != nil {
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
