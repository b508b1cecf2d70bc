package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/specs"
)

func storeFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "store", Usage: "only the store `NAME`; may be repeated"}
}

func (s system) channelsCommand() *cli.Command {
	return &cli.Command{
		Name: "channels", Usage: "show where every channel stands, store by store",
		Flags:  []cli.Flag{&cli.StringSliceFlag{Name: "image", Usage: "only the image `NAME`; may be repeated"}, storeFlag()},
		Action: s.channels,
	}
}

func (s system) channels(c *cli.Context) error {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	images, err := pick(c, "image", "image", spec.Images, imageName)
	if err != nil {
		return err
	}
	names := make([]string, len(images))
	for i, img := range images {
		names[i] = img.Name
	}
	return s.withStores(c, spec, func(stores []push.Store, v shelves) error {
		calm := make([]push.Store, len(stores))
		for i, st := range stores {
			calm[i] = s.patiently(st)
		}
		list, err := push.Channels(c.Context, names, calm)
		if err != nil {
			return err
		}
		more, err := v.positions(c.Context, names)
		if err != nil {
			return err
		}
		list = append(list, more...)
		slices.SortStableFunc(list, func(a, b push.Position) int {
			return cmp.Or(strings.Compare(a.Image, b.Image), strings.Compare(a.Name, b.Name))
		})
		return s.printChannels(given(c, "json"), list, push.Disagreements(list, append(stores, v.labels()...)))
	})
}

func (s system) printChannels(asJSON bool, list []push.Position, differ []push.Disagreement) error {
	if asJSON {
		return s.printJSON(struct {
			Channels []push.Position     `json:"channels"`
			Disagree []push.Disagreement `json:"disagree"`
		}{list, differ})
	}
	var rows [][]string
	for _, p := range list {
		before := make([]string, len(p.Previous))
		for i, m := range p.Previous {
			before[i] = ui.Short(m.Digest)
		}
		rows = append(rows, []string{p.Image, p.Name, p.Store, p.Digest, p.Time.UTC().Format("2006-01-02 15:04:05Z"), strings.Join(before, " ")})
	}
	if err := ui.Table(s.Stdout, s.style(), []string{"IMAGE", "CHANNEL", "STORE", "SHA256", "SINCE", "BEFORE"}, rows); err != nil {
		return err
	}
	text := ""
	for _, d := range differ {
		text += fmt.Sprintf("%s: channel %s of image %s is not the same on all stores", s.style().Warn("stores disagree"), d.Name, d.Image)
		if len(d.Missing) > 0 {
			text += "; not on " + strings.Join(d.Missing, ", ")
		}
		text += fmt.Sprintf(": lkv promote %s@sha256:DIGEST %s\n", d.Image, d.Name)
	}
	_, err := fmt.Fprint(s.Stdout, text)
	return err
}

func (s system) promoteCommand() *cli.Command {
	return &cli.Command{
		Name: "promote", Usage: "point a channel at an ISO that is on every store already",
		ArgsUsage: "IMAGE@sha256:DIGEST CHANNEL",
		Description: "No channel moves unless every store has the ISO, complete and with its manifest. lkv channels shows the digests;\n" +
			"those under BEFORE are what a channel pointed at earlier.",
		Flags:  []cli.Flag{storeFlag(), journalFlag()},
		Action: s.promote,
	}
}

func (s system) promote(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) != 2 {
		return usagef("say what and where to: lkv promote IMAGE@sha256:DIGEST CHANNEL")
	}
	image, digest, ok := strings.Cut(args[0], "@sha256:")
	if !ok || len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		return usagef("%q: write IMAGE@sha256: and the 64 digits that lkv channels or lkv push --json shows", args[0])
	}
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	known := make([]string, len(spec.Images))
	found := false
	for i, img := range spec.Images {
		known[i] = img.Name
		found = found || img.Name == image
	}
	if !found {
		return usagef("the spec has no image %s%s", image, suggestion(image, known))
	}
	owner, err := s.owner(spec)
	if err != nil {
		return err
	}
	nonce, err := s.nonce()
	if err != nil {
		return err
	}
	p := push.Promotion{Image: image, Digest: digest, Channel: args[1], Owner: owner, Nonce: nonce, Now: s.Now(), Sleep: clock{s.Now}.Sleep}
	var on []string
	err = s.journaled(c, func(s system) error {
		return s.withStores(c, spec, func(stores []push.Store, v shelves) error {
			p.Stores = stores
			for _, st := range append(stores, v.labels()...) {
				on = append(on, st.Name())
			}
			return promoteAll(c.Context, p, v)
		})
	})
	if err != nil {
		return err
	}
	if given(c, "json") {
		return s.printJSON(struct {
			Image   string   `json:"image"`
			SHA256  string   `json:"sha256"`
			Channel string   `json:"channel"`
			Stores  []string `json:"stores"`
		}{image, digest, p.Channel, on})
	}
	_, err = fmt.Fprintf(s.Stdout, "channel %s of image %s stands at %s on %s\n", p.Channel, image, ui.Short(digest), strings.Join(on, ", "))
	return err
}

// promoteAll moves a channel on every store, when every store has the ISO.
func promoteAll(ctx context.Context, p push.Promotion, v shelves) error {
	if err := v.ready(ctx, p); err != nil {
		return err
	}
	if len(p.Stores) > 0 {
		if err := push.Promote(ctx, p); err != nil {
			return err
		}
	}
	return v.promote(ctx, p)
}

func imageName(i specs.Image) string { return i.Name }

// withStores connects the stores that --store names, all when it names none, and logs out when do is done. Registries
// need no connection of their own.
func (s system) withStores(c *cli.Context, spec specs.Spec, do func([]push.Store, shelves) error) (err error) {
	chosen, err := pick(c, "store", "store", spec.Stores, func(v specs.Store) string { return v.Name })
	if err != nil {
		return err
	}
	v, rest, err := s.shelves(c, spec, chosen)
	if err != nil {
		return err
	}
	x := s.sessions(spec, s.logger(c))
	defer func() { err = errors.Join(err, x.close(c.Context)) }()
	stores, err := x.stores(c.Context, rest)
	if err != nil {
		return err
	}
	return do(stores, v)
}

func (x *sessions) stores(ctx context.Context, chosen []specs.Store) ([]push.Store, error) {
	var list []push.Store
	for _, st := range chosen {
		v, err := x.store(ctx, st)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}
