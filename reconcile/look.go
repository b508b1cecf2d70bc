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
	if err != nil || e.Prober == nil {
		return have, err
	}
	have = have.Clone()
	var wg sync.WaitGroup
	slots := make(chan struct{}, probes)
	for i := range have.VMs {
		v := &have.VMs[i]
		w := e.wanted(v.Name)
		if w == nil || v.Power != plan.On || v.Fleet != e.Desired.Fleet {
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

func (e *engine) wanted(name string) *plan.WantVM {
	i := slices.IndexFunc(e.Desired.VMs, func(w plan.WantVM) bool { return w.Name == name })
	if i < 0 {
		return nil
	}
	return &e.Desired.VMs[i]
}
