package plan

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// TestPairPolicies: the suffix law, Check and the disks, for blue-green fleets under every policy and with every trouble.
func TestPairPolicies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := bluegreen(genPolicies(t), rapid.SampledFrom([]string{HandOver, Fresh}).Draw(t, "disk"))
		d.Rollout.Surge = rapid.IntRange(1, 3).Draw(t, "surge")
		o := genTroubles(t, d)
		start := o
		all := flat(Compute(d, o, t0))
		for i := range len(all) + 1 {
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Fatalf("after %d of %d steps: %v", i, len(all), err)
			}
			if diff := gocmp.Diff(all[i:], flat(p), steps, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after %d of %d steps, the last %v of %s (-rest +computed):\n%s", i, len(all), all[max(0, i-1)], all[max(0, i-1)].VM(), diff)
			}
			if i < len(all) {
				o = o.After(all[i])
			}
			if why := lost(start, o); why != "" && !strings.HasPrefix(why, "D6") {
				t.Fatal(why)
			}
		}
	})
}

// unfits are reasons why a replacement is not begun.
func TestPairNotBegun(t *testing.T) {
	for name, c := range map[string]struct {
		disk  string
		spoil func(d *Desired, o *Observed)
		code  Code
		says  string
	}{
		"the green's name is taken":   {HandOver, func(_ *Desired, o *Observed) { o.VMs = append(o.VMs, VM{Name: "wrk-01-green"}) }, R22, "does not replace this one"},
		"its instance UUID is hidden": {Fresh, func(_ *Desired, o *Observed) { o.VMs[0].ID = "" }, R15, "instance UUID"},
		"its disk was moved":          {HandOver, func(_ *Desired, o *Observed) { o.VMs[0].Disks[0].Path = "[ssd-9] wrk-01/wrk-01.vmdk" }, R06, "could not be found between the two VMs"},
		"its disk's file is another":  {HandOver, func(_ *Desired, o *Observed) { o.Files[0].UUID = "6000C2FF" }, R06, "could not be found between the two VMs"},
		"a datastore is hidden": {Fresh, func(d *Desired, o *Observed) {
			o.Hidden = []Hidden{{Datacenter: d.VMs[0].Place.Datacenter, Datastore: "old", Why: "not accessible"}}
		}, R15, "may lie on datastore old"},
		"the engine would go back": {HandOver, func(d *Desired, o *Observed) {
			d.Image.Engine, o.VMs[0].Record.Engine = "27.1", "28.3.1"
		}, R04, "28.3.1"},
		"too little memory":  {HandOver, func(d *Desired, _ *Observed) { d.Image.RAM = 3 << 30 }, R02, "needs 3072 MiB"},
		"another place's VM": {HandOver, func(_ *Desired, o *Observed) { o.VMs[0].Ordinal = 7 }, R22, "place 7"},
		"a retired VM has the name": {HandOver, func(_ *Desired, o *Observed) {
			o.VMs = append(o.VMs, VM{Name: "wrk-01", Ref: "vm-r", Fleet: "workers", Ordinal: 1, Record: Record{Retired: t0}})
		}, R22, "was retired on 2026-03-01 has its name"},
	} {
		d := bluegreen(wish(2, "docker"), c.disk)
		o := rolledBefore(fleetOf(d, oldDigest))
		c.spoil(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.VM == "wrk-01" })
		if i < 0 || p.Blocked[i].Code != c.code || !strings.Contains(p.Blocked[i].Reason, c.says) || p.Blocked[i].Clear == "" {
			t.Errorf("%s: %+v", name, p.Blocked)
		}
		if len(byRoll(p)["wrk-01"]) > 0 {
			t.Errorf("%s: it would do %v", name, byRoll(p)["wrk-01"])
		}
	}
}

