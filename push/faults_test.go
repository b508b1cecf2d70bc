package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

var errShort = fmt.Errorf("connection reset: %w", ErrTemporary)

// The connection is cut at every tenth of the body: for good, so that the next run finishes the job; and once, so
// that the same run does.
func TestCutAtEveryTenth(t *testing.T) {
	content := noise(200_000)
	for tenth := 0; tenth <= 9; tenth++ {
		at := max(1, int64(len(content)*tenth/10))
		list := behind("a", "a1", "a2")
		in, sum := build(t, content, stores(list...)...)
		list[0].cut, list[1].cut = at, at
		if _, err := Push(t.Context(), in); !errors.Is(err, errBroken) {
			t.Errorf("cut at %d: %v", at, err)
		}
		for _, c := range list {
			c.checkNames(t)
			if _, final := c.names(); len(final) > 1 { // the manifest
				t.Errorf("cut at %d left %v", at, final)
			}
			c.cut = 0
		}
		in.Nonce = "2"
		if got, err := Push(t.Context(), in); err != nil || got[0].How != Uploaded || got[1].How != Copied {
			t.Errorf("second run after a cut at %d: %v %+v", at, err, got)
		}
		for _, c := range list {
			c.finished(t, sum)
		}

		var p pauses
		once := behind("b", "b1")[0]
		in.Stores, in.Sleep = []Store{&cutOnce{center: once, at: at}}, p.sleep
		got, err := Push(t.Context(), in)
		if err != nil || len(p.all) != 1 || got[0].BytesUploaded != at+int64(len(content)) {
			t.Errorf("cut once at %d: %v, waited %v, %+v", at, err, p.all, got)
		}
		once.finished(t, sum)
	}
}

// cutOnce cuts the first upload of an ISO and says that it may go better next time.
type cutOnce struct {
	*center
	at int64
}

func (c *cutOnce) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	at := c.at
	if at == 0 || !strings.Contains(p, ".iso.") {
		return c.center.Put(ctx, p, r, size)
	}
	c.at = 0
	c.cut = at
	err := c.center.Put(ctx, p, r, size)
	c.cut = 0
	return errors.Join(err, errShort)
}

// Every call of a push, one after the other, fails once for the moment: the push waits and succeeds. When it fails
// for good: a second run finishes the job. In both cases no name is ever wrong.
func TestEveryCallFails(t *testing.T) {
	content := noise(samples*sampleSize + 1) // big enough for samples
	for _, lasting := range []bool{false, true} {
		calls, failed := 0, map[string]int{}
		for which, k := 0, 1; which < 2; k++ { // the kth call of each store
			list := behind("a", "a1", "a2")
			in, sum := build(t, content, stores(list...)...)
			var p pauses
			n, hit := 0, ""
			list[which].fail = func(op, _ string) error {
				if n++; n != k {
					return nil
				}
				if hit = op; lasting {
					return errBroken
				}
				return errShort
			}
			in.Sleep = p.sleep
			got, err := Push(t.Context(), in)
			for _, c := range list {
				c.fail = nil
				c.checkNames(t)
			}
			if hit == "" {
				which, k = which+1, 0
				continue
			}
			calls, failed[hit] = calls+1, failed[hit]+1
			if !lasting && (err != nil || len(p.all) != 1) {
				t.Errorf("call %d, %s, failed for the moment: %v, waited %v", k, hit, err, p.all)
			}
			if lasting && err == nil && got[0].CopyError+got[1].CopyError == "" {
				t.Errorf("call %d, %s, failed for good, and the push did not say so: %+v", k, hit, got)
			}
			in.Nonce = "2"
			if _, err := Push(t.Context(), in); err != nil {
				t.Errorf("second run after call %d, %s: %v", k, hit, err)
			}
			for _, c := range list {
				c.finished(t, sum)
			}
		}
		t.Logf("lasting %v: %d calls failed: %v", lasting, calls, failed)
		for _, op := range []string{"stat", "list", "open", "range", "mkdir", "put", "copy", "move", "free"} {
			if failed[op] == 0 {
				t.Errorf("no %s failed: this test does not see it", op)
			}
		}
	}
}

