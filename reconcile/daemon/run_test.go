package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// wall is the bubble's time.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// rig is a daemon whose looks are scripted.
type rig struct {
	Options
	cancel context.CancelCauseFunc
	ended  chan error

	mu    sync.Mutex
	looks []time.Duration // when each began
	errs  []error         // of each look; nil after the last
	took  time.Duration
	said  []string // to the service manager
	log   bytes.Buffer
}

var errSpec = errors.New("lkv.hcl:3: nonsense")

// every is an interval that stays the same.
func every(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// start runs the daemon with an interval of five minutes.
func start(t *testing.T, change func(*rig)) *rig {
	t.Helper()
	r := &rig{ended: make(chan error, 1)}
	r.Options = Options{
		Interval: every(5 * time.Minute), Rand: func() float64 { return 0.5 }, Clock: wall{}, Monitor: NewMonitor("1.2.3", wall{}, nil),
		Log: slog.New(slog.NewTextHandler(&r.log, nil)), Once: r.once(time.Now()),
		Notify: func(s string) error { r.mu.Lock(); defer r.mu.Unlock(); r.said = append(r.said, s); return nil },
	}
	if change != nil {
		change(r)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r.cancel = cancel
	go func() { r.ended <- Run(ctx, r.Options) }()
	synctest.Wait()
	return r
}

func (r *rig) once(begin time.Time) func(context.Context) ([]reconcile.Result, error) {
	return func(context.Context) ([]reconcile.Result, error) {
		r.mu.Lock()
		n := len(r.looks)
		r.looks = append(r.looks, time.Since(begin))
		r.mu.Unlock()
		time.Sleep(r.took)
		if n < len(r.errs) && r.errs[n] != nil {
			return nil, r.errs[n]
		}
		r.Monitor.Seen(plan.Desired{Fleet: "workers"}, plan.Observed{}, nil)
		return []reconcile.Result{{Fleet: "workers", Outcome: reconcile.Converged}}, nil
	}
}

// after lets time pass and returns when the looks so far began.
func (r *rig) after(d time.Duration) []time.Duration {
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.looks)
}

// heard returns what the service manager was told.
func (r *rig) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

var errSignal = errors.New("ended by SIGTERM")

func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.cancel(errSignal)
	if err := <-r.ended; !errors.Is(err, errSignal) {
		t.Errorf("it ended with %v", err)
	}
}

func minutes(list ...float64) (out []time.Duration) {
	for _, m := range list {
		out = append(out, time.Duration(m*float64(time.Minute)))
	}
	return out
}

func TestIntervalAndJitter(t *testing.T) {
	for random, want := range map[float64][]time.Duration{
		0:   minutes(0, 5.5, 11, 16.5), // one minute of looking, 4.5 of waiting
		0.5: minutes(0, 6, 12, 18),
	} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, func(r *rig) { r.took, r.Rand = time.Minute, func() float64 { return random } })
			if diff := cmp.Diff(want, r.after(20*time.Minute)); diff != "" {
				t.Errorf("random %v (-want +got):\n%s", random, diff)
			}
			r.stop(t)
		})
	}
	for _, random := range []float64{0, 0.25, 0.5, 0.999} {
		for failed := range 10 {
			o := Options{Interval: every(time.Hour), Rand: func() float64 { return random }}
			times := min(max(1, 1<<max(0, failed-1)), 4)
			got, mid := o.delay(failed), time.Duration(times)*time.Hour
			if got < mid*9/10 || got > mid*11/10 {
				t.Errorf("after %d failures: %s, want %s and a tenth", failed, got, mid)
			}
		}
	}
}

// The interval that holds when a look has ended is the one that is waited for, and that /readyz goes by.
func TestIntervalIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var interval atomic.Int64
		interval.Store(int64(5 * time.Minute))
		r := start(t, func(r *rig) { r.Interval = func() time.Duration { return time.Duration(interval.Load()) } })
		if diff := cmp.Diff(minutes(0, 5), r.after(6*time.Minute)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		interval.Store(int64(time.Minute)) // from the look at 10 on
		if diff := cmp.Diff(minutes(0, 5, 10, 11, 12, 13), r.after(7*time.Minute+time.Second)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		answers(t, r.Options, "/readyz", 200, "ok")
		interval.Store(int64(time.Second))
		time.Sleep(4 * time.Second) // three intervals, of which none was waited for yet
		answers(t, r.Options, "/readyz", 503, "last seen")
		r.stop(t)
	})
}

func TestErrorsBackOffAndEndNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.errs = []error{nil, errSpec, errSpec, errSpec, errSpec} })
		answers(t, r.Options, "/readyz", 200, "ok")
		r.after(6 * time.Minute)
		answers(t, r.Options, "/readyz", 503, "the last look failed: lkv.hcl:3: nonsense")
		answers(t, r.Options, "/healthz", 200, "ok")
		// ok at 0, then errors at 5, +5, +10, +20, and after the last one +20
		if diff := cmp.Diff(minutes(0, 5, 10, 20, 40, 60, 65), r.after(60*time.Minute)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		answers(t, r.Options, "/readyz", 200, "ok")
		r.stop(t)
		if n := strings.Count(r.log.String(), "nonsense"); n != 4 {
			t.Errorf("the log names the error %d times:\n%s", n, &r.log)
		}
	})
}

func ask(o Options, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	o.handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec
}

func answers(t *testing.T, o Options, path string, code int, text string) {
	t.Helper()
	rec := ask(o, path)
	if rec.Code != code || !strings.Contains(rec.Body.String(), text) {
		t.Errorf("%s: %d %s, want %d %q", path, rec.Code, rec.Body, code, text)
	}
}

// Another run at work here is neither an error nor a success.
func TestBusyIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := plan.Blocked{Code: plan.R16, Reason: "another run is at work"}
		r := start(t, func(r *rig) { r.errs = []error{nil, busy, busy, busy, busy} })
		r.after(11 * time.Minute)
		answers(t, r.Options, "/readyz", 200, "ok")
		if got := r.after(5 * time.Minute); len(got) != 4 {
			t.Errorf("it backed off: %v", got)
		}
		answers(t, r.Options, "/readyz", 503, "last seen 16m0s ago")
		r.stop(t)
	})
}

func TestHintsAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{}, 1)
		r := start(t, func(r *rig) { r.Wake, r.errs = wake, []error{nil, nil, errSpec} })
		hint := func(n int) {
			for range n {
				select {
				case wake <- struct{}{}:
				default:
				}
				synctest.Wait()
			}
		}
		hint(50) // at 0s: one look at 10s
		r.after(9 * time.Second)
		hint(50)
		if got := r.after(2 * time.Second); len(got) != 2 || got[1] != minGap {
			t.Errorf("looks at %v, want 0 and %s", got, minGap)
		}
		r.after(49 * time.Second) // at 1m: long after the gap, so at once, and it fails
		hint(1)
		if got := r.after(0); len(got) != 3 || got[2] != time.Minute {
			t.Errorf("looks at %v, want one at 1m0s", got)
		}
		hint(50)
		if got := r.after(4 * time.Minute); len(got) != 3 {
			t.Errorf("hints after an error are heeded: %v", got)
		}
		close(wake) // nobody watches any more
		if got := r.after(8 * time.Minute); len(got) > 6 {
			t.Errorf("a closed channel wakes: %v", got)
		}
		r.stop(t)
	})
}

func TestNowIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := make(chan struct{})
		r := start(t, func(r *rig) { r.Now, r.errs = now, []error{errSpec, errSpec} })
		now <- struct{}{}
		now <- struct{}{}
		if got := r.after(0); len(got) != 3 {
			t.Errorf("looks at %v, want three at once", got)
		}
		r.stop(t)
	})
}

