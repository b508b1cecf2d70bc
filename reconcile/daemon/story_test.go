package daemon

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// steps sends the events of a roll as the engine does.
func roll(m *Monitor, fleet, vm string, done bool) {
	m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "roll", State: reconcile.Start, Reason: "roll: image a → b"})
	m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "claim for a, epoch 2", Kind: "Claim", State: reconcile.Start})
	m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "claim for a, epoch 2", Kind: "Claim", State: reconcile.Done, Seconds: 0.2})
	m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "claim for a, epoch 2", Renewal: true, State: reconcile.Done, Seconds: 0.2})
	m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "wait until ready", Kind: "AwaitReady", State: reconcile.Waiting, Reason: "tools"})
	if done {
		m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "release", Kind: "Release", State: reconcile.Done, Seconds: 0.1})
	} else {
		m.event(reconcile.Event{Fleet: fleet, VM: vm, Step: "power on", Kind: "PowerOn", State: reconcile.Failed, Seconds: 70})
	}
}

func result(o reconcile.Outcome, fleet string) reconcile.Result {
	return reconcile.Result{Outcome: o, Fleet: fleet, Mutations: 1}
}

func TestStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var story []string
		m := NewMonitor("1", wall{}, func(e Event) {
			if e.Time.IsZero() || e.Text == "" {
				t.Errorf("incomplete: %+v", e)
			}
			story = append(story, strings.Join(strings.Fields(fmt.Sprint(e.Kind, " ", e.Fleet, " ", e.VM, " ", e.Code, " ", e.Reason)), " "))
		})
		says := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, story); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			story = nil
		}
		idle := reconcile.Result{Outcome: reconcile.Converged, Fleet: "w"}
		m.ended([]reconcile.Result{idle}, nil, 0)
		says() // as wanted from the start: nothing to tell

		roll(m, "w", "w-1", false)
		broken := result(reconcile.Broken, "w")
		broken.Failures = []reconcile.Failure{{VM: "w-1", Step: "power on", Why: "no host"}}
		m.ended([]reconcile.Result{broken}, nil, 0)
		says("roll_started w w-1 roll: image a → b", "roll_failed w w-1 power on: no host")

		roll(m, "w", "w-1", false) // the next look tries again and fails in the same way
		m.ended([]reconcile.Result{broken}, nil, 0)
		says("roll_started w w-1 roll: image a → b")

		roll(m, "w", "w-1", true)
		pending := result(reconcile.Pending, "w")
		m.ended([]reconcile.Result{pending}, nil, 0)
		says("roll_started w w-1 roll: image a → b", "roll_finished w w-1")

		m.event(reconcile.Event{Fleet: "w", VM: "w-2", Step: "roll", State: reconcile.Start, Reason: "r"})
		m.ended([]reconcile.Result{pending}, nil, 0) // stopped by a budget in the middle
		m.event(reconcile.Event{Fleet: "w", VM: "w-2", Step: "roll", State: reconcile.Start, Reason: "r"})
		m.event(reconcile.Event{Fleet: "w", VM: "w-2", Kind: "Release", State: reconcile.Done})
		m.ended([]reconcile.Result{result(reconcile.Converged, "w")}, nil, 0)
		says("roll_started w w-2 r", "roll_finished w w-2", "converged w")

		refused := result(reconcile.Refused, "w")
		refused.Blocked = []plan.Blocked{{VM: "w-3", Code: plan.R05, Reason: "it has a snapshot"}, {VM: "w-3", Code: plan.R08, Reason: "a question is pending"}}
		m.ended([]reconcile.Result{refused}, nil, 0)
		says("refused w w-3 R05 it has a snapshot", "refused w w-3 R08 a question is pending")
		refused.Blocked = refused.Blocked[:1]
		m.ended([]reconcile.Result{refused}, nil, 0)
		says()
		refused.Blocked = append(refused.Blocked, plan.Blocked{VM: "w-3", Code: plan.R08, Reason: "again"})
		m.ended([]reconcile.Result{refused}, nil, 0)
		says("refused w w-3 R08 again")

		m.ended(nil, errors.New("no spec"), 0)
		m.ended(nil, errors.New("no spec"), 0)
		m.ended(nil, plan.Blocked{Code: plan.R16, Reason: "somebody is at work"}, 0)
		says("look_failed no spec")
		m.ended([]reconcile.Result{idle}, nil, 0)
		m.ended([]reconcile.Result{idle}, nil, 0)
		says("converged w")
		m.ended(nil, errors.New("no spec"), 0)
		says("look_failed no spec")
	})
}

// vm is a wanted VM as it should be, on that image.
func vm(name, image string) plan.VM {
	return plan.VM{Name: name, Fleet: "workers", Power: plan.On, Record: plan.Record{Image: image, ImageID: image, Token: "t"},
		Guest: plan.Guest{Tools: true, State: "running", ImageID: image, Token: "t"}}
}

type fixed struct {
	have   plan.Observed
	err    error
	probes []plan.Probe
}