// The answer to a call is lost although it was done: the next try finds that out.
func TestLostAnswers(t *testing.T) {
	for _, ending := range []string{".manifest.json", ".iso", "latest.json"} {
		s := &lossy{center: behind("a", "a1")[0], ending: ending}
		in, sum := build(t, "v1", s)
		var p pauses
		in.Sleep = p.sleep
		if _, err := Push(t.Context(), in); err != nil || len(p.all) != 1 {
			t.Errorf("%s: %v, waited %v", ending, err, p.all)
		}
		s.finished(t, sum)
	}
}

type lossy struct {
	*center
	ending string
}

func (l *lossy) Move(ctx context.Context, from, to string, overwrite bool) error {
	err := l.center.Move(ctx, from, to, overwrite)
	if l.ending != "" && strings.HasSuffix(to, l.ending) {
		l.ending = ""
		return errShort
	}
	return err
}

// Errors that are marked temporary but stay end the push after a bounded time.
func TestWaitsAreBounded(t *testing.T) {
	s := newMemory("dc1")
	in, _ := build(t, "v1", s)
	var p pauses
	in.Sleep = p.sleep
	s.fail = func(op, _ string) error {
		if op == "free" {
			return errShort
		}
		return nil
	}
	var told []Progress
	in.Progress = func(e Progress) {
		if e.Phase == PhaseWait {
			told = append(told, e)
		}
	}
	_, err := Push(t.Context(), in)
	var sum time.Duration
	for _, d := range p.all {
		sum += d
	}
	if !errors.Is(err, ErrTemporary) || len(p.all) != tries-1 || sum > 10*time.Minute || p.all[0] != time.Second || len(told) != tries-1 {
		t.Errorf("%v: %v, told %d", err, p.all, len(told))
	}
}

// A transfer on which nothing moves is cut and tried again.
func TestStandstillIsCut(t *testing.T) {
	s := &stuck{center: behind("a", "a1")[0]}
	in, sum := build(t, "v1", s)
	var p pauses
	in.Sleep, in.Stall = p.sleep, 10*time.Millisecond
	if _, err := Push(t.Context(), in); err != nil || len(p.all) != 1 {
		t.Errorf("%v, waited %v", err, p.all)
	}
	s.finished(t, sum)
}

// stuck does not end its first upload of an ISO until it is cut.
type stuck struct {
	*center
	once bool
}

func (s *stuck) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	if strings.Contains(p, ".iso.") && !s.once {
		s.once = true
		<-ctx.Done()
		return ctx.Err()
	}
	return s.center.Put(ctx, p, r, size)
}

// Several pushes at once, of the same content and of different contents, by one owner and by several: no name is ever
// wrong, and one more run of each ends well.
func TestPushesAtOnce(t *testing.T) {
	for _, owners := range []int{1, 4} {
		list := behind("a", "a1", "a2")
		other := newMemory("other")
		var inputs []Input
		var sums []string
		for i := range 4 {
			in, sum := build(t, noise(100_000)+fmt.Sprint(i/2), append(stores(list...), other)...)
			in.Owner, in.Nonce, in.Sleep = fmt.Sprint(i%owners), fmt.Sprint(i), (&pauses{}).sleep
			inputs, sums = append(inputs, in), append(sums, sum)
		}
		all := []*memory{list[0].memory, list[1].memory, other}
		done := make(chan struct{})
		var watcher, pushers sync.WaitGroup
		watcher.Go(func() {
			for {
				for _, m := range all {
					m.checkNames(t)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		for _, in := range inputs {
			pushers.Go(func() {
				if _, err := Push(t.Context(), in); err != nil {
					t.Logf("%d owners: %v", owners, err) // one may sweep away the other's file more than once
				}
			})
		}
		pushers.Wait()
		close(done)
		watcher.Wait()
		for i, in := range inputs {
			in.Nonce += " again"
			if _, err := Push(t.Context(), in); err != nil {
				t.Errorf("one more run: %v", err)
			}
			for _, m := range all {
				m.finished(t, sums[i])
			}
		}
	}
}

// Two store blocks that are one folder: each has a temporary name of its own, and both end well.
func TestOneFolderByTwoNames(t *testing.T) {
	m := newMemory("one")
	in, sum := build(t, noise(1000), m, &alias{m})
	got, err := Push(t.Context(), in)
	if err != nil || len(got) != 2 {
		t.Errorf("%v %+v", err, got)
	}
	m.finished(t, sum)
}

type alias struct{ *memory }

func (*alias) Name() string { return "two" }
