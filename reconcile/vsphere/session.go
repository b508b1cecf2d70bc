package vsphere

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// session logs in again when the session has expired (vCenter ends it after half an hour of silence), and repeats
// reads that the network lost. It never repeats a call that changes something: its reply may be lost, not the call.
type session struct {
	next           soap.RoundTripper
	user, password string
	manager        types.ManagedObjectReference

	mu     sync.Mutex
	logins int
	denied error // vCenter does not take the password any more: asking again would lock the account
}

// pauses before reads are repeated.
var pauses = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

// RoundTrip implements soap.RoundTripper.
func (s *session) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	before := s.count()
	err := s.send(ctx, req, res)
	if !expired(err, res) || bare(req) {
		return err
	}
	// The call was refused before it had any effect, so that it may be sent again.
	if err := s.again(ctx, before); err != nil {
		return err
	}
	empty(res)
	return s.send(ctx, req, res)
}

// send repeats reads.
func (s *session) send(ctx context.Context, req, res soap.HasFault) error {
	err := s.next.RoundTrip(ctx, req, res)
	for _, pause := range pauses {
		if err == nil || !lost(err) || changes(req) || ctx.Err() != nil {
			return err
		}
		if werr := sleep(ctx, pause); werr != nil {
			return err
		}
		empty(res)
		err = s.next.RoundTrip(ctx, req, res)
	}
	return err
}

func (s *session) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// again logs in unless somebody else did since the caller's attempt.
func (s *session) again(ctx context.Context, before int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins != before {
		return nil
	}
	if s.denied != nil {
		return s.denied
	}
	err := s.loginLocked(ctx)
	if fault.Is(err, &types.InvalidLogin{}) {
		s.denied = err
	}
	return err
}

func (s *session) login(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loginLocked(ctx)
}

func (s *session) loginLocked(ctx context.Context) error {
	_, err := methods.Login(ctx, s.next, &types.Login{This: s.manager, UserName: s.user, Password: s.password})
	if err == nil {
		s.logins++
	}
	return err
}

// expired also looks into property reads: without a session every property is "missing" there instead of a fault.
func expired(err error, res soap.HasFault) bool {
	if fault.Is(err, &types.NotAuthenticated{}) {
		return true
	}
	body, ok := res.(*methods.RetrievePropertiesExBody)
	if err != nil || !ok || body.Res == nil || body.Res.Returnval == nil {
		return false
	}
	for _, o := range body.Res.Returnval.Objects {
		for _, m := range o.MissingSet {
			if _, ok := m.Fault.Fault.(*types.NotAuthenticated); ok {
				return true
			}
		}
	}
	return false
}

// lost tells whether the network, not vCenter, failed.
func lost(err error) bool {
	var ue *url.Error
	var op *net.OpError
	var cert *CertificateError
	if errors.As(err, &cert) || errors.Is(err, context.Canceled) {
		return false
	}
	return errors.As(err, &ue) || errors.As(err, &op)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
