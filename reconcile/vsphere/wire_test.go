package vsphere_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// What push asks of a store beyond the minimum.
var (
	_ push.RangeReader = (*vsphere.Store)(nil)
	_ push.Users       = (*vsphere.Store)(nil)
	_ push.Remover     = (*vsphere.Store)(nil)
	_ push.Copier      = (*vsphere.Store)(nil)
)

// wire answers requests in vCenter's place.
type wire struct {
	next http.RoundTripper

	mu sync.Mutex
	n  int
	f  func(n int) int // HTTP status; 0: vCenter answers; -1: the connection is cut
}

func (w *wire) set(f func(n int) int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n, w.f = 0, f
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.n++
	status := 0
	if w.f != nil {
		status = w.f(w.n)
	}
	w.mu.Unlock()
	switch {
	case status == 0:
		return w.next.RoundTrip(r)
	case r.Body != nil:
		r.Body.Close()
	}
	if status < 0 {
		return nil, syscall.ECONNRESET
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprintf("%d injected", status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// wired is a second session, whose requests can be made to fail.
func (r *rig) wired() (*vsphere.Client, *wire) {
	r.Helper()
	w := &wire{}
	cfg := r.config()
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { w.next = next; return w }
	c, err := vsphere.Connect(r.Context(), cfg)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		w.set(nil)
		if err := c.Close(context.Background()); err != nil {
			r.Errorf("log out: %v", err)
		}
	})
	return c, w
}

// both is a push of an ISO to both datacenters of a lab.
func (r *rig) both(c *vsphere.Client, content []byte) push.Input {
	r.Helper()
	in := r.input("worker", content, nil)
	in.Stores = nil
	for _, dc := range []string{"DC1", "DC2"} {
		s, err := c.Store(r.Context(), vsphere.StoreConfig{Name: dc, Datacenter: dc, Datastore: "iso-nfs"})
		if err != nil {
			r.Fatal(err)
		}
		in.Stores = append(in.Stores, s)
	}
	return in
}

// honest checks that every file with a digest for a name has that digest.
func (r *rig) honest(what string) (isos int) {
	r.Helper()
	for _, dc := range []string{"DC1", "DC2"} {
		for _, f := range r.files(dc, "iso-nfs", "lkv/worker") {
			if !strings.HasSuffix(f, ".iso") {
				continue
			}
			raw, err := os.ReadFile(filepath.Join(r.lab.DatastoreDir(dc, "iso-nfs"), "lkv/worker", f))
			if sum := fmt.Sprintf("%x.iso", sha256.Sum256(raw)); err != nil || sum != f {
				r.Errorf("%s: %s holds %s: %v", what, f, sum, err)
			}
			isos++
		}
	}
	return isos
}

// anew removes what was pushed.
func (r *rig) anew() {
	r.Helper()
	for _, dc := range []string{"DC1", "DC2"} {
		if err := os.RemoveAll(filepath.Join(r.lab.DatastoreDir(dc, "iso-nfs"), "lkv")); err != nil {
			r.Fatal(err)
		}
	}
}

// After any fault: nothing lies, and the next push finishes the job.
func (r *rig) afterwards(what string, in push.Input, err error) {
	r.Helper()
	isos := r.honest(what)
	if err == nil && isos != 2 {
		r.Errorf("%s: no error, and %d ISOs of 2", what, isos)
	}
	if err != nil {
		in.Nonce += "x"
		if _, err := push.Push(r.Context(), in); err != nil {
			r.Errorf("%s: second push: %v", what, err)
		}
	}
	if n := r.honest(what); n != 2 {
		r.Errorf("%s: %d ISOs of 2 at the end", what, n)
	}
	for _, dc := range []string{"DC1", "DC2"} {
		for _, f := range r.files(dc, "iso-nfs", "lkv") {
			if strings.Contains(f, ".lkv-part-") {
				r.Errorf("%s: %s stayed", what, f)
			}
		}
	}
	r.anew()
}

var (
	big   = bytes.Repeat([]byte("an ISO of 1 MiB "), 1<<16)
	small = big[:64<<10]
)

func TestUploadCutAtEveryTenthOfTheBody(t *testing.T) {
	r := newRig(t, lab.Config{})
	cuts := 0
	defer func() { t.Logf("%d cuts, no ISO that is not its name, and every next push finished", cuts) }()
	for percent := 0; percent <= 100; percent += 10 {
		cuts++
		in := r.both(r.c, big)
		r.lab.OnCall(func(c lab.Call) lab.Fault {
			if c.Method == http.MethodPut && strings.Contains(c.Target, ".iso.") {
				return lab.CutAt(percent)
			}
			return lab.None
		})
		_, err := push.Push(t.Context(), in)
		r.lab.OnCall(nil)
		if err == nil || !temporary(err) {
			t.Errorf("%d %%: %v", percent, err)
		}
		r.afterwards(fmt.Sprintf("%d %%", percent), in, err)
	}
}

// Every mutating call is refused, fails, is lost or loses its answer, once each, with and without another try.
func TestPushWithEveryCallFailing(t *testing.T) {
	for name, fault := range map[string]lab.Fault{"500": lab.Status(500), "503": lab.Status(503), "401": lab.Status(401), "drop": lab.Drop,
		"lost": lab.LoseReply, "task fails": lab.FailTask, "sessions end": lab.ExpireAll} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Config{})
			in := r.both(r.c, small)
			if _, err := push.Push(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			calls, failed := len(r.lab.Journal()), 0
			r.anew()
			for at := 1; at <= calls; at++ {
				in := r.both(r.c, small)
				if at%2 == 0 {
					in.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
				}
				r.lab.ResetJournal()
				r.lab.OnCall(func(c lab.Call) lab.Fault {
					if c.N == at {
						return fault
					}
					return lab.None
				})
				_, err := push.Push(t.Context(), in)
				r.lab.OnCall(nil)
				if err != nil {
					failed++
				}
				r.afterwards(fmt.Sprintf("call %d of %d", at, calls), in, err)
			}
			t.Logf("%d of %d pushes ended in an error", failed, calls)
			if calls < 14 { // folders, documents, ISOs and channels of two stores
				t.Errorf("only %d calls: this test does not see all of a push", calls)
			}
		})
	}
}

