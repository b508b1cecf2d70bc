package vsphere_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// pushing records a client's calls of one push, and returns what ends that: the lines, after they were checked.
func (r *rig) pushing(c *vsphere.Client) (done func() []journal.Line) {
	r.Helper()
	file := filepath.Join(r.TempDir(), "run.jsonl")
	w, err := journal.Create(file, journal.Head{Version: "test", Command: "push", Run: "1"}, time.Now)
	if err != nil {
		r.Fatal(err)
	}
	c.Record(w)
	r.mutations()
	return func() []journal.Line {
		r.Helper()
		if err := w.Close(); err != nil {
			r.Fatal(err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			r.Fatal(err)
		}
		rep, err := journal.Verify(bytes.NewReader(raw))
		if err != nil {
			r.Fatal(err)
		}
		r.clean("push", rep, raw)
		var lines []journal.Line
		for reader := journal.NewReader(bytes.NewReader(raw)); ; {
			l, _, err := reader.Next()
			if err != nil {
				break
			}
			lines = append(lines, l)
		}
		return lines
	}
}

func intents(lines []journal.Line) (methods []string) {
	for _, l := range lines {
		if l.Intent != nil {
			methods = append(methods, l.Intent.Method)
		}
	}
	return methods
}

// What a push does to a content library stands in its journal, call for call, and nothing of what it carries.
func TestJournalOfALibrary(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	done := s.pushing(c)
	in := s.input("worker", big, l)
	pushed, err := push.Push(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	sent := s.mutations()
	for i := range sent {
		sent[i] = "library " + sent[i]
	}
	lines := done()
	if got := intents(lines); !slices.Equal(got, sent) || !slices.Contains(got, "library upload") || !slices.Contains(got, "library item create") {
		t.Errorf("journal: %v\nsent: %v", got, sent)
	}
	for _, line := range lines {
		if line.Intent != nil && line.Intent.Method == "library upload" && !strings.Contains(line.Intent.Name, ".") {
			t.Errorf("an upload of %q", line.Intent.Name)
		}
	}
	done = s.pushing(c)
	if err := l.Remove(t.Context(), push.ISOPath("worker", pushed[0].SHA256)); err != nil {
		t.Fatal(err)
	}
	if got := intents(done()); !slices.Contains(got, "library update-session file remove") {
		t.Errorf("%v", got)
	}
}

// Without a line in the journal nothing is sent to a content library, and the journal's error is not taken for a bad
// connection, after which one tries again.
func TestNoJournalNoLibrary(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	w, err := journal.NewWriter(&brokenDisk{room: 1}, journal.Head{Command: "push"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c.Record(w)
	if _, err := push.Push(t.Context(), s.input("worker", small, l)); err == nil || !strings.Contains(err.Error(), "was not sent, nothing was changed") {
		t.Errorf("%v", err)
	}
	if got := s.items("isos", "worker"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

// An upload that goes straight to a host stands in the journal, too.
func TestJournalOfAnUploadToAHost(t *testing.T) {
	t.Parallel()
	r, hosts := routes(t)
	store := r.open(vsphere.StoreConfig{Datastore: "iso 1+1", Transport: "host"})
	done := r.pushing(r.c)
	if _, err := push.Push(t.Context(), r.input("worker", small, store)); err != nil {
		t.Fatal(err)
	}
	if by := r.uploads(); !strings.Contains(by, hosts[0]) && !strings.Contains(by, hosts[2]) {
		t.Fatalf("%s took the upload", by)
	}
	sent := r.mutations()
	if got := intents(done()); !slices.Equal(got, sent) || !slices.Contains(got, "PUT") {
		t.Errorf("journal: %v\nsent: %v", got, sent)
	}
}
