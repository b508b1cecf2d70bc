package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
)

// ErrFull means that a store has too little room for the ISO (R21 of lkv's refusals).
var ErrFull = errors.New("datastore is too full")

const (
	reserve    = 64 << 20         // bytes that must stay free: a full datastore stops running VMs
	stale      = 24 * time.Hour   // leftovers of other pushers are removed after this time
	cleanUp    = 30 * time.Second // for removing our own temporary file after a failure
	everyBytes = 1 << 20          // progress granularity
)

// room refuses an upload that cannot fit, before the first byte.
func (in Input) room(ctx context.Context, s Store, size int64) error {
	free, err := s.Free(ctx)
	if err != nil {
		return fmt.Errorf("read free space of %s: %w", s.Path(""), err)
	}
	if free >= 0 && free < size+reserve {
		return fmt.Errorf("%w: %s has %d MiB free, the ISO needs %d MiB and %d MiB stay in reserve; make room or use another store",
			ErrFull, strings.TrimSpace(s.Path("")), free>>20, (size+1<<20-1)>>20, int64(reserve)>>20)
	}
	return nil
}

// upload streams the ISO to a temporary name, reads it back and moves it into place. It returns the bytes sent, or 0
// when somebody else put the same ISO there meanwhile.
func (in Input) upload(ctx context.Context, s Store, m manifest.Manifest, final string) (n int64, err error) {
	f, err := os.Open(in.ISO)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	part := in.temporary(final)
	defer func() {
		if err != nil || n == 0 {
			err = errors.Join(err, remove(ctx, s, part))
		}
	}()
	body := &meter{r: f, sum: sha256.New(), tell: in.teller(s, "upload", m.ISO.Size)}
	if err := s.Put(ctx, part, body, m.ISO.Size); err != nil {
		return 0, fmt.Errorf("upload to %s: %w", s.Path(part), err)
	}
	if got := hex.EncodeToString(body.sum.Sum(nil)); got != m.ISO.SHA256 || body.n != m.ISO.Size {
		return 0, fmt.Errorf("%s has digest %s, its manifest says %s: build the image again", in.ISO, got, m.ISO.SHA256)
	}
	if err := in.readBack(ctx, s, part, m.ISO); err != nil {
		return 0, err
	}
	if err := s.Move(ctx, part, final, false); err != nil {
		if errors.Is(err, fs.ErrExist) {
			if there, perr := in.present(ctx, s, m); perr != nil || there {
				return 0, perr
			}
		}
		return 0, fmt.Errorf("move %s into place: %w", s.Path(part), err)
	}
	return body.n, nil
}

// readBack compares a file on the store with what it should be, by size and by reading it whole.
func (in Input) readBack(ctx context.Context, s Store, p string, want manifest.File) error {
	info, err := s.Stat(ctx, p)
	if err != nil {
		return fmt.Errorf("verify %s: %w", s.Path(p), err)
	}
	if info.Size() != want.Size {
		return fmt.Errorf("verify %s: the store has %d bytes of %d", s.Path(p), info.Size(), want.Size)
	}
	r, err := s.Open(ctx, p)
	if err != nil {
		return fmt.Errorf("verify %s: %w", s.Path(p), err)
	}
	defer r.Close()
	body := &meter{r: r, sum: sha256.New(), tell: in.teller(s, "verify", want.Size)}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("verify %s: %w", s.Path(p), err)
	}
	if got := hex.EncodeToString(body.sum.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("verify %s: the store has digest %s instead of %s", s.Path(p), got, want.SHA256)
	}
	return nil
}

// putSmall gives a small file its content: by way of a temporary file and one move, and only when it differs. It
// makes the folder, too.
func (in Input) putSmall(ctx context.Context, s Store, final string, raw []byte) (err error) {
	old, err := readSmall(ctx, s, final)
	if err == nil && bytes.Equal(old, raw) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", s.Path(final), err)
	}
	if err := s.Mkdir(ctx, path.Dir(final)); err != nil {
		return fmt.Errorf("make folder %s: %w", s.Path(path.Dir(final)), err)
	}
	part := in.temporary(final)
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(ctx, s, part))
		}
	}()
	if err := s.Put(ctx, part, bytes.NewReader(raw), int64(len(raw))); err != nil {
		return fmt.Errorf("upload to %s: %w", s.Path(part), err)
	}
	if back, err := readSmall(ctx, s, part); err != nil || !bytes.Equal(back, raw) {
		return errors.Join(fmt.Errorf("verify %s: the store has %d bytes, not the %d written", s.Path(part), len(back), len(raw)), err)
	}
	if err := s.Move(ctx, part, final, true); err != nil {
		return fmt.Errorf("move %s into place: %w", s.Path(part), err)
	}
	return nil
}

// sweep removes what broken pushes left in a folder: our own at once, those of others when they are a day old.
func (in Input) sweep(ctx context.Context, s Store, dir string) error {
	files, err := s.List(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", s.Path(dir), err)
	}
	for _, f := range files {
		if !IsTemporary(f.Name()) {
			continue
		}
		_, rest, _ := strings.Cut(f.Name(), partMark)
		old := !f.ModTime().IsZero() && in.Now.Sub(f.ModTime()) > stale
		if !old && !strings.HasPrefix(rest, in.ownerTag()+"-") {
			continue
		}
		if err := remove(ctx, s, path.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a temporary file, even when ctx was cancelled; one that is not there is fine.
func remove(ctx context.Context, s Store, p string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	if err := s.Delete(ctx, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w (the next push tries again)", s.Path(p), err)
	}
	return nil
}

// meter hashes and counts what passes, and tells how far it is.
type meter struct {
	r    io.Reader
	sum  hash.Hash
	n    int64
	told int64
	tell func(done int64)
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.sum.Write(p[:n])
	m.n += int64(n)
	if m.n-m.told >= everyBytes || err != nil {
		m.told = m.n
		m.tell(m.n)
	}
	return n, err
}

func (in Input) teller(s Store, phase string, total int64) func(int64) {
	return func(done int64) {
		if in.Progress != nil {
			in.Progress(Progress{Store: s.Name(), Phase: phase, Done: done, Total: total})
		}
	}
}
