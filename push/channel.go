package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
)

// channelFormat is the version of Channel's JSON; keep is how many earlier digests a channel remembers.
const (
	channelFormat = 1
	keep          = 10
)

// Channel says which ISO of an image is current.
type Channel struct {
	Format   int       `json:"format"`
	Digest   string    `json:"digest"` // SHA-256 of the ISO, 64 hex digits
	Time     time.Time `json:"time"`   // when the channel was moved there
	Previous []Move    `json:"previous,omitempty"`
}

// Move is an earlier position of a channel, newest first.
type Move struct {
	Digest string    `json:"digest"`
	Time   time.Time `json:"time"`
}

// to returns the channel moved to another digest; moved to the same one it is the same.
func (c Channel) to(digest string, now time.Time) Channel {
	if c.Digest == digest {
		return c
	}
	next := Channel{Format: channelFormat, Digest: digest, Time: now.UTC().Truncate(time.Second)}
	if c.Digest != "" {
		next.Previous = append([]Move{{Digest: c.Digest, Time: c.Time}}, c.Previous...)
	}
	next.Previous = next.Previous[:min(len(next.Previous), keep)]
	return next
}

// ReadChannel reads a channel. One that was never pushed is fs.ErrNotExist.
func ReadChannel(ctx context.Context, s Reader, image, channel string) (Channel, error) {
	if err := errors.Join(checkName("image", image), checkName("channel", channel)); err != nil {
		return Channel{}, err
	}
	raw, err := readSmall(ctx, s, ChannelPath(image, channel))
	if err != nil {
		return Channel{}, fmt.Errorf("read channel %s of image %s: %w", channel, image, err)
	}
	var c Channel
	if err := json.Unmarshal(raw, &c); err != nil {
		return Channel{}, fmt.Errorf("read channel %s of image %s: %w: push again", channel, image, err)
	}
	if c.Format < 1 || c.Format > channelFormat || !isDigest(c.Digest) {
		return Channel{}, fmt.Errorf("read channel %s of image %s: format %d or digest %q not understood: use a newer lkv, or push again", channel, image, c.Format, c.Digest)
	}
	return c, nil
}

// ReadManifest reads the manifest of an ISO and checks that it is that ISO's. A missing one is fs.ErrNotExist.
func ReadManifest(ctx context.Context, s Reader, image, digest string) (manifest.Manifest, error) {
	raw, err := readSmall(ctx, s, ManifestPath(image, digest))
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("read manifest of %s/%s: %w", image, digest, err)
	}
	m, err := manifest.Read(bytes.NewReader(raw))
	if err != nil {
		return manifest.Manifest{}, err
	}
	if m.ISO.SHA256 != digest {
		return manifest.Manifest{}, fmt.Errorf("read manifest of %s/%s: it describes ISO %s: push again", image, digest, m.ISO.SHA256)
	}
	return m, nil
}

// Present tells whether the ISO of that manifest is complete on the store, judged by its size: an ISO gets its final
// name only after its digest was verified there.
func Present(ctx context.Context, s Reader, image string, m manifest.Manifest) (bool, error) {
	info, err := s.Stat(ctx, ISOPath(image, m.ISO.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for ISO %s: %w", ISOPath(image, m.ISO.SHA256), err)
	}
	return info.Size() == m.ISO.Size, nil
}
