package vsphere_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/vapi/library"

	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// honest checks that every ISO of an item has the digest that its name says, and that the item has it once.
func (s *shelf) honest(what, image string) (isos int) {
	s.Helper()
	seen := map[string]bool{}
	for _, f := range s.items("isos", image) {
		if seen[f.Name] {
			s.Errorf("%s: %s is there twice", what, f.Name)
		}
		seen[f.Name] = true
		if digest, ok := strings.CutSuffix(f.Name, ".iso"); ok {
			isos++
			if got := s.input("x", s.local(f.StorageURIs[0]), nil); !strings.Contains(string(got.Manifest), digest) {
				s.Errorf("%s: %s holds something else", what, f.Name)
			}
		}
	}
	return isos
}

// afterwards: whatever happened, nothing lies, and the next push finishes the job.
func (s *shelf) afterwards(what string, in push.Input, err error) {
	s.Helper()
	if n := s.honest(what, in.Image); err == nil && n != 1 {
		s.Errorf("%s: no error, and %d ISOs", what, n)
	}
	if err != nil {
		in.Nonce += "x"
		if _, err := push.Push(s.Context(), in); err != nil {
			s.Errorf("%s: next push: %v", what, err)
		}
	}
	if n := s.honest(what, in.Image); n != 1 {
		s.Errorf("%s: %d ISOs at the end", what, n)
	}
	if n := s.sessions(); n > 0 {
		s.Errorf("%s: %d update sessions stay", what, n)
	}
}

// Every other request of a push fails once, in one of three ways; each kind of call comes once for each of three files.
// No push is retried by package push here, so what is seen is what one try leaves.
func TestLibraryFaultAtEveryOtherRequest(t *testing.T) {
	s := newShelf(t)
	c, w := s.connect()
	in := s.input("clean", small, s.open(c, "isos"))
	w.set(nil)
	if _, err := push.Push(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	total := w.count()
	if total < 40 {
		t.Fatalf("%d requests: the wire is not where it should be", total)
	}
	failed := 0
	for at := 1; at <= total; at += 2 {
		status := []int{http.StatusInternalServerError, http.StatusUnauthorized, -1}[at/2%3]
		in := s.input(fmt.Sprintf("worker-%d", at), small, s.open(c, "isos"))
		w.set(func(n int) int {
			if n == at {
				return status
			}
			return 0
		})
		_, err := push.Push(t.Context(), in)
		w.set(nil)
		if err != nil {
			failed++
		}
		s.afterwards(fmt.Sprintf("status %d at request %d", status, at), in, err)
	}
	t.Logf("%d requests; %d pushes failed and were finished by the next", total, failed)
}

// The same with patience: one push gets over every fault.
func TestLibraryPushOutlivesFaults(t *testing.T) {
	s := newShelf(t)
	c, w := s.connect()
	in := s.input("worker", small, s.open(c, "isos"))
	in.Sleep = func(context.Context, time.Duration) error { return nil }
	kinds := []int{http.StatusInternalServerError, http.StatusUnauthorized, -1, http.StatusServiceUnavailable}
	w.set(func(n int) int {
		if n%7 == 0 {
			return kinds[n/7%len(kinds)]
		}
		return 0
	})
	_, err := push.Push(t.Context(), in)
	w.set(nil)
	if err != nil {
		t.Error(err)
	}
	s.afterwards("one request in seven fails", in, err)
}

func TestLibraryUploadCutOrWithoutSession(t *testing.T) {
	s := newShelf(t)
	for name, status := range map[string]int{"cut": -1, "session ended": http.StatusUnauthorized, "server error": http.StatusBadGateway} {
		c, _ := s.connect()
		in := s.input("worker "+name, big, s.open(c, "isos"))
		tries := 0
		s.strict.upload = func(_ int, r *http.Request) int {
			if !strings.HasSuffix(r.URL.Path, ".iso") {
				return 0
			}
			if tries++; tries > 2 {
				return 0
			}
			if status == http.StatusUnauthorized {
				s.strict.dead[r.Header.Get("vmware-api-session-id")] = true
			}
			return status
		}
		_, err := push.Push(t.Context(), in)
		if names := s.names("isos", in.Image); err == nil || len(names) != 1 {
			t.Errorf("%s: %v, left %v", name, err, names)
		}
		if n := s.sessions(); n > 0 {
			t.Errorf("%s: %d update sessions stay", name, n)
		}
		in.Sleep = func(context.Context, time.Duration) error { return nil }
		got, err := push.Push(t.Context(), in)
		if err != nil || got[0].How != push.Uploaded || got[0].BytesUploaded <= int64(len(big)) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
		s.strict.upload = nil
		s.afterwards(name, in, err)
	}
}

// A wrong bit on the way is noticed by vCenter: the item never has the file.
func TestLibraryRefusesWhatWasDamagedOnTheWay(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	in := s.input("worker", big, s.open(c, "isos"))
	s.strict.upload = func(_ int, r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, ".iso") {
			r.Body = &flip{ReadCloser: r.Body}
		}
		return 0
	}
	_, err := push.Push(t.Context(), in)
	if names := s.names("isos", "worker"); err == nil || !strings.Contains(err.Error(), "refuses") || len(names) != 1 {
		t.Errorf("%v, left %v", err, names)
	}
	s.strict.upload = nil
	s.afterwards("damaged", in, err)
}

