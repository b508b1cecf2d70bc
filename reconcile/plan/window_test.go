package plan

import (
	"testing"
	"time"
	_ "time/tzdata" // the rules of the zones below, wherever the test runs

	"pgregory.net/rapid"
)

func TestWindow(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	weekend := []time.Weekday{time.Saturday, time.Sunday}
	night := &Window{Days: weekend, From: 22 * time.Hour, To: 5 * time.Hour, Zone: vienna}
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, c := range map[string]struct {
		window *Window
		at     string
		open   bool
		next   string // when it is shut
	}{
		"none":                         {nil, "2026-03-02T12:00:00Z", true, ""},
		"before it opens":              {night, "2026-03-07T20:59:59Z", false, "2026-03-07T21:00:00Z"},
		"as it opens":                  {night, "2026-03-07T21:00:00Z", true, ""},
		"past midnight":                {night, "2026-03-08T03:59:59Z", true, ""},
		"as it closes":                 {night, "2026-03-08T04:00:00Z", false, "2026-03-08T21:00:00Z"},
		"Sunday's reaches into Monday": {night, "2026-03-09T03:00:00Z", true, ""},
		"on Monday":                    {night, "2026-03-09T04:00:00Z", false, "2026-03-14T21:00:00Z"},
		"summer begins in it: shorter by an hour": {night, "2026-03-29T02:59:59Z", true, ""},
		"summer has begun":                        {night, "2026-03-29T03:00:00Z", false, "2026-03-29T20:00:00Z"},
		"summer ends in it: longer by an hour":    {night, "2026-10-25T03:59:59Z", true, ""},
		"summer has ended":                        {night, "2026-10-25T04:00:00Z", false, "2026-10-25T21:00:00Z"},
		"every day, in UTC":                       {&Window{From: time.Hour, To: 2 * time.Hour}, "2026-03-02T02:00:00Z", false, "2026-03-03T01:00:00Z"},
		"whole days":                              {&Window{Days: weekend}, "2026-03-02T00:00:00Z", false, "2026-03-07T00:00:00Z"},
		"a whole Sunday":                          {&Window{Days: weekend}, "2026-03-01T23:59:59Z", true, ""},
		"always":                                  {&Window{From: 3 * time.Hour, To: 3 * time.Hour}, "2026-03-02T03:00:00Z", true, ""},
		"no such day":                             {&Window{Days: []time.Weekday{9}}, "2026-03-02T03:00:00Z", false, ""},
		"an hour that is skipped once a year":     {&Window{From: 2 * time.Hour, To: 3 * time.Hour, Zone: vienna}, "2026-03-29T00:30:00Z", false, "2026-03-30T00:00:00Z"},
		"half hours":                              {&Window{From: 90 * time.Minute, To: 100 * time.Minute}, "2026-03-02T01:35:00Z", true, ""},
	} {
		open, next := c.window.open(at(c.at))
		want := time.Time{}
		if c.next != "" {
			want = at(c.next)
		}
		if open != c.open || !next.Equal(want) {
			t.Errorf("%s: %v, next %s", name, open, next)
		}
	}
}

// TestWindowOpensWhenItSays: whatever the window and the moment, it is open at the moment it says it will be, and not
// a second before.
func TestWindowOpensWhenItSays(t *testing.T) {
	zones := []*time.Location{nil, time.UTC, time.FixedZone("x", 5*3600+1800)}
	for _, name := range []string{"Europe/Vienna", "America/New_York", "Australia/Lord_Howe"} {
		z, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, z)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := &Window{Zone: rapid.SampledFrom(zones).Draw(t, "zone"),
			From: time.Duration(rapid.IntRange(0, 1439).Draw(t, "from")) * time.Minute,
			To:   time.Duration(rapid.IntRange(0, 1439).Draw(t, "to")) * time.Minute}
		for day := range rapid.IntRange(0, 7).Draw(t, "days") {
			w.Days = append(w.Days, time.Weekday(day))
		}
		now := t0.Add(time.Duration(rapid.IntRange(0, 366*24*60).Draw(t, "minutes from t0")) * time.Minute)
		open, next := w.open(now)
		if open {
			return
		}
		if next.Sub(now) > 9*24*time.Hour || !next.After(now) {
			t.Fatalf("at %s it says %s", now, next)
		}
		if open, _ := w.open(next); !open {
			t.Fatalf("at %s it is shut", next)
		}
		if open, again := w.open(next.Add(-time.Second)); open || !again.Equal(next) {
			t.Fatalf("just before %s it is open, or says %s", next, again)
		}
	})
}
