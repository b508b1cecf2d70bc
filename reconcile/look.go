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
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			e.probe(ctx, &have.VMs[i])
		})
	}
	wg.Wait()
	return have, nil
}

// probe makes the outside checks of a member of the fleet that is on.
func (e *engine) probe(ctx context.Context, v *plan.VM) {
	if w := e.memberOf(*v); w != nil && v.Power == plan.On && e.Prober != nil {
		v.Guest.Probes = e.Prober.Probe(ctx, *w, *v)
	}
}

// lookAt looks at one member of the fleet, nil when it is not there. blind says why nothing is known about it.
func (e *engine) lookAt(ctx context.Context, name string) (vm *plan.VM, blind string) {
	if e.Watcher != nil {
		return e.glance(ctx, name)
	}
	have, err := e.observe(ctx)
	switch {
	case err != nil:
		return nil, "the look failed: " + err.Error()
	case have.Problem != "":
		return nil, "the look is partial: " + have.Problem
	}
	i := slices.IndexFunc(have.VMs, func(v plan.VM) bool { return v.Name == name && e.memberOf(v) != nil })
	if i < 0 {
		return nil, ""
	}
	return &have.VMs[i], ""
}

// glance is lookAt where one VM can be read without the others.
func (e *engine) glance(ctx context.Context, name string) (*plan.VM, string) {
	ctx, cancel := context.WithTimeout(ctx, e.CallTimeout)
	defer cancel()
	v, err := e.Watcher.Glance(ctx, name, e.Desired)
	if err != nil {
		return nil, "the look failed: " + err.Error()
	}
	e.remember(plan.Observed{VMs: []plan.VM{v}})
	if e.memberOf(v) == nil {
		return nil, ""
	}
	e.probe(ctx, &v)
	return &v, ""
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
