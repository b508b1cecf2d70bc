package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// said takes a plan for people apart, line by line. What it cannot read is a fact of its own, so that nothing is said
// that the JSON does not say.
func said(text string) (facts []string) {
	fleet, wave, vm := "", "", ""
	lines := []struct {
		form *regexp.Regexp
		fact func(m []string) string
	}{
		{regexp.MustCompile(`^fleet (\S+): (\d+) to change, (\d+) as wanted, (\d+) refused(?:, (\d+) waiting)?$`), func(m []string) string {
			fleet, wave, vm = m[1], "", ""
			if m[5] == "" {
				m[5] = "0"
			}
			return fmt.Sprintf("counts %s %s %s %s", m[2], m[3], m[4], m[5])
		}},
		{regexp.MustCompile(`^  image (\S+) (\S*), (\d+) VMs, (.+), (\d+) at once(.*)$`), func(m []string) string { return "image " + strings.Join(m[1:], "|") }},
		{regexp.MustCompile(`^  wave (\d+)(?:, about (\S+))?$`), func(m []string) string { wave, vm = m[1], ""; return "takes " + m[2] }},
		{regexp.MustCompile(`^  ! (.+?)  refused (R\d\d): (.*)$`), func(m []string) string { return "refused " + strings.Join(m[1:], "|") }},
		{regexp.MustCompile(`^      to clear: (.*)$`), func(m []string) string { return "clear " + m[1] }},
		{regexp.MustCompile(`^  … (\S+)  waits: (.*?)(?:, until (\d{4}-\S+ \S+))?$`), func(m []string) string { return "later " + strings.Join(m[1:], "|") }},
		{regexp.MustCompile(`^  = (.*)$`), func(m []string) string { return "same " + m[1] }},
		{regexp.MustCompile(`^  - (\S+)  is not wanted any more(?: and is left alone for now)?$`), func(m []string) string { return "extra " + m[1] }},
		{regexp.MustCompile(`^  z (\S+)  is retired and kept, (?:with its disks|without any disk), until lkv gc$`), func(m []string) string { return "retired " + m[1] }},
		{regexp.MustCompile(`^  [-+~><±.?] (\S+)  ([a-z]+): (.*?)(?:, about (\S+))?$`), func(m []string) string { vm = m[1]; return "roll " + strings.Join(m[1:], "|") }},
		{regexp.MustCompile(`^      (VM \S+ (?:is|becomes|stays).*)$`), func(m []string) string { return "part " + m[1] }},
		{regexp.MustCompile(`^      ((?:new )?data disk .*?)(?:, on (\S+))?: (.*); detaches (\d+), destructive ops: (\d+)$`), func(m []string) string { return "disk " + strings.Join(m[1:], "|") }},
		{regexp.MustCompile(`^      (.*)$`), func(m []string) string { return "step " + m[1] }},
		{regexp.MustCompile(`^mutating calls: (\d+) in (\d+) steps, destructive ops: (\d+)(?:, data disks at risk: (.*))?$`), func(m []string) string {
			fleet, wave, vm = "", "", ""
			return "sum " + strings.Join(m[1:], "|")
		}},
	}
lines:
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		for _, l := range lines {
			if m := l.form.FindStringSubmatch(line); m != nil {
				fact := l.fact(m)
				facts = append(facts, strings.Join([]string{fleet, wave, vm, fact}, "/"))
				if strings.HasPrefix(fact, "refused") || strings.HasPrefix(fact, "later") {
					vm = m[1]
				}
				continue lines
			}
		}
		if line != "" {
			facts = append(facts, "unread: "+line)
		}
	}
	return facts
}

