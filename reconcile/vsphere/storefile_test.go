package vsphere_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// reader changes downloads: servers without ranges, and connections that break after some bytes.
type reader struct {
	next  http.RoundTripper
	plain bool
	cuts  int // downloads yet to be cut
}

// RoundTrip implements http.RoundTripper.
func (d *reader) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/folder/") {
		return d.next.RoundTrip(r)
	}
	if d.plain {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	res, err := d.next.RoundTrip(r)
	if err == nil && d.cuts > 0 {
		d.cuts--
		res.Body = &torn{res.Body, 3000}
	}
	return res, err
}

type torn struct {
	io.ReadCloser
	left int
}

func (b *torn) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, syscall.ECONNRESET
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Downloads go on where a cut connection left them, also from servers that do not know ranges.
func TestDownloadsAreResumed(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := &reader{}
	cfg := r.config()
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { d.next = next; return d }
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	s, err := c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datacenter: "DC1", Datastore: "iso-nfs"})
	if err != nil {
		t.Fatal(err)
	}
	for i, plain := range []bool{false, true} {
		d.plain = plain
		image := []string{"ranges", "plain"}[i]
		roundtrip(t, s, image)
		final, content := image+"/"+digest+".iso", strings.Repeat("0123456789", 1000)
		cuts := 3
		if plain {
			cuts = 0 // what comes before the offset is read over the same torn connection
		}
		d.cuts = cuts
		if got := read(t)(s.Open(t.Context(), final)); got != content || d.cuts != 0 {
			t.Errorf("%s: %d bytes of %d, %d cuts left", image, len(got), len(content), d.cuts)
		}
	}
	d.plain, d.cuts = false, 100
	body, err := s.Open(t.Context(), "ranges/"+digest+".iso")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if raw, err := io.ReadAll(body); err != nil && !temporary(err) {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	if _, err := s.OpenRange(t.Context(), "ranges/"+digest+".iso", -1, 5); err == nil || temporary(err) {
		t.Errorf("before the beginning: %v", err)
	}
}