// TestReplacementIsAnotherMachine: what the old VM's machine forbids does not keep an image from the one that is made.
func TestReplacementIsAnotherMachine(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *Desired, v *VM)
		code   Code   // of the in-place roll
		over   string // of the hand-over: "" when it goes
		fresh  string
	}{
		"firmware": {func(d *Desired, v *VM) { d.Image.Boot, d.VMs[0].Firmware = []string{"uefi"}, "efi" }, R02, "", ""},
		"another key": {func(d *Desired, v *VM) {
			*d = locked(*d, ChainKey)
			v.Firmware, v.SecureBoot, v.Keys = "efi", true, []string{"old"}
		}, R02, "", ""},
		"Secure Boot on a BIOS": {func(d *Desired, v *VM) { *d = locked(*d, ChainShim) }, R02, "", ""},
		"an older engine":       {func(d *Desired, v *VM) { d.Image.Engine, v.Record.Engine = "27.1", "28.3.1" }, R04, "28.3.1", ""},
		"another label":         {func(d *Desired, v *VM) { v.Record.Disks[0].Label = "data" }, R02, "label", ""},
		"no ISO there":          {func(d *Desired, v *VM) { d.VMs[0].Place.Store = "dc9" }, R01, "not on store", "not on store"},
		"too little memory":     {func(d *Desired, v *VM) { d.Image.RAM = 3 << 30 }, R02, "needs 3072", "needs 3072"},
	} {
		for strategy, says := range map[string]string{InPlace: "refused", HandOver: c.over, Fresh: c.fresh} {
			d := wish(1, "docker")
			o := rolledBefore(fleetOf(d, oldDigest))
			if c.change(&d, &o.VMs[0]); strategy != InPlace {
				d = bluegreen(d, strategy)
			}
			p := Compute(d, o, t0)
			if err := Check(p, o); err != nil {
				t.Errorf("%s, %s: %v", name, strategy, err)
			}
			switch {
			case strategy == InPlace:
				if len(p.Blocked) != 1 || p.Blocked[0].Code != c.code || len(p.Waves) > 0 {
					t.Errorf("%s, %s: %+v", name, strategy, p)
				}
			case says == "":
				if len(p.Blocked) > 0 || len(p.Waves) != 1 || p.Waves[0].Rolls[0].Action != Replace {
					t.Errorf("%s, %s: %+v", name, strategy, p)
				}
			case len(p.Waves) > 0 || len(p.Blocked) != 1 || !strings.Contains(p.Blocked[0].Reason, says):
				t.Errorf("%s, %s: %+v", name, strategy, p)
			}
		}
	}
}

// only returns the one step of that kind.
func only[S Step](t *testing.T, all []Step) S {
	t.Helper()
	var out []S
	for _, s := range all {
		if x, ok := s.(S); ok {
			out = append(out, x)
		}
	}
	if len(out) != 1 {
		t.Fatalf("%d steps of kind %T in %v", len(out), *new(S), all)
	}
	return out[0]
}

