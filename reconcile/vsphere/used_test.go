package vsphere_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// UsedFiles sees VMs of every datacenter that has the storage, under whatever name, and nobody else's.
func TestUsedFiles(t *testing.T) {
	hosts := []lab.Cluster{{Name: "C1", Hosts: 1}}
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{
		{Name: "DC1", Clusters: hosts, Datastores: []lab.Datastore{{Name: "iso-nfs"}, {Name: "vm-1"}}},
		{Name: "DC2", Clusters: hosts, Datastores: []lab.Datastore{{Name: "iso-nfs"}, {Name: "shared", Same: "DC1/iso-nfs"}, {Name: "vm-1"}}},
	}})
	s := r.store("DC1")
	roundtrip(t, s, "worker")
	if got, err := s.UsedFiles(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("no VM: %v %v", got, err)
	}
	d := desired(2, r.image("iso v1"))
	d.VMs[1].Place.Store = "iso-DC2"
	if res := r.run(d); res.Outcome != "converged" {
		t.Fatalf("%+v", res)
	}
	path := "worker/" + d.Image.Digest + ".iso"
	one, err := s.UsedFiles(t.Context())
	if diff := cmp.Diff(map[string]string{path: "wrk-01"}, one); diff != "" || err != nil {
		t.Errorf("DC1: %v\n%s", err, diff)
	}
	two, err := r.store("DC2").UsedFiles(t.Context())
	if diff := cmp.Diff(map[string]string{path: "wrk-02"}, two); diff != "" || err != nil {
		t.Errorf("DC2, whose datastore has the same name: %v\n%s", err, diff)
	}
	shared, err := r.c.Store(t.Context(), vsphere.StoreConfig{Name: "x", Datacenter: "DC2", Datastore: "shared"})
	if err != nil {
		t.Fatal(err)
	}
	three, err := shared.UsedFiles(t.Context())
	if diff := cmp.Diff(map[string]string{path: "wrk-01"}, three); diff != "" || err != nil {
		t.Errorf("the same storage by another name: %v\n%s", err, diff)
	}
}

// A request that fails, whichever, makes the answer an error or is made again: it is never a shorter list.
func TestUsedFilesIsWholeOrAnError(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(2, r.image("iso v1"))
	if res := r.run(d); res.Outcome != "converged" {
		t.Fatalf("%+v", res)
	}
	c, w := r.wired()
	s, err := c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datacenter: "DC1", Datastore: "iso-nfs"})
	if err != nil {
		t.Fatal(err)
	}
	w.set(nil)
	if got, err := s.UsedFiles(t.Context()); err != nil || len(got) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	all := w.count()
	if all < 5 {
		t.Fatalf("only %d requests", all)
	}
	for at := 1; at <= all; at++ {
		w.set(func(n int) int {
			if n == at {
				return http.StatusNotFound
			}
			return 0
		})
		if got, err := s.UsedFiles(t.Context()); err == nil && len(got) != 1 || err != nil && len(got) > 0 {
			t.Errorf("request %d fails: %v %v", at, got, err)
		}
	}
}
