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
	"github.com/lkv-io/lkv/specs"
)

// pull is lkv push --from-registry: what a registry's channel names goes to the stores that VMs boot from.
func (s system) pull(c *cli.Context, spec specs.Spec) error {
	from, to, err := pullStores(c, spec)
	if err != nil {
		return err
	}
	chosen, err := pick(c, "image", "image", spec.Images, imageName)
	if err != nil {
		return err
	}
	digest, err := pullDigest(c, len(chosen))
	if err != nil {
		return err
	}
	var inputs []push.Input
	for _, img := range chosen {
		in, err := s.pushInput(c, spec, img.Name)
		if err != nil {
			return err
		}
		inputs = append(inputs, in)
	}
	progress := s.progress(c)
	defer progress.Wait()
	v, _, err := s.shelves(c, spec, []specs.Store{from})
	if err != nil {
		return err
	}
	doc := pushed{From: from.Name}
	err = s.toStores(c, spec, to, func(stores []push.Store) error {
		return doc.each(inputs, func(in push.Input) ([]push.Result, error) {
			in.Stores = stores
			return bringing{shelf: v.of(from, in.Image), in: in, digest: digest, progress: progress}.run(c.Context)
		})
	})
	progress.Wait()
	return s.printPushed(c, doc, err)
}

// pullStores returns where ISOs come from and where they go. --store may name both; what it leaves out follows from the
// spec, when only one answer is possible.
func pullStores(c *cli.Context, spec specs.Spec) (from specs.Store, to []specs.Store, err error) {
	chosen, err := pick(c, "store", "store", spec.Stores, func(v specs.Store) string { return v.Name })
	if err != nil {
		return from, nil, err
	}
	split := func(list []specs.Store) (registries, rest []specs.Store) {
		for _, st := range list {
			if st.Kind() == specs.RegistryStore {
				registries = append(registries, st)
			} else {
				rest = append(rest, st)
			}
		}
		return registries, rest
	}
	registries, to := split(chosen)
	all, others := split(spec.Stores)
	if len(registries) == 0 {
		registries = all
	}
	if len(to) == 0 {
		to = others
	}
	switch {
	case len(registries) == 0:
		return from, nil, usagef("the spec has no registry store: write store \"…\" { registry = \"reg.example.net/lkv\" }")
	case len(registries) > 1:
		return from, nil, usagef("there are %d registry stores: say which one ISOs come from, --store %s", len(registries), registries[0].Name)
	case len(to) == 0:
		return from, nil, usagef("the spec has no store that VMs boot from: write store \"…\" { datastore = \"iso-nfs\" }")
	}
	return registries[0], to, nil
}

// pullDigest returns what --digest says, without its prefix.
func pullDigest(c *cli.Context, chosen int) (string, error) {
	given := c.String("digest")
	digest := strings.TrimPrefix(given, "sha256:")
	switch {
	case given == "":
		return "", nil
	case len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "":
		return "", usagef("--digest %s: write sha256: and the 64 digits that lkv channels or lkv push --json shows", given)
	case chosen != 1:
		return "", usagef("--digest is about one image: name it with --image")
	}
	return digest, nil
}

// bringing is one ISO on its way from a registry to stores.
type bringing struct {
	shelf    images.Shelf
	in       push.Input // without ISO and manifest
	digest   string     // empty: what the registry's channel names
	progress *ui.Progress
}

// run finds out which ISO is meant, whether it may be used, and brings it to the stores that lack it. Only when some do
// are its bytes fetched; to read the stores' copies back whole they are not needed either.
func (b bringing) run(ctx context.Context) ([]push.Result, error) {
	if b.digest == "" {
		ch, err := b.shelf.Channel(ctx, b.in.Channel)
		if errors.Is(err, images.ErrUnknown) {
			return nil, fmt.Errorf("image %s was never pushed to channel %s of %s: lkv push --image %s --channel %s: %w",
				b.in.Image, b.in.Channel, b.shelf.Repository, b.in.Image, b.in.Channel, err)
		}
		if err != nil {
			return nil, err
		}
		b.digest = ch.Moves[0].ISO
	}
	m, err := b.shelf.Described(ctx, b.digest)
	if err != nil {
		return nil, err
	}
	if b.in.Verify != push.Full {
		if results, err := b.present(ctx, m); err != nil || results != nil {
			return results, err
		}
	}
	return b.bring(ctx, m.ISO.Size)
}

// present moves the channel when every store has the ISO; nil results: one does not.
func (b bringing) present(ctx context.Context, m manifest.Manifest) ([]push.Result, error) {
	results := []push.Result{}
	for _, st := range b.in.Stores {
		whole, err := push.Whole(ctx, push.Patiently(st, reads, b.in.Sleep), b.in.Image, b.digest)
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", st.Name(), err)
		}
		if !whole {
			return nil, nil
		}
		results = append(results, push.Result{
			Image: b.in.Image, Store: st.Name(), Path: st.Path(push.ISOPath(b.in.Image, m.ISO.SHA256)), SHA256: b.digest, How: push.Already, Verified: push.Size,
		})
	}
	if b.in.Channel == "" {
		return results, nil
	}
	return results, push.Promote(ctx, push.Promotion{
		Image: b.in.Image, Digest: b.digest, Channel: b.in.Channel, Stores: b.in.Stores, Owner: b.in.Owner, Nonce: b.in.Nonce, Now: b.in.Now, Sleep: b.in.Sleep,
	})
}

// bring fetches the ISO into the cache and pushes it from there as if it had been built here.
func (b bringing) bring(ctx context.Context, size int64) (results []push.Result, err error) {
	item := b.progress.Start("fetch "+b.in.Image+" "+ui.Short(b.digest), size)
	f, err := b.shelf.Fetch(ctx, b.digest, func(done, _ int64) { item.Set(done) })
	if err != nil {
		item.Fail(errors.New("see below"))
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	item.Done(ui.Bytes(size))
	in := b.in
	in.ISO, in.Manifest = f.ISO, f.Manifest
	follow := &uploads{p: b.progress, image: in.Image, items: map[string]*ui.Item{}}
	in.Progress = follow.show
	results, err = push.Push(ctx, in)
	follow.end(err)
	if err != nil {
		return results, err
	}
	return results, f.Done()
}
