package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// SavedFormat is the version of Saved's JSON.
const SavedFormat = 1

// Saved is a plan as lkv plan --out writes it: what was wanted, what was seen, and what is to be done about it.
// A run that is given one does that and nothing else.
type Saved struct {
	Format int                 `json:"format"`
	Fleet  string              `json:"fleet"`
	Made   time.Time           `json:"made"`
	Wish   string              `json:"wish"`  // SHA-256 over Desired, without who plans and for how long it claims
	Seen   string              `json:"seen"`  // SHA-256 over Observed, without what changes by itself
	Steps  map[string][]string `json:"steps"` // by VM, in order
}

// Save writes a plan down.
func Save(want plan.Desired, have plan.Observed, p plan.Plan, now time.Time) (Saved, error) {
	s := Saved{Format: SavedFormat, Fleet: want.Fleet, Made: now.UTC(), Steps: map[string][]string{}}
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			s.Steps[r.VM] = append(s.Steps[r.VM], lines(r.Steps)...)
		}
	}
	var err error
	if s.Wish, err = wishOf(want); err != nil {
		return s, err
	}
	s.Seen, err = seenOf(have)
	return s, err
}

// Stale refuses a saved plan with R17 when what is wanted, or what is there, is not what it was made for. It returns
// nil when it still holds.
func (s Saved) Stale(want plan.Desired, have plan.Observed) (*plan.Blocked, error) {
	wish, err := wishOf(want)
	if err != nil {
		return nil, err
	}
	seen, err := seenOf(have)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Format != SavedFormat:
		return stale("the saved plan has format %d, this lkv knows %d", s.Format, SavedFormat), nil
	case s.Fleet != want.Fleet:
		return stale("the saved plan is about fleet %s", s.Fleet), nil
	case s.Wish != wish:
		return stale("the spec or the channel says something else than when the plan was saved"), nil
	case s.Seen != seen:
		return stale("the fleet is not as it was when the plan was saved"), nil
	}
	return nil, nil
}

// beyond refuses with R17 a wave that would do what the saved plan does not say: what is to be done for a VM must stand
// in the plan as it is, without a gap.
func (s Saved) beyond(w plan.Wave) *plan.Blocked {
	for _, r := range w.Rolls {
		rest := lines(r.Steps)
		if !contains(s.Steps[r.VM], rest) {
			return stale("%s: the next is %q, which the saved plan does not say", r.VM, rest[0])
		}
	}
	return nil
}

// contains tells whether part stands in all without a gap: a VM may have more than one roll in a plan.
func contains(all, part []string) bool {
	for i := 0; i+len(part) <= len(all); i++ {
		if slices.Equal(all[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

func stale(format string, args ...any) *plan.Blocked {
	return &plan.Blocked{Code: plan.R17, Reason: fmt.Sprintf(format, args...), Clear: "lkv plan --out again, look at it, and use that one"}
}

// lines writes steps so that two runs write them alike: who claims a VM is no part of a plan.
func lines(steps []plan.Step) []string {
	var out []string
	for _, s := range steps {
		line := kindOf(s) + " " + s.VM() + ": " + s.String()
		if c, ok := s.(plan.Claim); ok {
			line = fmt.Sprintf("Claim %s: epoch %d", c.VM(), c.Epoch)
		}
		if r, ok := s.(plan.Retire); ok {
			line = "Retire " + r.VM() // its new name has the time in it
		}
		if i := strings.Index(line, "-retired-"); i >= 0 {
			line = line[:i]
		}
		out = append(out, line)
	}
	return out
}

func wishOf(want plan.Desired) (string, error) {
	want.Claimer, want.TTL = "", 0
	return digestOf(want)
}

// seenOf leaves out what changes without anybody's doing: ages, addresses, boot IDs, and change versions, which a
// guest's own report raises.
func seenOf(have plan.Observed) (string, error) {
	have = have.Clone()
	for i := range have.VMs {
		v := &have.VMs[i]
		v.ChangeVersion, v.Age, v.Host, v.Ref = "", 0, "", ""
		v.Guest = plan.Guest{Token: v.Guest.Token, ImageID: v.Guest.ImageID, State: v.Guest.State}
	}
	slices.SortFunc(have.VMs, func(a, b plan.VM) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return digestOf(have)
}

func digestOf(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("save plan: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}
