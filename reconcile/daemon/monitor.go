package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// stuck is how long nothing at all may happen while a look is under way: no call to vCenter, no step, no observation.
// The engine gives one call 15 minutes and a shutdown its grace on top.
const stuck = 30 * time.Minute

// Monitor sees what runs do. From that it makes the metrics, the answers about health, and the story that webhooks and
// logs get. It is safe for concurrent use, and nothing it does holds up a roll.
type Monitor struct {
	clock    reconcile.Clock
	tell     func(Event)
	registry *prometheus.Registry
	numbers  numbers

	mu        sync.Mutex
	fleets    map[string]*fleet
	suspended bool
	quiet     time.Time // when something has to have happened, else the loop is stuck
	success   time.Time // end of the last look that saw everything; zero: none yet
	failure   error     // of the last look; nil when it succeeded or none has ended
	told      bool      // failure was told
}

// fleet is what is known of one fleet, to be shown.
type fleet struct {
	want    plan.Desired
	have    plan.Observed
	outcome reconcile.Outcome
	blocked map[plan.Code]int
	since   time.Time       // when it was found to be not as wanted; zero while it is
	good    time.Time       // when it was last found as wanted
	rolling map[string]bool // VMs whose roll was told
	told    map[string]bool // refusals and failures that were told and still hold
}

// NewMonitor returns a monitor of a program of that version. tell gets the story; it must not block, and may be called
// from several goroutines.
func NewMonitor(version string, clock reconcile.Clock, tell func(Event)) *Monitor {
	m := &Monitor{clock: clock, tell: tell, registry: prometheus.NewRegistry(), fleets: map[string]*fleet{}, quiet: clock.Now().Add(stuck)}
	m.numbers = register(m.registry, version, m)
	return m
}

// Watch returns options whose observer, watcher, prober and events pass by the monitor.
func (m *Monitor) Watch(o reconcile.Options) reconcile.Options {
	want, events := o.Desired, o.Events
	o.Observer = observer{m, o.Observer}
	if o.Watcher != nil {
		o.Watcher = watcher{o.Watcher, m}
	}
	if o.Prober != nil {
		o.Prober = prober{m, want.Fleet, o.Prober}
	}
	o.Events = func(e reconcile.Event) {
		m.event(e)
		if events != nil {
			events(e)
		}
	}
	return o
}

// Call counts one call to vCenter. It fits vsphere.Config.Trace; the methods are those of a closed list.
func (m *Monitor) Call(method string, mutating bool) {
	kind := "read"
	if mutating {
		kind = "write"
	}
	m.numbers.calls.WithLabelValues(method, kind).Inc()
	m.beat()
}

// Seen takes in a look, for runs that only look. A partial one changes no number.
func (m *Monitor) Seen(want plan.Desired, have plan.Observed, err error) {
	m.beat()
	if err != nil || have.Problem != "" {
		m.numbers.looks.WithLabelValues(want.Fleet, "failed").Inc()
		return
	}
	m.numbers.looks.WithLabelValues(want.Fleet, "complete").Inc()
	have = have.Clone()
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fleet(want.Fleet)
	for i := range have.VMs { // probes come after the look; until then the last ones hold
		v := &have.VMs[i]
		if old := vmOf(f.have, v.Name); old != nil && len(v.Guest.Probes) == 0 {
			v.Guest.Probes = old.Guest.Probes
		}
	}
	f.want, f.have, m.success = want, have, m.clock.Now()
}

// Suspended says whether the spec says suspend = true.
func (m *Monitor) Suspended(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.suspended = yes
}

// Alive returns why the process had better be started again: nothing has happened for longer than anything takes.
func (m *Monitor) Alive(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if late := now.Sub(m.quiet); late > 0 {
		return fmt.Errorf("stuck: nothing has happened for %s", (stuck + late).Round(time.Second))
	}
	return nil
}

// Ready returns why the fleets are not being looked after: the last look failed, there was none yet, or what was seen
// is older than that.
func (m *Monitor) Ready(now time.Time, old time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch age := now.Sub(m.success); {
	case m.failure != nil:
		return fmt.Errorf("the last look failed: %w", m.failure)
	case m.success.IsZero():
		return errors.New("no look has ended yet")
	case age > old:
		return fmt.Errorf("the fleets were last seen %s ago", age.Round(time.Second))
	}
	return nil
}

// expect says that nothing will happen for that long, and that then something will.
func (m *Monitor) expect(now time.Time, nothing time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiet = now.Add(nothing + stuck)
}

// beat notes that something happened.
func (m *Monitor) beat() { m.expect(m.clock.Now(), 0) }

// fleet returns what is known of a fleet. The caller holds the lock.
func (m *Monitor) fleet(name string) *fleet {
	f := m.fleets[name]
	if f == nil {
		f = &fleet{blocked: map[plan.Code]int{}, rolling: map[string]bool{}, told: map[string]bool{}}
		m.fleets[name] = f
	}
	return f
}

func vmOf(o plan.Observed, name string) *plan.VM {
	for i := range o.VMs {
		if o.VMs[i].Name == name {
			return &o.VMs[i]
		}
	}
	return nil
}

type observer struct {
	m    *Monitor
	next reconcile.Observer
}

// Observe implements reconcile.Observer.
func (o observer) Observe(ctx context.Context, want plan.Desired) (plan.Observed, error) {
	have, err := o.next.Observe(ctx, want)
	o.m.Seen(want, have, err)
	return have, err
}

type watcher struct {
	reconcile.Watcher
	m *Monitor
}

// Glance implements reconcile.Watcher.
func (w watcher) Glance(ctx context.Context, vm string, want plan.Desired) (plan.VM, error) {
	seen, err := w.Watcher.Glance(ctx, vm, want)
	w.m.beat()
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if v := vmOf(w.m.fleet(want.Fleet).have, vm); v != nil && err == nil {
		probes := v.Guest.Probes // until they are made again the last ones hold
		*v = seen
		v.Guest.Probes = probes
	}
	return seen, err
}

type prober struct {
	m     *Monitor
	fleet string
	next  reconcile.Prober
}

// Probe implements reconcile.Prober.
func (p prober) Probe(ctx context.Context, want plan.WantVM, vm plan.VM) []plan.Probe {
	probes := p.next.Probe(ctx, want, vm)
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if v := vmOf(p.m.fleet(p.fleet).have, vm.Name); v != nil {
		v.Guest.Probes = probes
	}
	return probes
}
