package journal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// memory is a file.
type memory struct{ bytes.Buffer }

func (*memory) Sync() error  { return nil }
func (*memory) Close() error { return nil }

// real reads the journal of a run against the lab (reconcile/vsphere writes it anew with go test -update).
func real(t testing.TB, name string) ([]byte, []Line) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return raw, parse(t, raw)
}

func parse(t testing.TB, raw []byte) []Line {
	t.Helper()
	var lines []Line
	for r := NewReader(bytes.NewReader(raw)); ; {
		l, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
}

// chained writes lines as a run would, so that only what they say is wrong. Times stay; numbers of calls move along.
func chained(t testing.TB, lines []Line) []byte {
	t.Helper()
	f := &memory{}
	w := &Writer{f: f, prev: first}
	moved := map[int]int{}
	for _, l := range lines {
		at := l.N
		w.now = func() time.Time { return l.Time }
		if l.Result != nil {
			r := *l.Result
			if n, ok := moved[r.Call]; ok {
				r.Call = n
			}
			l.Result = &r
		}
		if l.Close != nil {
			l.Close = &Close{Calls: w.calls}
		}
		n, err := w.Append(l)
		if err != nil {
			return f.Bytes() // a time that has no text
		}
		if at > 0 {
			moved[at] = n
		}
	}
	return f.Bytes()
}

func verified(t testing.TB, raw []byte) Report {
	t.Helper()
	rep, err := Verify(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// violated are the codes that a journal violates.
func violated(rep Report) []string {
	var codes []string
	for _, i := range rep.Invariants {
		if i.State == Violated {
			codes = append(codes, i.Code)
		}
	}
	return codes
}

func TestRealRunsVerify(t *testing.T) {
	for _, name := range []string{"create", "roll", "handover", "gc", "pause", "forget", "adopt", "delete", "many"} {
		raw, lines := real(t, name)
		if rep := verified(t, raw); !rep.OK() || rep.Calls == 0 {
			t.Errorf("%s: %+v", name, rep)
		}
		if d := cmp.Diff(string(raw), string(chained(t, lines))); d != "" {
			t.Errorf("%s: the test's own writing differs:\n%s", name, d)
		}
	}
}

// script is a journal that a test doctors.
type script struct {
	t     testing.TB
	lines []Line
}

// at returns the index of the n-th line, from 0, of which is holds.
func (s *script) at(n int, is func(Line) bool) int {
	s.t.Helper()
	for i, l := range s.lines {
		if is(l) {
			if n--; n < 0 {
				return i
			}
		}
	}
	s.t.Fatal("there is no such line")
	return 0
}

func sends(method string) func(Line) bool {
	return func(l Line) bool { return l.Intent != nil && l.Intent.Method == method }
}

func looks(l Line) bool { return l.Look != nil }

// call changes the n-th call of a method.
func (s *script) call(method string, n int, change func(*Intent)) {
	s.t.Helper()
	i := s.at(n, sends(method))
	in := *s.lines[i].Intent
	in.Devices, in.Extra, in.Fields = slices.Clone(in.Devices), slices.Clone(in.Extra), slices.Clone(in.Fields)
	if in.Record != nil {
		r := *in.Record
		r.Disks = slices.Clone(r.Disks)
		in.Record = &r
	}
	change(&in)
	s.lines[i].Intent = &in
}

// look changes the look at index i.
func (s *script) look(i int, change func(*Look)) {
	l := *s.lines[i].Look
	l.Disks = slices.Clone(l.Disks)
	if l.Record != nil {
		r := *l.Record
		r.Disks = slices.Clone(r.Disks)
		l.Record = &r
	}
	if l.Guest != nil {
		g := *l.Guest
		l.Guest = &g
	}
	change(&l)
	s.lines[i].Look = &l
}

// before returns the index of the last look at the VM of the call at index i.
func (s *script) before(i int) int {
	s.t.Helper()
	for k := i - 1; k >= 0; k-- {
		if l := s.lines[k].Look; l != nil && l.VM == s.lines[i].Intent.Target {
			return k
		}
	}
	s.t.Fatal("there is no look")
	return 0
}

// insert puts a call with its result before index i.
func (s *script) insert(i int, in Intent) {
	when := s.lines[i].Time
	if when.IsZero() {
		when = s.lines[i-1].Time
	}
	const n = 100_000 // no other line has it
	s.lines = slices.Insert(s.lines, i, Line{N: n + i, Time: when, Intent: &in}, Line{Time: when, Result: &Result{Call: n + i, State: Success}})
}

func (s *script) end() int { return len(s.lines) - 1 }

// of tells looks at the VM of that name.
func of(name string) func(Line) bool {
	return func(l Line) bool { return l.Look != nil && l.Look.VM.Name == name }
}

// vm is the VM that is rolled first.
func (s *script) vm() Target { return s.lines[s.at(0, of("wrk-01"))].Look.VM }

// swap is the first call that puts an ISO in.
func swap(l Line) bool { return sends("ReconfigVM_Task")(l) && len(l.Intent.Devices) > 0 }

// release is a call that ends a roll.
func release(l Line) bool {
	return sends("ReconfigVM_Task")(l) && (&call{Intent: l.Intent}).releases()
}

// retires is a call that takes a VM out of use.
func retires(l Line) bool {
	return sends("ReconfigVM_Task")(l) && l.Intent.Record != nil && !l.Intent.Record.Retired.IsZero()
}

func disk(op string) func(*Intent) {
	return func(in *Intent) {
		in.Devices = append(in.Devices, Device{Operation: op, Kind: diskKind, Key: 2000, Path: "[vm-1] lkv-disks/workers/wrk-01-docker.vmdk"})
	}
}

// TestRecordsDiffer: a record that is written anew because of something that a journal does not keep is no idle call.
func TestRecordsDiffer(t *testing.T) {
	disk := []plan.DiskRecord{{Name: "docker", Path: "[ds] lkv-disks/f/a.vmdk"}}
	for name, r := range map[string]plan.Record{
		"drained": {Drained: true}, "due": {Due: true}, "ill": {Ill: time.Unix(1, 0)}, "takes": {Takes: disk}, "spurned": {Spurned: "x"},
	} {
		if same(RecordOf(plan.Record{}), RecordOf(r)) {
			t.Errorf("%s makes no difference", name)
		}
		if !same(RecordOf(r), RecordOf(r)) {
			t.Errorf("%s: a record differs from itself", name)
		}
	}
}
