package specs

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

func (l *loader) ready(b *hcl.Block, disks bool) Ready {
	r := Ready{Tools: true, Mounted: disks, Timeout: 10 * time.Minute}
	if b == nil {
		return r
	}
	s := l.open(b, readyGrammar)
	r.Pos = posOf(b.DefRange)
	s.flag("tools", &r.Tools)
	s.flag("mounted", &r.Mounted)
	parsed(s, "tcp", &r.TCP, parseTCP)
	parsed(s, "http", &r.HTTP, parseHTTP)
	s.flag("swarm", &r.Swarm)
	s.texts("command", &r.Command)
	s.program(r.Command)
	s.duration("settle", &r.Settle)
	s.duration("timeout", &r.Timeout)
	if r.Timeout < time.Second {
		s.bad("timeout", "Without time no VM ever becomes ready: write timeout = \"10m\"")
	} else if r.Settle >= r.Timeout {
		s.doubt("settle", "A VM that was ready after %s at the latest would have to stay so for %s: settle comes on top of timeout. Write a shorter settle, for example \"30s\", or a longer timeout.", r.Timeout, r.Settle)
	}
	return r
}

func parseTCP(v string) (string, error) {
	port := strings.TrimPrefix(v, "{ip}:")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port: write tcp = \"2375\"", v)
	}
	return v, nil
}

func parseHTTP(v string) (string, error) {
	u, err := url.Parse(strings.ReplaceAll(v, "{ip}", "192.0.2.1"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("%q is no URL: write http = \"http://{ip}:8080/healthz\"", v)
	}
	return v, nil
}

func (l *loader) rollout(b *hcl.Block) Rollout {
	r := Rollout{
		Strategy: InPlace, Disk: HandOver, MaxUnavailable: Count{N: 1}, Order: "ordinal", OnFailure: Pause, MaxFailed: 1,
		Grace: 2 * time.Minute, RetireTTL: 168 * time.Hour,
	}
	if b == nil {
		return r
	}
	s := l.open(b, rolloutGrammar)
	r.Pos = posOf(b.DefRange)
	s.choice("strategy", &r.Strategy, InPlace, BlueGreen)
	var disk string // stays empty also where disk = null, which an expression may come to
	s.choice("disk", &disk, HandOver, Fresh)
	r.Disk = cmp.Or(disk, r.Disk)
	if r.Strategy == BlueGreen {
		r.Surge = Count{N: 1}
	} else if disk != "" {
		s.bad("disk", "An in-place roll never moves the data disk: leave disk out, or write strategy = \"blue-green\"")
	}
	s.count("max_unavailable", &r.MaxUnavailable)
	s.count("surge", &r.Surge)
	switch none := (Count{}); {
	case r.Strategy == InPlace && r.MaxUnavailable == none:
		s.bad("max_unavailable", "An in-place roll takes a VM down, so at least one must be allowed to be: write max_unavailable = 1")
	case r.Strategy == BlueGreen && r.Disk == HandOver && r.MaxUnavailable == none:
		s.bad("max_unavailable", "A VM that hands its disk over is down meanwhile, so at least one must be allowed to be: write max_unavailable = 1, or disk = \"fresh\"")
	}
	if r.Strategy == BlueGreen && r.Surge == (Count{}) {
		s.bad("surge", "A blue-green roll makes the new VM first, so at least one more must be allowed: write surge = 1, or strategy = \"in-place\"")
	}
	s.integer("canaries", &r.Canaries, 0, maxFleet)
	s.duration("bake", &r.Bake)
	s.choice("order", &r.Order, "ordinal")
	s.choice("on_failure", &r.OnFailure, Pause, Rollback)
	s.integer("max_failed", &r.MaxFailed, 1, maxFleet)
	s.duration("grace", &r.Grace)
	s.atLeast("progress_deadline", &r.ProgressDeadline, time.Second, "With no time every roll would have failed as it begins: write progress_deadline = \"30m\", or leave it out for none.")
	s.duration("retire_ttl", &r.RetireTTL)
	r.Window = l.window(s.single("window"))
	if r.Bake > 0 && r.Canaries == 0 && !s.has("canaries") {
		s.bad("bake", "Only canaries bake, and there are none: write canaries = 1, or leave bake out.")
	} else if r.Bake > 0 && r.Canaries == 0 {
		s.doubt("bake", "Only canaries bake, and there are none: write canaries = 1, or leave bake out.")
	}
	s.keep("rollout", r.Pos, "canaries", "max_failed", "progress_deadline")
	return r
}

func (l *loader) window(b *hcl.Block) *Window {
	if b == nil {
		return nil
	}
	s := l.open(b, windowGrammar)
	w := &Window{Pos: posOf(b.DefRange), TZ: "UTC"}
	parsed(s, "days", &w.Days, parseDays)
	parsed(s, "from", &w.From, parseClock)
	parsed(s, "to", &w.To, parseClock)
	parsed(s, "tz", &w.TZ, func(v string) (string, error) {
		if _, err := time.LoadLocation(v); err != nil || v == "" {
			return "", fmt.Errorf("%q is no time zone: write tz = \"Europe/Vienna\" or tz = \"UTC\"", v)
		}
		return v, nil
	})
	if s.has("from") && s.has("to") && w.From == w.To {
		s.bad("to", "The window closes when it opens: write another time, or leave the window out.")
	}
	return w
}

var clockRule = regexp.MustCompile(`^([01]?[0-9]|2[0-3]):([0-5][0-9])$`)

func parseClock(v string) (time.Duration, error) {
	m := clockRule.FindStringSubmatch(v)
	if m == nil {
		return 0, fmt.Errorf("%q is no time of day: write \"22:00\"", v)
	}
	h, _ := strconv.Atoi(m[1]) // the pattern admits digits only
	min, _ := strconv.Atoi(m[2])
	return time.Duration(h)*time.Hour + time.Duration(min)*time.Minute, nil
}

var dayNames = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// parseDays reads "Sat-Sun", "Mon,Wed" or a mixture.
func parseDays(v string) ([]time.Weekday, error) {
	var days []time.Weekday
	for part := range strings.SplitSeq(v, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, b := slices.Index(dayNames, strings.TrimSpace(from)), slices.Index(dayNames, strings.TrimSpace(to))
		if a < 0 || b < 0 {
			return nil, fmt.Errorf("%q names no days: write days = \"Mon-Fri\" or days = \"Sat,Sun\"", v)
		}
		for d := a; ; d = (d + 1) % 7 {
			if !slices.Contains(days, time.Weekday(d)) {
				days = append(days, time.Weekday(d))
			}
			if d == b {
				break
			}
		}
	}
	slices.Sort(days)
	return days, nil
}

func (l *loader) scaleIn(b *hcl.Block) ScaleIn {
	c := ScaleIn{Max: Count{Percent: 20}}
	if b == nil {
		return c
	}
	s := l.open(b, scaleInGrammar)
	c.Pos = posOf(b.DefRange)
	s.count("max", &c.Max)
	return c
}
