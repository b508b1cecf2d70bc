package plan

import (
	"fmt"
	"slices"
	"time"
)

// open tells whether VMs that serve may be rolled at that moment, and, when not, from when on they may. From and To are
// times of the wall clock in the window's zone, whatever that clock does in between: 22:00 is 22:00 in summer too. To
// that is not after From is the next day's, so that equal ones are a whole day. The next opening is zero when there is
// none within two weeks, as for a window without any day of the week.
func (w *Window) open(t time.Time) (bool, time.Time) {
	if w == nil {
		return true, time.Time{}
	}
	zone := w.Zone
	if zone == nil {
		zone = time.UTC
	}
	local := t.In(zone)
	for day := -1; day <= 14; day++ {
		from, to := w.on(local.Year(), local.Month(), local.Day()+day, zone)
		switch {
		case !from.Before(to) || !to.After(t) || !w.has(local.Year(), local.Month(), local.Day()+day):
		case !from.After(t):
			return true, time.Time{}
		default:
			return false, from
		}
	}
	return false, time.Time{}
}

// on returns the window that opens on that day.
func (w *Window) on(year int, month time.Month, day int, zone *time.Location) (from, to time.Time) {
	at := func(day int, clock time.Duration) time.Time {
		return time.Date(year, month, day, 0, 0, int(clock/time.Second), 0, zone)
	}
	from, to = at(day, w.From), at(day, w.To)
	if w.To <= w.From {
		to = at(day+1, w.To)
	}
	return from, to
}

// has tells whether the window opens on that day.
func (w *Window) has(year int, month time.Month, day int) bool {
	return len(w.Days) == 0 || slices.Contains(w.Days, time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday())
}

const outside = "outside of the window"

// shut is R13: VMs wait for the window.
func (f *fleet) shut() *Blocked {
	waiting := 0
	for _, m := range slices.Concat(f.members, f.extras) {
		if l := f.waits(m); l != nil && l.Reason == outside {
			waiting++
		}
	}
	if waiting == 0 {
		return nil
	}
	b := &Blocked{Code: R13, Reason: fmt.Sprintf("%d VMs wait, because VMs that serve are only rolled within the window", waiting),
		Clear: "give the window a day on which it opens"}
	if !f.opening.IsZero() {
		b.Clear = fmt.Sprintf("wait until %s, or change the window", f.opening.Format("2006-01-02 15:04 MST"))
	}
	return b
}
