package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

func (s system) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "point a fleet's channel at the ISO before, and let the fleet go; lkv reconcile does the rest",
		Description: "The channel moves on every store, to what it stood at before it came to where it is: done twice, it goes back\n" +
			"twice. Failures, pauses and images that were rolled back are cleared as by lkv resume. No VM is touched: the next\n" +
			"lkv reconcile rolls them, and refuses (R04) where the disks were used by a newer Docker Engine.\n" +
			"A fleet that pins a digest has no channel to move: write the other digest in the spec.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "fleet", Usage: "the fleet `NAME`"},
			&cli.BoolFlag{Name: "all-fleets", Usage: "also when other fleets of the spec follow the channel: they go back, too"},
			journalFlag(),
		},
		Action: s.rollback,
	}
}

// rolledBack is the JSON of rollback.
type rolledBack struct {
	Image   string              `json:"image"`
	Channel string              `json:"channel"`
	From    string              `json:"from"` // SHA-256 of the ISO that the channel stood at
	To      string              `json:"to"`
	Stores  []string            `json:"stores"`
	Fleets  []reconcile.Resumed `json:"fleets"`
}

func (s system) rollback(c *cli.Context) error {
	if c.String("fleet") == "" {
		return usagef("name the fleet: lkv rollback --fleet NAME")
	}
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	back, err := following(c, spec)
	if err != nil {
		return err
	}
	doc := rolledBack{Image: back[0].Image, Channel: back[0].Channel, Fleets: []reconcile.Resumed{}}
	err = s.journaled(c, func(s system) error {
		if err := s.moveBack(c, spec, &doc); err != nil {
			return err
		}
		return s.clearBack(c, back, &doc)
	})
	if err != nil {
		return err
	}
	if given(c, "json") {
		err = s.printJSON(doc)
	} else {
		err = s.showResumed(doc.Fleets, goesOn)
	}
	if err != nil {
		return err
	}
	return resumedCode(doc.Fleets)
}

// clearBack lets the fleets go that follow the channel which was moved.
func (s system) clearBack(c *cli.Context, back []specs.Fleet, doc *rolledBack) error {
	if !given(c, "json") {
		if _, err := fmt.Fprintf(s.Stdout, "channel %s of image %s went back from %s to %s on %s: lkv reconcile does the rest\n",
			doc.Channel, doc.Image, ui.Short(doc.From), ui.Short(doc.To), strings.Join(doc.Stores, ", ")); err != nil {
			return err
		}
	}
	choose := func(*cli.Context, specs.Spec) ([]specs.Fleet, error) { return back, nil }
	err := s.visitFleets(c, true, choose, func(x *sessions, f specs.Fleet) error {
		t, err := x.members(c.Context, f)
		if err != nil {
			return err
		}
		res, err := s.act(c, visit{target: t, x: x, fleet: f}, s.journal, plan.Resume)
		doc.Fleets = append(doc.Fleets, res)
		return err
	})
	if err != nil {
		return fmt.Errorf("the channel was moved, and not everything cleared (lkv resume --fleet %s does that): %w", c.String("fleet"), err)
	}
	return nil
}

// following returns the fleet that --fleet names and, with --all-fleets, every other one that follows its channel.
func following(c *cli.Context, spec specs.Spec) ([]specs.Fleet, error) {
	list, err := oneFleet(c, spec)
	if err != nil {
		return nil, err
	}
	own, name := list[0], list[0].Name
	if own.Digest != "" {
		return nil, usagef("fleet %s at %s pins %s: write the digest to go back to there", name, own.Pos, own.Digest)
	}
	list = slices.Clone(list)
	var others []string
	for _, f := range spec.Fleets {
		if f.Name != name && f.Digest == "" && f.Image == own.Image && f.Channel == own.Channel {
			list, others = append(list, f), append(others, f.Name)
		}
	}
	if len(others) > 0 && !given(c, "all-fleets") {
		return nil, usagef("channel %s of image %s is followed by %s, too: go back with all of them (--all-fleets), or give fleet %s a channel or digest of its own",
			own.Channel, own.Image, strings.Join(others, ", "), name)
	}
	return list, nil
}

// moveBack moves the channel on every store that has it to what it stood at before.
func (s system) moveBack(c *cli.Context, spec specs.Spec, doc *rolledBack) error {
	owner, err := s.owner(spec)
	if err != nil {
		return err
	}
	nonce, err := s.nonce()
	if err != nil {
		return err
	}
	p := push.Promotion{Image: doc.Image, Channel: doc.Channel, Owner: owner, Nonce: nonce, Now: s.Now(), Sleep: clock{s.Now}.Sleep}
	return s.withStores(c, spec, func(stores []push.Store, v shelves) error {
		list, err := push.Channels(c.Context, []string{doc.Image}, stores)
		if err != nil {
			return err
		}
		more, err := v.positions(c.Context, []string{doc.Image})
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(append(list, more...), func(x push.Position) bool { return x.Name != doc.Channel })
		if doc.From, doc.To, err = before(list, append(stores, v.labels()...)); err != nil {
			return err
		}
		p.Stores, p.Digest = stores, doc.To
		for _, x := range list {
			doc.Stores = append(doc.Stores, x.Store)
		}
		return promoteAll(c.Context, p, v)
	})
}

// before returns where a channel stands and where it stood before, which must be the same on every store. One that
// went back already is taken further back, not to where it came from.
func before(list []push.Position, stores []push.Store) (from, to string, err error) {
	refuse := func(format string, args ...any) (string, string, error) {
		return "", "", plan.Blocked{Code: plan.R01, Reason: fmt.Sprintf(format, args...),
			Clear: "lkv channels shows where it stands; lkv promote IMAGE@sha256:DIGEST CHANNEL moves it to an ISO of your choice"}
	}
	if len(list) == 0 {
		return refuse("nothing was ever pushed to the channel")
	}
	if d := push.Disagreements(list, stores); len(d) > 0 {
		return refuse("the channel is not the same on all stores")
	}
	for _, p := range list {
		earlier := p.Previous
		for i := len(earlier) - 1; i >= 0; i-- {
			if earlier[i].Digest == p.Digest {
				earlier = earlier[i+1:]
				break
			}
		}
		switch {
		case len(earlier) == 0:
			return refuse("channel %s of image %s on store %s remembers nothing before %s", p.Name, p.Image, p.Store, ui.Short(p.Digest))
		case to != "" && earlier[0].Digest != to:
			return refuse("channel %s of image %s came from another ISO on store %s than elsewhere", p.Name, p.Image, p.Store)
		}
		from, to = p.Digest, earlier[0].Digest
	}
	return from, to, nil
}
