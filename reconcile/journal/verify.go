package journal

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/lkv-io/lkv/internal/secret"
)

// State says what a journal shows of an invariant.
type State string

// States.
const (
	Holds    State = "holds"
	Violated State = "violated"
	Hidden   State = "not visible here" // the journal cannot show it
)

// Report is what a journal shows.
type Report struct {
	Head       Head         `json:"head"`
	Lines      int          `json:"lines"`
	Calls      int          `json:"calls"`
	Closed     bool         `json:"closed"`           // the run ended by itself
	Broken     string       `json:"broken,omitempty"` // where the file is no whole journal; nothing behind it was looked at
	Unfinished []Unfinished `json:"unfinished"`
	Invariants []Invariant  `json:"invariants"`
}

// Unfinished is a call whose end the journal does not show: it may have happened or not.
type Unfinished struct {
	Line   int    `json:"line"`
	Method string `json:"method"`
	On     string `json:"on"`
}

// Invariant is one promise (docs/safety.md), and what became of it.
type Invariant struct {
	Code    string    `json:"code"`
	Says    string    `json:"says"`
	State   State     `json:"state"`
	Checked int       `json:"checked"`       // how often it was looked at
	Why     string    `json:"why,omitempty"` // it is not visible
	Found   []Finding `json:"found"`         // where it is violated
}

// Finding is one violation.
type Finding struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

// OK tells whether the file is whole, the run ended by itself, every call ended, and nothing is violated.
func (r Report) OK() bool {
	return r.Broken == "" && r.Closed && len(r.Unfinished) == 0 &&
		!slices.ContainsFunc(r.Invariants, func(i Invariant) bool { return i.State == Violated })
}

// says are the promises that a journal is checked for, in order.
var says = []struct{ code, text string }{
	{"D1", "no call deletes, moves or replaces a data disk"},
	{"D2", "a VM is destroyed only without a disk"},
	{"D3", "a disk is attached to one VM at most"},
	{"D4", "every disk stays as it was: UUID, capacity, parent, mode, controller"},
	{"D5", "every disk can be found: attached, or in a record"},
	{"D6", "a VM is powered on only with its recorded disks and its ISO"},
	{"D7", "a disk is made once, and never while something knows it"},
	{"D8", "every change follows a fresh and whole read of the same VM"},
	{"A1", "no more VMs are down than max_unavailable"},
	{"A2", "no more VMs exist than wanted and surge"},
	{"A4", "a roll ends only after the guest proved this boot"},
	{"A6", "only the holder of the claim changes a VM"},
	{"A9", "no call changes nothing"},
	{"A10", "plan changes nothing"},
	{"A13", "no secret stands in the journal"},
}

// Verify reads a journal and checks what it shows. It needs nothing else. The error is the reader's; what is wrong with
// the journal is in the report.
func Verify(in io.Reader) (Report, error) {
	v := newVerifier()
	r := NewReader(in)
	for {
		l, raw, err := r.Next()
		var broken *BrokenError
		switch {
		case errors.Is(err, io.EOF):
			return v.report(r), nil
		case errors.As(err, &broken):
			v.out.Broken = broken.Error()
			return v.report(r), nil
		case err != nil:
			return v.report(r), fmt.Errorf("read journal: %w", err)
		}
		v.line(l, raw)
	}
}

// verifier is what is known after some lines.
type verifier struct {
	out     Report
	checked map[string]int
	found   map[string][]Finding

	fleets  map[string]Fleet    // by key
	vms     map[string]*vm      // by vCenter and reference
	calls   map[int]*call       // that have not ended
	first   map[string]fact     // the first look at a disk, by UUID
	again   int                 // disks seen more than once
	last    map[string]int      // line of the last look at a disk, by UUID
	paths   map[string]string   // of disks that were seen or recorded, to UUIDs or ""
	grown   map[string]int64    // bytes that a disk may have by now, by UUID or path
	made    map[string]int      // paths of disks made here, to lines
	created map[string][]string // vCenter and name of VMs made here and not seen yet, by fleet
	deleted map[string]bool     // paths of disks deleted on purpose, unless that failed
	left    map[string]bool     // disks by UUID that lkv gc took off retired VMs: they stay as files that no VM has
}

