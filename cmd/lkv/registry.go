package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/specs"
)

// byDigest is how a registry verifies: it takes an upload only under the digest of its bytes.
const byDigest = "digest"

// shelves gives access to the registry stores of a spec.
type shelves struct {
	src  *images.Source
	list []specs.Store
}

// shelves takes the registry stores out of a list. Without any, nothing is opened.
func (s system) shelves(c *cli.Context, spec specs.Spec, chosen []specs.Store) (v shelves, rest []specs.Store, err error) {
	for _, st := range chosen {
		if st.Kind() == specs.RegistryStore {
			v.list = append(v.list, st)
		} else {
			rest = append(rest, st)
		}
	}
	if len(v.list) > 0 {
		v.src, err = s.source(c, spec, nil) // ISOs have a progress of their own
	}
	return v, rest, err
}

func (v shelves) of(st specs.Store, image string) images.Shelf {
	return images.Shelf{Source: v.src, Image: image, Repository: st.Repository(image)}
}

// put brings the ISO of one push to every registry. A registry that fails does not keep the others from theirs.
func (v shelves) put(ctx context.Context, in push.Input, show func(push.Progress)) ([]push.Result, error) {
	if len(v.list) == 0 {
		return nil, nil
	}
	files, m, err := push.Files(in)
	if err != nil {
		return nil, err
	}
	var list []images.File
	for _, f := range files {
		list = append(list, images.File(f))
	}
	var results []push.Result
	var errs []error
	for _, st := range v.list {
		res, err := v.putOne(ctx, st, in, m.ISO.SHA256, list, show)
		if err != nil {
			errs = append(errs, fmt.Errorf("push %s to store %s: %w", in.Image, st.Name, err))
			continue
		}
		results = append(results, res)
	}
	return results, errors.Join(errs...)
}

func (v shelves) putOne(ctx context.Context, st specs.Store, in push.Input, iso string, files []images.File, show func(push.Progress)) (push.Result, error) {
	shelf := v.of(st, in.Image)
	tell := func(phase string) func(done, total int64) {
		return func(done, total int64) {
			show(push.Progress{Store: st.Name, Phase: phase, Done: done, Total: total})
		}
	}
	placed, err := shelf.Put(ctx, files, tell(push.PhaseUpload))
	res := push.Result{Image: in.Image, Store: st.Name, Path: placed.Reference, SHA256: iso, BytesUploaded: placed.Sent, How: push.Uploaded, Verified: byDigest}
	if placed.Sent == 0 { // at most what describes the ISO was sent
		res.How, res.Verified = push.Already, push.Size
	}
	if err == nil && in.Verify == push.Full {
		res.Verified, err = push.Full, shelf.ReadBack(ctx, iso, tell(push.PhaseVerify))
	}
	return res, err
}

// promote points a channel at an ISO on every registry.
func (v shelves) promote(ctx context.Context, p push.Promotion) error {
	var errs []error
	for _, st := range v.list {
		if err := v.of(st, p.Image).Promote(ctx, p.Digest, p.Channel, p.Now); err != nil {
			errs = append(errs, fmt.Errorf("store %s: %w", st.Name, err))
		}
	}
	return errors.Join(errs...)
}

// ready checks that every registry has the ISO, before any channel moves.
func (v shelves) ready(ctx context.Context, p push.Promotion) error {
	var errs []error
	for _, st := range v.list {
		has, err := v.of(st, p.Image).Has(ctx, p.Digest)
		if err == nil && !has {
			err = fmt.Errorf("ISO %s of %s is not there, or not whole: push it first", p.Digest, p.Image)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("store %s: %w", st.Name, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("channel %s of %s stays where it is: %w", p.Channel, p.Image, errors.Join(errs...))
	}
	return nil
}

// positions reads the channels of the images on every registry.
func (v shelves) positions(ctx context.Context, names []string) ([]push.Position, error) {
	var list []push.Position
	for _, st := range v.list {
		for _, image := range names {
			found, err := v.of(st, image).Channels(ctx)
			if err != nil {
				return nil, fmt.Errorf("store %s: %w", st.Name, err)
			}
			for _, ch := range found {
				list = append(list, push.Position{Image: image, Name: ch.Name, Store: st.Name, Channel: channelIn(ch)})
			}
		}
	}
	return list, nil
}

// channelIn is a registry's channel in the form of a datastore's.
func channelIn(ch images.Channel) push.Channel {
	out := push.Channel{Format: 1, Digest: ch.Moves[0].ISO, Time: ch.Moves[0].Time}
	for _, m := range ch.Moves[1:] {
		out.Previous = append(out.Previous, push.Move{Digest: m.ISO, Time: m.Time})
	}
	return out
}

// label is a store of which only the name counts.
type label struct {
	push.Store
	name string
}

// Name implements push.Store.
func (l label) Name() string { return l.name }

// labels names the registries among stores, for comparing channels.
func (v shelves) labels() []push.Store {
	var list []push.Store
	for _, st := range v.list {
		list = append(list, label{name: st.Name})
	}
	return slices.Clip(list)
}
