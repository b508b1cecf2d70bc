package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Ready is the gate of a roll: why the VM does not yet run the wanted image with its data disks, or "" when it does.
// It is pure. On top of plan.Ready it asks that every attached disk shows its UUID, because a gate that compares
// nothing with nothing proves nothing.
func Ready(want plan.Desired, w plan.WantVM, v plan.VM) string {
	for _, d := range v.Disks {
		if plan.SerialOf(d.UUID) == "" {
			return fmt.Sprintf("disk %s shows no UUID", d.Path)
		}
	}
	return plan.Ready(want, w, v)
}

// await looks until the gate has held for the settle time. It fails when it does not hold once the deadline has
// passed, and at once when the guest of this very boot says that it failed: a guest does not recover from that.
// A look that failed counts neither for the VM nor against it.
func (e *engine) await(ctx context.Context, vm string, s plan.AwaitReady) error {
	deadline := e.Clock.Now().Add(s.Timeout)
	var since, seen time.Time // holds without a break since; last look that worked
	said := ""
	for {
		if err := e.renew(ctx, s); err != nil {
			return err
		}
		g, err := e.gate(ctx, vm)
		if err != nil {
			return err
		}
		if why := cmp.Or(g.why, g.blind); why != said && why != "" {
			said = why
			e.emit(Event{VM: vm, Step: s.String(), State: Waiting, Reason: why})
		}
		now := e.Clock.Now()
		switch {
		case g.blind != "":
			if now.Sub(seen) > s.Settle {
				since = time.Time{} // too much may have happened unseen
			}
		case g.why != "":
			since, seen = time.Time{}, now
		default:
			if seen = now; since.IsZero() {
				since = now
			}
			if now.Sub(since) >= s.Settle {
				e.passed(vm)
				return nil
			}
		}
		switch late := since.IsZero() && !now.Before(deadline); {
		case g.final:
			return gateError{g.why}
		case late && g.blind != "":
			return fmt.Errorf("wait until ready: %s passed and %s", s.Timeout, g.blind)
		case late:
			return gateError{fmt.Sprintf("not ready after %s: %s", s.Timeout, g.why)}
		}
		if err := e.Clock.Sleep(ctx, e.Poll); err != nil {
			return err
		}
	}
}

// verdict is what one look says about a gate.
type verdict struct {
	why   string // it does not hold; empty when it does
	final bool   // and waiting is no use
	blind string // the look failed, so nothing is known
}

// gate looks once. The error is a refusal: the VM is not ours any more.
func (e *engine) gate(ctx context.Context, vm string) (verdict, error) {
	have, err := e.observe(ctx)
	switch {
	case err != nil:
		return verdict{blind: "the look failed: " + err.Error()}, nil
	case have.Problem != "":
		return verdict{blind: "the look is partial: " + have.Problem}, nil
	}
	w := e.wanted(vm)
	for _, v := range have.VMs {
		if w == nil || v.Name != vm || v.Fleet != e.Desired.Fleet {
			continue
		}
		if lost := e.lost(v); lost != nil {
			return verdict{}, *lost
		}
		why := Ready(e.Desired, *w, v)
		failed := v.Power == plan.On && v.Guest.State == "failed" && v.Guest.Token == v.Record.Token && v.Guest.ImageID == v.Record.ImageID
		return verdict{why: why, final: why != "" && failed}, nil
	}
	return verdict{why: "the VM is not there"}, nil
}

// lost says that somebody else has taken over a VM this run holds (A6).
func (e *engine) lost(v plan.VM) *plan.Blocked {
	e.mu.Lock()
	held, ok := e.held[v.Name]
	e.mu.Unlock()
	if ok && v.Record.Owner == e.Desired.Claimer && v.Record.Epoch == held.epoch {
		return nil
	}
	return &plan.Blocked{VM: v.Name, Code: plan.R16,
		Reason: fmt.Sprintf("the claim was lost to %q, epoch %d", v.Record.Owner, v.Record.Epoch),
		Clear:  "wait until that run is done"}
}

func (e *engine) passed(vm string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gated[vm] = true
}

func (e *engine) isGated(vm string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gated[vm]
}
