package vsphere_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vapi/library"

	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// mount gives the VM a CD-ROM with that ISO.
func (s *shelf) mount(iso string) {
	s.Helper()
	vm, err := find.NewFinder(s.vim.Client).SetDatacenter(s.dc).VirtualMachine(s.Context(), "DC0_C0_RP0_VM0")
	if err != nil {
		s.Fatal(err)
	}
	devices, err := vm.Device(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	ide, err := devices.FindIDEController("")
	if err != nil {
		s.Fatal(err)
	}
	cd, err := devices.CreateCdrom(ide)
	if err != nil {
		s.Fatal(err)
	}
	if err := vm.AddDevice(s.Context(), devices.InsertIso(cd, iso)); err != nil {
		s.Fatal(err)
	}
}

// pushed pushes contents in turn and returns what became of each.
func (s *shelf) pushed(l *vsphere.Library, channel string, contents ...string) (all []push.Result) {
	s.Helper()
	for i, content := range contents {
		in := s.input("worker", []byte(content), l)
		if in.Channel = channel; i > 0 {
			in.Now = in.Now.Add(time.Duration(i) * time.Second)
		}
		got, err := push.Push(s.Context(), in)
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, got...)
	}
	return all
}

func (s *shelf) clean(l ...push.Store) (removed, kept map[string]string) {
	s.Helper()
	a, b, err := push.Clean(s.Context(), push.Cleaning{Images: []string{"worker"}, Stores: l, OlderThan: time.Hour, Now: time.Now().Add(2 * time.Hour)})
	if err != nil {
		s.Fatal(err)
	}
	removed, kept = map[string]string{}, map[string]string{}
	for _, f := range a {
		removed[f.SHA256] = f.Path
	}
	for _, f := range b {
		kept[f.SHA256] = f.Why
	}
	return removed, kept
}

func TestLibraryGC(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	loose := s.pushed(l, "", "mounted", "unused")
	chained := s.pushed(l, "latest", "earlier", "current")
	s.mount(loose[0].Path)
	before := s.names("isos", "worker")
	fresh, _ := s.connect()
	removed, kept := s.clean(s.open(fresh, "isos"))
	if len(removed) != 1 || removed[loose[1].SHA256] == "" {
		t.Errorf("removed %v", removed)
	}
	for digest, why := range map[string]string{
		loose[0].SHA256: "VM DC0_C0_RP0_VM0", chained[0].SHA256: "was there before", chained[1].SHA256: "channel latest",
	} {
		if !strings.Contains(kept[digest], why) {
			t.Errorf("%s is kept because %q, want %q", digest, kept[digest], why)
		}
	}
	if after := s.names("isos", "worker"); len(after) != len(before)-2 {
		t.Errorf("%d files of %d: %v", len(after), len(before), after)
	}
	if got := s.bytes(loose[0].Path); string(got) != "mounted" {
		t.Errorf("%q", got)
	}
	if n := s.sessions(); n > 0 {
		t.Errorf("%d update sessions stay", n)
	}
}

// What cannot be known is kept, or stops everything.
func TestLibraryGCRemovesNothingInTheDark(t *testing.T) {
	s := newShelf(t)
	c, _ := s.connect()
	l := s.open(c, "isos")
	s.pushed(l, "", "unused")
	current := s.pushed(l, "latest", "current")
	in := s.input("worker", []byte("under way"), l)
	upload := partOf(t, in, "somebody")
	if err := l.Put(t.Context(), upload, strings.NewReader("under way"), 9); err != nil {
		t.Fatal(err)
	}
	clean := push.Cleaning{Images: []string{"worker"}, Stores: []push.Store{l}, OlderThan: time.Hour, Now: time.Now().Add(2 * time.Hour)}
	before := s.names("isos", "worker")
	if gone, _, err := push.Clean(t.Context(), clean); err == nil || len(gone) > 0 || !strings.Contains(err.Error(), "another push") {
		t.Errorf("while an upload is under way: %v, removed %v", err, gone)
	}
	if err := l.Delete(t.Context(), upload); err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at += 4 {
		s.strict.blind(at)
		gone, _, err := push.Clean(t.Context(), clean)
		s.strict.blind(0)
		if err == nil {
			if at < 20 || len(gone) != 1 {
				t.Errorf("after %d requests nothing failed, removed %v", at, gone)
			}
			break
		}
		after := s.names("isos", "worker")
		if s.strict.finished() { // only what came afterwards failed
			break
		}
		if len(gone) > 0 || len(after) < len(before) {
			t.Fatalf("blind from request %d on: removed %v, %d files of %d", at, gone, len(after), len(before))
		}
		s.strict.endAll() // what could not be cancelled ends by itself
	}
	if got := s.bytes(current[0].Path); string(got) != "current" {
		t.Errorf("%q", got)
	}
}

