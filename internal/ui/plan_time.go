package ui

import (
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// What things take where nothing goes wrong, on an ordinary vCenter. They are guesses, and shown as such.
const (
	callTime = 3 * time.Second  // one reconfiguration, with its task and the look before it
	downTime = 20 * time.Second // a guest that shuts down
	bootTime = time.Minute      // from power on until a guest serves
	zeroRate = 200 << 20        // bytes per second of a thick disk that is made
)

// estimate guesses how long a plan takes, from grace, settle and bake.
func estimate(want plan.Desired, p plan.Plan) Estimate {
	var e Estimate
	longest := rollTime(want, plan.Roll{Steps: []plan.Step{plan.Claim{}, plan.Shutdown{Grace: want.Rollout.Grace}, plan.InsertISO{},
		plan.PowerOn{}, plan.AwaitReady{Timeout: want.Rollout.Timeout, Settle: want.Rollout.Settle}, plan.Release{}}})
	for _, w := range p.Waves {
		e.Now += waveTime(want, w).Seconds()
	}
	if n := len(p.Later); n > 0 {
		at := max(1, want.Rollout.MaxUnavailable)
		e.Later = (want.Rollout.Bake + time.Duration((n+at-1)/at)*longest).Seconds()
	}
	e.Drained = want.Rollout.Drain
	return e
}

// waveTime is that of its longest roll: they run at the same time.
func waveTime(want plan.Desired, w plan.Wave) time.Duration {
	var most time.Duration
	for _, r := range w.Rolls {
		most = max(most, rollTime(want, r))
	}
	return most
}

func rollTime(want plan.Desired, r plan.Roll) time.Duration {
	var d time.Duration
	for _, s := range r.Steps {
		switch s := s.(type) {
		case plan.AwaitTask, plan.Drain, plan.Restore:
		case plan.Shutdown:
			d += min(downTime, s.Grace)
		case plan.AwaitReady:
			d += min(bootTime, s.Timeout) + s.Settle
		case plan.CreateDisk:
			d += callTime
			if !s.Disk.Thin {
				d += time.Duration(s.Disk.Bytes/zeroRate) * time.Second
			}
		default:
			d += callTime
		}
	}
	return d
}
