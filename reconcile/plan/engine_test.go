package plan

import "testing"

func TestEngineVersions(t *testing.T) {
	for _, c := range []struct {
		a, b        string
		older, same bool
		newest      string
	}{
		{"28.3.1", "28.3.1", false, true, "28.3.1"},
		{"28.3.1", "28.10", true, false, "28.10"},
		{"28.10", "28.3.1", false, false, "28.10"},
		{"9.0", "28", true, false, "28"},
		{"28", "28.0.0", false, true, "28"},
		{"v28.1", "28.1", false, true, "v28.1"},
		{"28.3.1-rc.2", "28.3.1", false, true, "28.3.1-rc.2"},
		{"20.10.24+dfsg1", "20.10.25", true, false, "20.10.25"},
		{"", "28", false, false, "28"},
		{"28", "", false, false, "28"},
		{"", "", false, true, ""},
		{"28.3.1ce", "28.3.1", false, true, "28.3.1ce"},
		{"-1", "28", false, false, "28"},
		{"edge", "28", false, false, "28"},
		{"28", "edge", false, false, "28"},
		{"edge", "edge", false, true, "edge"},
		{"99999999999999999999", "1", false, false, "1"},
	} {
		if got := older(c.a, c.b); got != c.older {
			t.Errorf("%q older than %q: %v", c.a, c.b, got)
		}
		if got := sameEngine(c.a, c.b); got != c.same {
			t.Errorf("%q same as %q: %v", c.a, c.b, got)
		}
		if got := newest(c.a, c.b); got != c.newest {
			t.Errorf("newest of %q and %q: %q", c.a, c.b, got)
		}
	}
}

// TestEngineNeverGoesBack: R04, what a swap writes, and that an unknown engine is let pass and forgets nothing.
func TestEngineNeverGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		has, wants, then string
		refused          bool
	}{
		"newer":            {"27.5", "28.3.1", "28.3.1", false},
		"the same":         {"28.3.1", "28.3.1", "28.3.1", false},
		"older":            {"29.0", "28.3.1", "", true},
		"unknown image":    {"29.0", "", "29.0", false},
		"unknown so far":   {"", "28.3.1", "28.3.1", false},
		"nothing is known": {"", "", "", false},
	} {
		d := wish(1, "docker")
		d.Image.Engine = c.wants
		o := fleetOf(d, oldDigest)
		o.VMs[0].Record.Engine = c.has
		p := Compute(d, o, t0)
		if refused := len(p.Blocked) > 0 && p.Blocked[0].Code == R04; refused != c.refused {
			t.Errorf("%s: %+v", name, p.Blocked)
			continue
		}
		for _, s := range flat(p) {
			if in, ok := s.(InsertISO); ok && (in.Record.Engine != c.then || in.Record.EngineWas != c.has || !in.Record.Rolled.IsZero()) {
				t.Errorf("%s: the swap writes %+v", name, in.Record)
			}
		}
	}
	d := wish(1)
	d.Image.Engine = "28.3.1"
	if c, ok := flat(Compute(d, Observed{}, t0))[0].(CreateVM); !ok || c.Record.Engine != "28.3.1" {
		t.Errorf("a new VM is born with %+v", c.Record)
	}
}
