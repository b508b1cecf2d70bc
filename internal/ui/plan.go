package ui

import (
	"slices"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// PlanFormat is the version of PlanDoc's JSON. Fields are only ever added to it.
const PlanFormat = 1

// PlanDoc is what `lkv plan --json` prints.
type PlanDoc struct {
	Format         int         `json:"format"`
	Fleets         []FleetPlan `json:"fleets"`
	MutatingCalls  int         `json:"mutating_calls"` // to vCenter, when none must be repeated and no claim written again
	ChangingSteps  int         `json:"changing_steps"` // what --max-steps counts: one makes one call or several
	DestructiveOps int         `json:"destructive_ops"`
	DisksAtRisk    []string    `json:"disks_at_risk"` // paths of data disks that a destructive operation could touch
}

// FleetPlan is the plan of one fleet.
type FleetPlan struct {
	Name     string    `json:"name"`
	Image    string    `json:"image"`    // image block
	SHA256   string    `json:"sha256"`   // of the ISO that is wanted
	Size     int       `json:"size"`     // VMs that are wanted
	Strategy string    `json:"strategy"` // "in-place" or "blue-green"
	Disk     string    `json:"disk"`     // of blue-green: "hand-over" or "fresh"
	AtOnce   int       `json:"at_once"`  // VMs that may be not ready because of us
	Estimate Estimate  `json:"estimate"`
	Waves    []Wave    `json:"waves"`
	Blocked  []Blocked `json:"blocked"`
	Later    []Later   `json:"later"` // VMs that wait: a window, canaries that bake, a target
	Same     []string  `json:"same"`
	Extra    []string  `json:"extra"`   // VMs of the fleet that are not wanted any more
	Retired  []string  `json:"retired"` // VMs that were retired and wait for lkv gc

	bare map[string]bool // those of them without any disk
}

// Estimate is a guess at how long things take, in seconds. Drains and windows are not in it: nobody knows them.
type Estimate struct {
	Now     float64 `json:"now_seconds"`   // the waves of this plan
	Later   float64 `json:"later_seconds"` // what waits, once it may go on
	Drained bool    `json:"drained"`       // VMs are drained besides
}

// Wave is rolls that may run at the same time.
type Wave struct {
	Rolls   []Roll  `json:"rolls"`
	Seconds float64 `json:"estimate_seconds"`
}

// Roll is what happens to one place of the fleet, why, and what that means for its data.
type Roll struct {
	VM        string     `json:"vm"`
	Action    string     `json:"action"`
	Reason    string     `json:"reason"`
	VMs       []Part     `json:"vms"`   // every VM that the roll changes: two in a blue-green roll
	Steps     []string   `json:"steps"` // one about another VM than the roll's begins with that VM's name
	DataDisks []DataDisk `json:"data_disks"`
	Seconds   float64    `json:"estimate_seconds"`
}

// Part is what a roll makes of one VM.
type Part struct {
	Name    string `json:"name"`
	New     bool   `json:"new"`     // the roll makes it
	Becomes string `json:"becomes"` // its name afterwards
	Retired bool   `json:"retired"` // it is kept, off, until lkv gc
}

// DataDisk is one data disk of a VM that is rolled, with what the roll does to it.
type DataDisk struct {
	Name           string `json:"name"` // in the fleet; empty when no record names it
	VM             string `json:"vm"`   // that has it before the roll; empty when none has
	UUID           string `json:"uuid"` // empty for a disk that the roll creates
	Path           string `json:"path"`
	Bytes          int64  `json:"bytes"`
	Mount          string `json:"mount"`
	What           string `json:"what"` // what happens to it, in words
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

// Later is a VM that waits; nothing is wrong with it.
type Later struct {
	VM     string    `json:"vm"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"` // when it may go on; missing when that is no matter of time
}

// Pending says whether there is something to do, now or later: after a window, a pause or a bake.
func (d PlanDoc) Pending() bool {
	return slices.ContainsFunc(d.Fleets, func(f FleetPlan) bool { return len(f.Waves)+len(f.Later)+len(f.Blocked) > 0 })
}

// Refused says whether something is refused that does not clear by itself or by a resume.
func (d PlanDoc) Refused() bool {
	waits := func(b Blocked) bool { return b.Code == string(plan.R13) }
	return slices.ContainsFunc(d.Fleets, func(f FleetPlan) bool {
		return slices.ContainsFunc(f.Blocked, func(b Blocked) bool { return !waits(b) })
	})
}

// NewPlanDoc returns a document without fleets.
func NewPlanDoc() PlanDoc {
	return PlanDoc{Format: PlanFormat, Fleets: []FleetPlan{}, DisksAtRisk: []string{}}
}

// Add describes one fleet's plan. What was observed tells which data disks there are.
func (d *PlanDoc) Add(want plan.Desired, have plan.Observed, p plan.Plan) {
	f := FleetPlan{
		Name: want.Fleet, Image: want.Image.Name, SHA256: want.Image.Digest, Size: len(want.VMs), Strategy: want.Rollout.Strategy,
		Disk: want.Rollout.Disk, AtOnce: want.Rollout.MaxUnavailable, Estimate: estimate(want, p), Waves: []Wave{}, Blocked: []Blocked{}, Later: []Later{},
		Same: append([]string{}, p.Same...), Extra: append([]string{}, p.Extra...), Retired: append([]string{}, p.Retired...),
		bare: map[string]bool{},
	}
	for _, v := range have.VMs {
		if len(v.Disks) == 0 {
			f.bare[v.Name] = true
		}
	}
	for _, w := range p.Waves {
		wave := Wave{Rolls: []Roll{}, Seconds: waveTime(want, w).Seconds()}
		for _, r := range w.Rolls {
			roll := d.roll(want, have, r)
			wave.Rolls = append(wave.Rolls, roll)
		}
		f.Waves = append(f.Waves, wave)
	}
	for _, b := range p.Blocked {
		f.Blocked = append(f.Blocked, Blocked{VM: b.VM, Code: string(b.Code), Reason: b.Reason, Clear: b.Clear})
	}
	for _, l := range p.Later {
		f.Later = append(f.Later, Later(l))
	}
	d.Fleets = append(d.Fleets, f)
}

func (d *PlanDoc) roll(want plan.Desired, have plan.Observed, r plan.Roll) Roll {
	out := Roll{VM: r.VM, Action: string(r.Action), Reason: r.Reason, VMs: parts(r), Steps: []string{}, Seconds: rollTime(want, r).Seconds()}
	destructive := 0
	for _, s := range r.Steps {
		text := s.String()
		if s.VM() != r.VM {
			text = s.VM() + ": " + text
		}
		out.Steps = append(out.Steps, text)
		calls, destroys := effect(s)
		d.MutatingCalls += calls
		if calls > 0 {
			d.ChangingSteps++
		}
		if destroys {
			destructive++
		}
	}
	out.DataDisks = dataDisks(want, have, r)
	for i := range out.DataDisks {
		out.DataDisks[i].DestructiveOps = destructive
		if destructive > 0 {
			d.DisksAtRisk = append(d.DisksAtRisk, out.DataDisks[i].Path)
		}
	}
	d.DestructiveOps += destructive
	return out
}

// effect says what a step does, with how many calls that change something. A kind of step that is not known here counts as destructive: the number people
// look at must never be too small.
func effect(s plan.Step) (calls int, destroys bool) {
	switch s.(type) {
	case plan.AwaitTask, plan.AwaitReady:
		return 0, false
	case plan.CreateDisk: // the fleet's folder, which is made sure of, the marker beside the disk, and the disk
		return 3, false
	case plan.InstallKey: // the certificate's file, and the VM
		return 2, false
	case plan.CreateVM, plan.AttachDisk, plan.Claim, plan.Release, plan.Shutdown,
		plan.InsertISO, plan.Resize, plan.EnableSecureBoot, plan.PowerOn, plan.Fail, plan.Unblock,
		plan.Drain, plan.Restore, plan.GrowDisk, plan.DetachDisk, plan.Disown, plan.Rename, plan.Retire, plan.Recall, plan.Mark,
		plan.Pause, plan.Adopt, plan.Forget, plan.DestroyVM:
		return 1, false
	default:
		return 1, true
	}
}
