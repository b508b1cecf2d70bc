package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// progressStep is how much a try must bring to count as progress: a registry that drips single bytes is given up.
const progressStep = 256 << 10

// opener starts reading a blob at an offset, or at 0 when the other side cannot do that.
type opener func(ctx context.Context, from int64) (body io.ReadCloser, start int64, err error)

// part is a download that isn't complete. Its file outlives the process; its lock doesn't.
type part struct {
	f    *os.File
	sum  hash.Hash
	n    int64 // bytes in the file and in sum
	want v1.Descriptor
	tell func(n int64) // told how far the download is; may go back
}

// download stores a blob, going on where an earlier download was cut off. The blob appears under its name complete
// and verified. Two processes that want one blob take turns, and the second finds it done.
func (b blobs) download(ctx context.Context, d v1.Descriptor, w waiter, open opener, tell func(int64)) error {
	f, err := b.openPart(ctx, d)
	if err != nil || f == nil {
		return err
	}
	defer func() { _ = f.Close() }() // and release the lock
	p := &part{f: f, want: d, tell: tell}
	old, err := p.rewind(true)
	for err == nil {
		err = w.again(ctx, func() (bool, error) {
			before := p.n
			err := p.read(ctx, open)
			return p.n-before >= progressStep, err
		})
		if err == nil {
			err = check(p.sum, d.Digest, p.n, d.Size)
		}
		if errors.Is(err, ErrDamaged) {
			_, bad := p.rewind(false)
			if old && bad == nil { // what lay there from last time may have been bad
				old, err = false, nil
				continue
			}
			err = errors.Join(err, bad, os.Remove(f.Name()))
		}
		break
	}
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err == nil {
		err = os.Rename(f.Name(), b.path(d.Digest))
	}
	if err != nil {
		return fmt.Errorf("fetch blob %s: %w", d.Digest, err)
	}
	return nil
}

// rewind reads what is there into the sum, or throws it away. It says whether anything is left.
func (p *part) rewind(keep bool) (some bool, err error) {
	p.sum, p.n = sha256.New(), 0
	if keep {
		if p.n, err = io.Copy(p.sum, p.f); err == nil && p.n <= p.want.Size {
			p.tell(p.n)
			return p.n > 0, nil
		}
		p.sum, p.n = sha256.New(), 0
	}
	p.tell(0)
	_, seek := p.f.Seek(0, io.SeekStart)
	return false, errors.Join(err, p.f.Truncate(0), seek)
}

// read makes one request for what is missing.
func (p *part) read(ctx context.Context, open opener) error {
	if p.n == p.want.Size && p.n > 0 {
		return nil
	}
	body, start, err := open(ctx, p.n)
	if errors.Is(err, errRange) || err == nil && start != p.n {
		if _, err := p.rewind(false); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	left := p.want.Size - p.n
	n, err := io.Copy(io.MultiWriter(p.f, p), stopper{ctx, io.LimitReader(line{body}, left+1)})
	switch {
	case n > left:
		return fmt.Errorf("%w: more than the announced %d bytes", ErrDamaged, p.want.Size)
	case err == nil && n < left:
		return fmt.Errorf("cut off after %d of %d bytes: %w", p.n, p.want.Size, io.ErrUnexpectedEOF)
	}
	return err
}

// line marks what goes wrong while a body is read: whatever it is called, the connection broke.
type line struct{ r io.Reader }

func (l line) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	return n, err
}

// Write counts what was written to the file.
func (p *part) Write(b []byte) (int, error) {
	p.sum.Write(b)
	p.n += int64(len(b))
	p.tell(min(p.n, p.want.Size))
	return len(b), nil
}

// openPart opens and locks a blob's part file; nil when the blob is complete.
func (b blobs) openPart(ctx context.Context, d v1.Descriptor) (*os.File, error) {
	if err := checkDescriptor(d, d.Size); err != nil {
		return nil, err
	}
	path := filepath.Join(b.dir, "sha256", ".part-"+d.Digest.Hex)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
	}
	for {
		if b.has(d.Digest, d.Size) {
			return nil, nil
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
		}
		mine, err := lockPart(ctx, f)
		if err == nil && mine {
			if !b.has(d.Digest, d.Size) {
				return f, nil
			}
			err = os.Remove(path) // the winner renamed its own; ours came after
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
		}
	}
}

// lockPart waits for the lock. mine is false when the file lost its name meanwhile.
func lockPart(ctx context.Context, f *os.File) (mine bool, err error) {
	if err := flock(ctx, f, exclusive); err != nil {
		return false, fmt.Errorf("lock: %w", err)
	}
	ours, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(ours, named), err
}
