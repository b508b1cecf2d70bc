package plan

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/golden"
)

// TestGoldenPairStories writes down what follows when a blue-green roll does not go straight: undone, died on the way
// back, resumed, edited in the middle, and one generation of disks after the other.
func TestGoldenPairStories(t *testing.T) {
	for name, story := range pairStories() {
		t.Run(name, func(t *testing.T) {
			d, o, now := story(t)
			p := Compute(d, o, now)
			if err := Check(p, o); err != nil {
				t.Error(err)
			}
			golden.Check(t, filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".log"), pairLogOf(d, o, p))
		})
	}
}

// before is the world in which a run died right before its first step of a kind.
func before(t *testing.T, d Desired, o Observed, kind string) Observed {
	t.Helper()
	for _, s := range flat(Compute(d, o, t0)) {
		if nameOf(s) == kind {
			return o
		}
		o = o.After(s)
	}
	t.Fatalf("no %s", kind)
	return o
}

func pairStories() map[string]func(*testing.T) (Desired, Observed, time.Time) {
	drained := func(n int, disk string) (Desired, Observed) {
		d := bluegreen(wish(n, "docker"), disk)
		d.Rollout.Drain = true
		return d, rolledBefore(fleetOf(d, oldDigest))
	}
	sick := func(t *testing.T, n int, disk string) (Desired, Observed) {
		d, _ := drained(n, disk)
		return greenFailed(t, d)
	}
	return map[string]func(*testing.T) (Desired, Observed, time.Time){
		"undo, hand over": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 2, HandOver)
			return d, o, t0
		},
		"undo, hand over, died between detach and attach": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 2, HandOver)
			o = before(t, d, o, "attachdisk")
			d.Claimer = other
			return d, o, t0.Add(time.Hour)
		},
		"undo, hand over, died before the retirement": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 1, HandOver)
			return d, before(t, d, o, "retire"), t0.Add(time.Second)
		},
		"undo, blank disks": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 2, Fresh)
			return d, o, t0
		},
		"undo, blank disks, blue is off": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 1, Fresh)
			*o.find("wrk-01") = off(*o.find("wrk-01"))
			o.find("wrk-01").Record.Drained = true
			return d, o, t0
		},
		"undo, blank disks, died before blue serves again": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 1, Fresh)
			*o.find("wrk-01") = off(*o.find("wrk-01"))
			return d, before(t, d, o, "poweron"), t0.Add(time.Second)
		},
		"undone, and tried again with blank disks": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := sick(t, 1, Fresh)
			for _, s := range flat(Compute(d, o, t0)) {
				o = o.After(s)
			}
			for _, r := range Resume(d, o, t0).Rolls {
				for _, s := range r.Steps {
					o = o.After(s)
				}
			}
			return d, o, t0.Add(time.Hour)
		},
		"green failed, and a person resumes": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(1, Fresh)
			o = until(t, o, flat(Compute(d, o, t0)), PowerOn{Of("wrk-01-green")}).After(Fail{Of("wrk-01-green"), "not ready"})
			for _, r := range Resume(d, o, t0).Rolls {
				for _, s := range r.Steps {
					o = o.After(s)
				}
			}
			return d, o, t0.Add(time.Minute)
		},
		"blank disks, more CPUs when green serves": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := pairAt(t, Fresh, AwaitReady{base: Of("wrk-01-green")})
			d.VMs[0].CPUs = 8
			return d, o, t0.Add(time.Second)
		},
		"hand over, a drain since green was made": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(1, HandOver)
			d.Rollout.Drain = false
			o = before(t, d, o, "shutdown")
			d.Rollout.Drain = true
			return d, o, t0.Add(time.Second)
		},
		"blank disks, the second generation follows the first": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(1, Fresh)
			for _, s := range flat(Compute(d, o, t0)) {
				o = o.After(s)
			}
			o.find("wrk-01").ID = "id-first"
			d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
			return d, o, t0.Add(24 * time.Hour)
		},
		"hand over of a second generation": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(1, Fresh)
			for _, s := range flat(Compute(d, o, t0)) {
				o = o.After(s)
			}
			o.find("wrk-01").ID = "id-first"
			d.Rollout.Disk = HandOver
			d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
			return d, o, t0.Add(24 * time.Hour)
		},
		"hand over begun, blank disks wanted since": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(2, HandOver)
			o = before(t, d, o, "attachdisk")
			d.Rollout.Disk = Fresh
			return d, o, t0.Add(time.Second)
		},
		"blank disks begun, in place wanted since": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(2, Fresh)
			o = before(t, d, o, "shutdown")
			d.Rollout.Strategy, d.Rollout.Disk, d.Rollout.Surge = InPlace, "", 0
			return d, o, t0.Add(time.Second)
		},
		"hand over, the window shuts in the middle": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(2, HandOver)
			o = before(t, d, o, "drain")
			d.Rollout.Window = tomorrow()
			return d, o, t0.Add(time.Second)
		},
		"blank disks, a canary first": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(3, Fresh)
			d.Rollout.Canaries, d.Rollout.Bake, d.Rollout.Surge, d.Rollout.MaxUnavailable = 1, time.Hour, 2, 2
			return d, o, t0
		},
		"blank disks, the roll takes too long": func(t *testing.T) (Desired, Observed, time.Time) {
			d, o := drained(2, Fresh)
			d.Rollout.Progress = 30 * time.Minute
			return d, before(t, d, o, "shutdown"), t0.Add(time.Hour)
		},
	}
}
