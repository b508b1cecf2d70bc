package push

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
)

// ErrFull means that a store has too little room for the ISO (R21 of lkv's refusals).
var ErrFull = errors.New("datastore is too full")

// errISO means that the ISO on this machine is not what its manifest says.
var errISO = errors.New("build the image again")

const (
	defaultReserve = 1 << 30 // a full datastore stops running VMs
	everyBytes     = 1 << 20 // progress granularity
	rounds         = 2       // of placing a file: a push of the same owner at the same time sweeps ours away, once
)

// room refuses an upload that cannot fit, before the first byte.
func (j *job) room(ctx context.Context) error {
	reserve := j.Reserve
	if reserve <= 0 {
		reserve = defaultReserve
	}
	free, err := j.store.Free(ctx)
	if err != nil {
		return fmt.Errorf("read free space of %s: %w", j.store.Path(""), err)
	}
	if size := j.m.ISO.Size; free >= 0 && (free < size || free-size < reserve) {
		return fmt.Errorf("%w: %s has %d MiB free, the ISO needs %d MiB and %d MiB stay in reserve; make room or use another store",
			ErrFull, strings.TrimSpace(j.store.Path("")), free>>20, (size+1<<20-1)>>20, reserve>>20)
	}
	return nil
}

// present tells whether the ISO is on the store. A file under that name with another size or digest was not put
// there by lkv, or was damaged since: it may be what VMs boot from, so it is not overwritten.
func (j *job) present(ctx context.Context) (bool, error) {
	done, err := j.verify(ctx, j.final, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, errDiffers):
		return false, fmt.Errorf("%w: a damaged file that VMs may use; move it away, then push again", err)
	case err != nil:
		return false, err
	}
	j.res.Verified = done
	return true, nil
}

// upload streams the ISO to the store and hashes it on the way.
func (j *job) upload(ctx context.Context) error {
	var sent atomic.Int64 // a broken upload may be read from for a while
	err := j.place(ctx, Uploaded, func(part string) error {
		var body *meter
		err := j.store.send(ctx, part, j.m.ISO.Size, func() io.Reader {
			body = &meter{r: io.NewSectionReader(j.iso, 0, j.m.ISO.Size), sum: sha256.New(), all: &sent, tell: j.teller(PhaseUpload, j.m.ISO.Size)}
			return body
		})
		if err != nil {
			return fmt.Errorf("upload to %s: %w", j.store.Path(part), err)
		}
		if got := hex.EncodeToString(body.sum.Sum(nil)); got != j.m.ISO.SHA256 {
			return fmt.Errorf("%s has digest %s, its manifest says %s: %w", j.ISO, got, j.m.ISO.SHA256, errISO)
		}
		return nil
	})
	j.res.BytesUploaded = sent.Load()
	return err
}

// place fills a temporary name, verifies it and moves it into place.
func (j *job) place(ctx context.Context, how string, fill func(part string) error) error {
	for round := 1; ; round++ {
		gone, err := j.placeOnce(ctx, how, fill)
		if !gone || round == rounds {
			return err
		}
	}
}

// placeOnce is one round of place. Gone says that the temporary file vanished.
func (j *job) placeOnce(ctx context.Context, how string, fill func(part string) error) (gone bool, err error) {
	part, moved := j.pusher().temporary(j.store, j.final), false
	defer func() {
		if !moved {
			err = errors.Join(err, remove(ctx, j.store, part))
		}
	}()
	err = fill(part)
	if err != nil && (how != Uploaded || !errors.Is(err, fs.ErrExist)) {
		return false, err
	}
	var done string
	if err == nil {
		done, err = j.settle(ctx, part)
	}
	if err == nil {
		j.res.How, j.res.Verified, j.there, moved = how, done, true, true
		return false, nil
	}
	if !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	// Somebody else put the same ISO there meanwhile; or our move was done and only its answer lost.
	if there, perr := j.present(ctx); perr != nil || there {
		j.res.How, j.there = Already, there
		return false, perr
	}
	return true, err
}

// settle verifies a temporary file and moves it into place; on a Sealed store it reads it back afterwards.
func (j *job) settle(ctx context.Context, part string) (done string, err error) {
	late := sealed(j.store)
	if late {
		_, err = j.sized(ctx, part)
	} else {
		done, err = j.verify(ctx, part, true)
	}
	if err != nil {
		return "", err
	}
	if err := j.store.Move(ctx, part, j.final, false); err != nil {
		return "", fmt.Errorf("move %s into place: %w", j.store.Path(part), err)
	}
	if late {
		done, err = j.verify(ctx, j.final, true)
	}
	return done, err
}

// meter hashes and counts what passes, and tells how far it is.
type meter struct {
	r    io.Reader
	sum  hash.Hash
	all  *atomic.Int64 // counts the same, over several meters; may be nil
	n    int64
	told int64
	tell func(done int64)
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.sum.Write(p[:n])
	m.n += int64(n)
	if m.all != nil {
		m.all.Add(int64(n))
	}
	if m.n-m.told >= everyBytes || err != nil {
		m.told = m.n
		m.tell(m.n)
	}
	return n, err
}

func (j *job) teller(phase string, total int64) func(int64) {
	return func(done int64) { j.tell(Progress{Phase: phase, Done: done, Total: total}) }
}
