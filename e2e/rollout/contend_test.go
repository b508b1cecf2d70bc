//go:build e2e

package rollout

import (
	"strings"
	"sync"

	"github.com/lkv-io/lkv/internal/lab"
)

// starter holds the first two calls on a VM until both are there, so that two runs that were begun at the same moment have
// both seen the VM as nobody's, and every later one until one of the two runs has ended.
type starter struct {
	vm string

	mu    sync.Mutex
	calls []lab.Call
	both  chan struct{}
	over  chan struct{}
}

func (s *starter) hold(c lab.Call) lab.Fault {
	if c.Target != s.vm {
		return lab.None
	}
	s.mu.Lock()
	s.calls = append(s.calls, c)
	n := len(s.calls)
	if n == 2 {
		close(s.both)
	}
	s.mu.Unlock()
	if n <= 2 {
		<-s.both
	} else {
		<-s.over
	}
	return lab.None
}

// contended lets two machines claim a VM in the same moment, while a daemon on a third one watches: one of the two rolls
// it. SIGTERM ends that one while the guest boots; two runs at the same moment on its machine, and one on the other, go on.
func (b *bench) contended(one, two datum) {
	b.set("strategy", "in-place")
	before, was := b.boots("host-01"), b.says("host-01").diary
	watch, a, z := b.machine("watch"), b.elsewhere(), b.machine("z")
	daemon := watch.start("reconcile", "--watch", "--interval", "1h", "--listen", "")
	b.until("the daemon has looked", func() bool { return strings.Contains(daemon.out.String(), "converged") })
	b.release("7", "true")
	b.verify(false)

	winner, loser := b.race(a, z)
	b.until("the winner waits for the guest", func() bool { return strings.Contains(winner.out.String(), `"kind":"AwaitReady"`) })
	winner.stop()
	winner.verify(false)
	if diary := b.says("host-01").diary; diary != was || !strings.Contains(winner.out.String(), `"result":"pending"`) {
		b.Errorf("SIGTERM came too late, the guest has started: its diary is %s\n%s", diary, &winner.out)
	}
	b.together(winner.bench, winner.bench, loser.bench)
	b.until("the daemon sees the fleet as wanted", func() bool { return strings.Count(daemon.out.String(), "converged") > 1 })
	daemon.stop()
	for _, m := range []*bench{a, z, watch} {
		m.verifyNew(false)
	}
	b.serves("host-01", "7", one, was+",7")
	if n := b.boots("host-01"); n != before+1 {
		b.Errorf("host-01 was booted %d times, before %d", n, before)
	}
	b.kept(one, two)
	b.lkv(0, "plan")
}

// race starts a run on two machines and returns the one that has the VM then. The other one has left it alone.
func (b *bench) race(a, z *bench) (winner, loser *process) {
	b.Helper()
	s := &starter{vm: "host-01", both: make(chan struct{}), over: make(chan struct{})}
	b.lab.OnCall(s.hold)
	winner, loser = a.start("reconcile", "--json"), z.start("reconcile", "--json")
	select {
	case <-loser.ended:
	case <-winner.ended:
		winner, loser = loser, winner
	}
	b.lab.OnCall(nil)
	close(s.over)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) < 2 || s.calls[0].Version == "" || s.calls[0].Version != s.calls[1].Version {
		b.Errorf("it was no race: %+v", s.calls)
	}
	if code := loser.wait(); code != 3 || !strings.Contains(loser.out.String(), `"code":"R16"`) {
		b.Errorf("the run that came too late ended with %d\n%s\n%s", code, &loser.out, &loser.log)
	}
	return winner, loser
}

// together starts runs at the same moment. Whichever has the claim brings the roll to its end, the others say that it has.
func (b *bench) together(machines ...*bench) {
	b.Helper()
	var runs []*process
	for _, m := range machines {
		runs = append(runs, m.start("reconcile"))
	}
	done := 0
	for _, p := range runs {
		switch code := p.wait(); {
		case code == 0:
			done++
		case code != 3 || !strings.Contains(p.out.String()+p.log.String(), "R16"):
			b.Errorf("one of %d runs at once ended with %d\n%s\n%s", len(runs), code, &p.out, &p.log)
		}
	}
	if done == 0 {
		b.Error("all runs left it to each other")
	}
}
