package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/daemon"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// watchFlags are those of the daemon.
func watchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "watch", Usage: "go on, look again every interval; SIGHUP looks at once, SIGTERM ends it"},
		&cli.DurationFlag{Name: "interval", Usage: "with --watch: look every `D` (reconcile { interval }; default 5m)"},
		&cli.StringFlag{Name: "listen", Usage: "with --watch: serve /healthz, /readyz and /metrics on `ADDRESS`; :9180 is this machine only (reconcile { listen })"},
	}
}

// refuseWatchFlags says that a flag of the daemon needs --watch, which a crontab may have lost.
func refuseWatchFlags(c *cli.Context) error {
	for _, name := range []string{"interval", "listen"} {
		if c.IsSet(name) {
			return usagef("--%s goes with --watch", name)
		}
	}
	return nil
}

// watch is the daemon. The spec must be right when it starts; later ones may be wrong for a while. It follows interval
// and webhook; where it listens is read once.
func (s system) watch(c *cli.Context) error {
	s.ErrTerminal = false // bars and a log do not go together
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	if _, err := fleets(c, spec); err != nil {
		return err
	}
	opt, err := s.daemonOptions(c, spec.Reconcile)
	if err != nil {
		return err
	}
	var now *followed
	s.monitor = daemon.NewMonitor(s.Version, opt.Clock, func(e daemon.Event) { now.tell(e) })
	hints := s.listener(c, opt.Log)
	opt.Wake = hints.wake
	after, ended := context.WithCancel(context.WithoutCancel(c.Context)) // what the last call comes to is told, too
	if now, err = s.following(after, c, spec.Reconcile, opt.Log); err != nil {
		ended()
		return err
	}
	defer now.all.Wait()
	defer ended()
	opt.Interval = now.every
	s.absent = &absences{every: now.every}
	opt.Monitor, opt.Once = s.monitor, func(ctx context.Context) ([]reconcile.Result, error) {
		defer hints.follow(ctx)
		return s.again(c, now)
	}
	defer hints.all.Wait()
	hangups, stop := onHangup(after, s.absent.forget)
	defer stop()
	opt.Now = hangups
	return daemon.Run(c.Context, opt)
}

// daemonOptions are those that flags and the spec say once and for all.
func (s system) daemonOptions(c *cli.Context, r specs.Reconcile) (opt daemon.Options, err error) {
	opt = daemon.Options{Listen: r.Listen, Clock: clock{s.Now}, Log: s.logger(c)}
	if c.IsSet("listen") {
		opt.Listen = c.String("listen")
	}
	if opt.Listen != "" {
		if opt.Listen, err = specs.ListenAddress(opt.Listen); err != nil {
			return opt, usagef("--listen: %w", err)
		}
	}
	opt.Notify = func(state string) error { _, err := sd.SdNotify(false, state); return err }
	if opt.Watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		return opt, fmt.Errorf("read WATCHDOG_USEC: %w", err)
	}
	opt.Rand, err = s.floats()
	return opt, err
}

// webhook returns one that posts to that address.
func (s system) webhook(url string, log *slog.Logger) (*daemon.Webhook, error) {
	rnd, err := s.floats()
	if err != nil {
		return nil, err
	}
	return daemon.NewWebhook(daemon.WebhookOptions{
		URL: url, UserAgent: "lkv/" + s.Version, Clock: clock{s.Now}, Rand: rnd, Log: log, Sent: s.monitor.Sent,
	})
}

// again is one look of the daemon. One that could not be made has a closing line in JSON, too; people find it in the log.
func (s system) again(c *cli.Context, now *followed) ([]reconcile.Result, error) {
	results, err := s.lookAgain(c, now)
	if err == nil || c.Err() != nil || !given(c, "json") {
		return results, err
	}
	r := reconcile.Result{Outcome: reconcile.Broken, Why: err.Error(), Blocked: []plan.Blocked{}, Failures: []reconcile.Failure{}, Same: []string{}, Extra: []string{}}
	var b plan.Blocked
	if errors.As(err, &b) {
		r.Outcome, r.Blocked = reconcile.Refused, append(r.Blocked, b)
	}
	return results, errors.Join(err, s.printResult(c, r))
}

// lookAgain reconciles every fleet once more, or only looks at them while the spec says suspend.
func (s system) lookAgain(c *cli.Context, now *followed) ([]reconcile.Result, error) {
	spec, err := s.spec(c)
	if err != nil {
		return nil, err
	}
	if err := now.take(spec.Reconcile); err != nil {
		return nil, err
	}
	s.monitor.Suspended(spec.Reconcile.Suspend)
	if !spec.Reconcile.Suspend {
		return s.round(c)
	}
	var results []reconcile.Result
	err = s.eachFleet(c, false, func(t target) error {
		r, err := s.onlyLook(c.Context, t, spec.Reconcile.Pos)
		if err == nil {
			results = append(results, r)
			err = s.printResult(c, r)
		}
		return err
	})
	return results, err
}

// onlyLook says what a run would find, and changes nothing.
func (s system) onlyLook(ctx context.Context, t target, by specs.Pos) (reconcile.Result, error) {
	r := reconcile.Result{Outcome: reconcile.Converged, Fleet: t.desired.Fleet, Blocked: t.blocked, Failures: []reconcile.Failure{}, Same: []string{}, Extra: []string{}}
	from := s.Now()
	waves := 0
	if t.blocked == nil {
		have, err := t.look(ctx)
		s.monitor.Seen(t.desired, have, err)
		if err != nil {
			return r, fmt.Errorf("look at fleet %s: %w", t.desired.Fleet, err)
		}
		p := plan.Compute(t.desired, have, from)
		r.Same, r.Extra, r.Blocked, waves = append(r.Same, p.Same...), append(r.Extra, p.Extra...), append([]plan.Blocked{}, p.Blocked...), len(p.Waves)
	}
	if len(r.Blocked) > 0 {
		r.Outcome = reconcile.Refused
	}
	if waves > 0 {
		r.Outcome, r.Why = reconcile.Pending, fmt.Sprintf("suspended by %s: nothing is done", by)
		r.Blocked = append(r.Blocked, suspended(by))
	}
	r.Seconds = s.Now().Sub(from).Seconds()
	return r, nil
}

// onHangup turns SIGHUP into a wish to look now, after first. Several at once are one.
func onHangup(ctx context.Context, first func()) (<-chan struct{}, func()) {
	signals, wishes := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				first()
				select {
				case wishes <- struct{}{}:
				default:
				}
			}
		}
	}()
	return wishes, func() { signal.Stop(signals) }
}

// floats returns a source of random numbers from 0 to below 1, for one goroutine at a time.
func (s system) floats() (func() float64, error) {
	var seed [32]byte
	if _, err := s.Rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:]))).Float64, nil
}
