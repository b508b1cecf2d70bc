package plan

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/golden"
)

// TestGoldenPairs writes down whole blue-green rolls, to be reviewed like prose.
func TestGoldenPairs(t *testing.T) {
	for name, scenario := range pairScenarios() {
		t.Run(name, func(t *testing.T) {
			d, o, now := scenario()
			p := Compute(d, o, now)
			if err := Check(p, o); err != nil {
				t.Error(err)
			}
			golden.Check(t, filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".log"), pairLogOf(d, o, p))
		})
	}
}

func pairScenarios() map[string]scenario {
	after := func(d Desired, o Observed, n int) Observed {
		for _, s := range flat(Compute(d, o, t0))[:n] {
			o = o.After(s)
		}
		return o
	}
	fleet := func(n int, disk string, disks ...string) (Desired, Observed) {
		d := bluegreen(wish(n, disks...), disk)
		d.Rollout.Drain = true
		return d, rolledBefore(fleetOf(d, oldDigest))
	}
	return map[string]scenario{
		"hand over": func() (Desired, Observed, time.Time) {
			d, o := fleet(2, HandOver, "docker", "logs")
			return d, o, t0
		},
		"hand over, died between detach and attach": func() (Desired, Observed, time.Time) {
			d, o := fleet(1, HandOver, "docker")
			return d, after(d, o, 5), t0.Add(time.Second)
		},
		"hand over, died before the retirement and taken over": func() (Desired, Observed, time.Time) {
			d, o := fleet(1, HandOver, "docker")
			o = after(d, o, 9)
			d.Claimer = other
			return d, o, t0.Add(time.Hour)
		},
		"hand over, a newer image while green does not get ready": func() (Desired, Observed, time.Time) {
			d, o := fleet(1, HandOver, "docker")
			o = after(d, o, 8)
			d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
			return d, o, t0.Add(time.Second)
		},
		"hand over, green failed": func() (Desired, Observed, time.Time) {
			d, o := fleet(2, HandOver, "docker")
			return d, after(d, o, 8).After(Fail{Of("wrk-01-green"), "not ready after 10m0s"}), t0
		},
		"hand over, the green VM was deleted": func() (Desired, Observed, time.Time) {
			d, o := fleet(1, HandOver, "docker")
			o = after(d, o, 5)
			o.VMs = o.VMs[:1]
			return d, o, t0.Add(time.Second)
		},
		"blank disks": func() (Desired, Observed, time.Time) {
			d, o := fleet(2, Fresh, "docker")
			return d, o, t0
		},
		"blank disks for three, two at a time": func() (Desired, Observed, time.Time) {
			d, o := fleet(3, Fresh, "docker")
			d.Rollout.Surge, d.Rollout.MaxUnavailable = 2, 3
			return d, o, t0
		},
		"blank disks, died before the retirement": func() (Desired, Observed, time.Time) {
			d, o := fleet(1, Fresh, "docker")
			return d, after(d, o, 8), t0.Add(time.Second)
		},
		"blank disks, the first generation is in use": func() (Desired, Observed, time.Time) {
			d, o := fleet(1, Fresh, "docker")
			v := off(standing(d, d.VMs[0], newDigest))
			v.Name, v.ID, v.Ref, v.Record.Retired = "wrk-01-green-retired-20260222-1200", "id-failed", "vm-failed", t0.Add(-time.Hour)
			path := GenerationPath(d.Fleet, d.VMs[0], d.VMs[0].Disks[0], 1)
			v.Disks[0].Path, v.Record.Disks[0].Path = path, path
			v.Disks[0].UUID, v.Record.Disks[0].UUID = "6000C29-F", "6000C29-F"
			return d, o.with(v), t0
		},
	}
}

// pairLogOf is logOf with the VM of a step where it is not the roll's.
func pairLogOf(d Desired, o Observed, p Plan) string {
	text := logOf(d, o, p)
	_, lines, has := strings.Cut(text, "\nwave 1\n")
	if !has {
		return text
	}
	i := 0
	all := []Step{}
	rolls := []string{}
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			for _, s := range r.Steps {
				all, rolls = append(all, s), append(rolls, r.VM)
			}
		}
	}
	out := strings.TrimSuffix(text, lines)
	for _, line := range strings.SplitAfter(lines, "\n") {
		if rest, ok := strings.CutPrefix(line, "    "); ok {
			if all[i].VM() != rolls[i] {
				line = fmt.Sprintf("    %s: %s", all[i].VM(), rest)
			}
			i++
		}
		out += line
	}
	return out
}
