package push

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Promotion points a channel at an ISO that is on the stores already.
type Promotion struct {
	Image   string
	Digest  string // SHA-256 of the ISO, 64 hex digits
	Channel string
	Stores  []Store
	Owner   string // as in Input
	Nonce   string
	Now     time.Time

	Sleep func(context.Context, time.Duration) error // between tries; nil: nothing is tried again
}

// Promote moves the channel on every store, when every store has the ISO, complete and with its manifest; otherwise
// on none. When a store fails while channels are moved, the error says where they were moved: stores disagree until
// it is done again.
func Promote(ctx context.Context, p Promotion) error {
	if err := errors.Join(checkName("image", p.Image), checkName("channel", p.Channel)); err != nil {
		return err
	}
	if !isDigest(p.Digest) {
		return fmt.Errorf("digest %q: write the 64 hex digits of the ISO", p.Digest)
	}
	stores := make([]patient, len(p.Stores))
	olds := make([]Channel, len(p.Stores))
	var errs []error
	for i, s := range p.Stores {
		stores[i] = calm(s, p.Sleep)
		old, err := p.ready(ctx, stores[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("store %s: %w", s.Name(), err))
		}
		olds[i] = old
	}
	if len(errs) > 0 {
		return fmt.Errorf("channel %s of %s stays where it is: %w", p.Channel, p.Image, errors.Join(errs...))
	}
	var moved, not []string
	for i, s := range stores {
		if err := p.move(ctx, s, olds[i]); err != nil {
			for _, s := range stores[i:] {
				not = append(not, s.Name())
			}
			if len(moved) == 0 {
				return fmt.Errorf("move channel %s of %s on store %s: %w", p.Channel, p.Image, s.Name(), err)
			}
			return fmt.Errorf("move channel %s of %s: the stores disagree now, it was moved on %s and not on %s: do the same again: %w",
				p.Channel, p.Image, strings.Join(moved, ", "), strings.Join(not, ", "), err)
		}
		moved = append(moved, s.Name())
	}
	return nil
}

// calm makes a store patient, unless it is.
func calm(s Store, sleep func(context.Context, time.Duration) error) patient {
	if p, ok := s.(patient); ok {
		return p
	}
	return patient{Store: s, sleep: sleep, tell: func(error, time.Duration) {}}
}

// ready checks that the store has the ISO, and reads the channel.
func (p Promotion) ready(ctx context.Context, s Store) (Channel, error) {
	m, err := ReadManifest(ctx, s, p.Image, p.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return Channel{}, fmt.Errorf("ISO %s of %s is not there: push it first", p.Digest, p.Image)
	}
	if err != nil {
		return Channel{}, err
	}
	there, err := Present(ctx, s, p.Image, m)
	if err != nil {
		return Channel{}, err
	}
	if !there {
		return Channel{}, fmt.Errorf("ISO %s of %s is not there, or not whole: push it first", p.Digest, p.Image)
	}
	old, err := ReadChannel(ctx, s, p.Image, p.Channel)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Channel{}, err
	}
	return old, nil
}

// move points the channel at the digest. The new file replaces the old one in one move.
func (p Promotion) move(ctx context.Context, s patient, old Channel) error {
	if old.Digest == p.Digest {
		return nil
	}
	raw, err := json.MarshalIndent(old.to(p.Digest, p.Now), "", "  ")
	if err != nil {
		return err
	}
	final, who := ChannelPath(p.Image, p.Channel), pusher{p.Owner, p.Nonce}
	if err := sweep(ctx, s, who, path.Dir(final), p.Now); err != nil {
		return err
	}
	return putSmall(ctx, s, who, final, append(raw, '\n'))
}

// Position is where a channel stands on one store.
type Position struct {
	Image string `json:"image"`
	Name  string `json:"channel"`
	Store string `json:"store"`
	Channel
}

// Channels reads every channel of the images on every store: sorted by image and channel, stores in their order. A
// channel that cannot be read is an error.
func Channels(ctx context.Context, images []string, stores []Store) ([]Position, error) {
	list := []Position{}
	for _, s := range stores {
		for _, image := range images {
			if err := checkName("image", image); err != nil {
				return nil, err
			}
			dir := path.Dir(ChannelPath(image, "x"))
			files, err := s.List(ctx, dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("store %s: list %s: %w", s.Name(), s.Path(dir), err)
			}
			for _, f := range files {
				if IsTemporary(f.Name()) {
					continue
				}
				name, ok := strings.CutSuffix(f.Name(), ".json")
				if !ok {
					return nil, fmt.Errorf("store %s: %s is no channel: move it away", s.Name(), s.Path(path.Join(dir, f.Name())))
				}
				ch, err := ReadChannel(ctx, s, image, name)
				if err != nil {
					return nil, fmt.Errorf("store %s: %w", s.Name(), err)
				}
				list = append(list, Position{image, name, s.Name(), ch})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Position) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

// Disagreement is a channel that is not the same on all stores.
type Disagreement struct {
	Image   string   `json:"image"`
	Name    string   `json:"channel"`
	Digests []string `json:"digests"` // every one it has, in the order of the stores
	Missing []string `json:"missing"` // stores that do not have the channel
}

// Disagreements finds channels that are not the same on all of the stores, in the order of Channels.
func Disagreements(list []Position, stores []Store) []Disagreement {
	found := []Disagreement{}
	for i := 0; i < len(list); {
		d, has := Disagreement{Image: list[i].Image, Name: list[i].Name, Digests: []string{}, Missing: []string{}}, map[string]bool{}
		for ; i < len(list) && list[i].Image == d.Image && list[i].Name == d.Name; i++ {
			has[list[i].Store] = true
			if !slices.Contains(d.Digests, list[i].Digest) {
				d.Digests = append(d.Digests, list[i].Digest)
			}
		}
		for _, s := range stores {
			if !has[s.Name()] {
				d.Missing = append(d.Missing, s.Name())
			}
		}
		if len(d.Digests) > 1 || len(d.Missing) > 0 {
			found = append(found, d)
		}
	}
	return found
}
