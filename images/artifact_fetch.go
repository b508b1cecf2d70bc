package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/lkv-io/lkv/internal/manifest"
)

// Fetched is an ISO from a registry, on this machine with what describes it, as lkv build left it.
type Fetched struct {
	ISO      string            // path; SBOMs, provenance and signatures lie beside it
	Manifest []byte            // as lkv build wrote it
	Parsed   manifest.Manifest // the same
	Artifact v1.Hash           // digest of the artifact
	Signer   string            // whose signature admitted it; empty when no rule asks for one

	cache *Cache
	dir   *os.File // locked while it is in use
	iso   v1.Hash
}

// Described is what a registry says about an ISO, verified, without its bytes.
func (s Shelf) Described(ctx context.Context, iso string) (manifest.Manifest, error) {
	var m manifest.Manifest
	err := s.anywhere(ctx, iso, func(p *place, a artifact) error {
		got, err := s.admitted(ctx, p, a)
		m = got.Parsed
		return err
	})
	return m, err
}

// Fetch brings the ISO of that digest (64 hex digits) to this machine: from mirrors first, going on where an earlier
// fetch was cut off. What describes it comes first: when a rule names keys, not a byte of the ISO is asked for before
// one of them vouches for it. Every file is verified. Close removes it again.
func (s Shelf) Fetch(ctx context.Context, iso string, tell func(done, total int64)) (*Fetched, error) {
	var out *Fetched
	err := s.anywhere(ctx, iso, func(p *place, a artifact) error {
		f, err := s.admitted(ctx, p, a)
		if err == nil {
			err = s.bring(ctx, p, a, tell)
		}
		if err == nil {
			err = f.lay(ctx, s.Source.Cache, a)
		}
		if err == nil {
			out = &f
		}
		return err
	})
	return out, err
}

// anywhere finds the artifact at the mirrors and the registry, in order, and uses the first where all goes well.
func (s Shelf) anywhere(ctx context.Context, iso string, use func(*place, artifact) error) error {
	if err := isoDigest(iso); err != nil {
		return err
	}
	if s.Source.Offline {
		return fmt.Errorf("%s: %w", s.Repository, ErrOffline)
	}
	r, err := s.reference(digestTag + iso)
	if err != nil {
		return err
	}
	repos, err := s.Source.places(r)
	if err != nil {
		return fmt.Errorf("fetch ISO %s of %s: %w", iso, s.Image, err)
	}
	unlock, err := s.Source.Cache.lock(ctx, blobsLock, shared)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for i, repo := range repos {
		err := s.at(ctx, repo, iso, use)
		if err == nil {
			return nil
		}
		if i < len(repos)-1 {
			err = fmt.Errorf("from mirror %s: %w", repo, err)
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("fetch ISO %s of image %s: %w", iso, s.Image, errors.Join(errs...))
}

func (s Shelf) at(ctx context.Context, repo name.Repository, iso string, use func(*place, artifact) error) error {
	p, err := s.Source.connect(ctx, repo, "pull")
	if err != nil {
		return err
	}
	defer p.close()
	a, err := s.find(ctx, p, iso)
	if err != nil {
		return err
	}
	return use(p, a)
}

// admitted fetches the small files, checks that they are about this image and ISO, and that one of the keys which the
// rules name for the repository vouches for them.
func (s Shelf) admitted(ctx context.Context, p *place, a artifact) (Fetched, error) {
	f := Fetched{Artifact: a.doc.digest, cache: s.Source.Cache}
	for _, l := range a.rest {
		if err := s.blob(ctx, p, l, nil); err != nil {
			return f, err
		}
	}
	raw, err := f.cache.blobs.read(a.main.Digest)
	if err != nil {
		return f, err
	}
	if f.Parsed, err = a.describes(raw, s.Image); err != nil {
		return f, err
	}
	f.Manifest = raw
	f.Signer, err = s.signer(ctx, a, raw)
	return f, err
}

// signer returns who vouches for an artifact: a key that signed the manifest (lkv build --sign), which holds the
// digests of the ISO and of what lies beside it; or one that signed the artifact (cosign sign). Without keys it is
// nobody, and that is fine.
func (s Shelf) signer(ctx context.Context, a artifact, main []byte) (string, error) {
	r, err := s.reference(digestTag + a.iso.Digest.Hex)
	if err != nil {
		return "", err
	}
	rule, ok := match(s.Source.Rules, spellRepo(r.Context()))
	if !ok || len(rule.Keys) == 0 {
		return "", nil
	}
	for _, l := range a.rest {
		if l.MediaType != signatureType {
			continue
		}
		text, err := s.Source.Cache.blobs.read(l.Digest)
		if err != nil {
			return "", err
		}
		sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
		for _, k := range rule.Keys {
			if err == nil && k.verify(main, sig) {
				return k.String(), nil
			}
		}
	}
	sigs, err := s.Source.Cache.signatures(a.doc.digest)
	if err == nil {
		err = anySigns(sigs, a.doc.digest, rule.Keys)
	}
	if err != nil {
		err = s.Source.askSignatures(ctx, r, []v1.Hash{a.doc.digest}, rule.Keys)
	}
	if err != nil {
		return "", fmt.Errorf("artifact %s: %w: registry %q asks for a signature by %s: %w; build with lkv build --sign, or sign the artifact with `cosign sign --key … %s@%s`",
			a.doc.digest, ErrUnsigned, rule.Pattern, names(rule.Keys), err, s.Repository, a.doc.digest)
	}
	return "cosign: " + names(rule.Keys), nil
}

// blob brings one file into the cache.
func (s Shelf) blob(ctx context.Context, p *place, d v1.Descriptor, tell func(n int64)) error {
	open := func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
		ctx, w := watch(ctx)
		body, start, err := p.blob(ctx, d.Digest, from)
		if err != nil {
			err = w.why(ctx, err)
			w.stop()
			return nil, start, err
		}
		return &moving{body, ctx, w}, start, nil
	}
	if tell == nil {
		tell = func(int64) {}
	}
	err := s.Source.Cache.blobs.download(ctx, d, p.wait, open, tell)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return explain(err, p.repo.Digest(d.Digest.String()))
	}
	return err
}

