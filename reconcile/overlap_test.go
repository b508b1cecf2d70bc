package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/daemon"
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

var errEnd = errors.New("ended")

// TestDaemonsAndCronTogether lets two daemons and runs from cron work on one fleet, each under its own name and begun
// at its own time; one daemon is ended in the middle of whatever it does. No invariant breaks, everybody ends with
// the fleet as wanted, and then nobody changes anything any more (A5, A6, A9).
func TestDaemonsAndCronTogether(t *testing.T) {
	busy := map[string]int{}
	for seed := range int64(60) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewSource(seed))
			w, want := reconcile.NewWorld(4)
			var mu sync.Mutex
			last := map[string]reconcile.Result{}
			once := func(who string) func(context.Context) ([]reconcile.Result, error) {
				d, hands := want, w.Hands()
				d.Claimer = who
				return func(ctx context.Context) ([]reconcile.Result, error) {
					res, err := reconcile.Run(ctx, reconcile.Options{Desired: d, Observer: hands, Executor: hands, Clock: wall{}})
					mu.Lock()
					defer mu.Unlock()
					if last[who] = res; res.Mutations > 0 {
						busy[who]++
					}
					return []reconcile.Result{res}, err
				}
			}
			ctx, end := context.WithCancelCause(t.Context())
			victim, kill := context.WithCancelCause(ctx)
			var all sync.WaitGroup
			watch := func(ctx context.Context, who string, offset time.Duration) {
				random := rand.New(rand.NewSource(rng.Int63()))
				all.Go(func() {
					time.Sleep(offset)
					err := daemon.Run(ctx, daemon.Options{Once: once(who), Interval: func() time.Duration { return 3 * time.Minute }, Rand: random.Float64, Clock: wall{},
						Monitor: daemon.NewMonitor("test", wall{}, nil), Log: slog.New(slog.DiscardHandler)})
					if !errors.Is(err, errEnd) {
						t.Errorf("daemon %s ended with %v", who, err)
					}
				})
			}
			second := func(n int) time.Duration { return time.Duration(rng.Intn(n)) * time.Second }
			watch(ctx, "a", second(300))
			watch(victim, "b", second(300))
			cron := once("cron")
			all.Go(func() {
				for wait := second(300); ; wait = 2 * time.Minute {
					if (wall{}).Sleep(ctx, wait) != nil {
						return
					}
					_, _ = cron(ctx) // what matters is in last
				}
			})
			time.Sleep(time.Minute + second(900))
			kill(errEnd)
			time.Sleep(90 * time.Minute)
			calls := w.Calls()
			time.Sleep(time.Hour)
			if now := w.Calls(); now != calls {
				t.Errorf("seed %d: %d calls although everything is as wanted", seed, now-calls)
			}
			end(errEnd)
			all.Wait()
			w.Intact(t)
			for who, res := range last {
				if who != "b" && res.Outcome != reconcile.Converged && res.Why == "" {
					t.Errorf("seed %d: %s ended %+v", seed, who, res)
				}
			}
			hands := w.Hands()
			want.Claimer = "judge"
			res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: want, Observer: hands, Executor: hands, Clock: wall{}})
			if err != nil || res.Outcome != reconcile.Converged || res.Mutations != 0 || len(res.Same) != 4 {
				t.Errorf("seed %d: %+v, %v", seed, res, err)
			}
		})
	}
	if busy["a"] < 15 || busy["b"] < 15 || busy["cron"] < 15 {
		t.Errorf("runs that did something: %v: they do not meet", busy)
	}
}
