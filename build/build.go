package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Build makes the ISO of one image with its manifest in Input.Out, or finds that nothing changed since the last
// build there. Faults of the YAML come as Problems. Files appear under their final names complete or not at all.
func Build(ctx context.Context, in Input) (Result, error) {
	r, err := makeISO(ctx, in)
	if err == nil && in.Sign != nil {
		err = sign(ctx, *in.Sign, r)
	}
	return r, err
}

func makeISO(ctx context.Context, in Input) (Result, error) {
	in, err := in.check()
	if err != nil {
		return Result{}, err
	}
	b := &builder{Input: in}
	if b.config, err = load(in); err != nil {
		return Result{}, err
	}
	if err := b.resolve(ctx); err != nil {
		return Result{}, err
	}
	if b.bundles, err = b.config.bundles(b.images); err != nil {
		return Result{}, err
	}
	key, err := b.key()
	if err != nil {
		return Result{}, err
	}
	if r, ok := newest(in.Out, in.Name, key); ok {
		return r, nil
	}
	if err := b.open(); err != nil {
		return Result{}, err
	}
	r, err := b.attempt(ctx, key)
	for n := 0; errors.Is(err, errDamaged) && n < b.all; n++ { // each attempt makes at least one piece anew
		b.say(Event{Step: "warning", Name: err.Error() + ": making it again"})
		r, err = b.attempt(ctx, key)
	}
	return r, err
}

// attempt makes segments and ISO from the beginning.
func (b *builder) attempt(ctx context.Context, key string) (Result, error) {
	b.done = 0
	if err := b.segments(ctx); err != nil {
		return Result{}, err
	}
	return b.write(ctx, key)
}

// builder is one build under way.
type builder struct {
	Input
	config  config
	images  map[string]resolved // by reference as written
	bundles []bundle
	store   *store
	root    *root

	parts  []segment // of the root file system, in the order they are laid over one another
	kernel segment
	boot   segment
	early  segment // of the small initrd in front of a squashfs
	ident  string  // the image's ID

	mu   sync.Mutex // of Progress
	done int
	all  int // segments expected
}

func (b *builder) say(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Progress(e)
}

// resolve finds every image once.
func (b *builder) resolve(ctx context.Context) error {
	refs := b.config.references(b.BootImage)
	found := make([]resolved, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, ref := range refs {
		g.Go(func() error {
			var err error
			found[i], err = b.find(gctx, ref)
			if err == nil {
				b.say(Event{Step: "image", Name: ref})
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	b.images = map[string]resolved{}
	for _, r := range found {
		b.images[r.ref] = r
	}
	return nil
}

func (b *builder) find(ctx context.Context, ref string) (resolved, error) {
	img, digest, err := b.Images.Image(ctx, ref)
	if err != nil {
		return resolved{}, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return resolved{}, fmt.Errorf("image %s: read config: %w", ref, err)
	}
	if cf.Architecture != "" && cf.Architecture != b.Arch {
		return resolved{}, fmt.Errorf("image %s: it is for %s, the ISO for %s", ref, quoted(cf.Architecture), b.Arch)
	}
	return resolved{ref: ref, img: img, digest: digest, config: *cf}, nil
}

func (b *builder) open() error {
	var err error
	b.store, err = openStore(b.Cache, levels[b.Compress])
	return err
}

// clamp is the latest modification time files of an image may show. Without an epoch it is the image's own
// creation, so that another image's new version leaves this one's segment alone.
func (b *builder) clamp(r resolved) int64 {
	if !b.Epoch.IsZero() {
		return b.Epoch.Unix()
	}
	if c := r.config.Created.Unix(); c > 0 {
		return c
	}
	return math.MaxUint32
}

// epoch is the time of everything this build makes itself.
func (b *builder) epoch() time.Time {
	if !b.Epoch.IsZero() {
		return b.Epoch.UTC()
	}
	var last int64
	for _, r := range b.images {
		last = max(last, r.config.Created.Unix())
	}
	return time.Unix(last, 0).UTC()
}

// key identifies everything the ISO is made from. The program itself is part of it: another lkv may write
// other bytes from the same input.
func (b *builder) key() (string, error) {
	yaml, err := json.Marshal(b.config.Moby)
	if err != nil {
		return "", fmt.Errorf("identify build: %w", err)
	}
	blocks, err := json.Marshal(b.Persist)
	if err != nil {
		return "", fmt.Errorf("identify build: %w", err)
	}
	parts := []string{writer, codec, program(), b.Name, b.Arch, b.Compress, b.epoch().Format(time.RFC3339), string(yaml),
		string(blocks), strings.Join(b.Boot, ","), b.Rootfs, strings.Join(b.Also, ","), b.EFI, string(b.SecureBoot.Certificate()), fmt.Sprint(b.config.volumes)}
	for _, ref := range b.config.references(b.BootImage) {
		parts = append(parts, ref, b.images[ref].digest.String())
	}
	for i, f := range b.config.Files {
		if f.Source == "" {
			continue
		}
		sum, err := b.config.sources[i].sum(f.Optional)
		if err != nil {
			return "", b.config.sources[i].at(f.Path, err)
		}
		parts = append(parts, sum)
	}
	return keyOf(parts...), nil
}

// program tells one build of lkv from another well enough to not reuse its ISO.
func program() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	st, err := os.Stat(exe)
	if err != nil {
		return ""
	}
	return fmt.Sprint(st.Size(), st.ModTime().UnixNano())
}