// known lists the same facts of the JSON, in the same order.
func known(d ui.PlanDoc) (facts []string) {
	fleet, wave, vm := "", "", ""
	add := func(format string, args ...any) {
		facts = append(facts, strings.Join([]string{fleet, wave, vm, fmt.Sprintf(format, args...)}, "/"))
	}
	took := func(seconds float64) string {
		if seconds == 0 {
			return ""
		}
		return ui.Duration(time.Duration(seconds * float64(time.Second)))
	}
	for _, f := range d.Fleets {
		fleet, wave, vm = f.Name, "", ""
		rolls := 0
		for _, w := range f.Waves {
			rolls += len(w.Rolls)
		}
		add("counts %d %d %d %d", rolls, len(f.Same), len(f.Blocked), len(f.Later))
		if f.Strategy != "" {
			how := f.Strategy
			if f.Disk != "" {
				how += ", " + f.Disk
			}
			add("image %s|%s|%d|%s|%d|%s", f.Image, ui.Short(f.SHA256), f.Size, how, f.AtOnce, f.Estimate)
		}
		for i, w := range f.Waves {
			wave, vm = fmt.Sprint(i+1), ""
			add("takes %s", took(w.Seconds))
			for _, r := range w.Rolls {
				vm = r.VM
				add("roll %s|%s|%s|%s", r.VM, r.Action, ui.Brief(r.Reason), took(r.Seconds))
				for _, p := range r.VMs {
					if len(r.VMs) > 1 || p.Name != p.Becomes {
						add("part %s", p)
					}
				}
				for _, s := range r.Steps {
					add("step %s", ui.Brief(s))
				}
				for _, x := range r.DataDisks {
					on := x.VM
					if on == r.VM {
						on = ""
					}
					add("disk %s|%s|%s|%d|%d", x, on, x.What, x.Detaches, x.DestructiveOps)
				}
			}
		}
		for _, b := range f.Blocked {
			who := b.VM
			if who == "" {
				who = "the whole fleet"
			}
			add("refused %s|%s|%s", who, b.Code, b.Reason)
			if vm = who; b.Clear != "" {
				add("clear %s", b.Clear)
			}
		}
		for _, l := range f.Later {
			until := ""
			if !l.Until.IsZero() {
				until = l.Until.UTC().Format("2006-01-02 15:04Z")
			}
			add("later %s|%s|%s", l.VM, l.Reason, until)
			vm = l.VM
		}
		if len(f.Same) > 0 {
			add("same %s", strings.Join(f.Same, ", "))
		}
		for _, x := range f.Extra {
			add("extra %s", x)
		}
		for _, x := range f.Retired {
			add("retired %s", x)
		}
	}
	fleet, wave, vm = "", "", ""
	add("sum %d|%d|%d|%s", d.MutatingCalls, d.ChangingSteps, d.DestructiveOps, strings.Join(d.DisksAtRisk, ", "))
	return facts
}

// alike compares what a terminal shows, with and without colours, with what the JSON of the same plan says.
func alike(t *testing.T, d ui.PlanDoc) []string {
	t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var read ui.PlanDoc
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		if err := d.Write(&out, ui.Style{Color: colour}); err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out.String(), "")
		if diff := cmp.Diff(known(read), said(text)); diff != "" {
			t.Errorf("the JSON and the terminal (colours: %v) differ (-json +text):\n%s", colour, diff)
		}
	}
	return known(read)
}

// factWorld is a fleet of three VMs that are as wanted, on image "old", in the middle of nothing.
func factWorld() (plan.Desired, plan.Observed, time.Time) {
	now := time.Date(2026, 1, 2, 12, 0, 30, 0, time.UTC)
	digest := strings.Repeat("ab", 32)
	want := plan.Desired{Fleet: "f", Claimer: "me", TTL: 2 * time.Minute,
		Image: plan.Image{Name: "host", Digest: digest, ID: "id", Known: true, Boot: []string{"bios"}, Paths: map[string]string{"s": "[iso] lkv/host/" + digest + ".iso"},
			Mounts: []plan.Mount{{Path: "/data", Label: "data", Filesystem: "ext4", Gated: true}}},
		Rollout: plan.Rollout{Strategy: plan.InPlace, MaxUnavailable: 1, MaxFailed: 1, Surge: 1, ScaleIn: 1, Grace: time.Minute, Timeout: 10 * time.Minute, Settle: 90 * time.Second, Progress: time.Hour}}
	var have plan.Observed
	for i := 1; i <= 3; i++ {
		w := plan.WantVM{Name: fmt.Sprintf("f-%d", i), Ordinal: i, CPUs: 1, MemoryMiB: 1024, Place: plan.Placement{Store: "s", Datastore: "ds"},
			Disks: []plan.WantDisk{{Name: "data", Bytes: 1 << 30, Mount: "/data", Thin: true}}}
		want.VMs = append(want.VMs, w)
		uuid, path := fmt.Sprintf("6000c29%d-0000-0000-0000-000000000000", i), plan.DiskPath("f", w, w.Disks[0])
		have.VMs = append(have.VMs, plan.VM{Name: w.Name, ID: "id-" + w.Name, Ref: "vm-" + w.Name, Fleet: "f", Ordinal: i, Power: plan.On, CPUs: 1, MemoryMiB: 1024, Firmware: "bios",
			ISO: want.Image.Paths["s"], Age: 30 * time.Hour, Home: "[ds] " + w.Name, Disks: []plan.Disk{{UUID: uuid, Path: path, Bytes: 1 << 30, Mode: plan.DiskMode}},
			Guest: plan.Guest{Tools: true, State: "running", Token: "t", ImageID: "id", IP: "192.0.2.1", Mounts: []plan.GuestMount{{Path: "/data", Serial: plan.SerialOf(uuid)}}},
			Record: plan.Record{Image: digest, ImageID: "id", Token: "t", Epoch: 1, Rolled: now.Add(-30 * time.Hour), Previous: strings.Repeat("0", 64), PreviousISO: "[iso] o.iso",
				Disks: []plan.DiskRecord{{Name: "data", UUID: uuid, Path: path}}}})
		have.Files = append(have.Files, plan.DiskFile{Path: path, UUID: uuid, Bytes: 1 << 30})
	}
	return want, have, now
}

