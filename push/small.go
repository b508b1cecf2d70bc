package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	smallFile = 32 << 20         // bytes; manifests and SBOMs have at most a few million
	stale     = 24 * time.Hour   // leftovers of other pushers are removed after this time
	cleanUp   = 30 * time.Second // for removing our own temporary file after a failure
)

func readSmall(ctx context.Context, s Reader, path string) (raw []byte, err error) {
	use := func(r io.Reader) error {
		raw, err = io.ReadAll(io.LimitReader(r, smallFile+1))
		return err
	}
	open := func(ctx context.Context) (io.ReadCloser, error) { return s.Open(ctx, path) }
	if p, ok := s.(patient); ok {
		err = p.read(ctx, open, use)
	} else if r, oerr := open(ctx); oerr != nil {
		err = oerr
	} else {
		err = errors.Join(use(r), r.Close())
	}
	if err != nil {
		return nil, err
	}
	if len(raw) > smallFile {
		return nil, fmt.Errorf("%s is bigger than %d bytes: it is not lkv's", path, smallFile)
	}
	return raw, nil
}

// putSmall gives a small file its content: by way of a temporary file and one move, and only when it differs. It
// makes the folder, too.
func putSmall(ctx context.Context, s patient, who pusher, final string, raw []byte) error {
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
	for round := 1; ; round++ {
		err := putOnce(ctx, s, who.temporary(s, final), final, raw)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if now, rerr := readSmall(ctx, s, final); rerr == nil && bytes.Equal(now, raw) {
			return nil // the move was done and only its answer lost
		}
		if round == rounds {
			return err
		}
	}
}

func putOnce(ctx context.Context, s patient, part, final string, raw []byte) (err error) {
	defer func() {
		if err != nil {
			if rerr := remove(ctx, s, part); rerr != nil {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := s.send(ctx, part, int64(len(raw)), func() io.Reader { return bytes.NewReader(raw) }); err != nil {
		return fmt.Errorf("upload to %s: %w", s.Path(part), err)
	}
	if !sealed(s) {
		if err := readBack(ctx, s, part, raw); err != nil {
			return err
		}
	}
	if err := s.Move(ctx, part, final, true); err != nil {
		return fmt.Errorf("move %s into place: %w", s.Path(part), err)
	}
	if sealed(s) {
		return readBack(ctx, s, final, raw)
	}
	return nil
}

func readBack(ctx context.Context, s patient, p string, raw []byte) error {
	if back, err := readSmall(ctx, s, p); err != nil || !bytes.Equal(back, raw) {
		return errors.Join(fmt.Errorf("verify %s: the store has %d bytes, not the %d written", s.Path(p), len(back), len(raw)), err)
	}
	return nil
}

// sweep removes what broken pushes left in a folder: our own at once, those of others when they are a day old.
func sweep(ctx context.Context, s Store, who pusher, dir string, now time.Time) error {
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
		old := !f.ModTime().IsZero() && now.Sub(f.ModTime()) > stale
		if !old && !strings.HasPrefix(rest, who.tag()+"-") {
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
