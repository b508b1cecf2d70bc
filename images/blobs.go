package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrDamaged is wrapped by every error about bytes that don't have the digest or size they should have.
var ErrDamaged = errors.New("content does not match its digest")

// blobs is the blobs directory of an OCI layout. Only sha256 digests exist in it.
//
// Layers stay as the registry sent them. Unpacked ones beside them would spare a first build a third of its CPU time,
// but unpacking while they stream in made a fetch of 167 MB over loopback take 2.5 to 3.1 s instead of 0.5 to 0.8 s (3.0 to
// 3.4 s as S2), and the cache 2.5 times as large.
type blobs struct{ dir string }

func (b blobs) path(h v1.Hash) string { return filepath.Join(b.dir, "sha256", h.Hex) }

// has says whether a blob of that size is stored. size < 0 means any size.
func (b blobs) has(h v1.Hash, size int64) bool {
	st, err := os.Stat(b.path(h))
	return err == nil && st.Mode().IsRegular() && (size < 0 || st.Size() == size)
}

// size returns a stored blob's size, bytes.
func (b blobs) size(h v1.Hash) (int64, error) {
	st, err := os.Stat(b.path(h))
	if err != nil {
		return 0, fmt.Errorf("blob %s: %w", h, err)
	}
	return st.Size(), nil
}

// open returns the blob; reading it to the end fails with ErrDamaged when it isn't what h and size say. The
// blob is then removed, so that the next run gets it anew.
func (b blobs) open(h v1.Hash, size int64) (io.ReadCloser, error) {
	f, err := os.Open(b.path(h))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", h, err)
	}
	return &verifier{f: f, sum: sha256.New(), want: h, size: size}, nil
}

// read returns a small blob (manifest or config) whole and verified.
func (b blobs) read(h v1.Hash) ([]byte, error) {
	data, err := os.ReadFile(b.path(h))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", h, err)
	}
	if got := digestOf(data); got != h {
		return nil, fmt.Errorf("read blob %s: %w: it is %s", h, ErrDamaged, got)
	}
	return data, nil
}

// put stores r under h, unless it is there already with that size. Nothing appears under the blob's name
// before all of it is on disk and verified. size < 0 means unknown.
func (b blobs) put(h v1.Hash, size int64, r io.Reader) (err error) {
	if h.Algorithm != "sha256" || len(h.Hex) != sha256.Size*2 {
		return fmt.Errorf("store blob %s: only sha256 digests are supported", h)
	}
	dir := filepath.Dir(b.path(h))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("store blob %s: %w", h, err)
	}
	f, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return fmt.Errorf("store blob %s: %w", h, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), r)
	if err == nil {
		err = check(sum, h, n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("store blob %s: %w", h, err)
	}
	if err := os.Rename(f.Name(), b.path(h)); err != nil {
		return fmt.Errorf("store blob %s: %w", h, err)
	}
	return nil
}

func (b blobs) putBytes(h v1.Hash, data []byte) error {
	if _, err := b.read(h); err == nil {
		return nil
	}
	return b.put(h, int64(len(data)), bytes.NewReader(data))
}

// each calls f for every stored blob.
func (b blobs) each(f func(h v1.Hash, size int64) error) error {
	list, err := os.ReadDir(filepath.Join(b.dir, "sha256"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	for _, e := range list {
		st, err := e.Info()
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		if err := f(v1.Hash{Algorithm: "sha256", Hex: e.Name()}, st.Size()); err != nil {
			return err
		}
	}
	return nil
}

func check(sum hash.Hash, want v1.Hash, n, size int64) error {
	if size >= 0 && n != size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, n, size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.Hex {
		return fmt.Errorf("%w: it is sha256:%s", ErrDamaged, got)
	}
	return nil
}

func digestOf(data []byte) v1.Hash {
	s := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s[:])}
}

// verifier hashes what passes and turns the end of the file into an error when the digest is another.
type verifier struct {
	f    *os.File
	sum  hash.Hash
	want v1.Hash
	n    int64
	size int64 // expected size, -1 when unknown
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.sum.Write(p[:n])
	v.n += int64(n)
	if err == io.EOF {
		if bad := check(v.sum, v.want, v.n, v.size); bad != nil {
			if err := os.Remove(v.f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return n, fmt.Errorf("read blob %s: %w; remove %s by hand: %w", v.want, bad, v.f.Name(), err)
			}
			return n, fmt.Errorf("read blob %s: %w (removed from the cache: run again)", v.want, bad)
		}
	}
	return n, err
}

func (v *verifier) Close() error { return v.f.Close() }
