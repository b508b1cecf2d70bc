package main

import (
	"errors"
	"sync"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// unanswered is a vCenter that there is no session with: it does not answer, or does not take the credentials.
type unanswered struct {
	vcenter string // block of the spec; empty for the one of the environment
	err     error
}

// Error implements error.
func (u *unanswered) Error() string { return u.err.Error() }

func (u *unanswered) Unwrap() error { return u.err }

// refusalOf returns what keeps a fleet from being looked at as the refusal that it is: no session with a vCenter (R15), a
// missing privilege (R20). Every other error stays as it is.
func refusalOf(err error) error {
	var u *unanswered
	if !errors.As(err, &u) {
		return vsphere.Refused(err)
	}
	name := "vCenter"
	if u.vcenter != "" {
		name += " " + u.vcenter
	}
	return plan.Blocked{Code: plan.R15, Reason: "there is no session with " + name + ": " + u.Error(),
		Clear: "bring it back, or correct its address or credentials, and run the command again; lkv doctor shows more"}
}

// absences remembers from look to look of the daemon which vCenters gave no session, and asks such a one again after one,
// two, then four intervals: a wrong password that is repeated quickly locks the account. The others are looked at as
// usual. A nil one remembers nothing. It is safe for concurrent use.
type absences struct {
	every func() time.Duration

	mu  sync.Mutex
	all map[string]absence
}

type absence struct {
	err   error
	times int       // failed so often, one after the other
	until time.Time // then it is asked again
}

// of returns why a vCenter is not asked now; nil: ask it.
func (a *absences) of(vcenter string, now time.Time) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if x := a.all[vcenter]; now.Before(x.until) {
		return x.err
	}
	return nil
}

// note takes in what became of asking a vCenter.
func (a *absences) note(vcenter string, err error, now time.Time) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.all, vcenter)
		return
	}
	x := absence{err: err, times: a.all[vcenter].times + 1}
	every := a.every()
	x.until = now.Add(every<<min(x.times-1, 2) - every/2) // the look that comes by then may come a little early
	if a.all == nil {
		a.all = map[string]absence{}
	}
	a.all[vcenter] = x
}

// forget lets every vCenter be asked at once.
func (a *absences) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.all)
}