// TestGreenIsBorn: what a green VM is made with.
func TestGreenIsBorn(t *testing.T) {
	begin := func(d Desired, o Observed) []Step { return flat(Compute(d, o, t0)) }
	t.Run("hand-over", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), HandOver)
		d.Image.Engine = "28.3.1"
		o := rolledBefore(fleetOf(d, oldDigest))
		o.VMs[0].Record.Engine, o.VMs[0].Record.Generation = "27.1", 2
		s := only[CreateVM](t, begin(d, o))
		r := s.Record
		if s.Want.ExtraConfig[hostnameKey] != "wrk-01" || r.Generation != 2 || r.Engine != "28.3.1" || r.Replaces != "id-wrk-01" || !r.Rolled.IsZero() || r.Drained {
			t.Errorf("%+v", s)
		}
		if d.VMs[0].ExtraConfig[hostnameKey] != "" || d.VMs[0].Name != "wrk-01" {
			t.Error("the wish was changed")
		}
	})
	t.Run("blank disks", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), Fresh)
		d.VMs[0].ExtraConfig[hostnameKey] = "wrk-01"
		o := rolledBefore(fleetOf(d, oldDigest))
		s := only[CreateVM](t, begin(d, o))
		if s.Want.ExtraConfig[hostnameKey] != "wrk-01-g1" || s.Record.Generation != 1 || s.Want.ExtraConfig["guestinfo.lkv.role"] != "worker" {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a blank disk was made and is gone", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), Fresh)
		o := rolledBefore(fleetOf(d, oldDigest))
		o.Made = []string{"lkv-disks/workers/wrk-01-docker.vmdk", "lkv-disks/workers/wrk-01-docker-g1.vmdk"}
		if s := only[CreateDisk](t, begin(d, o)); !strings.HasSuffix(s.Path, "wrk-01-docker-g2.vmdk") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a blank disk has another size", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), Fresh)
		o := rolledBefore(fleetOf(d, oldDigest))
		o.Files = append(o.Files, DiskFile{Path: "[ssd-2] lkv-disks/workers/wrk-01-docker-g1.vmdk", UUID: "x", Bytes: 1})
		if s := only[CreateDisk](t, begin(d, o)); !strings.HasSuffix(s.Path, "wrk-01-docker-g2.vmdk") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a run died before the VM", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), Fresh)
		o := rolledBefore(fleetOf(d, oldDigest))
		o.Files = append(o.Files, DiskFile{Path: "[ssd-2] lkv-disks/workers/wrk-01-docker-g1.vmdk", UUID: "x", Bytes: 10 << 30})
		if s := only[CreateVM](t, begin(d, o)); s.Record.Disks[0].Path != "[ssd-2] lkv-disks/workers/wrk-01-docker-g1.vmdk" || s.Record.Disks[0].UUID != "x" {
			t.Errorf("%+v", s)
		}
	})
	t.Run("handed-over disk grows", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), HandOver)
		o := rolledBefore(fleetOf(d, oldDigest))
		d.VMs[0].Disks[0].Bytes = 20 << 30
		if s := only[GrowDisk](t, begin(d, o)); s.VM() != "wrk-01-green" || s.Bytes != 20<<30 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("too old", func(t *testing.T) {
		d := bluegreen(wish(1, "docker"), HandOver)
		d.Rollout.MaxAge = time.Minute
		o := rolledBefore(fleetOf(d, newDigest))
		all := begin(d, o)
		if c := only[Claim](t, all); !c.Due || only[Retire](t, all).VM() != "wrk-01" {
			t.Errorf("%v", all)
		}
	})
}

// TestTwoRunsBeginAtOnce: two runs have each claimed a VM to replace it, and surge is 1: neither makes a green VM.
func TestTwoRunsBeginAtOnce(t *testing.T) {
	d := bluegreen(wish(3, "docker"), Fresh)
	d.Rollout.MaxUnavailable = 3
	o := rolledBefore(fleetOf(d, oldDigest))
	o = o.After(Claim{base: Of("wrk-01"), Owner: other, Epoch: 4, Started: t0, Expires: t0.Add(time.Minute)})
	o = o.After(Claim{base: Of("wrk-02"), Owner: me, Epoch: 4, Started: t0, Expires: t0.Add(time.Minute)})
	p := Compute(d, o, t0.Add(time.Second))
	if err := Check(p, o); err != nil {
		t.Fatal(err)
	}
	if len(p.Waves) != 1 || p.Waves[0].Rolls[0].Action != GiveBack || len(p.Later) != 2 {
		t.Errorf("%+v", p)
	}
}

// TestResumedPair: a green VM did not get ready; a person resumes, and the gate is waited for again.
func TestResumedPair(t *testing.T) {
	for _, disk := range []string{HandOver, Fresh} {
		d := bluegreen(wish(2, "docker"), disk)
		o := rolledBefore(fleetOf(d, oldDigest))
		o = until(t, o, flat(Compute(d, o, t0)), PowerOn{Of("wrk-01-green")}).After(Fail{Of("wrk-01-green"), "not ready"})
		p := Compute(d, o, t0)
		if len(p.Waves) > 0 || len(p.Blocked) != 1 || p.Blocked[0].VM != "wrk-01-green" || !strings.Contains(p.Blocked[0].Reason, "so the fleet stands still: not ready") {
			t.Errorf("%s: %+v", disk, p)
		}
		for _, r := range Resume(d, o, t0).Rolls {
			for _, s := range r.Steps {
				o = o.After(s)
			}
		}
		p = Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Error(err)
		}
		all := byRoll(p)["wrk-01"]
		if len(all) == 0 || len(p.Blocked) > 0 || only[AwaitReady](t, all).VM() != "wrk-01-green" || only[Rename](t, all).To != "wrk-01" {
			t.Errorf("%s: %+v", disk, p)
		}
	}
}

