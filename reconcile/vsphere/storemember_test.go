package vsphere_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// pod is a lab with a datastore cluster isos of p1, p2 and p3, each mounted on a host of its own, and iso, a datastore
// beside it.
type pod struct{ *rig }

func newPod(t *testing.T) pod {
	host := func(n int) []string { return []string{lab.HostName("DC1", "C1", n)} }
	return pod{newRig(t, lab.Config{Datacenters: []lab.Datacenter{{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 3}}, Datastores: []lab.Datastore{
		{Name: "p1", Pod: "isos", Hosts: host(1)}, {Name: "p2", Pod: "isos", Hosts: host(2)}, {Name: "p3", Pod: "isos", Hosts: host(3)}, {Name: "iso"}, {Name: "vm-1"},
	}}}})}
}

func (p pod) store() *vsphere.Store { return p.open(vsphere.StoreConfig{Datastore: "isos"}) }

// roomiest makes one member the one with most free space.
func (p pod) roomiest(name string) {
	p.Helper()
	for _, d := range []string{"p1", "p2", "p3"} {
		free := int64(10 << 30)
		if d == name {
			free = 20 << 30
		}
		if err := p.lab.SetFreeSpace("DC1", d, free); err != nil {
			p.Fatal(err)
		}
	}
}

// rest takes the host of a member out of use, or back: then the member can be read and gets no files.
func (p pod) rest(n int, on bool) {
	p.Helper()
	if err := p.lab.SetHost(lab.HostName("DC1", "C1", n), "connected", on); err != nil {
		p.Fatal(err)
	}
}

// lie returns the members on which a file of that ending lies.
func (p pod) lie(ending string) string {
	p.Helper()
	var on []string
	for _, d := range []string{"p1", "p2", "p3"} {
		for _, f := range p.files("DC1", d, "lkv") {
			if strings.HasSuffix(f, ending) {
				on = append(on, d)
			}
		}
	}
	return strings.Join(on, " ")
}

func (p pod) push(text, channel string, stores ...push.Store) push.Result {
	p.Helper()
	in := p.input("worker", []byte(text), nil)
	if in.Stores, in.Channel = stores, channel; len(stores) == 0 {
		in.Stores = []push.Store{p.store()}
	}
	got, err := push.Push(p.Context(), in)
	if err != nil {
		p.Fatal(err)
	}
	return got[len(got)-1]
}

// New ISOs go where most room is; those that are there are found wherever they lie, and a channel stays one file.
func TestDatastoreCluster(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.roomiest("p3")
	one := p.push("v1", "latest")
	if want := "[p3] lkv/worker/" + one.SHA256 + ".iso"; one.Path != want || p.lie(one.SHA256+".manifest.json") != "p3" {
		t.Errorf("first ISO at %s, want %s", one.Path, want)
	}
	p.roomiest("p1")
	p.mutations()
	if got := p.push("v1", "latest"); got.How != push.Already || got.Path != one.Path {
		t.Errorf("the same again: %+v", got)
	}
	if calls := p.mutations(); len(calls) > 0 {
		t.Errorf("the same again sent %v", calls)
	}
	two := p.push("v2", "latest")
	if got := p.lie(two.SHA256 + ".iso"); got != "p1" || p.lie("latest.json") != "p3" || p.lie(".lkv-part-") != "" {
		t.Errorf("second ISO on %s, channel on %s", got, p.lie("latest.json"))
	}
	s := p.store()
	if ch, err := push.ReadChannel(t.Context(), s, "worker", "latest"); err != nil || ch.Digest != two.SHA256 || len(ch.Previous) != 1 {
		t.Errorf("%v %+v", err, ch)
	}
	for _, r := range []push.Result{one, two} {
		if ok, err := push.Whole(t.Context(), s, "worker", r.SHA256); !ok || err != nil || s.Path(push.ISOPath("worker", r.SHA256)) != r.Path {
			t.Errorf("%v, %v, at %s", ok, err, s.Path(push.ISOPath("worker", r.SHA256)))
		}
	}
	beside := p.open(vsphere.StoreConfig{Datastore: "iso"})
	if got := p.push("v1", "", s, beside); got.How != push.Copied {
		t.Errorf("from the cluster: %+v", got)
	}
	three := p.push("v3", "", beside)
	if got := p.push("v3", "", beside, p.store()); got.How != push.Copied || p.lie(three.SHA256+".iso") != "p1" {
		t.Errorf("to the cluster: %+v", got)
	}
	if err := push.Promote(t.Context(), push.Promotion{Image: "worker", Digest: one.SHA256, Channel: "latest", Stores: []push.Store{s}, Owner: "ci", Nonce: "9", Now: time.Now()}); err != nil || p.lie("latest.json") != "p3" {
		t.Errorf("%v, channel on %s", err, p.lie("latest.json"))
	}
}

