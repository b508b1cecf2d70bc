package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile/daemon"
	"github.com/lkv-io/lkv/specs"
)

// followed is what of the reconcile block a daemon takes over while it runs: the interval and the webhook. It is safe
// for concurrent use.
type followed struct {
	s     system
	log   *slog.Logger
	fixed time.Duration // of --interval, which wins; 0: the spec's
	flag  bool          // --listen is given, so that the spec's address means nothing
	after context.Context
	all   sync.WaitGroup // webhooks at work

	mu       sync.Mutex
	interval time.Duration
	listen   string // as the spec said it last
	url      string // of hook; empty when there is none
	hook     *daemon.Webhook
	end      context.CancelFunc // ends hook, which then posts what waits; nil when there is none
}

// following begins with the spec that the daemon starts with. Its webhooks post until after ends.
func (s system) following(after context.Context, c *cli.Context, r specs.Reconcile, log *slog.Logger) (*followed, error) {
	f := &followed{s: s, log: log, flag: c.IsSet("listen"), after: after, listen: r.Listen}
	if c.IsSet("interval") {
		f.fixed = c.Duration("interval")
		if f.fixed <= 0 {
			return nil, usagef("--interval must be greater than zero, for example 5m")
		}
	}
	return f, f.take(r)
}

// take follows the spec as it is now. What of it cannot be used is an error, and everything stays as it was.
func (f *followed) take(r specs.Reconcile) error {
	url := ""
	if r.Webhook.IsSet() {
		var err error
		if url, err = r.Webhook.Reveal(); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.post(url); err != nil {
		return err
	}
	if f.interval = r.Interval; f.fixed > 0 {
		f.interval = f.fixed
	}
	if f.listen != r.Listen && !f.flag {
		f.log.Warn("reconcile { listen } has changed, which takes a restart of the daemon: until then it listens where it did", "was", f.listen, "is", r.Listen)
	}
	f.listen = r.Listen
	return nil
}

// post sends what happens from now on to that address; what was sent before goes where it was meant to go. The caller
// holds the lock.
func (f *followed) post(url string) error {
	if url == f.url {
		return nil
	}
	var hook *daemon.Webhook
	if url != "" {
		var err error
		if hook, err = f.s.webhook(url, f.log); err != nil {
			return err
		}
	}
	if f.end != nil {
		f.end()
		f.log.Info("the webhook has changed")
	}
	f.url, f.hook, f.end = url, hook, nil
	if hook != nil {
		var work context.Context
		work, f.end = context.WithCancel(f.after)
		f.all.Go(func() { hook.Run(work) })
	}
	return nil
}

// every returns how long to wait between two looks.
func (f *followed) every() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.interval
}

// tell hands an event to the webhook that there is now.
func (f *followed) tell(e daemon.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook != nil {
		f.hook.Send(e)
	}
}
