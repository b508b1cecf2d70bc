package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// vmStatus is one VM in the JSON of status.
type vmStatus struct {
	Fleet      string      `json:"fleet"`
	VM         string      `json:"vm"`
	Ordinal    int         `json:"ordinal"`
	Power      string      `json:"power"`
	IP         string      `json:"ip"`
	Host       string      `json:"host"`
	Image      string      `json:"image"`           // SHA-256 of the ISO that the VM should run
	Engine     string      `json:"engine"`          // newest Docker Engine that used its disks; empty when unknown
	Age        float64     `json:"age_seconds"`     // since power on; 0 when off or unknown
	Rolled     time.Time   `json:"rolled,omitzero"` // when its image last passed the gate
	Disks      []string    `json:"data_disks"`
	Claim      *claim      `json:"claim,omitempty"` // missing when free
	Conditions []condition `json:"conditions"`
	Ready      bool        `json:"ready"`
	Why        string      `json:"why"` // why it is not ready
}

// claim is who works on a VM.
type claim struct {
	Owner   string    `json:"owner"`
	Epoch   int       `json:"epoch"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired"`
}

// condition is one thing to know about a VM or a fleet.
type condition struct {
	Type  string    `json:"type"` // "ready", "rolling", "drained", "ill", "failed", "rolled-back", "paused", "retired", "replaces", "missing", "foreign", "extra", "unseen", "busy" or "outdated"; of a fleet "image" or "unseen"
	Since time.Time `json:"since,omitzero"`
	Text  string    `json:"text"`            // in words, when there is more to say
	Code  plan.Code `json:"code,omitempty"`  // of a fleet: the refusal that lkv plan says for it
	Clear string    `json:"clear,omitempty"` // what clears that
}

// fleetStatus is one fleet in the JSON of status.
type fleetStatus struct {
	Name       string      `json:"name"`
	Size       int         `json:"size"`  // VMs that are wanted
	Image      string      `json:"image"` // SHA-256 of the ISO that its VMs should run; empty when that is not known
	Same       []string    `json:"same"`  // VMs that are as wanted, as lkv plan counts them; null when that is not known
	Conditions []condition `json:"conditions"`
}

// statusDoc is what `lkv status --json` prints.
type statusDoc struct {
	Fleets []fleetStatus `json:"fleets"`
	VMs    []vmStatus    `json:"vms"`
}

func (s system) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show every VM of the fleets as it is",
		Description: "Whether it serves, and what lkv plan would change on it; a roll that is under way and its next step; since when it\n" +
			"does not serve; a failure, a pause, a claim. What is wrong with a fleet's image keeps nothing from being shown. When\n" +
			"a fleet could not be seen, the others are shown, and the exit code says it: 3 when the look failed, 1 otherwise.",
		Flags: []cli.Flag{fleetFlag()},
		Action: func(c *cli.Context) error {
			doc := statusDoc{Fleets: []fleetStatus{}, VMs: []vmStatus{}}
			var unseen error
			err := s.visitFleets(c, false, fleets, func(x *sessions, f specs.Fleet) error {
				one, list, err := x.status(c.Context, f)
				doc.Fleets, doc.VMs = append(doc.Fleets, one), append(doc.VMs, list...)
				unseen = cmp.Or(unseen, err)
				return c.Err()
			})
			if err != nil {
				return err
			}
			if given(c, "json") {
				err = s.printJSON(doc)
			} else {
				err = s.printStatus(doc, s.Now())
			}
			return cmp.Or(err, unseen)
		},
	}
}

// status looks at one fleet: the VMs that are wanted, present or not, and those that are there besides. The error says
// why it could not be seen; the fleet's conditions say so, too.
func (x *sessions) status(ctx context.Context, f specs.Fleet) (fleetStatus, []vmStatus, error) {
	st := fleetStatus{Name: f.Name, Size: len(f.Members()), Conditions: []condition{}}
	unseen := func(err error) (fleetStatus, []vmStatus, error) {
		err = refusalOf(err)
		st.Conditions = append(st.Conditions, about("unseen", f.Name, err))
		return st, nil, err
	}
	facts, err := x.facts(ctx, f)
	if err != nil {
		facts = reconcile.Facts{Digest: f.Digest}
		st.Conditions = append(st.Conditions, about("image", f.Name, refusalOf(err)))
	}
	t, aimed := x.aim(ctx, f, facts)
	if aimed != nil {
		return unseen(inFleet(f.Name, aimed))
	}
	st.Image = t.desired.Image.Digest
	if err == nil {
		st.Conditions = append(st.Conditions, x.lacking(t.desired, f)...)
	}
	have, err := t.look(ctx)
	if err != nil {
		return unseen(fmt.Errorf("look at fleet %s: %w", f.Name, err))
	}
	now := x.s.Now()
	list := conditions(t.desired, have, now)
	if st.Image != "" && have.Problem == "" {
		st.Same = append([]string{}, plan.Compute(t.desired, have, now).Same...)
	}
	if have.Problem != "" {
		st, _, err = unseen(have.Failed())
	}
	return st, list, err
}

