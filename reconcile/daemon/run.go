// Package daemon repeats what lkv reconcile does once, and says how it goes: over HTTP to whoever watches, with events
// to whoever wants to be told.
//
// It is no second engine. Every look is one complete run of the one-shot's, with the spec and the channels read
// afresh, and nothing is remembered from one to the next but what is only shown: counters and what was already told.
// So a daemon can be killed, run beside cron, or run twice, as runs can.
//
// Not supported: leadership (claims on the VMs do that work, VM by VM), and changing anything over HTTP.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

const (
	spread  = 0.1              // a wait is this share longer or shorter at random: daemons of one vCenter do not march in step
	longest = 4                // looks that fail are repeated at most this many intervals apart
	minGap  = 10 * time.Second // between a look's end and one that a hint from vCenter wakes
	fresh   = 3                // intervals after which the last look is too old to be called ready
)

// Options say what to repeat and who is told. Wake, Now, Notify, Watchdog and Listen may be empty.
type Options struct {
	// Once reads the spec and the channels and reconciles every fleet once, as the one-shot does. It finishes the call
	// in flight when its context ends. Its error is logged and never ends the daemon.
	Once func(context.Context) ([]reconcile.Result, error)
	// Interval is from the end of one look to the next; about a tenth is added or taken at random. It is asked anew for
	// every wait, because a spec may change it, and from several goroutines.
	Interval func() time.Duration
	Rand     func() float64     // from 0 to below 1
	Wake     <-chan struct{}    // look soon, something may have changed: a hint, heeded at most every ten seconds and not after errors
	Now      <-chan struct{}    // look at once, a person says so
	Listen   string             // address of the HTTP server as specs.ListenAddress returns it; empty: none
	Clock    reconcile.Clock    // tells the time and waits
	Monitor  *Monitor           // sees everything; Once hands its options to Monitor.Watch
	Log      *slog.Logger       // errors of looks, and what came of each
	Notify   func(string) error // tells the service manager (sd_notify)
	Watchdog time.Duration      // how often the service manager wants to hear that we live; 0: never
}

func (o Options) check() error {
	switch {
	case o.Once == nil || o.Interval == nil || o.Rand == nil || o.Clock == nil || o.Monitor == nil || o.Log == nil:
		return errors.New("run daemon: it needs something to repeat, randomness, a clock, a monitor and a log")
	case o.Interval() <= 0:
		return fmt.Errorf("run daemon: the interval is %s: write how long to wait between two looks, for example 5m", o.Interval())
	}
	return nil
}

// Run looks until the context ends: it finishes the call in flight and returns the context's cause. Any other error
// comes before the first look: wrong options, or an address that cannot be listened on.
func Run(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	o.Monitor.expect(o.Clock.Now(), 0)
	if o.Listen != "" {
		stop, err := o.serve(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	said := make(chan struct{})
	context.AfterFunc(ctx, func() { defer close(said); o.notify("STOPPING=1") }) // at once, not after the call in flight
	defer func() { <-said }()
	defer o.guard(ctx)()
	o.notify("READY=1")
	for failed := 0; ctx.Err() == nil; {
		err := o.look(ctx)
		if ctx.Err() != nil {
			break
		}
		if failed++; err == nil {
			failed = 0
		}
		d := o.delay(failed)
		if err != nil {
			o.Log.Error("look failed", "error", err, "next", d.Round(time.Second))
		}
		o.Monitor.expect(o.Clock.Now(), d)
		o.wait(ctx, d, failed > 0)
	}
	return context.Cause(ctx)
}

// look runs once. That another run is at work on this machine is no error: the fleets are in good hands.
func (o Options) look(ctx context.Context) error {
	from := o.Clock.Now()
	o.Monitor.expect(from, 0)
	results, err := o.Once(ctx)
	if err != nil && ctx.Err() != nil {
		return err // it was cut short, which says nothing about the fleets
	}
	o.Monitor.ended(results, err, o.Clock.Now().Sub(from))
	status := "converged"
	for _, r := range results {
		if r.Outcome != reconcile.Converged {
			status = fmt.Sprintf("fleet %s: %s", r.Fleet, r.Outcome)
		}
	}
	var busy plan.Blocked
	switch {
	case errors.As(err, &busy):
		err, status = nil, busy.Reason
	case err != nil:
		status = "the last look failed"
	}
	if ctx.Err() == nil {
		o.notify("STATUS=" + status)
	}
	return err
}

// delay is how long to wait after so many looks that failed. It is never shorter than the interval: a wrong password
// that is repeated quickly locks the account.
func (o Options) delay(failed int) time.Duration {
	times := 1
	for range failed - 1 {
		times = min(2*times, longest)
	}
	d := o.Interval() * time.Duration(times)
	return d + time.Duration(spread*(2*o.Rand()-1)*float64(d))
}

// wait returns after d, or earlier when somebody wants a look. After errors hints do not count.
func (o Options) wait(ctx context.Context, d time.Duration, deaf bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over, gap := o.after(ctx, d), o.after(ctx, min(d, minGap))
	wake := o.Wake
	if deaf {
		wake = nil
	}
	woken := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-o.Now:
			return
		case _, open := <-wake:
			if !open {
				wake = nil
				continue
			}
			if woken = true; gap == nil {
				return
			}
		case <-gap:
			if gap = nil; woken {
				return
			}
		}
	}
}

// after closes the channel when d is over or the context has ended.
func (o Options) after(ctx context.Context, d time.Duration) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		defer close(ch)
		_ = o.Clock.Sleep(ctx, d) // the context's end is seen by whoever waits
	}()
	return ch
}

// guard tells the service manager that we live, as long as we do, and returns what ends that.
func (o Options) guard(ctx context.Context) func() {
	if o.Watchdog <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // also while the last call is finished
	go func() {
		for o.Clock.Sleep(ctx, o.Watchdog/2) == nil {
			if o.Monitor.Alive(o.Clock.Now()) == nil {
				o.notify("WATCHDOG=1")
			}
		}
	}()
	return cancel
}

func (o Options) notify(state string) {
	if o.Notify == nil {
		return
	}
	if err := o.Notify(state); err != nil {
		o.Log.Warn("tell the service manager", "state", state, "error", err)
	}
}
