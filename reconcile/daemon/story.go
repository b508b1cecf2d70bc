package daemon

import (
	"errors"
	"fmt"
	"time"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Kinds of an Event.
const (
	RollStarted  = "roll_started"
	RollFinished = "roll_finished" // the VM passed its gate and was released
	RollFailed   = "roll_failed"   // a step went wrong, or the gate did not hold
	Refused      = "refused"       // Code says which rule; told once as long as it holds
	Converged    = "converged"     // the fleet is as wanted again
	LookFailed   = "look_failed"   // nothing could be done, for example because the spec does not parse; told once until it works
)

// Event is one line of the story of the fleets: what a person would want to be told. Its JSON is what a webhook gets.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"event"`
	Fleet  string    `json:"fleet,omitempty"`
	VM     string    `json:"vm,omitempty"`
	Code   plan.Code `json:"code,omitempty"`   // of Refused
	Reason string    `json:"reason,omitempty"` // why a VM is rolled, what failed, what is refused
	Text   string    `json:"text"`             // all of it as a sentence
}

// event takes in one event of a run.
func (m *Monitor) event(e reconcile.Event) {
	m.beat()
	if e.Kind != "" && e.State != reconcile.Start && e.State != reconcile.Waiting {
		m.numbers.steps.WithLabelValues(e.Kind, e.State).Observe(e.Seconds)
	}
	switch {
	case e.Step == "roll" && e.State == reconcile.Start:
		m.rolls(e, true)
	case e.Kind == "Release" && e.State == reconcile.Done:
		m.rolls(e, false)
	}
}

// rolls tells that a roll has started or finished. One that is taken up again has started already.
func (m *Monitor) rolls(e reconcile.Event, start bool) {
	m.mu.Lock()
	f := m.fleet(e.Fleet)
	known := f.rolling[e.VM]
	if start {
		f.rolling[e.VM] = true
	} else {
		delete(f.rolling, e.VM)
	}
	m.mu.Unlock()
	switch {
	case start && !known:
		m.numbers.started.WithLabelValues(e.Fleet).Inc()
		m.say(Event{Kind: RollStarted, Fleet: e.Fleet, VM: e.VM, Reason: e.Reason, Text: fmt.Sprintf("%s: %s", e.VM, e.Reason)})
	case !start && known:
		m.numbers.succeeded.WithLabelValues(e.Fleet).Inc()
		m.say(Event{Kind: RollFinished, Fleet: e.Fleet, VM: e.VM, Text: e.VM + " is done and ready"})
	}
}

// ended takes in what came of one look at all fleets.
func (m *Monitor) ended(results []reconcile.Result, err error, took time.Duration) {
	m.numbers.took.Observe(took.Seconds())
	story := m.failed(err)
	if err == nil {
		m.unseen(results)
	}
	for _, r := range results {
		m.numbers.runs.WithLabelValues(r.Fleet, string(r.Outcome)).Inc()
		m.numbers.failed.WithLabelValues(r.Fleet).Add(float64(len(r.Failures)))
		story = append(story, m.result(r)...)
	}
	if err == nil {
		m.forget(results)
	}
	for _, e := range story {
		m.say(e)
	}
}

// failed notes how the last look ended. A refusal, such as another run at work here, is no failure.
func (m *Monitor) failed(err error) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var busy plan.Blocked
	if errors.As(err, &busy) {
		return nil
	}
	m.failure = err
	if err == nil {
		m.told = false
		return nil
	}
	if m.told {
		return nil
	}
	m.told = true
	return []Event{{Kind: LookFailed, Reason: err.Error(), Text: "the fleets cannot be looked after: " + err.Error()}}
}

// unseen notes that a fleet could not be looked at although the others could. The refusal itself is told as any other is.
func (m *Monitor) unseen(results []reconcile.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range results {
		for _, b := range r.Blocked {
			if b.VM == "" && (b.Code == plan.R15 || b.Code == plan.R20) {
				m.failure = fmt.Errorf("fleet %s: %s: %s; to clear: %s", r.Fleet, b.Code, b.Reason, b.Clear)
				return
			}
		}
	}
}

// result takes in one fleet's result and returns what is new about it.
func (m *Monitor) result(r reconcile.Result) (story []Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fleet(r.Fleet)
	was, before := f.outcome, f.told
	f.outcome, f.told, f.blocked = r.Outcome, map[string]bool{}, map[plan.Code]int{}
	tell := func(key string, e Event) {
		if f.told[key] = true; !before[key] {
			e.Fleet = r.Fleet
			story = append(story, e)
		}
	}
	for _, b := range r.Blocked {
		f.blocked[b.Code]++
		if (b.Code == plan.R15 || b.Code == plan.R20 && b.VM == "") && m.failure == nil {
			m.failure = b
		}
		tell(b.VM+" "+string(b.Code), Event{Kind: Refused, VM: b.VM, Code: b.Code, Reason: b.Reason, Text: b.Error()})
	}
	for _, x := range r.Failures {
		delete(f.rolling, x.VM)
		tell(x.VM+" "+x.Step, Event{Kind: RollFailed, VM: x.VM, Reason: x.Step + ": " + x.Why, Text: fmt.Sprintf("%s failed at %s: %s", x.VM, x.Step, x.Why)})
	}
	now := m.clock.Now()
	switch {
	case r.Outcome != reconcile.Converged:
		if f.since.IsZero() {
			f.since = now
		}
	default:
		if r.Mutations > 0 || was != "" && was != reconcile.Converged {
			story = append(story, Event{Kind: Converged, Fleet: r.Fleet, Text: fmt.Sprintf("fleet %s is as wanted, %d VMs", r.Fleet, len(r.Same))})
		}
		f.since, f.good, f.rolling = time.Time{}, now, map[string]bool{}
	}
	return story
}

// forget drops fleets that are not in the spec any more, with their series.
func (m *Monitor) forget(results []reconcile.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := map[string]bool{}
	for _, r := range results {
		kept[r.Fleet] = true
	}
	for name := range m.fleets {
		if !kept[name] {
			delete(m.fleets, name)
			m.numbers.forget(name)
		}
	}
}

func (m *Monitor) say(e Event) {
	e.Time = m.clock.Now()
	if m.tell != nil {
		m.tell(e)
	}
}