// moving is a body that is cut when nothing comes.
type moving struct {
	io.ReadCloser
	ctx context.Context
	w   watched
}

// Read implements io.Reader.
func (m *moving) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	if n > 0 {
		m.w.touch()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = m.w.why(m.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (m *moving) Close() error { defer m.w.stop(); return m.ReadCloser.Close() }

func (s Shelf) bring(ctx context.Context, p *place, a artifact, tell func(done, total int64)) error {
	show := func(n int64) {
		if tell != nil {
			tell(n, a.iso.Size)
		}
	}
	if blobs := s.Source.Cache.blobs; blobs.has(a.iso.Digest, a.iso.Size) { // from a fetch that was not used; the disk may have spoilt it
		r, err := blobs.open(a.iso.Digest, a.iso.Size)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r) // what is damaged removes itself
		if err := errors.Join(err, r.Close()); err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
	}
	if err := s.blob(ctx, p, a.iso, show); err != nil {
		return err
	}
	show(a.iso.Size)
	return nil
}

// lay gives the files in the cache their names, in a folder of their own. They are links: nothing is copied.
func (f *Fetched) lay(ctx context.Context, c *Cache, a artifact) error {
	dir, err := f.folder(ctx, c)
	if err != nil {
		return fmt.Errorf("lay out ISO: %w", err)
	}
	for _, l := range append([]v1.Descriptor{a.iso}, a.rest...) {
		if err := os.Link(c.blobs.path(l.Digest), filepath.Join(dir, l.Annotations[titleAnnotation])); err != nil {
			return errors.Join(fmt.Errorf("lay out ISO: %w", err), f.Close())
		}
	}
	f.iso, f.ISO = a.iso.Digest, filepath.Join(dir, a.iso.Annotations[titleAnnotation])
	return nil
}

// folder makes a folder that is locked while this process lives.
func (f *Fetched) folder(ctx context.Context, c *Cache) (string, error) {
	parent := filepath.Join(c.dir, "fetched")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx, fetchedLock, exclusive)
	if err != nil {
		return "", err
	}
	defer unlock()
	sweepFetched(parent)
	dir, err := os.MkdirTemp(parent, "iso-")
	if err != nil {
		return "", err
	}
	if f.dir, err = os.Open(dir); err != nil {
		return "", err
	}
	if err := tryLock(f.dir); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return dir, nil
}

// fetchedLock is held while folders of fetched ISOs are made and swept.
const fetchedLock = "fetched.lock"

// Done says that the ISO is where it should be: its bytes leave the cache, too.
func (f *Fetched) Done() error {
	err := os.Remove(f.cache.blobs.path(f.iso))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// Close removes the files. The cache still has their bytes, so that the next fetch is quick; lkv images prune removes
// those. Closing twice is fine.
func (f *Fetched) Close() error {
	if f.dir == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(f.dir.Name()), f.dir.Close())
	f.dir = nil
	if err != nil {
		return fmt.Errorf("remove fetched ISO: %w", err)
	}
	return nil
}

// sweepFetched removes folders of processes that died. What cannot be removed is left for the next time.
func sweepFetched(parent string) {
	list, _ := os.ReadDir(parent)
	for _, e := range list {
		f, err := os.Open(filepath.Join(parent, e.Name()))
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			_ = os.RemoveAll(f.Name())
		}
		_ = f.Close()
	}
}

// tryLock locks a folder, unless somebody else has it. The kernel releases it when the process dies.
func tryLock(f *os.File) error { return unix.Flock(int(f.Fd()), exclusive|unix.LOCK_NB) }
