package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// probes bounds how many VMs are probed at the same time.
const probes = 8

// look observes until it works or the attempts are used up; then the plan sees a failed look (R15).
func (e *engine) look(ctx context.Context) plan.Observed {
	var err error
	for i := range e.Attempts {
		var have plan.Observed
		if have, err = e.observe(ctx); err == nil && have.Problem == "" {
			return have
		} else if err == nil && i == e.Attempts-1 {
			return have
		}
		if e.Clock.Sleep(ctx, e.Poll*time.Duration(i+1)) != nil {
			break
		}
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return plan.Observed{Problem: err.Error()}
}

// observe looks once and adds the outside checks of the VMs that are on.
func (e *engine) observe(ctx context.Context) (plan.Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, e.CallTimeout)
	defer cancel()
	have, err := e.Observer.Observe(ctx, e.Desired)
	if err != nil {
		return have, err
	}
	defer func() { e.remember(have) }()
	if e.Prober == nil {
		return have, nil
	}
	have = have.Clone()
	var wg sync.WaitGroup
	slots := make(chan struct{}, probes)
	for i := range have.VMs {
		v := &have.VMs[i]
		w := e.memberOf(*v)
		if w == nil || v.Power != plan.On {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			v.Guest.Probes = e.Prober.Probe(ctx, *w, *v)
		})
	}
	wg.Wait()
	return have, nil
}

// memberOf returns the wanted VM whose place a VM of the fleet has, or is about to take; nil when it has none.
func (e *engine) memberOf(v plan.VM) *plan.WantVM {
	i := slices.IndexFunc(e.Desired.VMs, func(w plan.WantVM) bool {
		return w.Name == v.Name || v.Record.Replaces != "" && w.Ordinal == v.Ordinal
	})
	if i < 0 || v.Fleet != e.Desired.Fleet || !v.Record.Retired.IsZero() {
		return nil
	}
	return &e.Desired.VMs[i]
}

// remember keeps what the last look showed of each VM, for hooks and bounds.
func (e *engine) remember(have plan.Observed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range have.VMs {
		e.seen[v.Name] = v
	}
}
