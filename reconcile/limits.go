package reconcile

import (
	"context"
	"strings"
	"sync"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Bounds of what runs at the same time, whatever a wave allows: hosts start VMs one after the other for a reason, and
// a datastore that makes several thick disks at once makes all of them slowly.
const (
	perHost      = 2 // VMs starting on one host
	perDatastore = 4 // disks and VMs being made on one datastore
)

// limits are places for steps that load one host or one datastore.
type limits struct {
	mu    sync.Mutex
	slots map[string]chan struct{}
}

// enter waits for a place for the step and returns what gives it back.
func (l *limits) enter(ctx context.Context, s plan.Step, vm plan.VM) (leave func(), err error) {
	key, n := bound(s, vm)
	if key == "" {
		return func() {}, nil
	}
	l.mu.Lock()
	if l.slots == nil {
		l.slots = map[string]chan struct{}{}
	}
	slot, ok := l.slots[key]
	if !ok {
		slot = make(chan struct{}, n)
		l.slots[key] = slot
	}
	l.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// bound says what a step loads and how many such steps it bears; "" for a step that loads nothing.
func bound(s plan.Step, vm plan.VM) (key string, n int) {
	switch s := s.(type) {
	case plan.CreateDisk:
		return "datastore " + datastoreOf(s.Path), perDatastore
	case plan.CreateVM:
		return "datastore " + s.Want.Place.Datacenter + "/" + s.Want.Place.Datastore, perDatastore
	case plan.PowerOn:
		if vm.Host != "" {
			return "host " + vm.Host, perHost
		}
	}
	return "", 0
}

func datastoreOf(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "["), "]")
	return name
}