// TestRetiredTwiceInAMinute: a VM of that name was retired in this very minute.
func TestRetiredTwiceInAMinute(t *testing.T) {
	for name, d := range map[string]Desired{"hand-over": bluegreen(wish(2, "docker"), HandOver), "scale-in": wish(2, "docker")} {
		o := rolledBefore(fleetOf(d, oldDigest))
		if name == "scale-in" {
			o = rolledBefore(fleetOf(d, newDigest))
			d.VMs, d.Rollout.ScaleIn = d.VMs[1:], 1
		}
		for _, suffix := range []string{"", "-2"} {
			o.VMs = append(o.VMs, VM{ID: "retired" + suffix, Name: RetiredName("wrk-01", t0) + suffix, Fleet: d.Fleet, Ordinal: 1, Power: Off, Record: Record{Retired: t0}})
		}
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		i := slices.IndexFunc(flat(p), func(s Step) bool { _, ok := s.(Retire); return ok })
		if i < 0 {
			t.Errorf("%s: nothing is retired: %+v", name, p)
		} else if got := flat(p)[i].(Retire).To; got != RetiredName("wrk-01", t0)+"-3" {
			t.Errorf("%s: retired as %s", name, got)
		}
	}
}

// TestRollDisks: the data disks of a roll are listed wherever they are when it is planned.
func TestRollDisks(t *testing.T) {
	n, g := Of("wrk-01"), Of("wrk-01-green")
	was := RollDisk{UUID: uuidOf(1, 0), Path: "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk", From: "wrk-01", To: "wrk-01", Detaches: 1}
	blank := RollDisk{Path: "[ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk", To: "wrk-01"}
	kept := was
	kept.To, kept.Detaches = "wrk-01-retired-20260301-1200", 0
	with := func(d RollDisk, f func(d *RollDisk)) RollDisk { f(&d); return d }
	for _, c := range []struct {
		disk string
		last Step
		want []RollDisk
	}{
		{HandOver, nil, []RollDisk{was}},
		{HandOver, DetachDisk{base: n}, []RollDisk{with(was, func(d *RollDisk) { d.From, d.Detaches = "", 0 })}},
		{HandOver, AttachDisk{base: g}, []RollDisk{with(was, func(d *RollDisk) { d.From, d.Detaches = "wrk-01-green", 0 })}},
		{Fresh, nil, []RollDisk{kept, blank}},
		{Fresh, CreateVM{base: g}, []RollDisk{kept, blank}},
		{Fresh, AttachDisk{base: g}, []RollDisk{kept, with(blank, func(d *RollDisk) { d.From = "wrk-01-green" })}},
		{InPlace, nil, []RollDisk{with(was, func(d *RollDisk) { d.Detaches = 0 })}},
	} {
		d := bluegreen(wish(1, "docker"), c.disk)
		if c.disk == InPlace {
			d = wish(1, "docker")
		}
		o := rolledBefore(fleetOf(d, oldDigest))
		if c.last != nil {
			o = until(t, o, flat(Compute(d, o, t0)), c.last)
		}
		p := Compute(d, o, t0)
		got := p.Waves[0].Rolls[0].DataDisks(o)
		slices.SortFunc(got, func(a, b RollDisk) int { return cmp.Compare(b.UUID, a.UUID) })
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s after %T:\n%s", c.disk, c.last, diff)
		}
	}
}

// TestPairPolicyConvergence: a daemon that lives long enough gets to the same end, wherever a run before it died.
func TestPairPolicyConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := bluegreen(genPolicies(t), rapid.SampledFrom([]string{HandOver, Fresh}).Draw(t, "disk"))
		d.Rollout.NoBrake, d.Rollout.Progress = true, 0 // a crash may need a person for these two
		start := rolledBefore(genTroubles(t, d))
		golden := liveOut(t, d, start, t0)
		o, _ := genCut(t, Compute(d, start, t0), start, func(Observed, Roll, Step) {})
		now := t0
		if rapid.Bool().Draw(t, "another run after the claims expired") {
			now, d.Claimer = t0.Add(30*time.Minute), other
		}
		end := liveOut(t, d, o, now)
		if diff := gocmp.Diff(pairOutcome(settle(golden)), pairOutcome(settle(end)), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("other end state (-golden +after the crash):\n%s", diff)
		}
	})
}
