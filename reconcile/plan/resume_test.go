package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestResumeOnlyTouchesRecords: whatever a world looks like, resuming it changes records and nothing else, leaves
// alone what must be left alone, and lets Compute go on exactly when nothing was refused.
func TestResumeOnlyTouchesRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		for i := range o.VMs {
			r := &o.VMs[i].Record
			r.Failed = rapid.SampledFrom([]string{"", "", "not ready"}).Draw(t, "failed")
			r.Paused = rapid.Bool().Draw(t, "paused")
			r.Spurned = rapid.SampledFrom([]string{"", "", newDigest}).Draw(t, "spurned")
			r.Due = rapid.Bool().Draw(t, "due")
		}
		d.Rollout.Progress = rapid.SampledFrom([]time.Duration{0, 30 * time.Minute}).Draw(t, "progress")
		now := t0.Add(rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "later"))
		res := Resume(d, o, now)
		after, touched := o.Clone(), map[string]bool{}
		for _, r := range res.Rolls {
			v := o.find(r.VM)
			if v.Fleet != d.Fleet || holdsUp(d, *v, now) == "" || live(v.Record, now) && v.Record.Owner != d.Claimer {
				t.Fatalf("%s must be left alone: %+v", r.VM, v)
			}
			touched[r.VM] = true
			for _, s := range r.Steps {
				switch s.(type) {
				case Claim, Unblock:
				default:
					t.Fatalf("resume would do %s: %s", r.VM, s)
				}
				after = after.After(s)
			}
		}
		for _, v := range after.VMs {
			if v.Fleet == d.Fleet && holdsUp(d, v, now) != "" && len(res.Blocked) == 0 {
				t.Fatalf("%s is still held up: %+v", v.Name, v.Record)
			}
		}
		still := append(stopped(d, after), failures(d, after, now)...)
		if len(d.VMs) > 0 && (len(still) == 0) != (len(res.Blocked) == 0) {
			t.Fatalf("it stands still with %v, refused was %v", still, res.Blocked)
		}
		for i := range after.VMs {
			if touched[after.VMs[i].Name] {
				r, was := &after.VMs[i].Record, o.VMs[i].Record
				if !r.Started.IsZero() { // it goes on being made, from now on
					if r.Started != now || !creating(o.VMs[i]) {
						t.Fatalf("%s after the resume: %+v", after.VMs[i].Name, *r)
					}
					r.Started = time.Time{}
				} else if creating(o.VMs[i]) {
					t.Fatalf("%s is not being made any more: %+v", after.VMs[i].Name, *r)
				}
				if r.Owner != "" || r.Failed != "" || r.Spurned != "" || r.Paused || !r.Started.IsZero() || r.Epoch <= was.Epoch {
					t.Fatalf("%s after the resume: %+v", after.VMs[i].Name, *r)
				}
				r.Owner, r.Expires, r.Failed, r.Paused, r.Started, r.Epoch = was.Owner, was.Expires, was.Failed, was.Paused, was.Started, was.Epoch
				r.Spurned, r.Due = was.Spurned, was.Due
			}
		}
		if diff := cmp.Diff(o, after); diff != "" {
			t.Fatalf("more than that changed:\n%s", diff)
		}
	})
}

// TestAfterResume is what the next plan does with the VM whose roll failed.
func TestAfterResume(t *testing.T) {
	d := wish(3, "docker")
	failed := fleetOf(d, oldDigest)
	for _, s := range flat(Compute(d, failed, t0))[:4] { // up to and with the power on
		failed = failed.After(s)
	}
	failed = failed.After(Fail{Of("wrk-01"), "not ready after 10m0s"})
	if p := Compute(d, failed, t0); len(p.Waves) > 0 {
		t.Fatal("the fleet does not stand still")
	}
	o := failed
	for _, r := range Resume(d, failed, t0).Rolls {
		for _, s := range r.Steps {
			o = o.After(s)
		}
	}
	only := func(t *testing.T, p Plan) Blocked {
		t.Helper()
		for _, b := range p.Blocked {
			if b.VM == "wrk-01" {
				return b
			}
		}
		t.Fatalf("wrk-01 is not refused: %+v", p)
		return Blocked{}
	}
	t.Run("the image is the same", func(t *testing.T) {
		p := Compute(d, o, t0)
		if b := only(t, p); b.Code != R12 || !strings.Contains(b.Reason, "guest tools do not run") || len(p.Waves) > 0 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("it came back", func(t *testing.T) {
		o := o.Clone()
		o.VMs[0].Guest = standing(d, d.VMs[0], newDigest).Guest
		o.VMs[0].Guest.Token = o.VMs[0].Record.Token
		p := Compute(d, o, t0)
		if len(p.Blocked) > 0 || !slices.Contains(p.Same, "wrk-01") || len(p.Waves) != 2 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("a newer image", func(t *testing.T) {
		d := wish(3, "docker")
		d.Image.Digest, d.Image.ID, d.Image.Paths = strings.Repeat("c", 64), "sha256:newer", map[string]string{"dc1": "[iso] lkv/worker/c.iso"}
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Error(err)
		}
		if len(p.Blocked) > 0 || len(p.Waves) != 3 || len(p.Waves[0].Rolls) != 1 || p.Waves[0].Rolls[0].VM != "wrk-01" {
			t.Errorf("%+v", p)
		}
	})
}
