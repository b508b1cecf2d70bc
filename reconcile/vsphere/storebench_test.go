package vsphere_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// line is the wire between this machine and vCenter: it counts the bytes of all requests and answers, and lets only so
// many through per second.
type line struct {
	next  http.RoundTripper
	rate  int64 // bytes per second; 0: as fast as it goes
	bytes atomic.Int64

	mu   sync.Mutex
	free time.Time // when what was sent until now has passed
}

// RoundTrip implements http.RoundTripper.
func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = &onLine{r.Body, l}
	}
	res, err := l.next.RoundTrip(r)
	if err == nil {
		res.Body = &onLine{res.Body, l}
	}
	return res, err
}

// burst is what a line that was idle lets through at once, so that pauses between reads do not slow it down further.
const burst = 20 * time.Millisecond

// pass waits until n more bytes have passed.
func (l *line) pass(n int) {
	l.bytes.Add(int64(n))
	if l.rate == 0 {
		return
	}
	l.mu.Lock()
	now := time.Now()
	if least := now.Add(-burst); l.free.Before(least) {
		l.free = least
	}
	l.free = l.free.Add(time.Duration(int64(n) * int64(time.Second) / l.rate))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	if wait > time.Millisecond { // a shorter pause takes longer than it says
		time.Sleep(wait)
	}
}

type onLine struct {
	io.ReadCloser
	l *line
}

// Read implements io.Reader.
func (b *onLine) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.l.pass(n)
	return n, err
}

// alone is a store that cannot copy on the server, so that each gets an upload of its own.
type alone struct {
	push.Store
	push.RangeReader
}

// bench is a lab with n stores of one vCenter behind a line, and an ISO to push.
type bench struct {
	*rig
	line   *line
	stores []push.Store
	in     push.Input
	size   int64
}

func newBench(b *testing.B, n int, size, rate int64) *bench {
	b.Helper()
	var ds []lab.Datastore
	for i := range n {
		ds = append(ds, lab.Datastore{Name: fmt.Sprintf("iso-%d", i+1)})
	}
	x := &bench{rig: newRig(b, lab.Config{Datacenters: []lab.Datacenter{{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 1}}, Datastores: ds}}}), line: &line{rate: rate}, size: size}
	cfg := x.config()
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { x.line.next = next; return x.line }
	c, err := vsphere.Connect(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	for _, d := range ds {
		s, err := c.Store(b.Context(), vsphere.StoreConfig{Name: d.Name, Datastore: d.Name})
		if err != nil {
			b.Fatal(err)
		}
		x.stores = append(x.stores, s)
	}
	x.iso()
	return x
}

// iso writes an ISO of random bytes.
func (x *bench) iso() {
	x.Helper()
	path, sum := filepath.Join(x.TempDir(), "x.iso"), sha256.New()
	f, err := os.Create(path)
	if err != nil {
		x.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(io.MultiWriter(f, sum), rand.Reader, x.size); err != nil {
		x.Fatal(err)
	}
	var raw bytes.Buffer
	m := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:id", ISO: manifest.File{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: x.size}}
	if err := m.Write(&raw); err != nil {
		x.Fatal(err)
	}
	x.in = push.Input{Image: "worker", ISO: path, Manifest: raw.Bytes(), Channel: "latest", Owner: "ci", Nonce: "1", Now: time.Now()}
}

// push pushes to some stores and returns the bytes on the line, those of ISOs among them, and the time it took.
func (x *bench) push(stores ...push.Store) (line, isos int64, took time.Duration) {
	x.Helper()
	in, before, begun := x.in, x.line.bytes.Load(), time.Now()
	in.Stores = stores
	got, err := push.Push(x.Context(), in)
	took = time.Since(begun)
	if err != nil {
		x.Fatal(err)
	}
	for _, r := range got {
		isos += r.BytesUploaded
	}
	return x.line.bytes.Load() - before, isos, took
}

// anew removes what was pushed.
func (x *bench) anew() {
	x.Helper()
	for i := range x.stores {
		if err := os.RemoveAll(filepath.Join(x.lab.DatastoreDir("DC1", fmt.Sprintf("iso-%d", i+1)), "lkv")); err != nil {
			x.Fatal(err)
		}
	}
}

// A push to several stores of one vCenter over TLS, against the same code that uploads to each store in turn, in the
// same run: bytes on the wire and time; and what a second push sends. wire=50MBps is a line of 50 MB per second.
func BenchmarkPush(b *testing.B) {
	const size = 64 << 20
	for _, rate := range []int64{0, 50e6} {
		for _, n := range []int{1, 3, 6} {
			name := "wire=loopback"
			if rate > 0 {
				name = fmt.Sprintf("wire=%dMBps", rate/1e6)
			}
			b.Run(fmt.Sprintf("%s/stores=%d", name, n), func(b *testing.B) {
				x := newBench(b, n, size, rate)
				var once, again, turns, bytesOnce, bytesAgain, bytesTurns float64
				for b.Loop() {
					line, isos, took := x.push(x.stores...)
					once, bytesOnce = once+took.Seconds(), bytesOnce+float64(line)
					if isos != size {
						b.Errorf("%d bytes of ISOs sent, want %d", isos, size)
					}
					line, isos, took = x.push(x.stores...)
					again, bytesAgain = again+took.Seconds(), bytesAgain+float64(line)
					if isos != 0 {
						b.Errorf("the second push sent %d bytes of ISOs", isos)
					}
					x.anew()
					for _, s := range x.stores {
						line, _, took := x.push(alone{s, s.(push.RangeReader)}) //nolint:forcetypeassert // it is
						turns, bytesTurns = turns+took.Seconds(), bytesTurns+float64(line)
					}
					x.anew()
				}
				b.ReportMetric(bytesOnce/size/float64(b.N), "ISOs-once")
				b.ReportMetric(bytesTurns/size/float64(b.N), "ISOs-in-turn")
				b.ReportMetric(bytesAgain/float64(b.N)/1024, "KiB-again")
				b.ReportMetric(once/float64(b.N), "s/once")
				b.ReportMetric(turns/float64(b.N), "s/in-turn")
				b.ReportMetric(again/float64(b.N), "s/again")
				b.ReportMetric(turns/once, "x-faster")
			})
		}
	}
}

// The peak of the heap during a push, that of the lab in the same process included: it does not grow with the ISO.
func BenchmarkPushHeap(b *testing.B) {
	peaks := map[int64]float64{}
	for _, size := range []int64{64 << 20, 512 << 20} {
		for _, level := range []string{push.Sample, push.Full} {
			b.Run(fmt.Sprintf("%dMiB/%s", size>>20, level), func(b *testing.B) {
				x := newBench(b, 2, size, 0)
				x.in.Verify = level
				var peak uint64
				for b.Loop() {
					peak = max(peak, peakHeap(func() { x.push(x.stores...) }))
					x.anew()
				}
				peaks[size] = max(peaks[size], float64(peak)/(1<<20))
				b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
			})
		}
	}
	if small, large := peaks[64<<20], peaks[512<<20]; small > 0 && large > small+16 {
		b.Errorf("the heap peaks at %.0f MiB with 64 MiB and at %.0f MiB with 512 MiB", small, large)
	}
}

// peakHeap returns the most bytes of the heap that were in use while do ran, looked at every few milliseconds.
func peakHeap(do func()) (peak uint64) {
	runtime.GC()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	<-done
	return peak
}
