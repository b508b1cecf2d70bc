package ui

import (
	"fmt"
	"io"
	"strings"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// PlanFormat is the version of PlanDoc's JSON.
const PlanFormat = 1

// PlanDoc is what `lkv plan --json` prints.
type PlanDoc struct {
	Format         int         `json:"format"`
	Fleets         []FleetPlan `json:"fleets"`
	MutatingCalls  int         `json:"mutating_calls"`
	DestructiveOps int         `json:"destructive_ops"`
}

// FleetPlan is the plan of one fleet.
type FleetPlan struct {
	Name    string    `json:"name"`
	Waves   []Wave    `json:"waves"`
	Blocked []Blocked `json:"blocked"`
	Same    []string  `json:"same"`
	Extra   []string  `json:"extra"` // VMs of the fleet that are not wanted any more; they are left alone
}

// Wave is rolls that may run at the same time.
type Wave struct {
	Rolls []Roll `json:"rolls"`
}

// Roll is what happens to one VM, why, and what that means for its data.
type Roll struct {
	VM        string     `json:"vm"`
	Action    string     `json:"action"`
	Reason    string     `json:"reason"`
	Steps     []string   `json:"steps"`
	DataDisks []DataDisk `json:"data_disks"`
}

// DataDisk is one data disk of a VM that is rolled, with what the roll does to it.
type DataDisk struct {
	UUID           string `json:"uuid"` // empty for a disk that the roll creates
	Path           string `json:"path"`
	Detaches       int    `json:"detaches"`
	DestructiveOps int    `json:"destructive_ops"`
}

// Blocked is one refusal with what clears it.
type Blocked struct {
	VM     string `json:"vm"` // empty: the whole fleet
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Clear  string `json:"clear"`
}

// Pending says whether there is something to do.
func (d PlanDoc) Pending() bool {
	for _, f := range d.Fleets {
		if len(f.Waves) > 0 {
			return true
		}
	}
	return false
}

// Refused says whether something is refused.
func (d PlanDoc) Refused() bool {
	for _, f := range d.Fleets {
		if len(f.Blocked) > 0 {
			return true
		}
	}
	return false
}

// Add describes one fleet's plan. The observation tells which data disks are attached.
func (d *PlanDoc) Add(fleet string, p plan.Plan, o plan.Observed) {
	d.Format = PlanFormat
	f := FleetPlan{Name: fleet, Waves: []Wave{}, Blocked: []Blocked{}, Same: append([]string{}, p.Same...), Extra: append([]string{}, p.Extra...)}
	for _, w := range p.Waves {
		wave := Wave{Rolls: []Roll{}}
		for _, r := range w.Rolls {
			wave.Rolls = append(wave.Rolls, d.roll(r, o))
		}
		f.Waves = append(f.Waves, wave)
	}
	for _, b := range p.Blocked {
		f.Blocked = append(f.Blocked, Blocked{VM: b.VM, Code: string(b.Code), Reason: b.Reason, Clear: b.Clear})
	}
	d.Fleets = append(d.Fleets, f)
}

func (d *PlanDoc) roll(r plan.Roll, o plan.Observed) Roll {
	out := Roll{VM: r.VM, Action: string(r.Action), Reason: r.Reason, Steps: []string{}, DataDisks: dataDisks(r, o)}
	destructive := 0
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, s.String())
		mutates, destroys := effect(s)
		if mutates {
			d.MutatingCalls++
		}
		if destroys {
			destructive++
		}
	}
	for i := range out.DataDisks {
		out.DataDisks[i].DestructiveOps = destructive
	}
	d.DestructiveOps += destructive
	return out
}

