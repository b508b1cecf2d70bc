package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// ErrTemporary is wrapped by errors of a store that may be gone a moment later: a cut connection, a busy or
// restarting server.
var ErrTemporary = errors.New("temporary trouble")

const (
	tries        = 12               // of one call; with the pauses below that outlasts the restart of a vCenter
	longestPause = time.Minute      // between two of them; the first is a second, and each is twice the one before
	defaultStall = 5 * time.Minute  // a transfer on which nothing moves for so long is cut
	callTime     = 10 * time.Minute // for a call that moves no data through here
	copyTime     = 2 * time.Hour    // for a copy, which may cross data centres
)

// passing tells whether an error is marked temporary.
func passing(err error) bool {
	var t interface{ Temporary() bool }
	return errors.Is(err, ErrTemporary) || errors.As(err, &t) && t.Temporary()
}

// pause returns how long to wait after the nth try, counted from 1.
func pause(n int) time.Duration { return min(time.Second<<(n-1), longestPause) }

// patient is a store whose calls are made again while their errors are temporary. Every call ends: by itself, by its
// time limit, or because nothing moved.
type patient struct {
	Store
	sleep func(context.Context, time.Duration) error // nil: one try
	stall time.Duration
	tell  func(error, time.Duration) // before every pause
	most  int                        // tries of one call; 0: tries
}

// Patiently returns a store whose calls are made up to n times while their errors are temporary, with the pauses that
// a push makes. It is for those who only read; what a store can besides is not in it. A nil sleep is one try.
func Patiently(s Store, n int, sleep func(context.Context, time.Duration) error) Store {
	p := calm(s, sleep)
	p.most = n
	return p
}

// again makes a call until it succeeds, fails for good, or is out of tries.
func (p patient) again(ctx context.Context, call func() error) error {
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := call()
		if err == nil || !passing(err) || p.sleep == nil || n == cmp.Or(p.most, tries) || ctx.Err() != nil {
			return err
		}
		p.tell(err, pause(n))
		if werr := p.sleep(ctx, pause(n)); werr != nil {
			return errors.Join(err, werr)
		}
	}
}

// within is again with a time limit for each try.
func (p patient) within(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	return p.again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return call(ctx)
	})
}

// Stat implements Reader.
func (p patient) Stat(ctx context.Context, path string) (info fs.FileInfo, err error) {
	err = p.within(ctx, callTime, func(ctx context.Context) error { info, err = p.Store.Stat(ctx, path); return err })
	return info, err
}

// List implements Reader.
func (p patient) List(ctx context.Context, dir string) (list []fs.FileInfo, err error) {
	err = p.within(ctx, callTime, func(ctx context.Context) error { list, err = p.Store.List(ctx, dir); return err })
	return list, err
}

// Free implements Store.
func (p patient) Free(ctx context.Context) (n int64, err error) {
	err = p.within(ctx, callTime, func(ctx context.Context) error { n, err = p.Store.Free(ctx); return err })
	return n, err
}

// Mkdir implements Writer.
func (p patient) Mkdir(ctx context.Context, dir string) error {
	return p.within(ctx, callTime, func(ctx context.Context) error { return p.Store.Mkdir(ctx, dir) })
}

// Move implements Writer. When the answer to a try was lost, the next one says that there is no such file.
func (p patient) Move(ctx context.Context, from, to string, overwrite bool) error {
	return p.within(ctx, callTime, func(ctx context.Context) error { return p.Store.Move(ctx, from, to, overwrite) })
}

// Delete implements Writer.
func (p patient) Delete(ctx context.Context, path string) error {
	return p.within(ctx, callTime, func(ctx context.Context) error { return p.Store.Delete(ctx, path) })
}

// read streams a file to use, from its beginning on every try.
func (p patient) read(ctx context.Context, open func(context.Context) (io.ReadCloser, error), use func(io.Reader) error) error {
	return p.again(ctx, func() error {
		ctx, w := p.watch(ctx)
		defer w.stop()
		r, err := open(ctx)
		if err != nil {
			return w.why(ctx, err)
		}
		defer r.Close()
		return w.why(ctx, use(w.reader(r)))
	})
}

// send uploads what open returns, from its beginning on every try.
func (p patient) send(ctx context.Context, path string, size int64, open func() io.Reader) error {
	return p.again(ctx, func() error {
		ctx, w := p.watch(ctx)
		defer w.stop()
		return w.why(ctx, p.Put(ctx, path, w.reader(open()), size))
	})
}

// watch cuts a transfer on which nothing moves.
type watch struct {
	timer *time.Timer
	limit time.Duration
	stop  func()
}

func (p patient) watch(ctx context.Context) (context.Context, watch) {
	limit := p.stall
	if limit <= 0 {
		limit = defaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing moved for %s: %w", limit, ErrTemporary)) })
	return ctx, watch{timer: t, limit: limit, stop: func() { t.Stop(); cancel(nil) }}
}

// why adds that the transfer was cut for standing still, so that it is tried again.
func (w watch) why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(cause, ErrTemporary) {
		return errors.Join(cause, err)
	}
	return err
}

func (w watch) reader(r io.Reader) io.Reader { return moving{r, w} }

type moving struct {
	r io.Reader
	w watch
}

// Read implements io.Reader.
func (m moving) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	if n > 0 {
		m.w.timer.Reset(m.w.limit)
	}
	return n, err
}
