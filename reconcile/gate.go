package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Ready is the gate of a roll: why the VM does not yet run the wanted image with its data disks, or "" when it does.
// It is pure. On top of plan.Ready it asks that every attached disk shows its UUID, because a gate that compares
// nothing with nothing proves nothing.
func Ready(want plan.Desired, w plan.WantVM, v plan.VM) string {
	if why := shown(v); why != "" {
		return why
	}
	return plan.Ready(want, w, v)
}

func shown(v plan.VM) string {
	for _, d := range v.Disks {
		if plan.SerialOf(d.UUID) == "" {
			return fmt.Sprintf("disk %s shows no UUID", d.Path)
		}
	}
	return ""
}

// relieved asks, before a VM is taken down or retired because another one has its place, that this one serves. A gate
// that another run saw is waited for again; since this run's own the drain may have taken long, and it is looked once
// more (A1, A4). Before a hand-over, which begins by taking the VM down, there is nothing to ask.
func (e *engine) relieved(ctx context.Context, r plan.Roll, s plan.Step) error {
	green := plan.GreenName(r.VM)
	switch s.(type) {
	case plan.Shutdown, plan.Retire:
	default:
		return nil
	}
	booted := slices.ContainsFunc(r.Steps, func(x plan.Step) bool { _, ok := x.(plan.AwaitReady); return ok && x.VM() == green })
	switch gated := e.isGated(r.VM); {
	case s.VM() != r.VM || !slices.Contains(namesOf(r), green) || booted && !gated:
		return nil
	case !gated:
		gate := e.again(r, green)
		return e.timed(green, gate, func() error { return e.await(ctx, r, gate) })
	}
	g, err := e.gate(ctx, e.again(r, green))
	if why := cmp.Or(g.why, g.blind); err == nil && why != "" {
		err = fmt.Errorf("%s does not serve any more: %s", green, why)
	}
	return err
}

// deadline is when a gate must hold: after its own time, and not after the roll's.
func (e *engine) deadline(s plan.AwaitReady) time.Time {
	end := e.Clock.Now().Add(s.Timeout)
	e.mu.Lock()
	held, ok := e.held[s.VM()]
	e.mu.Unlock()
	if most := e.Desired.Rollout.Progress; ok && most > 0 && held.started.Add(most).Before(end) {
		return held.started.Add(most)
	}
	return end
}

// verdict is what one look says about a gate.
type verdict struct {
	why   string   // it does not hold; empty when it does
	final bool     // and waiting is no use
	blind string   // the look failed, so nothing is known
	vm    *plan.VM // as it was seen; nil when it was not
}

// gate looks once. The error is a refusal: the VM is not ours any more.
func (e *engine) gate(ctx context.Context, s plan.AwaitReady) (verdict, error) {
	v, blind := e.lookAt(ctx, s.VM())
	if blind != "" {
		return verdict{blind: blind}, nil
	}
	if v == nil {
		return verdict{why: "the VM is not there"}, nil
	}
	if lost := e.lost(*v); lost != nil {
		return verdict{}, *lost
	}
	why := e.holds(s, *e.memberOf(*v), *v)
	failed := v.Power == plan.On && v.Guest.State == "failed" && v.Guest.Token == v.Record.Token && v.Guest.ImageID == v.Record.ImageID
	return verdict{why: why, final: why != "" && failed, vm: v}, nil
}

// holds says why the gate does not hold for a VM, or "": it runs the wanted image, or, in a rollback, the image that
// the step names.
func (e *engine) holds(s plan.AwaitReady, w plan.WantVM, v plan.VM) string {
	if s.ImageID == "" || s.ImageID == e.Desired.Image.ID {
		return Ready(e.Desired, w, v)
	}
	if why := shown(v); why != "" {
		return why
	}
	if why := plan.Up(e.Desired, w, v); why != "" {
		return why
	}
	if v.Guest.ImageID != s.ImageID || v.Guest.Token != s.Token {
		return fmt.Sprintf("the guest runs image %q with token %q, not %q with %q", v.Guest.ImageID, v.Guest.Token, s.ImageID, s.Token)
	}
	return ""
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