func TestTwoLibraryPushesAtOnce(t *testing.T) {
	s := newShelf(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var hows []string
	for i := range 2 {
		c, _ := s.connect()
		in := s.input("worker", big, s.open(c, "isos"))
		in.Owner, in.Nonce = fmt.Sprint("ci-", i), fmt.Sprint(i)
		in.Sleep = func(ctx context.Context, _ time.Duration) error { return wall{}.Sleep(ctx, 20*time.Millisecond) }
		wg.Go(func() {
			got, err := push.Push(s.Context(), in)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			hows = append(hows, got[0].How)
		})
	}
	wg.Wait()
	if !slices.Contains(hows, push.Uploaded) {
		t.Errorf("%v", hows)
	}
	s.afterwards("two at once", push.Input{Image: "worker"}, nil)
}

// A push that died leaves a session. The next push of the same owner ends it; nobody else's push does.
func TestLibraryEndsItsOwnStaleSessions(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	in := s.input("worker", small, l)
	in.Channel = ""
	if err := l.Mkdir(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	for owner, ends := range map[string]bool{"ci": true, "somebody": false} {
		dead := partOf(t, in, owner)
		if err := l.Put(t.Context(), dead, bytes.NewReader(small), int64(len(small))); err != nil {
			t.Fatal(err)
		}
		other, _ := s.connect() // knows nothing of the one before
		in.Stores = []push.Store{s.open(other, "isos")}
		_, err := push.Push(t.Context(), in)
		switch {
		case ends && err != nil:
			t.Errorf("owner %s: %v", owner, err)
		case !ends && (err == nil || !strings.Contains(err.Error(), "another push") || s.sessions() != 1):
			t.Errorf("owner %s: %v, %d sessions", owner, err, s.sessions())
		}
		if err := l.Delete(t.Context(), dead); err != nil && !errors.Is(err, fs.ErrNotExist) || s.sessions() > 0 {
			t.Errorf("owner %s: delete: %v, %d sessions", owner, err, s.sessions())
		}
		in = s.input("worker", []byte("another"), l)
		in.Channel = ""
	}
}

// The filter on the wire, below everything that Library itself refuses.
func TestLibraryGate(t *testing.T) {
	s := newShelf(t)
	c, w := s.connect()
	l := s.open(c, "isos")
	if _, err := push.Push(t.Context(), s.input("worker", small, l)); err != nil {
		t.Fatal(err)
	}
	raw := c.RawLibraries()
	lib, err := s.admin.GetLibraryByName(t.Context(), "isos")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := s.admin.ListLibraryItems(t.Context(), lib.ID)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	foreign := s.library("foreign", library.Library{Type: "LOCAL"}, 1)
	theirs, err := s.admin.CreateLibraryItem(t.Context(), library.Item{Name: "theirs", LibraryID: foreign.ID})
	if err != nil {
		t.Fatal(err)
	}
	mine, err := raw.CreateLibraryItemUpdateSession(t.Context(), library.Session{LibraryItemID: ids[0]})
	if err != nil {
		t.Fatal(err)
	}
	c.OwnSession(mine)
	text, iso := "x", strings.TrimPrefix(push.ISOPath("worker", strings.Repeat("0", 64)), "worker/")
	w.set(nil)
	for name, err := range map[string]error{
		"delete library":   raw.DeleteLibrary(t.Context(), lib),
		"delete item":      raw.DeleteLibraryItem(t.Context(), &library.Item{ID: ids[0]}),
		"publish":          raw.PublishLibrary(t.Context(), lib, nil),
		"evict":            raw.EvictSubscribedLibrary(t.Context(), lib),
		"rename":           raw.UpdateLibraryItem(t.Context(), &library.Item{ID: ids[0], Name: "y", Description: &text}),
		"describe theirs":  raw.UpdateLibraryItem(t.Context(), &library.Item{ID: theirs, Description: &text}),
		"item elsewhere":   second(raw.CreateLibraryItem(t.Context(), library.Item{Name: "z", LibraryID: foreign.ID})),
		"typed item":       second(raw.CreateLibraryItem(t.Context(), library.Item{Name: "z", LibraryID: lib.ID, Type: "ovf"})),
		"copy":             second(raw.CopyLibraryItem(t.Context(), &library.Item{ID: ids[0]}, library.Item{Name: "z", LibraryID: lib.ID})),
		"their session":    second(raw.CreateLibraryItemUpdateSession(t.Context(), library.Session{LibraryItemID: theirs})),
		"unknown session":  raw.CancelLibraryItemUpdateSession(t.Context(), "unknown"),
		"complete unknown": raw.CompleteLibraryItemUpdateSession(t.Context(), "unknown"),
		"add an ISO":       second(raw.AddLibraryItemFile(t.Context(), mine, library.UpdateFile{Name: iso, SourceType: "PUSH"})),
		"add any file":     second(raw.AddLibraryItemFile(t.Context(), mine, library.UpdateFile{Name: "disk.vmdk", SourceType: "PUSH"})),
		"pull":             second(raw.AddLibraryItemFile(t.Context(), mine, library.UpdateFile{Name: "channel.x.json", SourceType: "PULL"})),
		"remove an ISO":    raw.RemoveLibraryItemUpdateSessionFile(t.Context(), mine, iso),
		"remove a channel": raw.RemoveLibraryItemUpdateSessionFile(t.Context(), mine, "channel.latest.json"),
		"fail session":     raw.FailLibraryItemUpdateSession(t.Context(), mine),
		"put somewhere":    c.PutRaw(t.Context(), "/cls/data/x/y.iso"),
		"another API":      second(raw.ListSecurityPolicies(t.Context())),
	} {
		var forbidden *vsphere.ForbiddenError
		if !errors.As(err, &forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if err := raw.CancelLibraryItemUpdateSession(t.Context(), mine); err != nil {
		t.Error(err)
	}
}
