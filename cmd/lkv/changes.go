package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
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
	all  sync.WaitGroup
	now  map[string]tracked // by name of a vCenter
}

// tracked is one vCenter that is followed.
type tracked struct {
	fleets []plan.Desired // that have VMs there
	end    context.CancelFunc
}

// listener returns one that does not follow anything yet.
func (s system) listener(c *cli.Context, log *slog.Logger) *listener {
	s.monitor = nil // what is asked here is no sign of life of a look
	return &listener{s: s, c: c, log: log.With("session", "changes"), wake: make(chan struct{}, 1), now: map[string]tracked{}}
}

// follow follows the vCenters and fleets that the spec names now, each vCenter in a session of its own, until ctx ends or
// the spec names others. It is called after every look: VMs that this one made are followed, and what it did itself
// wakes nobody.
func (l *listener) follow(ctx context.Context) {
	chosen, _, err := l.chosen()
	if err != nil {
		l.log.Warn("changes of the spec are not followed", "error", err)
		return
	}
	there := map[string][]plan.Desired{}
	for _, f := range chosen {
		for _, name := range vcentersOf(f) {
			there[name] = append(there[name], membersOf(f))
		}
	}
	for name, old := range l.now {
		if !reflect.DeepEqual(old.fleets, there[name]) {
			old.end()
			delete(l.now, name)
		}
	}
	for name, fleets := range there {
		if _, already := l.now[name]; already {
			continue
		}
		ctx, end := context.WithCancel(ctx)
		l.now[name] = tracked{fleets, end}
		l.all.Go(func() { l.vcenter(ctx, name) })
	}
}

func (l *listener) chosen() ([]specs.Fleet, specs.Spec, error) {
	spec, err := l.s.spec(l.c)
	if err != nil {
		return nil, spec, err
	}
	chosen, err := fleets(l.c, spec)
	return chosen, spec, err
}

// vcenter follows one vCenter, and begins anew, with the spec as it is then, whenever that has ended.
func (l *listener) vcenter(ctx context.Context, name string) {
	for ctx.Err() == nil {
		if err := l.session(ctx, name); err != nil && ctx.Err() == nil {
			l.log.Warn("changes are not followed", "vcenter", name, "error", err, "next", reconnect)
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
		if !slices.Contains(vcentersOf(f), vcenter) {
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

// vcentersOf names the vCenters of a fleet, each once.
func vcentersOf(f specs.Fleet) []string {
	var names []string
	for _, p := range f.Placements {
		names = append(names, p.VCenter)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// membersOf is what following needs to know of a fleet.
func membersOf(f specs.Fleet) plan.Desired {
	d := plan.Desired{Fleet: f.Name}
	for _, m := range f.Members() {
		d.VMs = append(d.VMs, plan.WantVM{Name: m.Name, Ordinal: m.Ordinal})
	}
	return d
}