// Every request, reads too, is answered with an error or cut, for every second one before a push that is patient: that
// one succeeds.
func TestPushWithEveryRequestFailing(t *testing.T) {
	statuses := []int{500, 503, 401, -1}
	for i, status := range statuses {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Config{})
			c, w := r.wired()
			in := r.both(c, small)
			w.set(nil)
			if _, err := push.Push(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			all, failed := w.count(), 0
			r.anew()
			for at := 1 + i; at <= all; at += len(statuses) {
				in := r.both(c, small)
				patient := at/len(statuses)%2 == 0
				if patient {
					in.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
				}
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
				if err != nil && patient {
					t.Errorf("request %d of %d ended a patient push: %v", at, all, err)
				}
				if err != nil && !temporary(err) {
					t.Errorf("request %d of %d is no temporary error: %v", at, all, err)
				}
				r.afterwards(fmt.Sprintf("request %d of %d", at, all), in, err)
			}
			t.Logf("%d of %d pushes ended in an error, no patient one", failed, all/len(statuses))
		})
	}
}

// The datastore of the second store becomes inaccessible at each kind of call.
func TestPushToAStoreThatGoesAway(t *testing.T) {
	r := newRig(t, lab.Config{})
	for _, method := range []string{"MakeDirectory", "PUT", "CopyDatastoreFile_Task", "MoveDatastoreFile_Task"} {
		in := r.both(r.c, big)
		r.lab.OnCall(func(c lab.Call) lab.Fault {
			if c.Method == method {
				if err := r.lab.SetAccessible("DC2", "iso-nfs", false); err != nil {
					t.Error(err)
				}
			}
			return lab.None
		})
		_, err := push.Push(t.Context(), in)
		r.lab.OnCall(nil)
		if err == nil {
			t.Errorf("%s: no error", method)
		}
		if err := r.lab.SetAccessible("DC2", "iso-nfs", true); err != nil {
			t.Fatal(err)
		}
		r.afterwards(method, in, err)
	}
}

// The session ends while the body is on its way: what follows logs in again.
func TestSessionEndsDuringTheUpload(t *testing.T) {
	r := newRig(t, lab.Config{})
	in := r.both(r.c, big)
	in.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() } // it may end just before the PUT, too
	var once sync.Once
	in.Progress = func(push.Progress) { once.Do(r.lab.ExpireSessions) }
	_, err := push.Push(t.Context(), in)
	if err != nil {
		t.Error(err)
	}
	r.afterwards("expired", in, err)
}

// When vCenter is gone, a read of a store ends after the few requests that its session makes. Beyond that the caller
// is patient, and nobody in between: patience would multiply.
func TestReadsOfADeadVCenter(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	c, w := r.wired()
	s, err := c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datacenter: "DC1", Datastore: "iso-nfs"})
	if err != nil {
		t.Fatal(err)
	}
	w.set(func(int) int { return -1 })
	var all sync.WaitGroup
	begun := time.Now()
	for name, read := range map[string]func() error{
		"stat": func() error { _, err := s.Stat(t.Context(), "worker/x"); return err },
		"list": func() error { _, err := s.List(t.Context(), "worker"); return err },
		"free": func() error { _, err := s.Free(t.Context()); return err },
		"open": func() error { _, err := s.Open(t.Context(), "worker/x"); return err },
		"used": func() error { _, err := s.UsedFiles(t.Context()); return err },
	} {
		all.Go(func() {
			if err := read(); !temporary(err) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	t.Logf("5 reads: %d requests, the longest took %s", w.count(), time.Since(begun).Round(100*time.Millisecond))
	if w.count() > 5*4 {
		t.Errorf("%d requests for 5 reads", w.count())
	}
}
