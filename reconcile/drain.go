package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Drainer moves a VM's work away before it goes down, and lets it have work again afterwards. Both may be called
// again for a VM that is drained or restored already, and both end when ctx does.
type Drainer interface {
	// Drain returns when no work is left on the VM. next says what becomes of its data disks: "keep" or "delete".
	Drain(ctx context.Context, vm plan.VM, next, reason string) error
	// Restore lets the VM take work again.
	Restore(ctx context.Context, vm plan.VM, reason string) error
}

// DrainCommand is a Drainer that runs a command: see docs/hooks.md for what it is told and what its exit code means.
type DrainCommand struct {
	Command  hook.Command
	Deadline time.Duration // of one drain or restore, however often the command wants to be called again; default 10m
	Again    time.Duration // between two calls; default 10s
	GoOn     bool          // a drain that is not done by the deadline counts as done
	Image    string        // SHA-256 of the ISO that is wanted
	Clock    Clock
}

// Drain implements Drainer.
func (d DrainCommand) Drain(ctx context.Context, vm plan.VM, next, reason string) error {
	return d.run(ctx, vm, hook.Drain, next, reason)
}

// Restore implements Drainer.
func (d DrainCommand) Restore(ctx context.Context, vm plan.VM, reason string) error {
	return d.run(ctx, vm, hook.Restore, hook.Keep, reason)
}

func (d DrainCommand) run(ctx context.Context, vm plan.VM, phase, next, reason string) error {
	limit := cmp.Or(d.Deadline, 10*time.Minute)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	subject := hook.Subject{Phase: phase, VM: vm.Name, Next: next, Fleet: vm.Fleet, Ordinal: vm.Ordinal, IP: vm.Guest.IP, Image: d.Image, Reason: reason}
	for {
		_, err := d.Command.Run(limited, subject.Env()...)
		if errors.Is(err, hook.ErrAgain) && d.Clock.Sleep(limited, cmp.Or(d.Again, 10*time.Second)) == nil {
			continue
		}
		late := err != nil && limited.Err() != nil && ctx.Err() == nil
		if late && d.GoOn && phase == hook.Drain {
			return nil
		}
		if late {
			return fmt.Errorf("not done after %s: %w", limit, err)
		}
		return err
	}
}

// drainError is a drain that did not succeed: the VM was let take work again, and nothing was recorded.
type drainError struct{ error }

// hooks runs the hook of a Drain or Restore step, while the claims of the roll are renewed. It returns nil for every
// other step. When a drain fails, the VM gets its work back (A8) and its claim is freed; with Try the roll goes on.
func (e *engine) hooks(ctx context.Context, r plan.Roll, s plan.Step) error {
	vm := e.latest(s.VM())
	switch s := s.(type) {
	case plan.Drain:
		err := e.during(ctx, r, s, func(ctx context.Context) error { return e.Drainer.Drain(ctx, vm, s.Next, r.Reason) })
		if err == nil || s.Try && ctx.Err() == nil {
			if err != nil {
				e.emit(Event{VM: s.VM(), Step: s.String(), Kind: kindOf(s), State: Waiting, Reason: "the drain failed and the VM does not serve anyway: " + err.Error()})
			}
			return nil
		}
		if lost(err) {
			return err // whoever has the VM now drains it too, and needs it drained
		}
		back := e.undrain(context.WithoutCancel(ctx), r, s)
		if back == nil && ctx.Err() != nil {
			return context.Cause(ctx) // the run was ended, which is no failure of the drain
		}
		return drainError{errors.Join(fmt.Errorf("drain: %w", err), back)}
	case plan.Restore:
		if e.Drainer == nil { // the fleet has no hook any more: what is left is the record
			return nil
		}
		return e.during(ctx, r, s, func(ctx context.Context) error { return e.Drainer.Restore(ctx, vm, r.Reason) })
	}
	return nil
}

// lost tells whether an error says that a claim is not this run's any more.
func lost(err error) bool {
	var b plan.Blocked
	return errors.Is(err, errLapsed) || errors.As(err, &b)
}

// undrain gives a VM its work back after a drain that failed, and frees its claim. It renews that first: nobody else's
// drain is undone.
func (e *engine) undrain(ctx context.Context, r plan.Roll, s plan.Drain) error {
	if err := e.renewOne(ctx, r, s.VM(), e.ttl()); err != nil {
		return fmt.Errorf("restore after the failed drain: %w", err)
	}
	if err := e.Drainer.Restore(ctx, e.latest(s.VM()), r.Reason); err != nil {
		return fmt.Errorf("restore after the failed drain: %w", err)
	}
	var back plan.Restore
	back.Name = s.VM()
	if err := e.call(ctx, back); err != nil {
		return fmt.Errorf("note the restore after the failed drain: %w", err)
	}
	var free plan.Release
	free.Name = s.VM()
	if err := e.timed(s.VM(), free, func() error { return e.call(ctx, free) }); err != nil {
		return fmt.Errorf("release after the failed drain: %w", err)
	}
	e.note(r, free)
	return nil
}

// undrained returns the drain that a shutdown still needs: its record says that the VM was drained, but it was another run
// that wrote so, and it may have died before its work was moved away.
func (e *engine) undrained(s plan.Step) *plan.Drain {
	v := e.latest(s.VM())
	_, down := s.(plan.Shutdown)
	e.mu.Lock()
	done := e.drained[v.Name]
	e.mu.Unlock()
	if !down || done || !e.Desired.Rollout.Drain || !v.Record.Drained {
		return nil
	}
	again := plan.Drain{Next: hook.Keep, Try: v.Guest.State != "running"}
	again.Name = v.Name
	if w := e.memberOf(v); w != nil {
		again.Try = plan.Up(e.Desired, *w, v) != ""
	}
	if g := e.latest(plan.GreenName(v.Name)); g.Record.Replaces != "" && g.Record.Generation != v.Record.Generation {
		again.Next = hook.Delete
	}
	return &again
}

// during does something that may take long, and renews the roll's claims meanwhile. A lost claim ends it.
func (e *engine) during(ctx context.Context, r plan.Roll, s plan.Step, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	go func() {
		for e.Clock.Sleep(ctx, e.Desired.TTL/4) == nil {
			if err := e.renew(ctx, r, s); err != nil {
				cancel(err)
				return
			}
		}
	}()
	err := <-done
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// latest returns a VM as the last look saw it, or only its name.
func (e *engine) latest(name string) plan.VM {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v, ok := e.seen[name]; ok {
		return v
	}
	return plan.VM{Name: name, Fleet: e.Desired.Fleet}
}