func (f fixed) Observe(context.Context, plan.Desired) (plan.Observed, error) { return f.have, f.err }
func (f fixed) Probe(context.Context, plan.WantVM, plan.VM) []plan.Probe     { return f.probes }

// What a scrape shows after a bit of everything. Names of VMs appear nowhere, whatever they are.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMonitor("1.2.3", wall{}, nil)
		want := plan.Desired{Fleet: "workers", Image: plan.Image{Digest: "new", ID: "new"}}
		for i := range 5 {
			want.VMs = append(want.VMs, plan.WantVM{Name: fmt.Sprintf("secretive-%d", i+1), Ordinal: i + 1})
		}
		foreign := vm("secretive-5", "old")
		foreign.Fleet = ""
		have := plan.Observed{VMs: []plan.VM{vm("secretive-1", "new"), vm("secretive-2", "new"), vm("secretive-3", "old"), foreign, vm("secretive-99", "old")}}
		good, bad := fixed{have: have, probes: []plan.Probe{{Name: "http", OK: true}}}, fixed{have: have, probes: []plan.Probe{{Name: "http", Why: "503"}}}
		o := m.Watch(reconcile.Options{Desired: want, Observer: good, Prober: good})
		if _, err := o.Observer.Observe(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		o.Prober.Probe(t.Context(), want.VMs[0], have.VMs[0])
		m.Watch(reconcile.Options{Desired: want, Prober: bad}).Prober.Probe(t.Context(), want.VMs[1], have.VMs[1])
		if _, err := o.Observer.Observe(t.Context(), want); err != nil { // its probes are still to come: the last ones hold
			t.Fatal(err)
		}
		if _, err := m.Watch(reconcile.Options{Desired: want, Observer: fixed{err: errors.New("away")}}).Observer.Observe(t.Context(), want); err == nil {
			t.Error("the error is lost")
		}
		roll(m, "workers", "secretive-1", true)
		roll(m, "workers", "secretive-2", false)
		m.Call("ReconfigVM_Task", true)
		m.Call("RetrievePropertiesEx", false)
		m.Call("RetrievePropertiesEx", false)
		m.Sent("sent")
		refused := result(reconcile.Refused, "workers")
		refused.Blocked = []plan.Blocked{{VM: "secretive-3", Code: plan.R05}, {VM: "secretive-4", Code: plan.R05}, {VM: "secretive-4", Code: plan.R08}}
		refused.Failures = []reconcile.Failure{{VM: "secretive-2", Step: "power on"}}
		m.ended([]reconcile.Result{{Fleet: "workers", Outcome: reconcile.Converged}, {Fleet: "gone", Outcome: reconcile.Converged}}, nil, time.Second)
		time.Sleep(time.Minute)
		m.ended([]reconcile.Result{refused}, nil, 2*time.Minute)
		time.Sleep(90 * time.Second)
		got := scrape(t, m)
		golden.Check(t, "testdata/metrics.golden", got)
		if strings.Contains(got, "secretive") || strings.Contains(got, "gone") {
			t.Error("a scrape names VMs, or a fleet that is not there any more")
		}
		m.Suspended(true)
		m.ended([]reconcile.Result{{Fleet: "workers", Outcome: reconcile.Converged}}, nil, 0)
		if got := scrape(t, m); !strings.Contains(got, "lkv_suspended 1") || !strings.Contains(got, `lkv_fleet_unconverged_seconds{fleet="workers"} 0`) {
			t.Errorf("suspended and converged:\n%s", got)
		}
	})
}

// scrape returns lkv's own metrics.
func scrape(t *testing.T, m *Monitor) string {
	t.Helper()
	rec := ask(Options{Monitor: m, Clock: wall{}}, "/metrics")
	var own []string
	for _, line := range strings.Split(rec.Body.String(), "\n") {
		if strings.Contains(line, "lkv_") && !strings.Contains(line, "_bucket{") {
			own = append(own, regexp.MustCompile(`goversion="[^"]*"`).ReplaceAllString(line, `goversion="…"`))
		}
	}
	return strings.Join(own, "\n") + "\n"
}

func TestMetricNames(t *testing.T) {
	m := NewMonitor("1", wall{}, nil)
	m.Seen(plan.Desired{Fleet: "a"}, plan.Observed{}, nil)
	roll(m, "a", "v", true)
	m.Call("PowerOnVM_Task", true)
	m.Sent("failed")
	m.ended([]reconcile.Result{{Fleet: "a", Outcome: reconcile.Converged, Failures: []reconcile.Failure{{}}, Blocked: []plan.Blocked{{Code: plan.R01}}}}, nil, 0)
	body := ask(Options{Monitor: m, Clock: wall{}}, "/metrics").Body
	problems, err := promlint.New(body).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if families, err := m.registry.Gather(); err != nil || len(families) < 40 {
		t.Errorf("%d metrics, %v: did the linter see them?", len(families), err)
	}
}