func TestSubscribedLibraryIsReadOnly(t *testing.T) {
	s := newShelf(t)
	yes, no := true, false
	pub := s.library("public", library.Library{Type: "LOCAL", Publication: &library.Publication{Published: &yes}}, 0)
	c, _ := s.connect()
	l := s.open(c, "public")
	got := s.pushed(l, "latest", "one", "two")
	sub := s.library("branch", library.Library{Type: "SUBSCRIBED", Subscription: &library.Subscription{SubscriptionURL: pub.Publication.PublishURL, OnDemand: &no, Password: "secret"}}, 1)
	branch := s.open(c, "branch")

	in := s.input("worker", []byte("three"), branch)
	s.mutations()
	for name, err := range map[string]error{
		"push": second(push.Push(t.Context(), in)), "mkdir": branch.Mkdir(t.Context(), "other"), "remove": branch.Remove(t.Context(), push.ISOPath("worker", got[0].SHA256)),
	} {
		if err == nil || !strings.Contains(err.Error(), "subscribed") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "push" && (!strings.Contains(err.Error(), pub.Publication.PublishURL) || strings.Contains(err.Error(), "secret")) {
			t.Error(err)
		}
	}
	if calls := s.mutations(); len(calls) > 0 {
		t.Errorf("sent %v", calls)
	}

	ch, err := push.ReadChannel(t.Context(), branch, "worker", "latest")
	if err != nil || ch.Digest != got[1].SHA256 {
		t.Fatalf("%+v %v", ch, err)
	}
	m, err := push.ReadManifest(t.Context(), branch, "worker", ch.Digest)
	if err != nil {
		t.Fatal(err)
	}
	there, err := push.Present(t.Context(), branch, "worker", m)
	p := branch.Path(push.ISOPath("worker", ch.Digest))
	if err != nil || !there || !strings.HasPrefix(p, "[LocalDS_1] contentlib-"+sub.ID+"/") || string(s.bytes(p)) != "two" {
		t.Errorf("%v %s %v", there, p, err)
	}

	if removed, kept := s.clean(l, branch); len(removed) > 0 || len(kept) != 2 {
		t.Errorf("removed %v, kept %v", removed, kept)
	}
	s.pushed(l, "", "loose")
	if err := s.admin.SyncLibrary(t.Context(), &sub); err != nil {
		t.Fatal(err)
	}
	if removed, kept := s.clean(l, branch); len(removed) > 0 || len(kept) != 3 {
		t.Errorf("removed %v, kept %v", removed, kept)
	}
	if why := l.Keeps(); !strings.Contains(why, "published") {
		t.Error(why)
	}
}

// Content that a library brings only on demand is not on its datastore, whatever the listing says.
func TestLibraryOnDemand(t *testing.T) {
	s := newShelf(t)
	yes := true
	pub := s.library("public", library.Library{Type: "LOCAL", Publication: &library.Publication{Published: &yes}}, 0)
	c, _ := s.connect()
	s.pushed(s.open(c, "public"), "latest", "one")
	s.library("branch", library.Library{Type: "SUBSCRIBED", Subscription: &library.Subscription{SubscriptionURL: pub.Publication.PublishURL, OnDemand: &yes}}, 1)
	_, err := push.ReadChannel(t.Context(), s.open(c, "branch"), "worker", "latest")
	if err == nil || !strings.Contains(err.Error(), "synchronise the item") {
		t.Error(err)
	}
}
