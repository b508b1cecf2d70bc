package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/lkv-io/lkv/internal/manifest"
)

// errDiffers means that a file on a store is not the ISO.
var errDiffers = errors.New("it is not the ISO")

// Samples show a file that was cut, filled with zeros, swapped or put together wrongly. A single wrong bit shows in
// Full only, and in the hash over an upload when it was wrong before it left.
const (
	samples    = 16
	sampleSize = 64 << 10 // bytes
)

// verify compares a file on the store with the ISO and returns what was done. A fresh one is read whole when the
// store cannot read samples; one that has its final name was verified when it got it, so there the size must do.
func (j *job) verify(ctx context.Context, p string, fresh bool) (done string, err error) {
	want, err := j.sized(ctx, p)
	if err != nil {
		return "", err
	}
	level := j.Verify
	if level == "" {
		level = Sample
	}
	ranges, ok := j.store.Store.(RangeReader)
	switch {
	case level == Sample && !ok && !fresh:
		level = Size
	case level == Sample && (!ok || want.Size <= samples*sampleSize):
		level = Full
	}
	switch level {
	case Full:
		err = j.readWhole(ctx, p)
	case Sample:
		err = j.readSamples(ctx, ranges, p)
	}
	if err != nil {
		return "", fmt.Errorf("verify %s: %w", j.store.Path(p), err)
	}
	return level, nil
}

// sized compares a file's size on the store with the ISO's.
func (j *job) sized(ctx context.Context, p string) (manifest.File, error) {
	want := j.m.ISO
	info, err := j.store.Stat(ctx, p)
	if err != nil {
		return want, fmt.Errorf("look for %s: %w", j.store.Path(p), err)
	}
	if info.Size() != want.Size {
		return want, fmt.Errorf("verify %s: the store has %d bytes instead of %d: %w", j.store.Path(p), info.Size(), want.Size, errDiffers)
	}
	return want, nil
}

// readWhole reads a file back and checks its digest.
func (j *job) readWhole(ctx context.Context, p string) error {
	var got string
	err := j.store.read(ctx, func(ctx context.Context) (io.ReadCloser, error) { return j.store.Open(ctx, p) }, func(r io.Reader) error {
		body := &meter{r: r, sum: sha256.New(), tell: j.teller(PhaseVerify, j.m.ISO.Size)}
		_, err := io.Copy(io.Discard, body)
		got = hex.EncodeToString(body.sum.Sum(nil))
		return err
	})
	if err == nil && got != j.m.ISO.SHA256 {
		return fmt.Errorf("the store has digest %s instead of %s: %w", got, j.m.ISO.SHA256, errDiffers)
	}
	return err
}

// readSamples compares parts of a file with the same parts of the ISO on this machine.
func (j *job) readSamples(ctx context.Context, ranges RangeReader, p string) error {
	tell, want, got := j.teller(PhaseVerify, samples*sampleSize), make([]byte, sampleSize), make([]byte, sampleSize)
	for i, off := range places(j.m.ISO.SHA256, j.m.ISO.Size) {
		if _, err := j.iso.ReadAt(want, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", j.ISO, err)
		}
		err := j.store.read(ctx, func(ctx context.Context) (io.ReadCloser, error) {
			return ranges.OpenRange(ctx, p, off, sampleSize)
		}, func(r io.Reader) error {
			_, err := io.ReadFull(r, got)
			return err
		})
		if err != nil {
			return err
		}
		if !bytes.Equal(want, got) {
			return j.whoDiffers(off)
		}
		tell(int64(i+1) * sampleSize)
	}
	return nil
}

// whoDiffers says which of two unlike files is the wrong one.
func (j *job) whoDiffers(off int64) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(j.iso, 0, j.m.ISO.Size)); err != nil {
		return fmt.Errorf("read %s: %w", j.ISO, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != j.m.ISO.SHA256 {
		return fmt.Errorf("%s has digest %s, its manifest says %s: %w", j.ISO, got, j.m.ISO.SHA256, errISO)
	}
	return fmt.Errorf("the store has other bytes at %d: %w", off, errDiffers)
}

// places returns where samples begin: at the beginning, at the end, and where the digest says, so that every push of
// an ISO looks at the same places and another ISO at others. Size must be more than all samples together.
func places(digest string, size int64) []int64 {
	last := size - sampleSize
	list := []int64{0, last}
	for i := len(list); i < samples; i++ {
		sum := sha256.Sum256([]byte(fmt.Sprintf("%s %d", digest, i)))
		list = append(list, int64(binary.BigEndian.Uint64(sum[:8])%uint64(last+1)))
	}
	return list
}
