package reconcile

import (
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// States of an Event.
const (
	Start   = "start"
	Done    = "done"
	Failed  = "failed"
	Skipped = "skipped" // a refusal: Code says which, Error why and how to clear it
	Waiting = "waiting" // a gate does not hold yet: Reason says why; sent when that changes
)

// Event is one thing that happened. Its JSON is the line that lkv reconcile --json prints.
type Event struct {
	Time    time.Time `json:"time"`
	Fleet   string    `json:"fleet"`
	VM      string    `json:"vm,omitempty"`
	Step    string    `json:"step,omitempty"` // plan.Step's String, or "roll" for the reason of a whole roll
	Kind    string    `json:"kind,omitempty"` // plan.Step's type, for example InsertISO; one of few, unlike Step
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"`  // of a roll, when it begins in a wave; of Waiting
	Renewal bool      `json:"renewal,omitempty"` // a claim written again because a step takes long
	Code    plan.Code `json:"code,omitempty"`
	Error   string    `json:"error,omitempty"`
	Seconds float64   `json:"seconds"` // how long the step took; 0 at its start
}

// Outcome says how a run ended.
type Outcome string

// Outcomes.
const (
	Converged Outcome = "converged" // nothing is left to do
	Pending   Outcome = "pending"   // stopped at its budget, a window, a pause or a signal; the next run goes on
	Refused   Outcome = "refused"   // Blocked says what and how to clear it; everything else was done
	Broken    Outcome = "failed"    // Failures says what
)

// Result is the closing line of a run.
type Result struct {
	Outcome   Outcome        `json:"result"`
	Fleet     string         `json:"fleet"`
	Why       string         `json:"why,omitempty"` // of Pending
	Waves     int            `json:"waves"`
	Steps     int            `json:"steps"`          // steps done, waits included
	Mutations int            `json:"changing_steps"` // steps handed to the executor that change something, retries counted: what MaxSteps bounds
	Calls     int            `json:"mutating_calls"` // sent to vCenter, which whoever holds the sessions counts; a step makes one or several
	Blocked   []plan.Blocked `json:"blocked"`
	Failures  []Failure      `json:"failures"`
	Same      []string       `json:"same"`
	Extra     []string       `json:"extra"`   // VMs of the fleet that are not wanted any more
	Retired   []string       `json:"retired"` // VMs that were retired and wait for lkv gc
	Later     []plan.Later   `json:"later"`   // VMs that wait: a window, canaries that bake, a target
	Seconds   float64        `json:"seconds"`
}

// Failure is one step that went wrong.
type Failure struct {
	VM   string `json:"vm"`
	Step string `json:"step"`
	Why  string `json:"why"`
	// Recorded says that the failure stands in the VM's record, so that every run stops until lkv resume.
	Recorded bool   `json:"recorded"`
	Clear    string `json:"clear,omitempty"` // then what lets the fleet go again
}
