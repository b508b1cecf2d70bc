package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Lock files. Everybody who stores blobs holds blobsLock shared until the index names them, so that Prune,
// which holds it exclusively, never takes a blob away between the two.
const (
	blobsLock = "blobs.lock"
	indexLock = "index.lock"

	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
)

// lock waits for a lock file until ctx is done. The kernel releases it when the process dies.
func (c *Cache) lock(ctx context.Context, name string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock image cache: %w", err)
	}
	if err := flock(ctx, f, how); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("wait for the lock of the image cache %s: %w", c.dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// flock waits for a lock on an open file until ctx is done. Closing the file releases it.
func flock(ctx context.Context, f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// replaceFile writes data to path so that it is never seen half-written.
func replaceFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
