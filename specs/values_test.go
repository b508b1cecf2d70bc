package specs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"1KiB": 1 << 10, "100GiB": 100 << 30, "2 TiB": 2 << 40, "5GB": 5e9, "7MB": 7e6,
		"100": 0, "": 0, "GiB": 0, "-1GiB": 0, "1.5GiB": 0, "0GiB": 0, "9999999999TiB": 0, "1gib": 0, "1GiBB": 0,
	} {
		got, err := ParseSize(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", in, got, err, want)
		}
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Int64Range(1, 1<<50).Draw(t, "n")) * KiB
		got, err := ParseSize(s.String())
		if err != nil || got != s {
			t.Fatalf("%d prints as %s, which reads as %d, %v", int64(s), s, int64(got), err)
		}
	})
}

// A share never allows more VMs than there are, nor none at all of a fleet that has some.
func TestCountOfShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, pct := rapid.IntRange(1, 1000).Draw(t, "total"), rapid.IntRange(1, 100).Draw(t, "percent")
		if n := (Count{Percent: pct}).Of(total); n < 1 || n > total || n > max(1, total*pct/100) {
			t.Fatalf("%d%% of %d is %d", pct, total, n)
		}
	})
	if n := (Count{Percent: 25}).Of(0); n != 0 {
		t.Errorf("a share of nothing is %d", n)
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "30", "-1s", "1 h", "d", "-1d", "99999999d"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q: %v, want an error", in, got)
		}
	}
}

func TestDaysWrapAroundTheWeek(t *testing.T) {
	got, err := parseDays("Fri-Mon, Wed")
	if err != nil || len(got) != 5 || got[0] != time.Sunday || got[4] != time.Saturday {
		t.Errorf("%v, %v", got, err)
	}
}

// Whatever stands in a file, Load ends, does not panic, and gives a spec that is complete or problems with places.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.hcl", "testdata/*.hcl", "examples/*/lkv.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(pattern, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, false)
		}
	}
	f.Add([]byte(`{"image": {"a": {"linuxkit": ["a"]}}, "fleet": [{"a": {"image": "${var.x}"}}]}`), true)
	f.Fuzz(func(t *testing.T, src []byte, asJSON bool) {
		path := filepath.Join(t.TempDir(), "lkv.hcl")
		if asJSON {
			path += ".json"
		}
		if err := os.WriteFile(path, src, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(path, Options{})
		if err != nil {
			if len(Problems(err)) == 0 || err.Error() == "" {
				t.Errorf("an error without problems: %v", err)
			}
			return
		}
		for _, fl := range s.Fleets {
			if len(fl.Placements) == 0 || fl.Image == "" || fl.Rollout.MaxUnavailable.Of(3) < 0 {
				t.Errorf("an incomplete fleet: %+v", fl)
			}
		}
	})
}