// effect says what a step does. A kind of step that is not known here counts as destructive: the number people
// look at must never be too small.
func effect(s plan.Step) (mutates, destroys bool) {
	switch s.(type) {
	case plan.AwaitTask, plan.AwaitReady:
		return false, false
	case plan.CreateDisk, plan.CreateVM, plan.AttachDisk, plan.Claim, plan.Release, plan.Shutdown,
		plan.InsertISO, plan.Resize, plan.InstallKey, plan.EnableSecureBoot, plan.PowerOn, plan.Fail, plan.Unblock,
		plan.Drain, plan.Restore, plan.GrowDisk, plan.DetachDisk, plan.Disown, plan.Rename, plan.Retire, plan.Mark,
		plan.Pause, plan.Adopt, plan.Forget, plan.DestroyVM:
		return true, false
	default:
		return true, true
	}
}

// dataDisks lists the disks a VM has and those its roll creates.
func dataDisks(r plan.Roll, o plan.Observed) []DataDisk {
	list := []DataDisk{}
	for _, vm := range o.VMs {
		if vm.Name != r.VM || vm.Fleet == "" {
			continue
		}
		for _, disk := range vm.Disks {
			list = append(list, DataDisk{UUID: disk.UUID, Path: disk.Path})
		}
	}
	for _, s := range r.Steps {
		if c, ok := s.(plan.CreateDisk); ok {
			list = append(list, DataDisk{Path: c.Path})
		}
	}
	return list
}

var signs = map[string]string{"create": "+", "roll": "~", "finish": ">", "start": ">", "release": "<", "rollback": "<"}

// Write renders the plan as text.
func (d PlanDoc) Write(w io.Writer, s Style) error {
	var b strings.Builder
	for _, f := range d.Fleets {
		f.write(&b, s)
	}
	summary := fmt.Sprintf("mutating calls: %d, destructive ops: %d", d.MutatingCalls, d.DestructiveOps)
	if d.DestructiveOps > 0 {
		summary = s.Bad(summary)
	}
	b.WriteString(summary + "\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

func (f FleetPlan) write(b *strings.Builder, s Style) {
	rolls := 0
	for _, w := range f.Waves {
		rolls += len(w.Rolls)
	}
	fmt.Fprintf(b, "%s: %d to change, %d as wanted, %d refused\n", s.Bold("fleet "+f.Name), rolls, len(f.Same), len(f.Blocked))
	for i, w := range f.Waves {
		fmt.Fprintf(b, "  wave %d\n", i+1)
		for _, r := range w.Rolls {
			r.write(b, s)
		}
	}
	for _, x := range f.Blocked {
		x.write(b, s)
	}
	if len(f.Same) > 0 {
		fmt.Fprintf(b, "  %s %s\n", s.Good("="), s.Faint(strings.Join(f.Same, ", ")))
	}
	for _, vm := range f.Extra {
		fmt.Fprintf(b, "  %s %s  is not wanted any more and is left alone\n", s.Warn("-"), s.Bold(vm))
	}
	b.WriteString("\n")
}

func (r Roll) write(b *strings.Builder, s Style) {
	sign := signs[r.Action]
	if sign == "" {
		sign = "?"
	}
	fmt.Fprintf(b, "  %s %s  %s: %s\n", s.Warn(sign), s.Bold(r.VM), r.Action, Brief(r.Reason))
	for _, step := range r.Steps {
		fmt.Fprintf(b, "      %s\n", s.Faint(Brief(step)))
	}
	for _, d := range r.DataDisks {
		what := "data disk " + d.UUID + " " + d.Path
		if d.UUID == "" {
			what = "new data disk " + d.Path
		}
		fmt.Fprintf(b, "      %s: detaches %d, destructive ops: %d\n", what, d.Detaches, d.DestructiveOps)
	}
}

func (x Blocked) write(b *strings.Builder, s Style) {
	who := x.VM
	if who == "" {
		who = "the whole fleet"
	}
	fmt.Fprintf(b, "  %s %s  %s %s\n", s.Bad("!"), s.Bold(who), s.Bad("refused "+x.Code+":"), x.Reason)
	if x.Clear != "" {
		fmt.Fprintf(b, "      to clear: %s\n", x.Clear)
	}
}