// inFleet says which fleet an error is about, unless it does so itself.
func inFleet(name string, err error) error {
	if strings.HasPrefix(err.Error(), "fleet "+name+": ") {
		return err
	}
	return fmt.Errorf("fleet %s: %w", name, err)
}

// about says an error as a condition of a fleet, whose name stands before it.
func about(kind, fleet string, err error) condition {
	var b plan.Blocked
	if errors.As(err, &b) {
		return condition{Type: kind, Text: b.Reason, Code: b.Code, Clear: b.Clear}
	}
	return condition{Type: kind, Text: strings.TrimPrefix(err.Error(), "fleet "+fleet+": ")}
}

// lacking says what is missing of the image that the channel names.
func (x *sessions) lacking(want plan.Desired, f specs.Fleet) (list []condition) {
	add := func(code plan.Code, format string, args ...any) {
		c := condition{Type: "image", Code: code, Text: fmt.Sprintf(format, args...), Clear: x.pushing(f)}
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	for _, w := range want.VMs {
		if want.Image.Paths[w.Place.Store] == "" {
			add(plan.R01, "ISO %s of image %s is not on store %q", ui.Short(want.Image.Digest), f.Image, w.Place.Store)
		}
	}
	if !want.Image.Known {
		add(plan.R02, "the manifest of image %s, ISO %s, is missing", f.Image, ui.Short(want.Image.Digest))
	}
	return list
}

// conditions describes wanted VMs in their order, then the others by name.
func conditions(want plan.Desired, have plan.Observed, now time.Time) []vmStatus {
	next, differs := map[string]string{}, map[string]string{}
	if want.Image.Digest != "" {
		p := plan.Compute(want, have, now)
		next, differs = nextSteps(p), differences(p)
	}
	seen := map[int]bool{}
	var list []vmStatus
	for _, w := range want.VMs {
		i := slices.IndexFunc(have.VMs, func(v plan.VM) bool { return v.Name == w.Name })
		if i < 0 {
			st := vmStatus{Fleet: want.Fleet, VM: w.Name, Ordinal: w.Ordinal, Disks: []string{}, Why: "is missing", Conditions: []condition{{Type: "missing"}}}
			if have.Problem != "" { // not found is not gone
				st.Why, st.Conditions = "was not seen", []condition{{Type: "unseen"}}
			}
			list = append(list, st)
			continue
		}
		seen[i] = true
		st := statusOf(want, &w, have.VMs[i], next, now)
		if why := differs[w.Name]; st.Ready && have.VMs[i].Record.Started.IsZero() && why != "" {
			st.Conditions = append(st.Conditions, condition{Type: "outdated", Text: why})
		}
		list = append(list, st)
	}
	for i, v := range have.VMs {
		if !seen[i] {
			list = append(list, statusOf(want, nil, v, next, now))
		}
	}
	return list
}

// differences says what a plan would change on each VM and why, or what it waits for.
func differences(p plan.Plan) map[string]string {
	why := map[string]string{}
	for _, l := range p.Later {
		why[l.VM] = "it is to change, and waits: " + l.Reason
	}
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			why[r.VM] = ui.Brief(r.Reason)
		}
	}
	return why
}

// nextSteps names what a run would do first to each VM that is in the middle of a roll.
func nextSteps(p plan.Plan) map[string]string {
	next := map[string]string{}
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			for _, s := range r.Steps {
				if next[s.VM()] == "" {
					next[s.VM()] = ui.Brief(s.String())
				}
			}
		}
	}
	return next
}

// statusOf describes one VM; w is nil when its name is not wanted.
func statusOf(want plan.Desired, w *plan.WantVM, v plan.VM, next map[string]string, now time.Time) vmStatus {
	r := v.Record
	st := vmStatus{Fleet: want.Fleet, VM: v.Name, Ordinal: v.Ordinal, Power: string(v.Power), IP: v.Guest.IP, Host: v.Host, Image: r.Image,
		Engine: r.Engine, Age: v.Age.Seconds(), Rolled: r.Rolled, Disks: []string{}}
	for _, d := range v.Disks {
		st.Disks = append(st.Disks, d.UUID)
	}
	if r.Owner != "" {
		st.Claim = &claim{Owner: r.Owner, Epoch: r.Epoch, Expires: r.Expires, Expired: !r.Expires.After(now)}
	}
	st.Conditions = recorded(want, v, next)
	for _, c := range st.Conditions {
		if st.Why == "" && c.stops() {
			st.Why = c.String()
		}
	}
	switch {
	case st.Why != "":
	case w == nil:
		st.Why = "is not wanted any more"
		st.Conditions = append(st.Conditions, condition{Type: "extra"})
	default:
		if st.Why = unready(want, *w, v); st.Why == "" {
			st.Ready = true
			st.Conditions = append([]condition{{Type: "ready"}}, st.Conditions...)
		}
	}
	return st
}

