//go:build e2e

package rollout

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
)

// relay is one roll by many runs of lkv. Each but the last is ended with SIGKILL at the first call that it makes: by turns
// before vCenter has it, and right after, when vCenter carries it out and nobody hears what came of it. So lkv is killed
// before and after every call that the roll has.
type relay struct {
	*bench
	disk string // the one that the roll is about

	mu     sync.Mutex
	run    *process
	struck bool // this run
	before bool // the last run that was killed was killed before vCenter had its call
	points []string
}

// most is how many runs a roll may take: each has two for every call, and a claim that has to expire many more.
const most = 200

// relayed rolls the fleet to its end and returns the points at which lkv was killed after a call: what was on, and had the
// first disk, and the call. next says on which machine the next run is. All disks are looked at after each.
func (b *bench) relayed(next func() *bench, disks ...datum) []string {
	b.Helper()
	r := &relay{bench: b, disk: disks[0].path}
	b.lab.OnCall(r.strike)
	defer b.lab.OnCall(nil)
	for range most {
		on := next()
		code := r.one(on)
		r.mu.Lock() // until the call has been dealt with
		struck := r.struck
		r.mu.Unlock()
		switch {
		case struck && code == -1:
			on.verify(true)
			b.kept(disks...)
		case !struck && code == 3 && strings.Contains(r.run.out.String(), "R16"):
			time.Sleep(time.Second) // the claim of the machine that died has to expire
		case !struck && code == 0:
			return r.points
		default:
			b.Fatalf("killed: %v, exit code %d after %q\n%s\n%s", struck, code, r.points, &r.run.out, &r.run.log)
		}
	}
	b.Fatalf("no end after %d runs: %q", most, r.points)
	return nil
}

// one is one run, until it ends or is killed.
func (r *relay) one(on *bench) int {
	r.Helper()
	r.mu.Lock()
	r.struck, r.run = false, on.start("reconcile")
	r.mu.Unlock()
	return r.run.wait()
}

// strike kills the run that makes a call, and lets vCenter have the call every other time.
func (r *relay) strike(c lab.Call) lab.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.struck {
		return lab.Drop
	}
	r.struck, r.before = true, !r.before
	_ = r.run.Process.Kill() // whether it did shows in its exit code
	<-r.run.ended
	if r.before {
		return lab.Drop
	}
	r.points = append(r.points, r.scene()+": "+nameOf(c))
	return lab.LoseReply
}

func nameOf(c lab.Call) string {
	if c.ISO != "" {
		return c.Method + " ISO"
	}
	return c.Method
}

// scene says of every VM that is not retired whether it is on, whether it has the disk, and the release of its ISO.
func (r *relay) scene() string {
	var list []string
	for _, v := range r.lab.VMs() {
		if strings.Contains(v.Name, "-retired-") {
			continue
		}
		s := v.Name + " " + strings.TrimPrefix(string(v.Power), "powered")
		if slices.Contains(v.Disks, r.disk) {
			s += " disk"
		}
		for release, iso := range r.isos {
			if iso == v.ISO {
				s += " " + release
			}
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

// passes wants the points in that order, whatever is between them.
func (b *bench) passes(points []string, want ...string) {
	b.Helper()
	rest := points
	for _, w := range want {
		i := slices.Index(rest, w)
		if i < 0 {
			b.Errorf("lkv was not killed there: %q, or in another order; the points were:\n%s", w, strings.Join(points, "\n"))
			return
		}
		rest = rest[i+1:]
	}
}
