package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/types"
)

// StoreError is what went wrong with a store, and whether it may be gone a moment later. A file that is certainly not
// there, or there already, is fs.ErrNotExist and fs.ErrExist within it.
type StoreError struct {
	Err   error
	retry bool
}

// Error implements error.
func (e *StoreError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *StoreError) Unwrap() error { return e.Err }

// Temporary tells whether the same call may succeed later: the connection was cut, vCenter restarts or the session
// ended. A missing file or privilege, a full datastore and a certificate that is not trusted are none of these.
func (e *StoreError) Temporary() bool { return e.retry }

// judged marks an error as temporary or not.
func judged(err error) error {
	var done *StoreError
	if err == nil || errors.As(err, &done) {
		return err
	}
	return &StoreError{err, passing(err)}
}

// passing tells whether an error may be gone a moment later.
func passing(err error) bool {
	var status *statusError
	var cert *CertificateError
	var forbidden *ForbiddenError
	var known *StoreError
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist), errors.As(err, &cert), errors.As(err, &forbidden):
		return false
	case errors.As(err, &known):
		return known.retry
	case errors.As(err, &status):
		return status.passing()
	case isFault[*types.HostNotConnected](err), isFault[*types.HostNotReachable](err), isFault[*types.Timedout](err),
		fault.Is(err, &types.NotAuthenticated{}), fault.IsTransientError(err):
		return true
	}
	var wire *wireError
	return errors.As(err, &wire) || lost(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// again calls do until it succeeds, its error is no temporary one, or the pauses are used up. do must change nothing
// that it may not change twice.
func again(ctx context.Context, do func() error) error {
	err := do()
	for _, pause := range pauses {
		if !passing(err) || sleep(ctx, pause) != nil {
			break
		}
		err = do()
	}
	return judged(err)
}

// wireError is a request that got no answer.
type wireError struct{ err error }

// Error implements error.
func (e *wireError) Error() string { return e.err.Error() }

// Unwrap returns what the connection's end was.
func (e *wireError) Unwrap() error { return e.err }

// statusError is an answer of the file server that is no success.
type statusError struct {
	who  string // "vCenter" or a host's name
	code int
	text string
}

// answered makes an error of an answer.
func answered(who string, res *http.Response) error {
	return &statusError{who, res.StatusCode, res.Status}
}

// Error implements error.
func (e *statusError) Error() string {
	hint := ""
	switch e.code {
	case http.StatusUnauthorized:
		hint = ": the session has just ended, or the role lacks Datastore.Browse or Datastore.FileManagement on the datacenter (R20)"
	case http.StatusForbidden:
		hint = ": the role needs Datastore.Browse and Datastore.FileManagement on the datacenter (R20)"
	case http.StatusInsufficientStorage:
		hint = ": the datastore is full (R21)"
	case http.StatusNotFound:
		hint = ": it does not know this datacenter, datastore or folder"
	}
	return fmt.Sprintf("%s answered %s%s", e.who, e.text, hint)
}

// passing counts 401 in: vCenter also answers so when the session ended while an upload was under way.
func (e *statusError) passing() bool {
	switch e.code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusInsufficientStorage, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return e.code >= http.StatusInternalServerError
}
