package reconcile

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// corpus are seeds that once showed a defect.
var corpus = []int64{804, 958, 1767, 1793, 2205, 2339, 3042, 3326, 3420, 3681, 3851}

// TestChaos lets two runs, begun again and again under two names, work on a fleet in which things happen: guests hang,
// VMs go off, drains hang, ISOs vanish, datastores are full, claims expire while their owner lives, clocks are wrong by
// an hour, calls fail or their replies are lost, processes die, vCenter cannot be seen, people answer dialogues and
// resume. No invariant is ever broken, and when it is over the fleet gets to what is wanted. Everything that happens
// follows from the seed.
func TestChaos(t *testing.T) {
	seeds := slices.Clone(corpus)
	many := int64(40)
	if sweeping() {
		many = 4000
	}
	for seed := range many {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newChaos(t, seed).live() })
		})
	}
}

// chaos is one seed.
type chaos struct {
	t    *testing.T
	seed int64
	rng  *rand.Rand // of the environment
	d    plan.Desired
	w    *world
	over bool
	all  sync.WaitGroup
}

func newChaos(t *testing.T, seed int64) *chaos {
	c := &chaos{t: t, seed: seed, rng: rand.New(rand.NewSource(seed))}
	n := 2 + c.rng.Intn(4)
	d := wish(n, "")
	r := &d.Rollout
	switch c.rng.Intn(4) {
	case 0:
		r.Strategy, r.Disk, r.Surge = plan.BlueGreen, plan.HandOver, 1+c.rng.Intn(2)
	case 1:
		r.Strategy, r.Disk, r.Surge = plan.BlueGreen, plan.Fresh, 1+c.rng.Intn(2)
	}
	r.Drain, r.MaxUnavailable, r.MaxFailed = c.rng.Intn(2) == 0, 1+c.rng.Intn(2), c.rng.Intn(3)
	r.Heal = []time.Duration{0, 4 * time.Minute}[c.rng.Intn(2)]
	r.Canaries, r.Bake = c.rng.Intn(2), 10*time.Minute
	r.OnFailure = []string{"pause", "rollback"}[c.rng.Intn(2)]
	r.Progress = []time.Duration{0, time.Hour}[c.rng.Intn(2)]
	r.NoBrake = c.rng.Intn(2) == 0
	have := all(n)[:1+c.rng.Intn(n)]
	c.w = newWorld(d, have...)
	if n > 2 && len(have) == n && c.rng.Intn(3) == 0 {
		d.VMs, d.Rollout.ScaleIn = d.VMs[:n-1], 1
		c.w.ledger.surplus = 1
	}
	c.d, c.w.want, c.w.floor = d, d, 0
	return c
}

// dice is a number below n that follows from the seed, the time and what.
func (c *chaos) dice(n uint64, what ...any) int {
	h := fnv.New64a()
	fmt.Fprint(h, c.seed, time.Now().UnixNano(), what)
	return int(h.Sum64() >> 8 % n)
}

func (c *chaos) live() {
	ctx, cancel := context.WithCancel(context.Background())
	for _, who := range []string{"a", "b"} {
		c.all.Go(func() {
			for life := 0; !c.over; life++ {
				time.Sleep(time.Duration(c.dice(240, who, life, "pause")) * time.Second)
				c.once(ctx, who, life)
			}
		})
	}
	c.all.Go(c.happen)
	time.Sleep(3 * time.Hour)
	c.over = true
	c.all.Wait()
	cancel()
	c.settle()
}

// once is the life of one process.
func (c *chaos) once(ctx context.Context, who string, life int) {
	d := c.d
	d.Claimer = who
	if c.dice(8, who, life, "person") == 0 {
		_, _ = Act(ctx, options(d, &run{w: c.w}), plan.Resume)
	}
	r := &run{w: c.w}
	skew := []time.Duration{0, 0, 0, time.Hour, -time.Hour}[c.dice(5, who, life, "clock")]
	r.clock = func() time.Time { return time.Now().Add(skew) }
	r.delay = func(what string) {
		time.Sleep(time.Duration(1+c.dice(3e9, who, what)) * time.Nanosecond)
		if c.dice(400, who, what, "away") == 0 {
			time.Sleep(time.Duration(c.dice(800, who, what, "long")) * time.Second)
		}
	}
	r.fault = func(_ int, s plan.Step, do func() error) error {
		switch c.dice(60, who, s.VM(), s) {
		case 0:
			return errNet
		case 1:
			_ = do()
			return errNet
		case 2:
			r.dead = c.dice(2, who, s.VM(), "dies") == 0
			if c.dice(2, who, s.VM(), "after") == 0 {
				_ = do()
			}
			return errDead
		}
		return do()
	}
	r.drains = func(vm plan.VM) error {
		switch c.dice(8, who, vm.Name, "drain") {
		case 0:
			return errors.New("injected: the drain failed")
		case 1:
			time.Sleep(time.Duration(c.dice(600, who, vm.Name, "hangs")) * time.Second)
		}
		return nil
	}
	o := options(d, r)
	o.Clock = skewed{skew}
	if _, err := Run(ctx, o); err != nil && !strings.Contains(err.Error(), "nothing changed") {
		c.w.broken, c.w.log = append(c.w.broken, err.Error()), append(c.w.log, "!! "+err.Error())
	}
}

