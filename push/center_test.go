package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// center is a store in memory behind a vCenter: it copies on the server, reads ranges, knows its VMs and removes.
type center struct {
	*memory
	vcenter string
	used    map[string]string
	ranges  atomic.Int64 // bytes read by range
	removed []string

	spoilCopy bool // a copy has wrong bytes
	lost      bool // the answer to the next copy is lost
}

func behind(vcenter string, names ...string) []*center {
	var list []*center
	for _, n := range names {
		list = append(list, &center{memory: newMemory(n), vcenter: vcenter})
	}
	return list
}

func stores[S Store](list ...S) []Store {
	var out []Store
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

func (c *center) CanCopyFrom(src any) bool {
	o, ok := src.(*center)
	return ok && o.vcenter == c.vcenter
}

func (c *center) CopyFrom(_ context.Context, src any, from, to string) error {
	if !IsTemporary(to) {
		panic("copy to a final name: " + to)
	}
	if err := c.begin("copy", to, true); err != nil {
		return err
	}
	o := src.(*center)
	o.mu.Lock()
	b, ok := o.files[from]
	o.mu.Unlock()
	if !ok {
		return fs.ErrNotExist
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spoilCopy {
		b = bytes.Repeat([]byte{'x'}, len(b))
	}
	if _, there := c.files[to]; there {
		return fs.ErrExist
	}
	c.files[to], c.times[to] = b, now
	if c.lost { // done, but the answer is lost
		c.lost = false
		return errShort
	}
	return nil
}

func (c *center) OpenRange(_ context.Context, p string, off, n int64) (io.ReadCloser, error) {
	if err := c.begin("range", p, false); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.files[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	c.ranges.Add(n)
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(b), off, n)), nil
}

func (c *center) UsedFiles(context.Context) (map[string]string, error) {
	return c.used, c.begin("used", "", false)
}

func (c *center) Remove(_ context.Context, p string) error {
	if _, _, ok := contentName(p[strings.LastIndex(p, "/")+1:]); !ok {
		panic("remove of a name that is not ours: " + p)
	}
	if err := c.begin("remove", p, true); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.files[p]; !ok {
		return fs.ErrNotExist
	}
	delete(c.files, p)
	c.removed = append(c.removed, p)
	return nil
}

// checkNames is what must hold at every moment: no file under a final name whose digest is not its name, no ISO
// without its manifest, and no channel that names an ISO that is not there.
func (m *memory) checkNames(t interface{ Errorf(string, ...any) }) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, b := range m.files {
		digest, ok := strings.CutSuffix(p[strings.LastIndex(p, "/")+1:], ".iso")
		if !ok {
			continue
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != digest {
			t.Errorf("%s: %s has digest %s", m.name, p, got)
		}
		if m.files[strings.TrimSuffix(p, ".iso")+".manifest.json"] == nil {
			t.Errorf("%s: %s has no manifest", m.name, p)
		}
	}
}

// finished is what must hold after a push that ended well.
func (m *memory) finished(t interface{ Errorf(string, ...any) }, sum string) {
	m.checkNames(t)
	part, _ := m.names()
	if m.files[ISOPath("worker", sum)] == nil || len(part) > 0 {
		t.Errorf("%s: no ISO, or left %v", m.name, part)
	}
	if c, err := ReadChannel(context.Background(), m, "worker", "latest"); err != nil || c.Digest != sum {
		t.Errorf("%s: channel %+v, %v", m.name, c, err)
	}
}

// pauses counts waits instead of waiting.
type pauses struct{ all []time.Duration }

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.all = append(p.all, d)
	return ctx.Err()
}

// noise is content of n bytes without repetition.
func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		sum := sha256.Sum256([]byte(fmt.Sprint(i)))
		b.Write(sum[:])
	}
	return b.String()[:n]
}

// Several stores of one vCenter: one upload, the rest are copies; another vCenter gets its own upload.
func TestOneUploadPerVCenter(t *testing.T) {
	a, b := behind("a", "a1", "a2", "a3"), behind("b", "b1", "b2")
	content := noise(3 << 20)
	in, sum := build(t, content, append(stores(a...), stores(b...)...)...)
	got, err := Push(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var how []string
	for _, r := range got {
		how = append(how, fmt.Sprintf("%s %s %d %s", r.Store, r.How, r.BytesUploaded, r.Verified))
	}
	want := []string{"a1 upload 3145728 sample", "a2 server-copy 0 sample", "a3 server-copy 0 sample", "b1 upload 3145728 sample", "b2 server-copy 0 sample"}
	if !slices.Equal(how, want) {
		t.Errorf("got %q", how)
	}
	for _, c := range append(a, b...) {
		c.finished(t, sum)
		c.ops = nil
	}
	// One more store: a copy from one that has it, no upload.
	more := behind("b", "b3")[0]
	in.Stores, in.Nonce = append(in.Stores, more), "2"
	got, err = Push(t.Context(), in)
	if err != nil || got[5].How != Copied || got[4].How != Already || more.wire+b[1].wire > 0 {
		t.Errorf("%v %+v", err, got)
	}
	more.finished(t, sum)
	if len(a[0].ops) > 0 {
		t.Errorf("a store that had everything was asked for %v", a[0].ops)
	}
}

// A copy is made again, into a name that is free.
func TestCopyIsTriedAgain(t *testing.T) {
	list := behind("a", "a1", "a2")
	in, sum := build(t, noise(5000), stores(list...)...)
	var p pauses
	in.Sleep, list[1].lost = p.sleep, true
	if got, err := Push(t.Context(), in); err != nil || got[1].How != Copied || len(p.all) != 1 {
		t.Errorf("%v %+v", err, got)
	}
	list[1].finished(t, sum)
}

// Whatever is wrong with a copy, the store gets an upload, and the result says why.
func TestCopyFallsBackToUpload(t *testing.T) {
	for name, spoil := range map[string]func(*center){
		"refused": func(c *center) { c.fail = failing("copy") },
		"damaged": func(c *center) { c.spoilCopy = true },
	} {
		t.Run(name, func(t *testing.T) {
			for _, level := range []string{Full, Sample} {
				list := behind("a", "a1", "a2")
				in, sum := build(t, noise(2<<20), stores(list...)...)
				in.Verify = level
				spoil(list[1])
				got, err := Push(t.Context(), in)
				if err != nil || got[1].How != Uploaded || got[1].CopyError == "" || got[1].BytesUploaded != 2<<20 || got[1].Verified != level {
					t.Errorf("%v %+v", err, got)
				}
				list[1].finished(t, sum)
			}
		})
	}
}

// The store that would get the upload is broken: the next one gets it, and the others are served.
func TestABrokenStoreDoesNotHoldUpTheOthers(t *testing.T) {
	list := behind("a", "a1", "a2", "a3")
	in, sum := build(t, noise(5000), stores(list...)...)
	list[0].cut = 100
	got, err := Push(t.Context(), in)
	if err == nil || len(got) != 2 || got[0].How != Uploaded || got[1].How != Copied {
		t.Errorf("%v %+v", err, got)
	}
	for _, c := range list {
		c.checkNames(t)
		if _, err := ReadChannel(t.Context(), c, "worker", "latest"); err == nil {
			t.Errorf("%s: the channel moved", c.name)
		}
	}
	list[0].cut, in.Nonce = 0, "2"
	if got, err = Push(t.Context(), in); err != nil || got[0].How != Copied {
		t.Errorf("%v %+v", err, got)
	}
	for _, c := range list {
		c.finished(t, sum)
	}
}

func hashOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
