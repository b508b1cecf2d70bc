package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// badLook is one way in which a look can go wrong. It returns what is seen instead.
type badLook struct {
	name   string
	silent bool // what an Observer must never do: nothing says that it is wrong. Then what exists must stay as it is
	see    func(w *world) (plan.Observed, error)
}

var badLooks = []badLook{
	{"error", false, func(*world) (plan.Observed, error) {
		return plan.Observed{}, errors.New("injected: vCenter does not answer")
	}},
	{"partial", false, func(w *world) (plan.Observed, error) { // half a list, and it says so
		o := w.seen()
		o.VMs, o.Files, o.Problem = o.VMs[:len(o.VMs)/2], nil, "injected: host esx-2 does not answer"
		return o, nil
	}},
	{"empty", true, func(*world) (plan.Observed, error) { return plan.Observed{}, nil }}, // a failed list read as an empty one (L16)
	{"half", true, func(w *world) (plan.Observed, error) { // a list that is too short and does not say so
		o := w.seen()
		o.VMs = o.VMs[:len(o.VMs)/2]
		return o, nil
	}},
	{"no files", true, func(w *world) (plan.Observed, error) {
		o := w.seen()
		o.Files, o.Made = nil, nil
		return o, nil
	}},
	{"stale", false, func(w *world) (plan.Observed, error) { return w.guests(w.old), nil }},
}

// TestBadLookAtEveryLook lets every look of every scenario go wrong in every way, until the run looks no more or for a
// while. Nothing is changed that follows from it: while nothing good was seen, the world stays as it is but for what was
// under way (D8, law 6), and the end is that of the clean run.
func TestBadLookAtEveryLook(t *testing.T) {
	looked := 0
	for k, sc := range scenarios {
		golden, _, looks := sc.clean(t)
		looked += looks
		for j, bad := range badLooks {
			for n := 1; n <= looks; n++ {
				if !sweeping() && (n+5*j+3*k)%23 != 0 || bad.silent && !sc.whole {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%d", sc.name, bad.name, n), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { sc.misled(t, bad, n, golden) })
				})
			}
		}
	}
	t.Cleanup(func() { t.Logf("%d scenarios, %d looks, %d ways", len(scenarios), looked, len(badLooks)) })
}

func (s scenario) misled(t *testing.T, bad badLook, n int, golden plan.Observed) {
	d, w := s.make()
	d.Claimer = "a"
	tries := 3 // a look is tried so often
	if bad.name == "stale" {
		tries = 1
	}
	w.badLook = func(i int) (plan.Observed, error, bool) {
		if i < n || i >= n+tries {
			return plan.Observed{}, nil, false
		}
		o, err := bad.see(w)
		return o, err, true
	}
	r := &run{w: w}
	r.fault = func(_ int, s plan.Step, do func() error) error {
		changes, when := w.changes, len(w.log)
		err := do()
		if r.blind && w.changes > changes && !harmless(s) && bad.name != "stale" && !underWay(w.log[:when], s.VM()) {
			w.note(s, "D8: it follows a look that failed")
		}
		return err
	}
	if _, err := s.once(t, w, d, r); err != nil && !strings.Contains(err.Error(), "nothing changed") {
		t.Fatalf("%v\n%s", err, strings.Join(w.log, "\n"))
	}
	w.badLook, w.lied = nil, bad.silent
	time.Sleep(10 * time.Minute)
	s.judge(t, w, d, golden)
}

// harmless tells the steps whose executor looks afresh and which say nothing about what is there: a renewal, and a note.
func harmless(s plan.Step) bool {
	switch s.(type) {
	case plan.Claim, plan.Mark:
		return true
	}
	return false
}

// underWay tells whether a roll of the VM had begun: what a run does at the same moment to another VM than the one at
// whose gate it looked is no consequence of that look.
func underWay(log []string, vm string) bool {
	return slices.ContainsFunc(log, func(l string) bool {
		return strings.Contains(l, " "+vm+": ") || strings.Contains(l, " "+strings.TrimSuffix(vm, "-green")+": ")
	})
}
