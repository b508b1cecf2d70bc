package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

// reconnect is how long the daemon goes without hints from a vCenter that it cannot follow. It is long because a wrong
// password that is repeated quickly locks the account; meanwhile it looks every interval all the same.
const reconnect = 5 * time.Minute

// listener follows vCenters between the looks of the daemon, so that a change is seen before the interval is over.
type listener struct {
	s    system
	c    *cli.Context
	log  *slog.Logger
	wake chan struct{} // holds a hint
	once sync.Once
	all  sync.WaitGroup
}

// listener returns one that does not follow anything yet.
func (s system) listener(c *cli.Context, log *slog.Logger) *listener {
	s.monitor = nil // what is asked here is no sign of life of a look
	return &listener{s: s, c: c, log: log.With("session", "changes"), wake: make(chan struct{}, 1)}
}

// start follows the vCenters that the spec's fleets name now, each in a session of its own, until ctx ends. It is called
// after the first look: VMs that this one made are followed, and what it did itself wakes nobody.
func (l *listener) start(ctx context.Context) {
	l.once.Do(func() {
		chosen, _, err := l.chosen()
		if err != nil {
			l.log.Warn("changes are not followed", "error", err)
			return
		}
		var names []string
		for _, f := range chosen {
			for _, p := range f.Placements {
				names = append(names, p.VCenter)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			l.all.Go(func() { l.follow(ctx, name) })
		}
	})
}

func (l *listener) chosen() ([]specs.Fleet, specs.Spec, error) {
	spec, err := l.s.spec(l.c)
	if err != nil {
		return nil, spec, err
	}
	chosen, err := fleets(l.c, spec)
	return chosen, spec, err
}

// follow follows one vCenter, and begins anew, with the spec as it is then, whenever that has ended.
func (l *listener) follow(ctx context.Context, vcenter string) {
	for ctx.Err() == nil {
		if err := l.session(ctx, vcenter); err != nil && ctx.Err() == nil {
			l.log.Warn("changes are not followed", "vcenter", vcenter, "error", err, "next", reconnect)
		}
		_ = clock{l.s.Now}.Sleep(ctx, reconnect) // the loop sees the end of ctx
	}
}

// errUnfollowed says that vCenter does not take the session's credentials any more.
var errUnfollowed = errors.New("vCenter ended the session and refuses the password")

// session follows one vCenter until ctx ends or it cannot be followed any more.
func (l *listener) session(ctx context.Context, vcenter string) error {
	chosen, spec, err := l.chosen()
	if err != nil {
		return err
	}
	x := l.s.sessions(spec, l.log)
	client, err := x.client(ctx, vcenter)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close(context.WithoutCancel(ctx)) }() // it may have ended already
	ctx, end := context.WithCancel(ctx)
	defer end()
	var fans sync.WaitGroup
	defer fans.Wait()
	for _, f := range chosen {
		if !slices.ContainsFunc(f.Placements, func(p specs.Placement) bool { return p.VCenter == vcenter }) {
			continue
		}
		hints, err := client.Fleet(vsphere.FleetConfig{Now: l.s.Now}).Changes(ctx, membersOf(f))
		if err != nil {
			end()
			return err
		}
		fans.Go(func() {
			defer end()
			for range hints {
				l.hint()
			}
		})
	}
	<-ctx.Done()
	return errUnfollowed
}

func (l *listener) hint() {
	select {
	case l.wake <- struct{}{}:
	default: // one is waiting
	}
}

// membersOf is what following needs to know of a fleet.
func membersOf(f specs.Fleet) plan.Desired {
	d := plan.Desired{Fleet: f.Name}
	for _, m := range f.Members() {
		d.VMs = append(d.VMs, plan.WantVM{Name: m.Name, Ordinal: m.Ordinal})
	}
	return d
}
