package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// How a gate is waited for. Somebody who tells of changes makes the wait short and cheap; that nobody tells, or that a
// hint is lost, only makes the looks late: by a share of what was waited for already, so that a long wait takes few.
const (
	settleTold   = 2   // looks in a settle time while changes are told, the last at its end
	settleUntold = 8   // while they are not
	restTold     = 15  // Polls, at least, to the next look at a VM of which nothing is heard
	restUntold   = 2   // where nothing would be heard anyway
	restMost     = 150 // Polls, at most
	stormShare   = 16  // of the time that was waited passes at least between two looks, whatever is heard
)

// vigil is the wait for one gate.
type vigil struct {
	*engine
	roll     plan.Roll
	step     plan.AwaitReady
	deadline time.Time
	began    time.Time       // the wait; where this run powered the VM on, its boot
	since    time.Time       // the gate holds without a break since then; zero: it does not
	seen     time.Time       // last look that worked
	last     verdict         // of the last look
	said     string          // why it is waited, as it was reported
	hints    <-chan struct{} // nil: nobody tells
	tries    int             // how often somebody was asked to tell
}

// await looks until the gate has held for the settle time. It fails when it does not hold once the deadline has
// passed, and at once when the guest of this very boot says that it failed: a guest does not recover from that.
// A look that failed counts neither for the VM nor against it.
func (e *engine) await(ctx context.Context, r plan.Roll, s plan.AwaitReady) error {
	w := &vigil{engine: e, roll: r, step: s, deadline: e.deadline(s), began: e.Clock.Now()}
	e.mu.Lock()
	on := e.started[s.VM()]
	e.mu.Unlock()
	booting := w.began.Sub(on) < restTold*e.Poll
	if booting {
		w.began = on
	}
	w.seen = w.began
	ctx, end := context.WithCancel(ctx)
	defer w.end(end)
	for ; ; booting = false {
		if err := e.renew(ctx, r, s); err != nil {
			return err
		}
		w.listen(ctx)
		if !booting || w.hints == nil { // that it still boots needs no look
			if passed, err := w.look(ctx); passed || err != nil {
				return err
			}
		}
		if err := w.rest(ctx); err != nil {
			return err
		}
	}
}

// listen asks for hints, once more when they ended. What was heard until now, the look that follows knows.
func (w *vigil) listen(ctx context.Context) {
	w.heard()
	if w.hints != nil || w.Watcher == nil || w.tries >= w.Attempts {
		return
	}
	w.tries++
	if hints, err := w.Watcher.Watch(ctx, w.step.VM(), w.Desired); err == nil {
		w.hints = hints
	}
}

// heard tells whether there was a hint, and takes it. That there will be none any more is one.
func (w *vigil) heard() bool {
	select {
	case _, open := <-w.hints:
		if !open {
			w.hints = nil
		}
		return true
	default:
		return false
	}
}

// end ends the hints, and returns when they have.
func (w *vigil) end(cancel func()) {
	cancel()
	if w.hints == nil {
		return
	}
	for range w.hints { // until they are closed
	}
}

// look looks once and tells whether the gate has been passed.
func (w *vigil) look(ctx context.Context) (passed bool, err error) {
	if w.last, err = w.gate(ctx, w.step); err != nil {
		return false, err
	}
	g, now := w.last, w.Clock.Now()
	if why := cmp.Or(g.why, g.blind); why != w.said && why != "" {
		w.said = why
		w.emit(Event{VM: w.step.VM(), Step: w.step.String(), State: Waiting, Reason: why})
	}
	switch {
	case g.blind != "":
		if now.Sub(w.seen) > w.step.Settle {
			w.since = time.Time{} // too much may have happened unseen
		}
	case g.why != "":
		w.since, w.seen = time.Time{}, now
	default:
		if w.seen = now; w.since.IsZero() {
			w.since = now
		}
		if now.Sub(w.since) >= w.step.Settle {
			w.passed(w.roll.VM)
			return true, nil
		}
	}
	switch late := w.since.IsZero() && !now.Before(w.deadline); {
	case g.final:
		return false, gateError{g.why}
	case late && g.blind != "":
		return false, fmt.Errorf("wait until ready: %s passed and %s", w.step.Timeout, g.blind)
	case late:
		return false, gateError{fmt.Sprintf("not ready after %s: %s", w.step.Timeout, g.why)}
	}
	return false, nil
}

// rest returns when it is time to look again. Meanwhile the roll's claims are renewed.
func (w *vigil) rest(ctx context.Context) error {
	now := w.Clock.Now()
	early, late := w.next(now)
	for heard := false; ; {
		if err := w.Clock.Sleep(ctx, min(w.Poll, late.Sub(now))); err != nil {
			return err
		}
		if err := w.renew(ctx, w.roll, w.step); err != nil {
			return err
		}
		now, heard = w.Clock.Now(), w.heard() || heard
		if !now.Before(late) || heard && !now.Before(early) || w.turned(ctx) {
			return nil
		}
	}
}

// next is when to look again: not before early when something is heard, else at late.
func (w *vigil) next(now time.Time) (early, late time.Time) {
	told, waited := w.hints != nil, now.Sub(w.began)
	early = now.Add(waited / stormShare)
	var pause time.Duration
	switch {
	case w.last.blind != "":
		pause = now.Sub(w.seen) / 4
	case !w.since.IsZero() && told:
		early, pause = now, w.step.Settle/settleTold
	case !w.since.IsZero():
		pause = w.step.Settle / settleUntold
	case told:
		pause = max(restTold*w.Poll, waited)
	default:
		pause = max(restUntold*w.Poll, waited/4)
	}
	late = now.Add(min(max(w.Poll, pause), restMost*w.Poll))
	end := w.deadline
	if !w.since.IsZero() {
		end = w.since.Add(w.step.Settle)
	}
	if end.After(now) && end.Before(late) {
		late = end
	}
	return early, late
}

// turned makes the outside checks again, on what the last look saw: that costs vCenter nothing, and whether the gate
// holds may hang on them alone.
func (w *vigil) turned(ctx context.Context) bool {
	if w.Prober == nil || w.last.vm == nil {
		return false
	}
	v := *w.last.vm
	w.probe(ctx, &v)
	return (w.holds(w.step, *w.memberOf(v), v) == "") == w.since.IsZero()
}