// vm is what is known of one VM.
type vm struct {
	look     *Look // the last whole one
	line     int   // its line, also of one that failed
	failed   bool  // the last look failed
	record   *Record
	detached map[string]bool // disks by UUID, since the look
	open     *call           // the last call on it, until it ended
	ended    int             // line of the last call's end
	down     bool            // taken down by this run, and not released
	born     bool            // made by this run
	gone     bool
}

type call struct {
	line int
	*Intent
}

// fact is what must not change of a disk.
type fact struct {
	Disk
	line int
}

func newVerifier() *verifier {
	return &verifier{checked: map[string]int{}, found: map[string][]Finding{}, fleets: map[string]Fleet{}, vms: map[string]*vm{},
		calls: map[int]*call{}, first: map[string]fact{}, last: map[string]int{}, paths: map[string]string{}, grown: map[string]int64{},
		made: map[string]int{}, created: map[string][]string{}, deleted: map[string]bool{}, left: map[string]bool{}}
}

// check notes one look at an invariant.
func (v *verifier) check(code string, line int, ok bool, format string, args ...any) {
	v.checked[code]++
	if !ok {
		v.found[code] = append(v.found[code], Finding{line, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) line(l Line, raw []byte) {
	v.check("A13", l.N, !secret.In(raw), "it holds what looks like a secret")
	switch {
	case l.Head != nil:
		v.out.Head = *l.Head
	case l.Fleet != nil:
		v.fleets[l.Fleet.VCenter+" "+l.Fleet.Name] = *l.Fleet
	case l.Look != nil:
		v.seen(l.N, l.Look)
	case l.Intent != nil:
		v.out.Calls++
		v.intend(l, &call{l.N, l.Intent})
	case l.Result != nil:
		v.became(l.N, l.Result)
	}
}

// report sums up.
func (v *verifier) report(r *Reader) Report {
	v.atEnd()
	v.out.Lines, v.out.Closed, v.out.Unfinished, v.out.Invariants = r.Lines(), r.Closed(), []Unfinished{}, []Invariant{}
	for _, n := range slices.Sorted(maps.Keys(v.calls)) {
		c := v.calls[n]
		v.out.Unfinished = append(v.out.Unfinished, Unfinished{n, c.Method, c.on()})
	}
	for _, s := range says {
		i := Invariant{Code: s.code, Says: s.text, State: Holds, Checked: v.checked[s.code], Found: append([]Finding{}, v.found[s.code]...)}
		if why := v.hidden(s.code); why != "" {
			i.State, i.Why = Hidden, why
		}
		if len(i.Found) > 0 {
			i.State, i.Why = Violated, ""
		}
		v.out.Invariants = append(v.out.Invariants, i)
	}
	return v.out
}

// hidden says why a journal cannot show an invariant, or "".
func (v *verifier) hidden(code string) string {
	switch code {
	case "A1", "A2", "A6":
		if len(v.fleets) == 0 && v.out.Calls > 0 {
			return "no fleet was begun"
		}
	case "A10":
		if v.out.Head.Command != "plan" {
			return "it is no journal of lkv plan"
		}
	case "D4":
		if v.out.Calls > 0 && v.again == 0 {
			return "no disk was seen twice"
		}
	}
	return ""
}

// on names what a call is made on, for people.
func (c *call) on() string {
	switch {
	case c.Target.Name != "":
		return c.Target.Name
	case c.Name != "":
		return c.Name
	case len(c.Paths) > 0:
		return c.Paths[len(c.Paths)-1]
	}
	return c.Target.Ref
}
