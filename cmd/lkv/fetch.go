package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// fetcher is what reconcile does, and plan says it would do, about images with fetch = true: for their channels the
// registry store is what counts.
type fetcher struct {
	s        system
	spec     specs.Spec
	shelves  shelves
	progress func() *ui.Progress // one for each ISO that is brought
	now      bool                // bring it; else only say so
}

// fetcher returns nil for commands that do not look at a registry, and for specs where no image is fetched. Only a
// reconcile that may change things brings anything: not one that is suspended and looks on.
func (s system) fetcher(c *cli.Context, spec specs.Spec, alone bool) (*fetcher, error) {
	use := false
	for _, img := range spec.Images {
		use = use || img.Fetch
	}
	name := c.Command.Name
	if !use || name != "plan" && name != "reconcile" {
		return nil, nil
	}
	f := &fetcher{s: s, spec: spec, now: alone && name == "reconcile", progress: func() *ui.Progress { return s.progress(c) }}
	var err error
	f.shelves, _, err = s.shelves(c, spec, spec.RegistryStores())
	return f, err
}

// shelf returns where a fleet's image is fetched from.
func (f *fetcher) shelf(fleet specs.Fleet) (images.Shelf, bool) {
	if f == nil {
		return images.Shelf{}, false
	}
	img, ok := f.spec.Image(fleet.Image)
	if !ok || !img.Fetch || len(f.shelves.list) != 1 {
		return images.Shelf{}, false
	}
	return f.shelves.of(f.shelves.list[0], img.Name), true
}

// ahead tells which ISO the registry means for a fleet that the stores of its VMs do not have, or whose channel there
// does not stand at it; nil: none.
func (f *fetcher) ahead(ctx context.Context, fleet specs.Fleet, stores []push.Store) (*bringing, error) {
	shelf, ok := f.shelf(fleet)
	if !ok || len(stores) == 0 {
		return nil, nil
	}
	b := &bringing{shelf: shelf, digest: strings.TrimPrefix(fleet.Digest, "sha256:")}
	b.in = push.Input{Image: fleet.Image, Stores: stores, Now: f.s.Now(), Sleep: clock{f.s.Now}.Sleep}
	if fleet.Digest == "" {
		ch, err := shelf.Channel(ctx, fleet.Channel)
		if errors.Is(err, images.ErrUnknown) {
			return nil, nil // it is used without the registry
		}
		if err != nil {
			return nil, fmt.Errorf("%w; fetch = false in image %s would do without the registry", err, fleet.Image)
		}
		b.digest, b.in.Channel = ch.Moves[0].ISO, fleet.Channel
	}
	for _, st := range stores {
		if ok, err := stands(ctx, f.s.patiently(st), fleet, b.digest); err != nil || !ok {
			return b, err
		}
	}
	return nil, nil
}

// stands tells whether a store has the ISO, and its channel stands there.
func stands(ctx context.Context, st push.Store, fleet specs.Fleet, digest string) (bool, error) {
	if fleet.Digest == "" {
		got, err := channelOf(ctx, st, fleet)
		if blocked := (plan.Blocked{}); errors.As(err, &blocked) || err == nil && got != digest {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return push.Whole(ctx, st, fleet.Image, digest)
}

// fetch brings what the registry means to the stores, or fills the facts with what they would be afterwards; then ok.
func (f *fetcher) fetch(ctx context.Context, fleet specs.Fleet, stores []push.Store, facts *reconcile.Facts) (ok bool, err error) {
	b, err := f.ahead(ctx, fleet, stores)
	if err != nil || b == nil {
		return false, err
	}
	if f.now {
		b.progress = f.progress()
		defer b.progress.Wait()
		if b.in.Owner, err = f.s.owner(f.spec); err == nil {
			b.in.Nonce, err = f.s.nonce()
		}
		if err == nil {
			_, err = b.run(ctx)
		}
		return false, refusal(err)
	}
	m, err := b.shelf.Described(ctx, b.digest)
	if err != nil {
		return false, refusal(err)
	}
	f.would(b, m, facts)
	return true, nil
}

// would says what reconcile brings, and that it is then there.
func (f *fetcher) would(b *bringing, m manifest.Manifest, facts *reconcile.Facts) {
	facts.Digest, facts.Manifest = b.digest, &m
	var on []string
	for _, st := range b.in.Stores {
		on = append(on, st.Name())
		facts.Paths[st.Name()] = st.Path(push.ISOPath(b.in.Image, b.digest))
	}
	f.s.note("lkv: reconcile first brings ISO %s of image %s (%s) from %s to %s\n",
		ui.Short(b.digest), b.in.Image, ui.Bytes(m.ISO.Size), b.shelf.Repository, strings.Join(on, ", "))
}
