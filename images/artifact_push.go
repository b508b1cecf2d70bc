package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Placed is what happened to an ISO and its files at a registry.
type Placed struct {
	Reference string  // "reg.example.net/lkv/worker:sha256-…"
	Digest    v1.Hash // of the artifact, which cosign signs
	Sent      int64   // bytes of the ISO that left this machine, over all tries
	Present   bool    // the registry had exactly this artifact, and nothing was sent
}

// Put brings an ISO and what describes it to the registry, under the tag sha256-<hex of the ISO>. What the registry
// has is not sent; the artifact is written when all of its files are there, and looked at afterwards. The ISO is
// streamed and hashed on its way. Tell, which may be nil, hears how many bytes of the ISO are there.
func (s Shelf) Put(ctx context.Context, files []File, tell func(done, total int64)) (Placed, error) {
	made, err := artifactOf(s.Image, files)
	if err != nil {
		return Placed{}, err
	}
	a, err := parseArtifact(made, "")
	if err != nil {
		return Placed{}, err
	}
	tag := digestTag + a.iso.Digest.Hex
	out := Placed{Reference: s.Repository + ":" + tag, Digest: made.digest}
	p, err := s.origin(ctx, "push,pull")
	if err == nil {
		defer p.close()
		err = s.place(ctx, p, a, files, tell, &out)
	}
	if err != nil {
		return out, fmt.Errorf("push to %s: %w", out.Reference, err)
	}
	return out, nil
}

// place is Put with a connection.
func (s Shelf) place(ctx context.Context, p *place, a artifact, files []File, tell func(done, total int64), out *Placed) error {
	tag := digestTag + a.iso.Digest.Hex
	there, err := s.find(ctx, p, a.iso.Digest.Hex)
	switch {
	case errors.Is(err, ErrFormat) || errors.Is(err, ErrDamaged):
		return fmt.Errorf("the registry has something else under this tag; remove it, then push again: %w", err)
	case err != nil && !errors.Is(err, ErrUnknown):
		return err
	case err == nil && there.doc.digest == a.doc.digest:
		if out.Present, err = s.whole(ctx, p, a); err != nil || out.Present {
			return err
		}
	}
	all := append(slices.Clone(files), File{Name: "config", Raw: emptyConfig, SHA256: a.doc.image.Config.Digest.Hex, Size: int64(len(emptyConfig))})
	for _, f := range all {
		if err := send(ctx, p, f, tell, out); err != nil {
			return err
		}
	}
	if err := p.put(ctx, a.doc, tag); err != nil {
		return err
	}
	got, err := p.document(ctx, tag)
	if err != nil {
		return err
	}
	if got.digest != a.doc.digest {
		return fmt.Errorf("%w: the tag is at %s instead of %s: somebody else pushes the same ISO with other files; push again", ErrDamaged, got.digest, a.doc.digest)
	}
	if ok, err := s.whole(ctx, p, a); err != nil || !ok {
		return errors.Join(fmt.Errorf("%w: the registry lost a file of the artifact right after it was sent; push again", ErrDamaged), err)
	}
	return nil
}

// send uploads one file, unless the registry has it.
func send(ctx context.Context, p *place, f File, tell func(done, total int64), out *Placed) error {
	show := func(int64) {}
	if f.isISO() && tell != nil {
		show = func(n int64) { tell(n, f.Size) }
	}
	from, done, err := f.content()
	if err != nil {
		return err
	}
	defer done()
	u := &upload{p: p, f: f, from: from, tell: show}
	err = u.send(ctx)
	if f.isISO() {
		u.nextTurn()
		out.Sent = u.sent
	}
	if err == nil {
		show(f.Size)
	}
	return err
}

// ReadBack reads the ISO of that digest from the registry whole and checks its digest. It keeps nothing.
func (s Shelf) ReadBack(ctx context.Context, iso string, tell func(done, total int64)) error {
	p, err := s.origin(ctx, "pull")
	if err != nil {
		return err
	}
	defer p.close()
	a, err := s.find(ctx, p, iso)
	if err == nil {
		err = p.readBack(ctx, a.iso, tell)
	}
	if err != nil {
		return fmt.Errorf("read ISO %s back from %s: %w", iso, s.Repository, err)
	}
	return nil
}

// readBack hashes a blob, going on where a connection broke.
func (p *place) readBack(ctx context.Context, d v1.Descriptor, tell func(done, total int64)) error {
	sum, n := sha256.New(), int64(0)
	err := p.wait.again(ctx, func() (bool, error) {
		ctx, w := watch(ctx)
		defer w.stop()
		body, start, err := p.blob(ctx, d.Digest, n)
		if errors.Is(err, errRange) || err == nil && start != n {
			sum, n = sha256.New(), 0
		}
		if err != nil {
			return false, w.why(ctx, err)
		}
		defer func() { _ = body.Close() }()
		before := n
		_, err = io.Copy(counter{func(b []byte) {
			sum.Write(b)
			n += int64(len(b))
			w.touch()
			if tell != nil {
				tell(min(n, d.Size), d.Size)
			}
		}}, io.LimitReader(line{body}, d.Size-n+1))
		if err == nil && n < d.Size {
			err = fmt.Errorf("cut off after %d of %d bytes: %w", n, d.Size, io.ErrUnexpectedEOF)
		}
		return n-before >= progressStep, w.why(ctx, err)
	})
	if err == nil {
		return check(sum, d.Digest, n, d.Size)
	}
	return explain(err, p.repo.Digest(d.Digest.String()))
}

// counter is a writer that only tells.
type counter struct{ tell func([]byte) }

// Write implements io.Writer.
func (c counter) Write(b []byte) (int, error) { c.tell(b); return len(b), nil }
