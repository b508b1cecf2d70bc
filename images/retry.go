package images

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// waiter is the pause before the first repetition; each further one is twice as long. Zero means half a second, so
// that a request is given up after 7.5 s of pauses: restarts of a registry behind a proxy take about 5 s.
type waiter time.Duration

// tries is how often a request that brings nothing is made.
const tries = 5

// again calls do until it succeeds, fails for good, or failed tries times in a row without progress.
func (w waiter) again(ctx context.Context, do func() (progress bool, err error)) error {
	first := time.Duration(w)
	if first == 0 {
		first = 500 * time.Millisecond
	}
	for n := 1; ; n++ {
		progress, err := do()
		if err == nil {
			return nil
		}
		if progress {
			n = 1
		}
		if n >= tries || !temporary(err) || ctx.Err() != nil {
			return err
		}
		t := time.NewTimer(first << (n - 1))
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		case <-t.C:
		}
	}
}

// errBroken says that the connection broke in the middle of a body.
var errBroken = errors.New("the connection broke")

// temporary says whether asking again may help.
func temporary(err error) bool {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode >= http.StatusInternalServerError || te.StatusCode == http.StatusTooManyRequests || te.StatusCode == http.StatusRequestTimeout
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return true
	}
	for _, e := range []error{io.ErrUnexpectedEOF, io.EOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, errRange, errBroken} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
