package lab

import (
	"net/http"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

// Fault is what happens to one call instead of, or after, its execution.
type Fault int

// Faults.
const (
	None      Fault = iota
	Refuse          // not executed; a SOAP fault (HostCommunication), or status 500 for an upload
	Drop            // not executed; the connection is cut
	LoseReply       // executed; the connection is cut instead of the answer
	FailTask        // not executed; the task ends in error (a call without a task: as Refuse)
	ExpireAll       // every session ends; the call is answered with NotAuthenticated
	CutUpload       // half of an upload arrives, then the connection is cut (other calls: as Drop)
	FullStore       // an upload finds no space (other calls: as Refuse)
)

// Cut and status faults carry a number beside their kind.
const (
	cutAt    Fault = 1000
	answered Fault = 10000
)

// CutAt lets that many percent of an upload arrive and then cuts the connection (other calls: as Drop).
func CutAt(percent int) Fault { return cutAt + Fault(percent) }

// Status answers with that HTTP status instead of executing the call.
func Status(code int) Fault { return answered + Fault(code) }

func (f Fault) status() (int, bool) { return int(f - answered), f >= answered }

// percent is how much of an upload arrives before the connection is cut.
func (f Fault) percent() (int, bool) {
	switch {
	case f == CutUpload:
		return 50, true
	case f >= cutAt && f < answered:
		return int(f - cutAt), true
	}
	return 0, false
}

// hook is the test's say in every mutating call.
type hook struct {
	mu sync.Mutex
	f  func(Call) Fault
}

// OnCall sets a function that is asked before every mutating call and may do whatever it likes meanwhile: kill a
// process, run another reconciler. It is called without any lock. nil removes it.
func (l *Lab) OnCall(f func(Call) Fault) {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	l.hook.f = f
}

func (l *Lab) ask(c Call) Fault {
	l.hook.mu.Lock()
	f := l.hook.f
	l.hook.mu.Unlock()
	if f == nil {
		return None
	}
	return f(c)
}

// broken is the fault of injected failures: one that no guard produces.
func broken() types.BaseMethodFault { return new(types.HostCommunication) }

// cut ends the request without an answer.
func cut() { panic(http.ErrAbortHandler) } // net/http's way to cut a connection

// deadSessions holds cookies of sessions that were ended by ExpireSessions.
type deadSessions struct {
	mu   sync.Mutex
	seen map[string]bool // session key -> ended
}

// note remembers the request's session, and takes its cookie away when the session was ended.
func (d *deadSessions) note(r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[string]bool{}
	}
	for _, c := range r.Cookies() {
		if d.seen[c.Value] {
			r.Header.Del("Cookie")
			return
		}
		d.seen[c.Value] = false
	}
}

// ExpireSessions ends every session there is, as an idle timeout or an administrator would.
func (l *Lab) ExpireSessions() {
	l.dead.mu.Lock()
	defer l.dead.mu.Unlock()
	for k := range l.dead.seen {
		l.dead.seen[k] = true
	}
}
