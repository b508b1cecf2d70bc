package daemon

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lkv-io/lkv/reconcile"
)

// numbers are the metrics that are counted as things happen. Labels are fleets of the spec, kinds of steps, refusal
// codes and methods of a closed list; never VMs, whose names come and go without end.
type numbers struct {
	started, succeeded, failed *prometheus.CounterVec
	looks, runs, calls, hooks  *prometheus.CounterVec
	steps                      *prometheus.HistogramVec
	took                       prometheus.Histogram
}

// times are the histograms' bounds in seconds: from one call to a drain of half an hour.
var times = []float64{.1, .5, 1, 5, 15, 30, 60, 120, 300, 600, 1800}

func register(r *prometheus.Registry, version string, m *Monitor) numbers {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	n := numbers{
		started:   counter("lkv_rolls_started_total", "Rolls of VMs that were started.", "fleet"),
		succeeded: counter("lkv_rolls_succeeded_total", "Rolls of VMs that passed the gate.", "fleet"),
		failed:    counter("lkv_rolls_failed_total", "Steps that failed and ended a roll for now.", "fleet"),
		looks:     counter("lkv_looks_total", "Observations of a fleet; a failed one leads to no action.", "fleet", "result"),
		runs:      counter("lkv_runs_total", "Runs of a fleet by how they ended.", "fleet", "result"),
		calls:     counter("lkv_vcenter_calls_total", "Calls to vCenter by method; of kind write when they change something.", "method", "kind"),
		hooks:     counter("lkv_webhook_events_total", "Events for the webhook: sent, failed after all attempts, or dropped because the queue was full.", "result"),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lkv_step_duration_seconds", Buckets: times,
			Help: "How long steps took by kind and how they ended."}, []string{"step", "result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lkv_run_duration_seconds", Buckets: append(times[2:len(times):len(times)], 3600, 14400),
			Help: "How long it took to reconcile all fleets once."}),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lkv_build_info", Help: "Always 1; the labels say what runs."}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	r.MustRegister(n.steps, n.took, info, state{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return n
}

func (n numbers) forget(fleet string) {
	for _, c := range []*prometheus.CounterVec{n.started, n.succeeded, n.failed, n.looks, n.runs} {
		c.DeletePartialMatch(prometheus.Labels{"fleet": fleet})
	}
}

// Sent counts an event of the webhook by its fate: "sent", "failed" or "dropped".
func (m *Monitor) Sent(result string) { m.numbers.hooks.WithLabelValues(result).Inc() }

// Metrics of the state, worked out when somebody asks.
var (
	desiredVMs  = desc("lkv_fleet_desired_vms", "VMs that the spec wants.")
	readyVMs    = desc("lkv_fleet_ready_vms", "Wanted VMs that run the wanted image and pass every check.")
	outdatedVMs = desc("lkv_fleet_outdated_vms", "Wanted VMs that are there with another image on record.")
	blockedVMs  = desc("lkv_fleet_refusals", "Refusals at the end of the last run, by code.", "code")
	converged   = desc("lkv_fleet_converged", "1 when the last run ended converged.")
	lastGood    = desc("lkv_fleet_converged_timestamp_seconds", "When the fleet was last found as wanted.")
	unconverged = desc("lkv_fleet_unconverged_seconds", "For how long the fleet has not been as wanted; 0 while it is.")
	lastSuccess = prometheus.NewDesc("lkv_last_success_timestamp_seconds", "When the fleets were last seen completely.", nil, nil)
	suspended   = prometheus.NewDesc("lkv_suspended", "1 while the spec says suspend = true.", nil, nil)
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"fleet"}, labels...), nil)
}

// state is the collector of what a monitor knows.
type state struct{ m *Monitor }

// Describe implements prometheus.Collector.
func (s state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{desiredVMs, readyVMs, outdatedVMs, blockedVMs, converged, lastGood, unconverged, lastSuccess, suspended} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s state) Collect(ch chan<- prometheus.Metric) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	now := s.m.clock.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for name, f := range s.m.fleets {
		if f.want.Fleet != "" { // it was seen at least once
			ready, outdated := f.count()
			gauge(desiredVMs, float64(len(f.want.VMs)), name)
			gauge(readyVMs, float64(ready), name)
			gauge(outdatedVMs, float64(outdated), name)
		}
		for code, n := range f.blocked {
			gauge(blockedVMs, float64(n), name, string(code))
		}
		gauge(converged, truth(f.outcome == reconcile.Converged), name)
		if !f.good.IsZero() {
			gauge(lastGood, unix(f.good), name)
		}
		age := time.Duration(0)
		if !f.since.IsZero() {
			age = now.Sub(f.since)
		}
		gauge(unconverged, age.Seconds(), name)
	}
	if !s.m.success.IsZero() {
		gauge(lastSuccess, unix(s.m.success))
	}
	gauge(suspended, truth(s.m.suspended))
}

// count returns how many wanted VMs are ready, and how many stand on another image.
func (f *fleet) count() (ready, outdated int) {
	for _, w := range f.want.VMs {
		v := vmOf(f.have, w.Name)
		if v == nil || v.Fleet != f.want.Fleet {
			continue
		}
		if reconcile.Ready(f.want, w, *v) == "" {
			ready++
		}
		if v.Record.Image != f.want.Image.Digest {
			outdated++
		}
	}
	return ready, outdated
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
