package images

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A channel remembers where it stood, so that there is something to go back to.
func TestChannelHistory(t *testing.T) {
	ctx := context.Background()
	d := newDepot(t)
	s := d.shelf(t)
	if _, err := s.Channel(ctx, "stable"); !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v", err)
	}
	if list, err := s.Channels(ctx); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	var isos []string
	for i := range 13 {
		files := made(t, uint64(i), 1000+i)
		mustPut(t, s, files)
		isos = append([]string{isoOf(files).SHA256}, isos...)
		for range 2 { // the second time nothing changes
			if err := s.Promote(ctx, isos[0], "stable", epoch.Add(time.Duration(i)*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	ch, err := s.Channel(ctx, "stable")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range ch.Moves {
		got = append(got, m.ISO)
	}
	if d := cmp.Diff(isos[:11], got); d != "" {
		t.Error(d)
	}
	if want := epoch.Add(12 * time.Hour); !ch.Moves[0].Time.Equal(want) {
		t.Errorf("since %s, want %s", ch.Moves[0].Time, want)
	}
	if err := s.Promote(ctx, isos[1], "stable", epoch.Add(20*time.Hour)); err != nil { // back
		t.Fatal(err)
	}
	if err := s.Promote(ctx, isos[1], "latest", epoch); err != nil {
		t.Fatal(err)
	}
	list, err := s.Channels(ctx)
	if err != nil || len(list) != 2 || list[0].Name != "latest" || list[1].Moves[0].ISO != isos[1] || list[1].Moves[1].ISO != isos[0] {
		t.Errorf("%+v, %v", list, err)
	}
	if has, err := s.Has(ctx, isos[12]); !has || err != nil {
		t.Errorf("the first ISO: %v, %v", has, err)
	}
}

// A channel does not move to what is not there, or not whole.
func TestPromoteRefuses(t *testing.T) {
	ctx := context.Background()
	d := newDepot(t)
	s := d.shelf(t)
	files := made(t, 1, 5000)
	iso := isoOf(files).SHA256
	if err := s.Promote(ctx, iso, "stable", epoch); err == nil || !strings.Contains(err.Error(), "push it first") {
		t.Errorf("error %v", err)
	}
	mustPut(t, s, files)
	for _, name := range []string{"", "sha256-x", "a b", ".x", "a/b"} {
		if err := s.Promote(ctx, iso, name, epoch); err == nil {
			t.Errorf("channel %q", name)
		}
	}
	lost := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodHead || !strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+iso) {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	}
	d.set(lost)
	if err := s.Promote(ctx, iso, "stable", epoch); err == nil || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("error %v", err)
	}
	if has, err := s.Has(ctx, iso); has || err != nil {
		t.Errorf("has: %v, %v", has, err)
	}
	d.set(nil)
	if _, err := s.Channel(ctx, "stable"); !errors.Is(err, ErrUnknown) {
		t.Errorf("the channel moved: %v", err)
	}
}

// When somebody else moves a tag at the same moment, the push says so instead of claiming success.
func TestTagMovedMeanwhile(t *testing.T) {
	ctx := context.Background()
	d := newDepot(t)
	s := d.shelf(t)
	a, b := made(t, 1, 5000), made(t, 2, 5000)
	mustPut(t, s, a)
	mustPut(t, s, b)
	after := func(tag string, do func()) {
		seen := false
		d.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/"+tag) && !seen {
				seen = true
				d.inner.ServeHTTP(w, r)
				do()
				return true
			}
			return false
		})
	}
	after("stable", func() {
		if err := s.Promote(ctx, isoOf(b).SHA256, "stable", epoch); err != nil {
			t.Error(err)
		}
	})
	if err := s.Promote(ctx, isoOf(a).SHA256, "stable", epoch); err == nil || !strings.Contains(err.Error(), "somebody else moved it") {
		t.Errorf("error %v", err)
	}
	signed := append([]File{raw(strings.TrimSuffix(isoOf(a).Name, ".iso")+".manifest.json.sig", []byte("c2ln"))}, a...)
	after(digestTag+isoOf(a).SHA256, func() { mustPut(t, s, a) })
	if _, err := s.Put(ctx, signed, nil); err == nil || !strings.Contains(err.Error(), "somebody else pushes") {
		t.Errorf("error %v", err)
	}
	d.set(nil)
	d.reset()
	if got := mustPut(t, s, signed); got.Sent != 0 || got.Present { // the ISO itself is there
		t.Errorf("%+v", got)
	}
	// A fetch works on the digest it read: what a tag means a moment later is nothing to it.
	moved := false
	d.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/sha256:"+isoOf(a).SHA256) && !moved {
			moved = true
			mustPut(t, s, a)
		}
		return false
	})
	fetches(t, s, signed)
	if !moved {
		t.Error("the tag was not moved")
	}
}

// What the registry's retention took is left out of the history: an index may not name what is not there.
func TestHistoryWithoutWhatIsGone(t *testing.T) {
	ctx := context.Background()
	d := newDepot(t)
	s := d.shelf(t)
	var placed []Placed
	var files [][]File
	for i := range 3 {
		files = append(files, made(t, uint64(i), 2000))
		placed = append(placed, mustPut(t, s, files[i]))
		if i < 2 {
			if err := s.Promote(ctx, isoOf(files[i]).SHA256, "stable", epoch); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/"+placed[0].Digest.String()) {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	if err := s.Promote(ctx, isoOf(files[2]).SHA256, "stable", epoch); err != nil {
		t.Fatal(err)
	}
	ch, err := s.Channel(ctx, "stable")
	if err != nil || len(ch.Moves) != 2 || ch.Moves[1].ISO != isoOf(files[1]).SHA256 {
		t.Errorf("%+v, %v", ch, err)
	}
}
