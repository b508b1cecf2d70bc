package plan

import (
	"fmt"
	"time"
)

// aged says that a VM has run longer than it may, or "".
func aged(want Desired, v VM) string {
	if want.Rollout.MaxAge <= 0 || v.Power != On || v.Age <= want.Rollout.MaxAge {
		return ""
	}
	return fmt.Sprintf("it has run for %s, max_age is %s", daysText(v.Age), daysText(want.Rollout.MaxAge))
}

// afresh tells whether a VM on which nothing differs is to be booted afresh, because of its age or because it does not
// serve. Once that has begun, Record.Due says it.
func afresh(want Desired, w WantVM, v VM, now time.Time) bool {
	if !v.Record.Started.IsZero() || v.Power != On || len(differences(want, w, v)) > 0 {
		return false
	}
	if Up(want, w, v) == "" {
		return aged(want, v) != ""
	}
	return healing(want, v, now)
}

// daysText is a duration in days when it is at least two of them.
func daysText(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.Round(time.Second).String()
}
