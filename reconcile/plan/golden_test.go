package plan

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/golden"
)

// TestGoldenLogs writes down whole rolls, to be reviewed like prose.
func TestGoldenLogs(t *testing.T) {
	all := scenarios()
	maps.Copy(all, policyScenarios())
	for name, scenario := range all {
		t.Run(name, func(t *testing.T) {
			d, o, now := scenario()
			p := Compute(d, o, now)
			if err := Check(p, o); err != nil {
				t.Error(err)
			}
			got, file := logOf(d, o, p), filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".log")
			golden.Check(t, file, got)
		})
	}
}

type scenario func() (Desired, Observed, time.Time)

func scenarios() map[string]scenario {
	after := func(d Desired, o Observed, n int) Observed {
		for _, s := range flat(Compute(d, o, t0))[:n] {
			o = o.After(s)
		}
		return o
	}
	return map[string]scenario{
		"create a fleet": func() (Desired, Observed, time.Time) {
			return wish(6, "docker"), Observed{}, t0
		},
		"roll a fleet": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			return d, fleetOf(d, oldDigest), t0
		},
		"roll two at a time": func() (Desired, Observed, time.Time) {
			d := wish(5, "docker", "logs")
			d.Rollout.MaxUnavailable = 2
			return d, fleetOf(d, oldDigest), t0
		},
		"nothing to do": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			return d, fleetOf(d, newDigest), t0
		},
		"died after the shutdown": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			return d, after(d, fleetOf(d, oldDigest), 2), t0.Add(time.Second)
		},
		"died after the swap and taken over": func() (Desired, Observed, time.Time) {
			d := wish(2, "docker")
			o := after(d, fleetOf(d, oldDigest), 3)
			d.Claimer = other
			return d, o, t0.Add(time.Hour)
		},
		"died while creating": func() (Desired, Observed, time.Time) {
			d := wish(2, "docker", "logs")
			return d, after(d, Observed{}, 4), t0.Add(time.Second)
		},
		"another run at work": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			o := after(d, fleetOf(d, oldDigest), 1)
			d.Claimer = other
			return d, o, t0.Add(30 * time.Second)
		},
		"two runs claimed at once": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			o := fleetOf(d, oldDigest)
			o = o.After(Claim{base: Of("wrk-01"), Owner: other, Epoch: 4, Started: t0, Expires: t0.Add(time.Minute)})
			o = o.After(Claim{base: Of("wrk-02"), Owner: me, Epoch: 4, Started: t0, Expires: t0.Add(time.Minute)})
			return d, o, t0.Add(time.Second)
		},
		"one of each kind": func() (Desired, Observed, time.Time) {
			d := wish(4, "docker")
			d.Rollout.NoBrake = true
			o := fleetOf(wish(5, "docker"), newDigest)
			o.VMs[1] = off(o.VMs[1])
			o.VMs[2].CPUs = 1
			o.VMs = o.VMs[1:] // wrk-01's VM is gone, its disk file is not
			return d, o, t0
		},
		"create a fleet with a key": func() (Desired, Observed, time.Time) {
			return locked(wish(2, "docker"), ChainKey), Observed{}, t0
		},
		"create a fleet with a shim": func() (Desired, Observed, time.Time) {
			return locked(wish(1, "docker"), ChainShim), Observed{}, t0
		},
		"died before the key": func() (Desired, Observed, time.Time) {
			d := locked(wish(1, "docker"), ChainKey)
			return d, after(d, Observed{}, 3), t0.Add(time.Second)
		},
		"turn on Secure Boot": func() (Desired, Observed, time.Time) {
			o := fleetOf(wish(2, "docker"), newDigest)
			for i := range o.VMs {
				o.VMs[i].Firmware = "efi"
			}
			return locked(wish(2, "docker"), ChainShim), o, t0
		},
		"roll to another key": func() (Desired, Observed, time.Time) {
			d := locked(wish(2, "docker"), ChainKey)
			o := fleetOf(d, oldDigest)
			d.Image.Trust.Certificate = []byte("another certificate")
			return d, o, t0
		},
		"a task is running": func() (Desired, Observed, time.Time) {
			d := wish(1, "docker")
			o := fleetOf(d, oldDigest)
			o.VMs[0].Task = "task-42"
			return d, o, t0
		},
		"too few ready": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			o := fleetOf(d, oldDigest)
			o.VMs[1].Record.Image, o.VMs[1].ISO = newDigest, newISO
			o.VMs[1].Guest.State, o.VMs[1].Guest.Error = "failed", "disk docker not found"
			return d, o, t0
		},
		"a failed roll": func() (Desired, Observed, time.Time) {
			d := wish(3, "docker")
			o := after(d, fleetOf(d, oldDigest), 4)
			return d, o.After(Fail{Of("wrk-01"), "not ready after 10m0s: the guest has not reported yet"}), t0
		},
	}
}

// logOf writes fleet and plan as text.
func logOf(d Desired, o Observed, p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "wanted: %d VMs of fleet %s on image %s, max_unavailable %d\n", len(d.VMs), d.Fleet, short(d.Image.Digest), d.Rollout.MaxUnavailable)
	for _, v := range o.VMs {
		fmt.Fprintf(&b, "found:  %s %s %s", v.Name, v.Power, short(v.Record.Image))
		if v.Record.Owner != "" {
			fmt.Fprintf(&b, ", claimed by %s epoch %d", v.Record.Owner, v.Record.Epoch)
		}
		fmt.Fprintf(&b, ", %d of %d disks\n", len(v.Disks), len(v.Record.Disks))
	}
	for _, f := range o.Files {
		fmt.Fprintf(&b, "found:  %s\n", f.Path)
	}
	for _, x := range p.Blocked {
		fmt.Fprintf(&b, "! %s\n", x.Error())
	}
	for i, w := range p.Waves {
		fmt.Fprintf(&b, "wave %d\n", i+1)
		for _, r := range w.Rolls {
			fmt.Fprintf(&b, "  %s %s: %s\n", r.Action, r.VM, r.Reason)
			for _, s := range r.Steps {
				fmt.Fprintf(&b, "    %s\n", s)
			}
		}
	}
	for _, l := range p.Later {
		fmt.Fprintf(&b, "later %s: %s", l.VM, l.Reason)
		if !l.Until.IsZero() {
			fmt.Fprintf(&b, ", until %s", l.Until.Format("2006-01-02 15:04 MST"))
		}
		fmt.Fprintln(&b)
	}
	if len(p.Same) > 0 {
		fmt.Fprintf(&b, "same: %s\n", strings.Join(p.Same, " "))
	}
	if kept := slices.DeleteFunc(slices.Clone(p.Extra), func(name string) bool { return planned(p, name) }); len(kept) > 0 {
		fmt.Fprintf(&b, "extra, not touched: %s\n", strings.Join(kept, " "))
	}
	return b.String()
}