// The look under way is finished, and nothing is concluded from it.
func TestEndFinishesTheLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(r *rig) {
			r.took, r.errs = time.Hour, []error{errSignal} // as reconcile.Run returns it
			r.Monitor = NewMonitor("1", wall{}, func(e Event) { t.Errorf("told: %+v", e) })
		})
		r.cancel(errSignal)
		synctest.Wait()
		if len(r.ended) != 0 {
			t.Error("it ended in the middle of a look")
		}
		time.Sleep(time.Hour)
		if err := <-r.ended; !errors.Is(err, errSignal) {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"READY=1", "STOPPING=1"}, r.heard()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestServiceManagerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.Watchdog, r.errs = time.Minute, []error{nil, errSpec} })
		r.after(5*time.Minute + time.Second)
		r.stop(t)
		want := append([]string{"READY=1", "STATUS=converged"}, slices.Repeat([]string{"WATCHDOG=1"}, 9)...)
		want = append(want, "WATCHDOG=1", "STATUS=the last look failed", "STOPPING=1")
		slices.Sort(want) // the tick and the look at five minutes come in any order
		got := r.heard()
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A look in which nothing happens any more is found out: the watchdog is not fed, so that systemd starts us again.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.took, r.Watchdog, r.Interval = 3*time.Hour, time.Minute, every(2*time.Hour) })
		r.after(stuck)
		answers(t, r.Options, "/healthz", 200, "ok")
		r.Monitor.Call("PowerOnVM_Task", true) // a sign of life
		r.after(stuck - time.Second)
		answers(t, r.Options, "/healthz", 200, "ok")
		r.after(2 * time.Second)
		answers(t, r.Options, "/healthz", 503, "stuck: nothing has happened for 30m1s")
		fed := len(r.heard())
		r.after(time.Hour)
		if now := r.heard(); len(now) != fed {
			t.Errorf("the watchdog is fed: %v", now[fed:])
		}
		r.after(time.Hour + time.Minute) // the look ends; waiting for two hours is not being stuck
		answers(t, r.Options, "/healthz", 200, "ok")
		r.after(time.Hour)
		answers(t, r.Options, "/healthz", 200, "ok")
		r.cancel(errSignal)
		<-r.ended
	})
}

func TestReadyGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMonitor("1", wall{}, nil)
		check := func(want string) {
			t.Helper()
			got := "ok"
			if err := m.Ready(time.Now(), 15*time.Minute); err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		check("no look has ended")
		m.Seen(plan.Desired{Fleet: "a"}, plan.Observed{}, nil)
		check("ok")
		time.Sleep(16 * time.Minute)
		check("last seen 16m0s ago")
		m.Seen(plan.Desired{Fleet: "a"}, plan.Observed{Problem: "host esx-2 does not answer"}, nil)
		m.Seen(plan.Desired{Fleet: "a"}, plan.Observed{}, errors.New("connection refused"))
		check("last seen 16m0s ago")
		m.Seen(plan.Desired{Fleet: "a"}, plan.Observed{}, nil)
		m.ended([]reconcile.Result{{Fleet: "a", Outcome: reconcile.Refused, Blocked: []plan.Blocked{{Code: plan.R15, Reason: "vCenter does not answer"}}}}, nil, 0)
		check("vCenter does not answer")
		m.ended([]reconcile.Result{{Fleet: "a", Outcome: reconcile.Refused, Blocked: []plan.Blocked{{VM: "x", Code: plan.R12}}}}, nil, 0)
		check("ok")
	})
}

// A real listener on loopback: what it serves, what it refuses, and that it is gone afterwards.
func TestServe(t *testing.T) {
	var log bytes.Buffer
	o := Options{Listen: "127.0.0.1:0", Clock: wall{}, Interval: every(time.Minute), Monitor: NewMonitor("1", wall{}, nil), Log: slog.New(slog.NewTextHandler(&log, nil))}
	stop, err := o.serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(strings.TrimSpace(log.String()), "address=")
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/healthz", 200}, {"HEAD", "/healthz", 200}, {"GET", "/readyz", 503}, {"GET", "/metrics", 200},
		{"POST", "/healthz", 405}, {"DELETE", "/metrics", 405}, {"GET", "/", 404}, {"GET", "/debug/pprof/", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+address+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, resp.StatusCode, c.code)
		}
	}
	busy := o
	busy.Listen, busy.Rand, busy.Once = address, func() float64 { return 0 }, func(context.Context) ([]reconcile.Result, error) {
		t.Error("it looks although it cannot listen")
		return nil, nil
	}
	if err := Run(t.Context(), busy); err == nil || !strings.Contains(err.Error(), "listen on "+address) {
		t.Errorf("a taken address: %v", err)
	}
	stop()
	if resp, err := http.Get("http://" + address + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("it listens on after the end")
	}
	if err := Run(t.Context(), Options{}); err == nil {
		t.Error("empty options are accepted")
	}
}
