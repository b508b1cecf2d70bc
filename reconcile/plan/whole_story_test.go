package plan

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/golden"
)

// event is something that happens to a fleet while a daemon watches it, so many minutes after it began to.
type event struct {
	minute int
	what   string
	do     func(d *Desired, o *Observed)
}

// saga is what a daemon lives through with a fleet.
type saga struct {
	world  func() (Desired, Observed)
	events []event
}

// TestSagas follows fleets over hours and days, wave by wave and event by event, and writes down what an operator would
// read in the log of a daemon: what it does and why, what it refuses, and what waits until when. A wave takes ten minutes.
func TestSagas(t *testing.T) {
	for name, s := range sagas() {
		t.Run(name, func(t *testing.T) {
			golden.Check(t, filepath.Join("testdata", "saga-"+strings.NewReplacer(" ", "-", ",", "").Replace(name)+".log"), s.log(t))
		})
	}
}

// log lives it through.
func (s saga) log(t *testing.T) string {
	d, o := s.world()
	now, said, left := t0, "", s.events
	var b strings.Builder
	for range 200 {
		for len(left) > 0 && !now.Before(left[0].time()) {
			fmt.Fprintf(&b, "%s * %s\n", now.Format("Mon 15:04"), left[0].what)
			left[0].do(&d, &o)
			left, said = left[1:], ""
		}
		p := Compute(d, o, now)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", now, err)
		}
		if words := standstill(p); words != said && len(p.Waves) == 0 {
			fmt.Fprintf(&b, "%s   %s\n", now.Format("Mon 15:04"), words)
			said = words
		}
		if len(p.Waves) > 0 {
			said = ""
			wave := p.Waves[0]
			for _, r := range wave.Rolls {
				fmt.Fprintf(&b, "%s   %s %s: %s\n", now.Format("Mon 15:04"), r.Action, number(r.VM), r.Reason)
				fmt.Fprintf(&b, "            %s\n", doing(Plan{Waves: []Wave{{Rolls: []Roll{r}}}}, r.VM))
				for _, step := range r.Steps {
					o = o.After(step)
				}
			}
			now = now.Add(10 * time.Minute)
			continue
		}
		next := awakes(d, o, p, now)
		if len(left) > 0 && (next.IsZero() || left[0].time().Before(next)) {
			next = left[0].time()
		}
		if next.IsZero() {
			return b.String()
		}
		now = next
	}
	t.Fatal("200 looks and no end")
	return ""
}

func (e event) time() time.Time { return t0.Add(time.Duration(e.minute) * time.Minute) }

// standstill is what a plan without a wave says.
func standstill(p Plan) string {
	var out []string
	for _, x := range p.Blocked {
		out = append(out, fmt.Sprintf("%s %s", strings.TrimSpace(string(x.Code)+" "+number(x.VM)), x.Reason))
	}
	for _, l := range p.Later {
		until := ""
		if !l.Until.IsZero() {
			until = ", until " + l.Until.Format("Mon 15:04")
		}
		out = append(out, fmt.Sprintf("%s waits: %s%s", number(l.VM), l.Reason, until))
	}
	if len(out) == 0 {
		return fmt.Sprintf("%d as wanted", len(p.Same))
	}
	return strings.Join(out, "\n            ")
}

// push gives the fleet another image, by a letter: its digest is that letter 64 times.
func push(letter, engine string) func(*Desired, *Observed) {
	return func(d *Desired, _ *Observed) {
		d.Image.Digest, d.Image.ID, d.Image.Engine = strings.Repeat(letter, 64), "sha256:"+letter, engine
		d.Image.Paths = map[string]string{"dc1": "[iso] lkv/worker/" + letter + ".iso"}
	}
}

// resume is a person's lkv resume.
func resume(d *Desired, o *Observed) {
	for _, r := range Resume(*d, *o, t0.AddDate(0, 0, 1)).Rolls {
		for _, s := range r.Steps {
			*o = o.After(s)
		}
	}
}

// vms does something to VMs by their numbers.
func vms(f func(v *VM), numbers ...int) func(*Desired, *Observed) {
	return func(_ *Desired, o *Observed) { each(o, f, numbers...) }
}

// failing is another run that rolls a VM until it is on again, waits for its gate in vain, and writes that down.
func failing(vm string) func(*Desired, *Observed) {
	return func(d *Desired, o *Observed) {
		theirs := *d
		theirs.Claimer = other
		for _, s := range flat(Compute(theirs, *o, t0)) {
			if _, gate := s.(AwaitReady); gate && s.VM() == vm {
				*o = o.After(Fail{Of(vm), "not ready after 10m0s: the guest says failed: dockerd exited"})
				return
			}
			if s.VM() == vm {
				*o = o.After(s)
			}
		}
	}
}
