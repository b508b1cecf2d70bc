package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// keepMoves is how many earlier positions a channel remembers, as on a datastore.
const keepMoves = 10

// Channel is where a channel stands in a registry. Its tag names an index of artifacts, the current one first and then
// those it stood at before, so that a registry which removes what no tag reaches keeps what a rollback needs.
type Channel struct {
	Name  string
	Moves []Move // newest first; at least one
}

// Move is one position of a channel.
type Move struct {
	ISO      string    // SHA-256, 64 hex digits
	Artifact v1.Hash   // digest of its artifact
	Time     time.Time // when the channel was moved there

	size int64
}

// channelRule is what a tag may be; those that begin with sha256- are taken.
var channelRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func checkChannel(name string) error {
	if !channelRule.MatchString(name) || strings.HasPrefix(name, digestTag) {
		return fmt.Errorf("channel name %q: a registry's tag has letters, digits, '_', '.' and '-', at most 128, and does not begin with %s", name, digestTag)
	}
	return nil
}

// Channel reads a channel. One that was never pushed is ErrUnknown.
func (s Shelf) Channel(ctx context.Context, name string) (Channel, error) {
	if err := checkChannel(name); err != nil {
		return Channel{}, err
	}
	p, err := s.origin(ctx, "pull")
	if err != nil {
		return Channel{}, err
	}
	defer p.close()
	ch, _, err := s.channel(ctx, p, name)
	if err != nil {
		return Channel{}, fmt.Errorf("read channel %s:%s: %w", s.Repository, name, err)
	}
	return ch, nil
}

func (s Shelf) channel(ctx context.Context, p *place, name string) (Channel, document, error) {
	d, err := p.document(ctx, name)
	if err != nil {
		return Channel{}, d, err
	}
	ch, err := parseChannel(name, d)
	return ch, d, err
}

func parseChannel(name string, d document) (Channel, error) {
	ch := Channel{Name: name}
	if d.index == nil || d.index.ArtifactType != channelType {
		return ch, fmt.Errorf("%w: tag %s is no channel of lkv", ErrFormat, name)
	}
	for _, m := range d.index.Manifests {
		at, err := time.Parse(time.RFC3339, m.Annotations[sinceAnnotation])
		if bad := isoDigest(m.Annotations[isoAnnotation]); err != nil || bad != nil {
			return ch, fmt.Errorf("%w: channel %s: %w: push again", ErrFormat, name, errors.Join(err, bad))
		}
		ch.Moves = append(ch.Moves, Move{ISO: m.Annotations[isoAnnotation], Artifact: m.Digest, Time: at, size: m.Size})
	}
	if len(ch.Moves) == 0 {
		return ch, fmt.Errorf("%w: channel %s names no ISO: push again", ErrFormat, name)
	}
	return ch, nil
}

func (c Channel) document() (document, error) {
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, ArtifactType: channelType, Manifests: []v1.Descriptor{}}
	for _, v := range c.Moves {
		m.Manifests = append(m.Manifests, v1.Descriptor{
			MediaType: types.OCIManifestSchema1, ArtifactType: artifactType, Digest: v.Artifact, Size: v.size,
			Annotations: map[string]string{isoAnnotation: v.ISO, sinceAnnotation: v.Time.UTC().Format(time.RFC3339)},
		})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return document{}, fmt.Errorf("write channel: %w", err)
	}
	return parseDocument(raw, types.OCIImageIndex)
}

// Promote points a channel at an ISO that the registry has, whole; else the channel stays. A channel that stands there
// is not written, unless the artifact changed, for example because it was signed since.
func (s Shelf) Promote(ctx context.Context, iso, channel string, now time.Time) error {
	if err := errors.Join(checkChannel(channel), isoDigest(iso)); err != nil {
		return err
	}
	p, err := s.origin(ctx, "push,pull")
	if err == nil {
		defer p.close()
		err = s.promote(ctx, p, iso, channel, now)
	}
	if err != nil {
		return fmt.Errorf("move channel %s of %s: %w", channel, s.Repository, err)
	}
	return nil
}

func (s Shelf) promote(ctx context.Context, p *place, iso, channel string, now time.Time) error {
	a, err := s.find(ctx, p, iso)
	if errors.Is(err, ErrUnknown) {
		return fmt.Errorf("ISO %s is not there: push it first: %w", iso, err)
	}
	if err != nil {
		return err
	}
	if ok, err := s.whole(ctx, p, a); err != nil || !ok {
		return errors.Join(fmt.Errorf("ISO %s is not whole there: push it again", iso), err)
	}
	old, _, err := s.channel(ctx, p, channel)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return err
	}
	to := Move{ISO: iso, Artifact: a.doc.digest, Time: now.Truncate(time.Second), size: int64(len(a.doc.raw))}
	if len(old.Moves) > 0 && old.Moves[0].ISO == iso {
		if old.Moves[0].Artifact == to.Artifact {
			return nil
		}
		to.Time, old.Moves = old.Moves[0].Time, old.Moves[1:]
	}
	if old.Moves, err = p.alive(ctx, old.Moves); err != nil {
		return err
	}
	next := Channel{Name: channel, Moves: append([]Move{to}, old.Moves[:min(len(old.Moves), keepMoves)]...)}
	d, err := next.document()
	if err != nil {
		return err
	}
	if err := p.put(ctx, d, channel); err != nil {
		return err
	}
	got, err := p.document(ctx, channel)
	if err != nil {
		return err
	}
	if got.digest != d.digest {
		return errors.New("somebody else moved it at the same moment: look with lkv channels, then do the same again")
	}
	return nil
}

// alive leaves out what the registry does not have any more: an index may only name what is there.
func (p *place) alive(ctx context.Context, moves []Move) ([]Move, error) {
	var out []Move
	for _, m := range moves {
		_, err := p.document(ctx, m.Artifact.String())
		switch {
		case err == nil:
			out = append(out, m)
		case !errors.Is(err, ErrUnknown):
			return nil, err
		}
	}
	return out, nil
}

// Channels reads every channel, in the order of their names. Tags that are none are left out. A repository that does
// not exist has none.
func (s Shelf) Channels(ctx context.Context) ([]Channel, error) {
	p, err := s.origin(ctx, "pull")
	if err != nil {
		return nil, err
	}
	defer p.close()
	var tags []string
	err = p.wait.again(ctx, func() (bool, error) {
		tags, err = remote.List(p.repo, remote.WithContext(ctx), remote.WithTransport(p.client.Transport))
		return false, err
	})
	if err != nil {
		if err = explain(err, p.repo.Tag("latest")); errors.Is(err, ErrUnknown) {
			return nil, nil
		}
		return nil, fmt.Errorf("list channels of %s: %w", s.Repository, err)
	}
	slices.Sort(tags)
	var out []Channel
	for _, tag := range tags {
		if checkChannel(tag) != nil {
			continue
		}
		d, err := p.document(ctx, tag)
		if err == nil && (d.index == nil || d.index.ArtifactType != channelType) {
			continue
		}
		var ch Channel
		if err == nil {
			ch, err = parseChannel(tag, d)
		}
		if err != nil {
			return nil, fmt.Errorf("list channels of %s: %w", s.Repository, err)
		}
		out = append(out, ch)
	}
	return out, nil
}
