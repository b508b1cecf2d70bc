package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// fetched brings an image into the cache, from the first place that has it whole.
func (s *Source) fetched(ctx context.Context, w want) (v1.Image, v1.Hash, error) {
	if local(w.canonical) {
		return nil, v1.Hash{}, s.notBuilt(w)
	}
	if s.Offline {
		return nil, v1.Hash{}, fmt.Errorf("image %s for %s: %w: run once without --offline", w.ref, s.Platform, ErrOffline)
	}
	r, err := parse(w.canonical)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	repos, err := s.places(r)
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("fetch image %s: %w", w.ref, err)
	}
	var errs []error
	for i, repo := range repos {
		h, err := s.fetchFrom(ctx, w, r, repo)
		if err == nil {
			img, err := s.Cache.image(h)
			return img, h, err
		}
		if i < len(repos)-1 {
			err = fmt.Errorf("from mirror %s: %w", repo, err)
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return nil, v1.Hash{}, fmt.Errorf("fetch image %s: %w", w.ref, errors.Join(errs...))
}

// fetchFrom brings an image from one place. Blobs are complete and verified before the index names the image, and
// its signature is checked before the first layer is asked for.
func (s *Source) fetchFrom(ctx context.Context, w want, r name.Reference, repo name.Repository) (v1.Hash, error) {
	unlock, err := s.Cache.lock(ctx, blobsLock, shared)
	if err != nil {
		return v1.Hash{}, err
	}
	defer unlock()
	p, err := s.connect(ctx, repo, "pull")
	if err != nil {
		return v1.Hash{}, err
	}
	defer p.close()
	f, err := s.resolve(ctx, p, w, r)
	if err != nil {
		return v1.Hash{}, err
	}
	for _, d := range f.indexes {
		if err := s.Cache.blobs.putBytes(d.digest, d.raw); err != nil {
			return v1.Hash{}, err
		}
	}
	w.index = f.top()
	if err := s.admit(ctx, w, f.image.digest); err != nil {
		return v1.Hash{}, err
	}
	if err := s.fetchBlobs(ctx, p, w, f.image.image); err != nil {
		return v1.Hash{}, err
	}
	if err := s.fetchAttestations(ctx, p, f); err != nil {
		return v1.Hash{}, err
	}
	if err := s.Cache.blobs.putBytes(f.image.digest, f.image.raw); err != nil {
		return v1.Hash{}, err
	}
	h := f.image.digest
	return h, s.Cache.record(ctx, Entry{Ref: w.canonical, Platform: s.Platform, Digest: h, Index: w.index})
}

// resolve finds the image's manifest: through its index when there is one, so that a signature of the index counts
// and its attestations are found.
func (s *Source) resolve(ctx context.Context, p *place, w want, r name.Reference) (found, error) {
	identifier := r.Identifier()
	if w.pinned() {
		identifier = w.pin.String()
	}
	if w.index != (v1.Hash{}) {
		identifier = w.index.String()
	}
	first, err := p.document(ctx, identifier)
	if err != nil {
		return found{}, err
	}
	return choice{
		platform: s.Platform, pin: w.pin,
		get:  func(ctx context.Context, h v1.Hash) (document, error) { return p.document(ctx, h.String()) },
		fits: func(ctx context.Context, d document) error { return s.fits(ctx, p, d) },
	}.from(ctx, first)
}

// fits refuses an image whose config names another platform.
func (s *Source) fits(ctx context.Context, p *place, d document) error {
	if d.image == nil {
		return fmt.Errorf("%w: %s should be an image and is an index", ErrFormat, d.digest)
	}
	if err := s.blob(ctx, p, d.image.Config, func(int64) {}); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return s.Cache.fits(d, s.Platform)
}

func (c *Cache) fits(d document, want v1.Platform) error {
	raw, err := c.blobs.read(d.image.Config.Digest)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	var cf v1.ConfigFile
	if err := json.Unmarshal(raw, &cf); err != nil {
		return fmt.Errorf("%w: config %s: %w", ErrFormat, d.image.Config.Digest, err)
	}
	if cf.OS == "" && cf.Architecture == "" {
		return nil
	}
	if have := platformOf(&cf); rank(have, want) < 0 {
		return fmt.Errorf("%w: wanted %s, it is for %s", ErrPlatform, want, have)
	}
	return nil
}

// fetchBlobs brings config and layers, four at a time.
func (s *Source) fetchBlobs(ctx context.Context, p *place, w want, m *v1.Manifest) error {
	t := &tally{tell: s.Progress, ref: w.ref, total: m.Config.Size, have: make([]int64, len(m.Layers)+1)}
	for _, l := range m.Layers {
		t.total += l.Size
	}
	t.at(0, 0)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		g.Go(func() error {
			err := s.blob(ctx, p, d, func(n int64) { t.at(i, n) })
			switch {
			case err == nil:
				t.at(i, d.Size)
				return nil
			case i == 0:
				return fmt.Errorf("config: %w", err)
			}
			return fmt.Errorf("layer %d of %d: %w", i, len(m.Layers), err)
		})
	}
	return g.Wait()
}

func (s *Source) blob(ctx context.Context, p *place, d v1.Descriptor, tell func(int64)) error {
	open := func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
		if d.Data != nil {
			return io.NopCloser(strings.NewReader(string(d.Data))), 0, nil
		}
		return p.blob(ctx, d.Digest, from)
	}
	err := s.Cache.blobs.download(ctx, d, p.wait, open, tell)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return explain(err, p.repo.Digest(d.Digest.String()))
	}
	return err
}

// tally adds up the progress of several downloads.
type tally struct {
	tell  func(Event)
	ref   string
	total int64

	mu   sync.Mutex
	have []int64
	last int64 // what was told
	told bool
}

// tallyStep bounds how often progress is told: a bar is drawn about six times a second.
const tallyStep = 64 << 10

func (t *tally) at(i int, n int64) {
	if t.tell == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.have[i] = n
	var done int64
	for _, h := range t.have {
		done += h
	}
	if d := done - t.last; !t.told || d != 0 && done == t.total || d >= tallyStep || d < 0 {
		t.last, t.told = done, true
		t.tell(Event{Ref: t.ref, Done: done, Total: t.total})
	}
}
