package plan

import (
	"testing"
	"time"
)

// TestWindowEdges: when a window is open, to the second, and when it opens next, in zones that change their clocks, lie
// half an hour off, or begin their day while another ends.
func TestWindowEdges(t *testing.T) {
	zone := func(name string) *time.Location {
		z, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	vienna, york, kolkata, auckland, howe := zone("Europe/Vienna"), zone("America/New_York"), zone("Asia/Kolkata"), zone("Pacific/Auckland"), zone("Australia/Lord_Howe")
	hours := func(from, to float64, z *time.Location, days ...time.Weekday) *Window {
		return &Window{Days: days, From: time.Duration(from * float64(time.Hour)), To: time.Duration(to * float64(time.Hour)), Zone: z}
	}
	for name, c := range map[string]struct {
		window *Window
		at     string
		next   string // "": it is open
	}{
		"opens to the second: before":                         {hours(22, 23, nil), "2026-03-02T21:59:59Z", "2026-03-02T22:00:00Z"},
		"opens to the second: then":                           {hours(22, 23, nil), "2026-03-02T22:00:00Z", ""},
		"closes to the second: before":                        {hours(22, 23, nil), "2026-03-02T22:59:59Z", ""},
		"closes to the second: then":                          {hours(22, 23, nil), "2026-03-02T23:00:00Z", "2026-03-03T22:00:00Z"},
		"to midnight: the last second":                        {hours(22, 24, nil), "2026-03-02T23:59:59Z", ""},
		"to midnight: then":                                   {hours(22, 24, nil), "2026-03-03T00:00:00Z", "2026-03-03T22:00:00Z"},
		"from midnight: the last second before":               {hours(0, 5, nil), "2026-03-02T23:59:59Z", "2026-03-03T00:00:00Z"},
		"from midnight: then":                                 {hours(0, 5, nil), "2026-03-03T00:00:00Z", ""},
		"to 0:00 is the end of the day":                       {hours(22, 0, nil), "2026-03-02T23:59:59Z", ""},
		"to 0:00 is not the day after":                        {hours(22, 0, nil), "2026-03-03T00:00:00Z", "2026-03-03T22:00:00Z"},
		"one second long":                                     {&Window{From: time.Hour, To: time.Hour + time.Second}, "2026-03-03T01:00:00Z", ""},
		"one second long, over":                               {&Window{From: time.Hour, To: time.Hour + time.Second}, "2026-03-03T01:00:01Z", "2026-03-04T01:00:00Z"},
		"one day a week: its night":                           {hours(22, 5, nil, time.Friday), "2026-03-06T23:00:00Z", ""},
		"one day a week: the morning after is still its":      {hours(22, 5, nil, time.Friday), "2026-03-07T04:59:59Z", ""},
		"one day a week: its own morning is not":              {hours(22, 5, nil, time.Friday), "2026-03-06T04:00:00Z", "2026-03-06T22:00:00Z"},
		"one day a week: a week to go":                        {hours(22, 5, nil, time.Friday), "2026-03-07T05:00:00Z", "2026-03-13T22:00:00Z"},
		"two days: from one to the other":                     {hours(9, 10, nil, time.Monday, time.Thursday), "2026-03-02T10:00:00Z", "2026-03-05T09:00:00Z"},
		"two days: over the week's end":                       {hours(9, 10, nil, time.Monday, time.Thursday), "2026-03-05T10:00:00Z", "2026-03-09T09:00:00Z"},
		"days in any order":                                   {hours(9, 10, nil, time.Thursday, time.Monday), "2026-03-02T10:00:00Z", "2026-03-05T09:00:00Z"},
		"whole days that follow each other never close":       {hours(8, 8, nil, time.Saturday, time.Sunday), "2026-03-08T08:00:00Z", ""},
		"a whole day ends when it began":                      {hours(8, 8, nil, time.Saturday), "2026-03-08T08:00:00Z", "2026-03-14T08:00:00Z"},
		"the days are the zone's, not UTC's: Saturday there":  {hours(0, 6, auckland, time.Saturday), "2026-03-06T12:00:00Z", ""},
		"the days are the zone's, not UTC's: Friday there":    {hours(0, 6, auckland, time.Saturday), "2026-03-06T10:59:59Z", "2026-03-06T11:00:00Z"},
		"half an hour off":                                    {hours(22, 23, kolkata), "2026-03-02T16:29:59Z", "2026-03-02T16:30:00Z"},
		"New York in winter":                                  {hours(22, 23, york), "2026-01-05T02:59:59Z", "2026-01-05T03:00:00Z"},
		"New York in summer":                                  {hours(22, 23, york), "2026-07-05T01:59:59Z", "2026-07-05T02:00:00Z"},
		"the day the year ends":                               {hours(23, 1, nil), "2026-12-31T23:30:00Z", ""},
		"the year has begun":                                  {hours(23, 1, nil), "2027-01-01T00:59:59Z", ""},
		"from December into January":                          {hours(9, 10, nil, time.Friday), "2026-12-31T10:00:00Z", "2027-01-01T09:00:00Z"},
		"a leap day":                                          {hours(9, 10, nil), "2028-02-28T10:00:00Z", "2028-02-29T09:00:00Z"},
		"after the last of February":                          {hours(9, 10, nil), "2026-02-28T10:00:00Z", "2026-03-01T09:00:00Z"},
		"an hour that is there twice: in the second":          {hours(2, 3, vienna), "2026-10-25T01:59:59Z", ""},
		"an hour that is there twice: over":                   {hours(2, 3, vienna), "2026-10-25T02:00:00Z", "2026-10-26T01:00:00Z"},
		"an hour that is skipped: that day it does not open":  {hours(2, 3, vienna), "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		"it begins in the skipped hour: at the hour after it": {hours(2.5, 4, vienna), "2026-03-29T00:59:59Z", "2026-03-29T01:30:00Z"},
		"New York skips an hour in the window":                {hours(1, 4, york), "2026-03-08T07:59:59Z", ""},
		"New York has skipped it":                             {hours(1, 4, york), "2026-03-08T08:00:00Z", "2026-03-09T05:00:00Z"},
		"New York repeats an hour in the window":              {hours(0, 3, york), "2026-11-01T07:59:59Z", ""},
		"a zone that changes its clock by half an hour":       {hours(1, 3, howe), "2026-04-04T16:29:59Z", ""},
		"and is over":                                         {hours(1, 3, howe), "2026-04-04T16:30:00Z", "2026-04-05T14:30:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		open, next := c.window.open(at)
		if open != (c.next == "") || !open && next.UTC().Format(time.RFC3339) != c.next || open && !next.IsZero() {
			t.Errorf("%s: open %v, next %s", name, open, next.UTC().Format(time.RFC3339))
		}
	}
}

// TestWindowIsForWhatServes: outside of its window a fleet brings back what does not serve and ends what was taken down,
// and nothing that serves is touched. Five VMs on the new image; the window opens tomorrow.
func TestWindowIsForWhatServes(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(5, newDigest)()
		d.Rollout.Window, d.Rollout.MaxUnavailable, d.Rollout.ScaleIn = tomorrow(), 2, 2
		return d, o
	}
	vm := func(f func(v *VM)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { each(o, f, 2) }
	}
	tell(t, start, []tale{
		{"all is well: nothing is said", nil, ""},
		{"off: started", vm(powerOff), "start 02"},
		{"off, on the old image: rolled", vm(func(v *VM) { outdate(v); powerOff(v) }), "roll 02"},
		{"silent, on the old image: rolled", vm(func(v *VM) { outdate(v); silence(v) }), "roll 02"},
		{"gone: made", func(_ *Desired, o *Observed) { vanish(o, 2) }, "create 02"},
		{"taken down by a dead run: finished", vm(func(v *VM) { abandoned(v); powerOff(v) }), "finish 02"},
		{"back, and its claim not freed: finished", vm(abandoned), "finish 02"},
		{"serves, and is still drained: restored", vm(drainedly), "finish 02"},
		{"claimed on the old image, and serves: given back, and waits", vm(func(v *VM) { outdate(v); abandoned(v) }), "release 02 | R13 | later 02"},
		{"old image: waits", vm(outdate), "R13 | later 02"},
		{"other size: waits", vm(smaller), "R13 | later 02"},
		{"too old: waits", func(d *Desired, o *Observed) {
			d.Rollout.MaxAge = time.Hour
			each(o, func(v *VM) { v.Age = 2 * time.Hour }, 2, 4)
		}, "R13 | later 02 | later 04"},
		{"its roll failed: the image before is put back", func(d *Desired, o *Observed) {
			d.Rollout.OnFailure = "rollback"
			each(o, failedRoll, 2)
		}, "rollback 02 | R12 02"},
		{"not wanted any more: waits", func(d *Desired, _ *Observed) { d.VMs = d.VMs[:4] }, "R13 | later 05"},
		{"not wanted, and off: waits too", func(d *Desired, o *Observed) {
			d.VMs = d.VMs[:4]
			each(o, powerOff, 5)
		}, "R13 | later 05"},
		{"it is open now", func(d *Desired, o *Observed) {
			d.Rollout.Window = today()
			each(o, outdate, 2)
		}, "roll 02"},
	})
}

// TestShutSaysWhen: R13 names the moment at which the window opens, in its own zone, and that it never does.
func TestShutSaysWhen(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		window *Window
		clear  string
		until  time.Time
	}{
		"tonight":          {&Window{From: 22 * time.Hour, To: 23 * time.Hour, Zone: vienna}, "wait until 2026-03-01 22:00 CET, or change the window", t0.Add(9 * time.Hour)},
		"next Friday":      {&Window{Days: []time.Weekday{time.Friday}, From: 8 * time.Hour, To: 9 * time.Hour}, "wait until 2026-03-06 08:00 UTC, or change the window", t0.Add(116 * time.Hour)},
		"on no day at all": {&Window{Days: []time.Weekday{8}, From: 8 * time.Hour, To: 9 * time.Hour}, "give the window a day on which it opens", time.Time{}},
	} {
		d, o := fleetWith(3, oldDigest)()
		d.Rollout.Window = c.window
		p := Compute(d, o, t0)
		b := refusalOf(t, p, "")
		if b.Code != R13 || b.Clear != c.clear || b.Reason != "3 VMs wait, because VMs that serve are only rolled within the window" {
			t.Errorf("%s: %s", name, b.Error())
		}
		for _, l := range p.Later {
			if !l.Until.Equal(c.until) || l.Reason != outside {
				t.Errorf("%s: %+v", name, l)
			}
		}
	}
}
