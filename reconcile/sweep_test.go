package reconcile

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// sweeping tells whether everything is tried (make sweep), or what go test has the time for.
func sweeping() bool { return os.Getenv("LKV_SWEEP") != "" }

// fault is one way in which a call goes wrong. A killed run is dead for good.
type fault struct {
	name string
	do   func(c call) error
}

// call is a mutating call that is about to be made; do makes it.
type call struct {
	r  *run
	n  int // how many attempts of this step went wrong already
	s  plan.Step
	d  plan.Desired
	sc scenario
	t  *testing.T
	do func() error
}

var errNet = errors.New("injected: connection reset")

// faults are all of them. Each makes one call go wrong, those of whole tasks every attempt of one step.
var faults = []fault{
	{"fails before", func(c call) error {
		if c.n > 0 {
			return c.do()
		}
		return errNet
	}},
	{"reply lost", func(c call) error {
		if c.n > 0 {
			return c.do()
		}
		_ = c.do()
		return errNet
	}},
	{"killed before", func(c call) error { c.r.dead = true; return errDead }},
	{"killed after", func(c call) error { _ = c.do(); c.r.dead = true; return errDead }},
	{"task fails", func(c call) error { return errors.New("injected: no host is compatible") }},
	{"task fails and is done", func(c call) error { _ = c.do(); return errors.New("injected: the operation timed out") }},
	{"session expires", func(c call) error {
		if c.n > 0 {
			return c.do()
		}
		from := c.r.w.looks
		c.r.w.badLook = func(n int) (plan.Observed, error, bool) {
			return plan.Observed{}, errors.New("injected: the session is not authenticated"), n <= from+2
		}
		return errors.New("injected: the session is not authenticated")
	}},
	{"another run", func(c call) error {
		if c.n == 0 {
			other := c.d
			other.Claimer = "other"
			c.r.w.mu.Unlock()
			if _, err := c.sc.once(c.t, c.r.w, other, &run{w: c.r.w}); err != nil {
				c.t.Error(err)
			}
			c.r.w.mu.Lock()
		}
		return c.do()
	}},
	{"another run later", func(c call) error { // this process is away for so long that its claim expires
		if c.n == 0 {
			other := c.d
			other.Claimer = "other"
			c.r.w.mu.Unlock()
			time.Sleep(10 * time.Minute)
			if _, err := c.sc.once(c.t, c.r.w, other, &run{w: c.r.w}); err != nil {
				c.t.Error(err)
			}
			c.r.w.mu.Lock()
		}
		return c.do()
	}},
	{"a person writes", func(c call) error { // between the executor's read and its write: ConcurrentAccess
		if c.n == 0 {
			return errChanged
		}
		return c.do()
	}},
	{"a person powers off", func(c call) error {
		if v := c.r.w.vm(c.s.VM()); c.n == 0 && v != nil && v.Power == plan.On {
			c.r.w.floor, c.r.w.ledger.touched[v.ID] = 0, true // theirs
			v.Power = plan.Off
			return errChanged
		}
		return c.do()
	}},
	{"a person resizes", func(c call) error {
		_, boots := c.s.(plan.PowerOn)
		if c.n == 0 && boots {
			v := c.r.w.vm(c.s.VM())
			v.CPUs, c.r.w.ledger.touched[v.ID] = 1, true
			return errChanged
		}
		return c.do()
	}},
}

// broken makes call n of a run go wrong, with every attempt of the same step.
func (f fault) hit(t *testing.T, sc scenario, d plan.Desired, r *run, n int) {
	var hit string
	tries := 0
	r.fault = func(i int, s plan.Step, do func() error) error {
		key := s.VM() + fmt.Sprintf("%T", s)
		if i == n {
			hit = key
		}
		if i < n || hit != key || tries >= 3 {
			return do()
		}
		tries++
		return f.do(call{r: r, n: tries - 1, s: s, d: d, sc: sc, t: t, do: do})
	}
}