// skewed is a clock that is wrong.
type skewed struct{ by time.Duration }

func (s skewed) Now() time.Time                                   { return time.Now().Add(s.by) }
func (s skewed) Sleep(ctx context.Context, d time.Duration) error { return wall{}.Sleep(ctx, d) }

// happen lets one thing happen after the other.
func (c *chaos) happen() {
	for !c.over {
		time.Sleep(time.Duration(1+c.rng.Intn(300e9)) * time.Nanosecond)
		c.w.mu.Lock()
		c.event()
		for _, why := range c.w.ledger.faults(c.w.now) {
			c.w.broken = append(c.w.broken, "after an event: "+why)
		}
		c.w.mu.Unlock()
	}
}

func (c *chaos) event() {
	if len(c.w.now.VMs) == 0 {
		return
	}
	v := &c.w.now.VMs[c.rng.Intn(len(c.w.now.VMs))]
	what := ""
	switch c.rng.Intn(12) {
	case 0, 1:
		what, c.w.hung[v.ID] = "its guest hangs", true
		c.w.shocked[v.ID] = time.Now()
	case 2, 3:
		what = "its guest is back"
		delete(c.w.hung, v.ID)
	case 4:
		what, v.Power = "it goes off", plan.Off
		c.w.shocked[v.ID] = time.Now()
	case 5:
		what, c.w.rules.gone = "the ISO vanishes", map[string]bool{newISO: true}
	case 6, 7:
		what, c.w.rules.gone, c.w.rules.full = "ISO and datastore are as they should be", map[string]bool{}, false
	case 8:
		what, c.w.rules.full = "datastores are full", true
	case 9:
		what = "its claim expires early"
		if v.Record.Owner != "" {
			v.Record.Expires = time.Now()
		}
	case 10:
		what = "a dialogue opens or closes"
		v.Busy = []string{"a question is pending"}[:c.rng.Intn(2)]
	case 11:
		until := c.w.looks + c.rng.Intn(8)
		what = "vCenter cannot be seen"
		c.w.badLook = func(n int) (plan.Observed, error, bool) { return plan.Observed{}, errNet, n < until }
	}
	c.w.log = append(c.w.log, fmt.Sprintf("%s -- %s: %s", time.Now().Format(time.TimeOnly), v.Name, what))
}

// settle ends all trouble, as a person would, and asserts that the fleet gets to what is wanted.
func (c *chaos) settle() {
	w, d := c.w, c.d
	story := func() string { return strings.Join(w.log, "\n") }
	w.badLook, w.hung, w.rules = nil, map[string]bool{}, rules{}
	for i := range w.now.VMs {
		w.now.VMs[i].Busy = nil
	}
	d.Claimer, d.Rollout.NoBrake = "judge", true
	var res Result
	for range 30 {
		time.Sleep(time.Hour + 10*time.Minute)
		if _, err := Act(context.Background(), options(d, &run{w: w}), plan.Resume); err != nil {
			c.t.Fatal(err)
		}
		var err error
		if res, err = Run(context.Background(), options(d, &run{w: w})); err != nil {
			c.t.Fatalf("%v\n%s", err, story())
		}
		if res.Outcome == Converged && res.Mutations == 0 {
			break
		}
	}
	if len(w.broken) > 0 {
		c.t.Fatalf("seed %d: broken:\n%s\n%s", c.seed, strings.Join(w.broken, "\n"), story())
	}
	c.t.Logf("%d calls, %d changes, %d looks", w.calls, w.changes, w.looks)
	if up := serving(w.seen(), d); res.Outcome != Converged || len(up) != len(d.VMs) || len(res.Same) != len(d.VMs) || len(w.quiet()) > 0 {
		c.t.Fatalf("seed %d: %d serve, %v, %+v\n%s", c.seed, len(up), w.quiet(), res, story())
	}
}