// A member whose hosts rest gets nothing new, its ISOs do not count, and its channel does.
func TestMemberAtRest(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.roomiest("p3")
	one := p.push("v1", "latest")
	p.rest(3, true)
	s := p.store()
	if ok, err := push.Whole(t.Context(), s, "worker", one.SHA256); ok || err != nil {
		t.Errorf("an ISO that nothing boots from: %v %v", ok, err)
	}
	p.roomiest("p2")
	if got := p.push("v1", "latest"); got.How != push.Uploaded || p.lie(one.SHA256+".iso") != "p2 p3" || p.lie("latest.json") != "p3" {
		t.Errorf("%+v", got)
	}
	in := p.input("worker", []byte("v2"), p.store())
	if got, err := push.Push(t.Context(), in); err == nil || len(got) != 1 || !strings.Contains(err.Error(), "move the file to the same folder of another member") {
		t.Errorf("the channel was moved, or not with a word: %v", err)
	}
	p.rest(3, false)
	in.Stores = []push.Store{p.store()}
	if _, err := push.Push(t.Context(), in); err != nil || p.lie("latest.json") != "p3" {
		t.Error(err)
	}
}

// What a member that cannot be read may have is not missing: nobody makes a second channel, and gc removes nothing.
func TestMemberThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.roomiest("p3")
	p.push("v1", "latest")
	gc := func() error {
		_, _, err := push.Clean(t.Context(), push.Cleaning{Images: []string{"worker"}, Stores: []push.Store{p.store()}, Now: time.Now().Add(time.Hour)})
		return err
	}
	for dark, read := range map[string]bool{"p3": false, "p1": true} {
		if err := p.lab.SetAccessible("DC1", dark, false); err != nil {
			t.Fatal(err)
		}
		_, err := push.ReadChannel(t.Context(), p.store(), "worker", "latest")
		if (err == nil) != read || errors.Is(err, fs.ErrNotExist) || !read && !strings.Contains(err.Error(), "p3 is not accessible") {
			t.Errorf("without %s: %v", dark, err)
		}
		if err := gc(); err == nil || !strings.Contains(err.Error(), "nothing is removed") || !strings.Contains(err.Error(), dark+" is not accessible") {
			t.Errorf("gc without %s: %v", dark, err)
		}
		if err := p.lab.SetAccessible("DC1", dark, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := gc(); err != nil {
		t.Error(err)
	}
	other := filepath.Join(p.lab.DatastoreDir("DC1", "p2"), "lkv/worker/channels")
	if err := errors.Join(os.MkdirAll(other, 0o700), os.WriteFile(filepath.Join(other, "latest.json"), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := push.ReadChannel(t.Context(), p.store(), "worker", "latest"); err == nil || !strings.Contains(err.Error(), "move the older one away") {
		t.Errorf("two channels of one name: %v", err)
	}
}

// gc sees channels, VMs and ISOs of all members, and removes every copy.
func TestCleanADatastoreCluster(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	var all []push.Result
	for i, member := range []string{"p1", "p2", "p3"} {
		p.roomiest(member)
		channel := ""
		if i == 1 {
			channel = "latest"
		}
		all = append(all, p.push("v"+member, channel))
	}
	p.rest(1, true)
	p.push("vp1", "") // a second copy, as no VM can boot from the first
	p.rest(1, false)
	im := plan.Image{Name: "worker", Digest: all[2].SHA256, ID: "sha256:id", Known: true, Boot: []string{"bios"}, Paths: map[string]string{"iso-DC1": all[2].Path}}
	d := desired(1, im)
	d.VMs[0].Disks = nil
	if res := p.run(d); res.Outcome != "converged" {
		t.Fatalf("%+v", res)
	}
	s := p.store()
	removed, kept, err := push.Clean(t.Context(), push.Cleaning{Images: []string{"worker"}, Stores: []push.Store{s}, Now: time.Now().Add(time.Hour)})
	if err != nil || len(removed) != 1 || removed[0].SHA256 != all[0].SHA256 || len(kept) != 2 {
		t.Fatalf("%v\nremoved %+v\nkept %+v", err, removed, kept)
	}
	for i, want := range []string{"", "p2", "p3"} {
		if got := p.lie(all[i].SHA256 + ".iso"); got != want {
			t.Errorf("ISO %d lies on %q, want %q", i+1, got, want)
		}
	}
	if p.lie(all[0].SHA256+".manifest.json") != "" {
		t.Error("a manifest stayed")
	}
}
