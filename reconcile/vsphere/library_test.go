package vsphere_test

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

func TestLibraryTakesAnISOAndThenNothing(t *testing.T) {
	s := newShelf(t)
	for level, content := range map[string][]byte{push.Full: small, push.Sample: bytes.Repeat(big, 3)} {
		c, _ := s.connect()
		l := s.open(c, "isos")
		in := s.input("my worker", content, l)
		in.Verify = level
		got, err := push.Push(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %v", level, err)
		}
		r := got[0]
		if r.How != push.Uploaded || r.Verified != level || r.BytesUploaded != int64(len(content)) || !strings.HasPrefix(r.Path, "[LocalDS_0] contentlib-") || !strings.Contains(r.Path, r.SHA256+"_") {
			t.Errorf("%+v", r)
		}
		if !bytes.Equal(s.bytes(r.Path), content) {
			t.Errorf("%s holds something else", r.Path)
		}
		if ch, err := push.ReadChannel(t.Context(), l, "my worker", "latest"); err != nil || ch.Digest != r.SHA256 {
			t.Errorf("channel %+v %v", ch, err)
		}
		s.mutations()
		in.Nonce = "2"
		again, err := push.Push(t.Context(), in)
		if err != nil || again[0].How != push.Already || again[0].BytesUploaded != 0 || again[0].Path != r.Path || again[0].Verified != level {
			t.Errorf("second push: %+v %v", again, err)
		}
		if calls := s.mutations(); len(calls) > 0 {
			t.Errorf("second push sent %v", calls)
		}
	}
	if n := s.sessions(); n > 0 {
		t.Errorf("%d update sessions stay", n)
	}
	if got := s.names("isos", "my worker"); len(got) != 5 || !slices.Contains(got, "channel.latest.json") {
		t.Errorf("%v", got)
	}
}

// What a VM may have mounted is neither replaced nor removed by a push (L15).
func TestLibraryKeepsEarlierISOs(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	first, err := push.Push(t.Context(), s.input("worker", []byte("iso 1"), l))
	if err != nil {
		t.Fatal(err)
	}
	before := s.items("isos", "worker")
	if _, err := push.Push(t.Context(), s.input("worker", []byte("iso 2"), l)); err != nil {
		t.Fatal(err)
	}
	if got := s.bytes(first[0].Path); string(got) != "iso 1" {
		t.Errorf("%s is %q now", first[0].Path, got)
	}
	after := map[string]string{}
	for _, f := range s.items("isos", "worker") {
		after[f.Name] = f.StorageURIs[0]
	}
	for _, f := range before {
		if f.Name != "channel.latest.json" && after[f.Name] != f.StorageURIs[0] {
			t.Errorf("%s was at %s and is at %s", f.Name, f.StorageURIs[0], after[f.Name])
		}
	}
	ch, err := push.ReadChannel(t.Context(), l, "worker", "latest")
	if err != nil || len(ch.Previous) != 1 || ch.Previous[0].Digest != first[0].SHA256 {
		t.Errorf("%+v %v", ch, err)
	}
	iso := push.ISOPath("worker", first[0].SHA256)
	part := iso + ".lkv-part-00000000-11111111"
	if err := l.Put(t.Context(), part, strings.NewReader("iso 1"), 5); !errors.Is(err, fs.ErrExist) {
		t.Errorf("put over an ISO: %v", err)
	}
	var forbidden *vsphere.ForbiddenError
	for name, err := range map[string]error{
		"put": l.Put(t.Context(), iso, strings.NewReader("x"), 1), "delete": l.Delete(t.Context(), iso),
		"move": l.Move(t.Context(), part, "worker/other.iso", false), "remove": l.Remove(t.Context(), "worker/channels/latest.json"),
	} {
		if !errors.As(err, &forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.sessions(); n > 0 {
		t.Errorf("%d update sessions stay", n)
	}
}

// Nobody promises that vCenter leaves the files alone that an update is not about, so that is looked at.
func TestLibraryNoticesThatISOsMoved(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	s.pushed(l, "latest", "iso 1")
	s.strict.moves = "-2"
	in := s.input("worker", []byte("iso 2"), l)
	if _, err := push.Push(t.Context(), in); err == nil || !strings.Contains(err.Error(), "vCenter moved") {
		t.Error(err)
	}
	ch, err := push.ReadChannel(t.Context(), l, "worker", "latest")
	if err != nil || len(ch.Previous) > 0 {
		t.Errorf("the channel moved: %+v %v", ch, err)
	}
}

func TestLibraryIsFound(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	for name, want := range map[string]string{"iso": `"iso" not found; there is: isos`, "": `"" not found`} {
		_, err := c.Library(t.Context(), vsphere.LibraryConfig{Name: "s", Library: name})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	l, err := c.Library(t.Context(), vsphere.LibraryConfig{Name: "s", Library: "isos", Datacenter: "DC0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Reaches(t.Context(), "DC0"); err != nil {
		t.Error(err)
	}
	if err := l.Reaches(t.Context(), "DC7"); err == nil || !strings.Contains(err.Error(), `datacenter "DC7" not found`) {
		t.Error(err)
	}
	for _, err := range []error{
		second(push.ReadChannel(t.Context(), l, "worker", "latest")), second(l.Stat(t.Context(), "worker/x.iso")),
		second(l.List(t.Context(), "worker")), second(l.Open(t.Context(), "worker/x.iso")),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no such item: %v", err)
		}
	}
	if free, err := l.Free(t.Context()); err != nil || free <= 0 {
		t.Errorf("%d %v", free, err)
	}
	if got := l.Path("worker/x.iso"); got != "library isos/worker/x.iso" {
		t.Error(got)
	}
}

func second[T any](_ T, err error) error { return err }
