package reconcile

import (
	"testing"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// World is vCenter, datastores and guests in memory, Hands one process at work on it. They are named for tests that
// stand outside of this package.
type (
	World = world
	Hands = run
)

// NewWorld is a world with a fleet of n VMs on the old image, and what is wanted of it.
func NewWorld(n int) (*World, plan.Desired) {
	d := wish(n, "")
	return newWorld(d, all(n)...), d
}

// Hands returns one more process.
func (w *world) Hands() *Hands { return &run{w: w} }

// Calls returns how many mutating calls were made.
func (w *world) Calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// Intact asserts every invariant.
func (w *world) Intact(t *testing.T) { intact(t, w) }