// unready says why a VM is not ready, or "". While the wanted image is not known, ready is what serves.
func unready(want plan.Desired, w plan.WantVM, v plan.VM) string {
	if want.Image.Known {
		return reconcile.Ready(want, w, v)
	}
	if why := plan.Up(want, w, v); why != "" || want.Image.Digest == "" || want.Image.Digest == v.Record.Image {
		return why
	}
	return fmt.Sprintf("it runs image %s, wanted is %s", ui.Short(v.Record.Image), ui.Short(want.Image.Digest))
}

// recorded lists what the VM's record and vCenter say about it.
func recorded(want plan.Desired, v plan.VM, next map[string]string) []condition {
	list, r := []condition{}, v.Record
	add := func(yes bool, kind string, since time.Time, text string) {
		if yes {
			list = append(list, condition{Type: kind, Since: since, Text: text})
		}
	}
	if add(v.Fleet != want.Fleet, "foreign", time.Time{}, "has this name but is not lkv's"); len(list) > 0 {
		return list
	}
	if add(!r.Retired.IsZero(), "retired", r.Retired, "kept until lkv gc"); len(list) > 0 {
		return list
	}
	add(r.Paused, "paused", time.Time{}, "")
	add(r.Failed != "", "failed", r.Started, r.Failed)
	add(r.Spurned != "", "rolled-back", time.Time{}, "from image "+ui.Short(r.Spurned))
	add(r.Replaces != "", "replaces", time.Time{}, "it is about to take another VM's place")
	add(!r.Started.IsZero() && r.Failed == "", "rolling", r.Started, nextText(next[v.Name]))
	add(r.Drained, "drained", time.Time{}, "")
	add(!r.Ill.IsZero(), "ill", r.Ill, "")
	for _, why := range v.Busy {
		add(true, "busy", time.Time{}, why)
	}
	return list
}

func nextText(step string) string {
	if step == "" {
		return ""
	}
	return "next: " + step
}

// stops tells whether a VM with this condition is not ready, whatever its guest says.
func (c condition) stops() bool {
	return slices.Contains([]string{"foreign", "retired", "paused", "failed", "replaces"}, c.Type)
}

// String is the condition for people.
func (c condition) String() string {
	text := c.Type
	switch c.Type {
	case "foreign":
		return c.Text
	case "paused":
		text = "is paused"
	case "failed":
		text = "last roll failed"
	}
	if !c.Since.IsZero() {
		text += " since " + c.Since.UTC().Format("2006-01-02 15:04Z")
	}
	if c.Text != "" {
		text += ": " + c.Text
	}
	return text
}

func (s system) printStatus(doc statusDoc, now time.Time) error {
	var rows [][]string
	for _, v := range doc.VMs {
		rows = append(rows, []string{v.Fleet, v.VM, v.Power, v.IP, ui.Short(v.Image), v.Engine, age(v.Age), fmt.Sprint(len(v.Disks)), v.state(now)})
	}
	style := s.style()
	if err := ui.Table(s.Stdout, style, []string{"FLEET", "VM", "POWER", "IP", "ISO", "ENGINE", "UP", "DISKS", "STATE"}, rows); err != nil {
		return err
	}
	text := ""
	for _, f := range doc.Fleets {
		if f.Same != nil {
			text += fmt.Sprintf("%s: %d of %d as wanted\n", style.Bold("fleet "+f.Name), len(f.Same), f.Size)
		}
		for _, c := range f.Conditions {
			text += fmt.Sprintf("%s: %s\n", style.Bold("fleet "+f.Name), style.Bad(c.ofFleet()))
		}
	}
	_, err := io.WriteString(s.Stdout, text)
	return err
}

// ofFleet is a fleet's condition for people.
func (c condition) ofFleet() string {
	text := c.Type + ": " + c.Text
	if c.Code != "" {
		text = c.Type + " " + string(c.Code) + ": " + c.Text
	}
	if c.Clear != "" {
		text += "; to clear: " + c.Clear
	}
	return text
}

// state is everything there is to know about a VM on one line.
func (v vmStatus) state(now time.Time) string {
	var parts []string
	for _, c := range v.Conditions {
		parts = append(parts, c.String())
	}
	if v.Why != "" && !slices.Contains(parts, v.Why) {
		parts = append([]string{v.Why}, slices.DeleteFunc(parts, func(p string) bool { return p == "missing" || p == "extra" || p == "unseen" })...)
	}
	if v.Claim != nil {
		until := "claim of " + v.Claim.Owner + " until " + v.Claim.Expires.UTC().Format("15:04:05Z")
		if v.Claim.Expired {
			until = "claim of " + v.Claim.Owner + " expired " + ui.Duration(now.Sub(v.Claim.Expires)) + " ago"
		}
		parts = append(parts, until)
	}
	return strings.Join(parts, "; ")
}

// age is a time for people in its two largest units.
func age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d == 0:
		return ""
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.Round(time.Second).String()
}