// clean runs a scenario without any trouble, and returns how it ends, with how many mutating calls and looks.
func (s scenario) clean(t *testing.T) (golden plan.Observed, calls, looks int) {
	synctest.Test(t, func(t *testing.T) {
		d, w := s.make()
		d.Claimer = "a"
		res, err := s.finish(t, w, d)
		if err != nil || s.person == nil && res.Outcome != s.ends {
			t.Fatalf("%s: %s, %v: %+v\n%s", s.name, res.Outcome, err, res, strings.Join(w.log, "\n"))
		}
		intact(t, w)
		if left := w.quiet(); len(left) > 0 {
			t.Fatalf("%s: %v\n%s", s.name, left, strings.Join(w.log, "\n"))
		}
		golden, calls, looks = end(w), w.calls, w.looks
	})
	return golden, calls, looks
}

// judge asserts that a scenario in which something went wrong ends as without.
func (s scenario) judge(t *testing.T, w *world, d plan.Desired, golden plan.Observed) {
	t.Helper()
	story := func() string { return strings.Join(w.log, "\n") }
	res, err := s.finish(t, w, d)
	if err != nil || s.person == nil && res.Outcome != s.ends {
		t.Errorf("%s, want %s; %v: %+v\n%s", res.Outcome, s.ends, err, res, story())
		return
	}
	if len(w.broken) > 0 {
		t.Errorf("broken:\n%s\nlog:\n%s", strings.Join(w.broken, "\n"), story())
	}
	if left := w.quiet(); len(left) > 0 {
		t.Errorf("%v\n%s", left, story())
	}
	if len(w.ledger.touched) > 0 && (s.ends != Converged || w.want.Rollout.Strategy == plan.BlueGreen) {
		return // what a person did is evidence, or was rolled out
	}
	if w.lied {
		return // an Observer that breaks its word may cost a detour
	}
	if diff := gocmp.Diff(golden, end(w), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-clean run +after the trouble):\n%s\n%s", diff, story())
	}
}

// TestCrashAtEveryCall injects every fault at every mutating call of every scenario, goes on under the same name or
// another, at once or later, and asserts every invariant after every event and the same end as of the clean run (A5).
func TestCrashAtEveryCall(t *testing.T) {
	var cases atomic.Int64
	sum := 0
	for k, sc := range scenarios {
		golden, calls, _ := sc.clean(t)
		sum += calls
		for j, f := range faults {
			for n := 1; n <= calls; n++ {
				for x, next := range []string{"a", "b"} {
					if !sweeping() && (n+j+k+x)%4 != 0 {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%d/%s", sc.name, f.name, n, next), func(t *testing.T) {
						t.Parallel()
						cases.Add(1)
						synctest.Test(t, func(t *testing.T) { sc.crash(t, f, n, next, golden) })
					})
				}
			}
		}
	}
	t.Cleanup(func() {
		t.Logf("%d scenarios, %d calls, %d faults: %d cases", len(scenarios), sum, len(faults), cases.Load())
	})
}

func (s scenario) crash(t *testing.T, f fault, n int, next string, golden plan.Observed) {
	d, w := s.make()
	d.Claimer = "a"
	r := &run{w: w}
	f.hit(t, s, d, r, n)
	if _, err := s.once(t, w, d, r); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(w.log, "\n"))
	}
	w.badLook = nil
	if d.Claimer = next; next == "b" {
		time.Sleep(10 * time.Minute) // claims of the dead expire
	}
	s.judge(t, w, d, golden)
}

// TestTwoCrashes kills a run and then the run that continues, at every two calls.
func TestTwoCrashes(t *testing.T) {
	for k, sc := range scenarios {
		golden, calls, _ := sc.clean(t)
		for i := 1; i <= calls; i++ {
			for j := 1; j <= calls+2; j++ {
				if !sweeping() && (i*7+j*3+k)%11 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%d", sc.name, i, j), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						d, w := sc.make()
						for x, n := range []int{i, j} {
							d.Claimer = []string{"a", "b"}[x*((i+j)%2)]
							r := &run{w: w}
							faults[2+(i+x)%2].hit(t, sc, d, r, n)
							if _, err := sc.once(t, w, d, r); err != nil {
								t.Fatalf("%v\n%s", err, strings.Join(w.log, "\n"))
							}
							time.Sleep(time.Duration((i+j)%3) * 5 * time.Minute)
						}
						sc.judge(t, w, d, golden)
					})
				})
			}
		}
	}
}