// outdate lets every VM run another image.
func outdate(have *plan.Observed) {
	for i := range have.VMs {
		v := &have.VMs[i]
		v.Record.Image, v.Record.ImageID, v.Guest.ImageID, v.ISO = strings.Repeat("cd", 32), "was", "was", "[iso] old.iso"
	}
}

// A terminal and --json say the same, of every kind of plan; each world shows what it is there for.
func TestTerminalAndJSONSayTheSame(t *testing.T) {
	for name, world := range map[string]struct {
		change func(*plan.Desired, *plan.Observed)
		shows  []string
	}{
		"nothing to do": {func(*plan.Desired, *plan.Observed) {}, []string{"f///same f-1, f-2, f-3", "///sum 0|0|"}},
		"a roll":        {func(_ *plan.Desired, o *plan.Observed) { outdate(o) }, []string{"roll f-1|roll|image cdcdcdcdcdcd → abababababab|", "takes ", "attached throughout|0|0"}},
		"canaries": {func(d *plan.Desired, o *plan.Observed) {
			outdate(o)
			d.Rollout.Canaries, d.Rollout.Bake = 1, time.Hour
		}, []string{"later f-2|", "f-3"}},
		"outside the window": {func(d *plan.Desired, o *plan.Observed) {
			outdate(o)
			d.Rollout.Window = &plan.Window{Days: []time.Weekday{time.Monday}, From: time.Hour, To: 2 * time.Hour, Zone: time.UTC}
		}, []string{"refused the whole fleet|R13|", "clear wait until", "|2026-01-05 01:00Z"}},
		"targets":      {func(d *plan.Desired, o *plan.Observed) { outdate(o); d.Targets = []string{"f-2"} }, []string{"roll f-2|", "later f-1|not among the targets|"}},
		"with a drain": {func(d *plan.Desired, o *plan.Observed) { outdate(o); d.Rollout.Drain = true }, []string{"drains not counted", "step drain"}},
		"hand-over": {func(d *plan.Desired, o *plan.Observed) {
			outdate(o)
			d.Rollout.Strategy, d.Rollout.Disk = plan.BlueGreen, plan.HandOver
		}, []string{"|replace|", "part VM f-1 is retired as", "handed over to", "|blue-green, hand-over|"}},
		"fresh": {func(d *plan.Desired, o *plan.Observed) {
			outdate(o)
			d.Rollout.Strategy, d.Rollout.Disk = plan.BlueGreen, plan.Fresh
		}, []string{"new data disk data", "made new and empty"}},
		"halfway": {func(_ *plan.Desired, o *plan.Observed) {
			o.VMs[1].Power, o.VMs[1].Record.Started = plan.Off, time.Date(2026, 1, 2, 11, 50, 0, 0, time.UTC)
		}, []string{"roll f-2|finish|"}},
		"missing":           {func(_ *plan.Desired, o *plan.Observed) { o.VMs = o.VMs[:2] }, []string{"roll f-3|create|", "attached as it is"}},
		"never was":         {func(_ *plan.Desired, o *plan.Observed) { o.VMs, o.Files = o.VMs[:2], o.Files[:2] }, []string{"made new and empty"}},
		"scale-in":          {func(d *plan.Desired, _ *plan.Observed) { d.VMs = d.VMs[:2] }, []string{"roll f-3|retire|", "extra f-3", "stays attached to f-3-retired"}},
		"too much scale-in": {func(d *plan.Desired, _ *plan.Observed) { d.VMs = d.VMs[:1] }, []string{"R14", "extra f-2", "extra f-3"}},
		"one that goes is refused": {func(d *plan.Desired, o *plan.Observed) {
			d.VMs = d.VMs[:2]
			o.VMs[2].Busy = []string{"a question is pending"}
		}, []string{"refused f-3|R08", "extra f-3"}},
		"failed": {func(_ *plan.Desired, o *plan.Observed) {
			o.VMs[0].Record.Failed = "not ready: after 10m, about 3 tries"
		}, []string{"refused f-1|R12|", "clear "}},
		"paused": {func(_ *plan.Desired, o *plan.Observed) { o.VMs[0].Record.Paused = true }, []string{"refused the whole fleet|R13|the fleet is paused", "clear lkv resume --fleet f"}},
		"brake": {func(_ *plan.Desired, o *plan.Observed) {
			o.VMs[0].Power, o.VMs[1].Power, o.VMs[2].Power = plan.Off, plan.Off, plan.Off
		}, []string{"R12", "--ignore-brake"}},
		"lost disk": {func(_ *plan.Desired, o *plan.Observed) { o.VMs[0].Disks = nil }, []string{"R06", "clear shut the VM down, then lkv disks attach --vm f-1 --disk data"}},
		"growth":    {func(d *plan.Desired, _ *plan.Observed) { d.VMs[0].Disks[0].Bytes = 2 << 30 }, []string{"grows to 2.0 GiB"}},
		"retired": {func(d *plan.Desired, o *plan.Observed) {
			d.VMs = d.VMs[:2]
			o.VMs[2].Record.Retired = time.Unix(1, 0)
			o.VMs[2].Power = plan.Off
		}, []string{"retired f-3"}},
		"failed look": {func(_ *plan.Desired, o *plan.Observed) { o.Problem = "vCenter: away" }, []string{"refused the whole fleet|R15|"}},
		"no image":    {func(d *plan.Desired, o *plan.Observed) { outdate(o); d.Image.Paths = nil }, []string{"refused f-1|R01|", "clear lkv push --image host --store s"}},
	} {
		t.Run(name, func(t *testing.T) {
			want, have, now := factWorld()
			world.change(&want, &have)
			d := ui.NewPlanDoc()
			d.Add(want, have, plan.Compute(want, have, now))
			d.Add(plan.Desired{Fleet: "g"}, plan.Observed{}, plan.Plan{Blocked: []plan.Blocked{{Code: plan.R01, Reason: "never pushed", Clear: "lkv push"}}})
			facts := strings.Join(alike(t, d), "\n")
			for _, s := range world.shows {
				if !strings.Contains(facts, s) {
					t.Errorf("it does not show %q:\n%s", s, facts)
				}
			}
			if !strings.Contains(facts, "|0|") || d.DestructiveOps != 0 {
				t.Error("destructive ops")
			}
		})
	}
}

// What is destructive would be said, everywhere; a text that says more than the JSON is found out.
func TestFactsAreCompared(t *testing.T) {
	want, have, now := factWorld()
	outdate(&have)
	d := ui.NewPlanDoc()
	d.Add(want, have, plan.Compute(want, have, now))
	r := &d.Fleets[0].Waves[0].Rolls[0]
	r.DataDisks[0].DestructiveOps, d.DestructiveOps, d.DisksAtRisk = 1, 1, []string{r.DataDisks[0].Path}
	if facts := alike(t, d); !slices.ContainsFunc(facts, func(f string) bool { return strings.Contains(f, "|0|1") }) || !strings.HasSuffix(facts[len(facts)-1], "|1|"+r.DataDisks[0].Path) {
		t.Errorf("%q", facts)
	}
	if got := said("something new"); len(got) != 1 || got[0] != "unread: something new" {
		t.Errorf("%q", got)
	}
}
