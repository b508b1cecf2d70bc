package vsphere_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// routes has one datacenter whose hosts take uploads; the second host does not mount the datastore.
func routes(t *testing.T) (*rig, []string) {
	var hosts []string
	for n := range 3 {
		hosts = append(hosts, lab.HostName("DC1", "C1", n+1))
	}
	return newRig(t, lab.Config{HostFiles: true, Datacenters: []lab.Datacenter{{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 3}},
		Datastores: []lab.Datastore{{Name: "iso 1+1", Hosts: []string{hosts[0], hosts[2]}}}}}}), hosts
}

// uploads returns who took the uploads so far: hosts, or "vCenter".
func (r *rig) uploads() string {
	var list []string
	for _, c := range r.lab.Journal() {
		if c.Method != http.MethodPut {
			continue
		}
		if c.Via == "" {
			c.Via = "vCenter"
		}
		list = append(list, c.Via)
	}
	r.lab.ResetJournal()
	return strings.Join(list, " ")
}

func TestUploadRoutes(t *testing.T) {
	r, hosts := routes(t)
	cfg := vsphere.StoreConfig{Datastore: "iso 1+1"}
	try := func(transport, want string, broken bool) {
		t.Helper()
		cfg.Transport = transport
		s := r.open(cfg)
		err := errors.Join(s.Mkdir(t.Context(), "w"), s.Put(t.Context(), "w/a b+c.iso"+part, strings.NewReader("iso"), 3))
		if (err != nil) != broken {
			t.Errorf("%s: %v", transport, err)
		}
		if got := r.uploads(); got != want {
			t.Errorf("%s: %q took the upload, want %q", transport, got, want)
		}
	}
	try("", hosts[0], false)
	try("auto", hosts[0], false)
	try("host", hosts[0], false)
	try("vcenter", "vCenter", false)
	if err := r.lab.SetHost(hosts[0], "connected", true); err != nil {
		t.Fatal(err)
	}
	try("host", hosts[2], false)
	if err := r.lab.SetHostThumbprint(hosts[2], "AA:BB"); err != nil {
		t.Fatal(err)
	}
	try("auto", "vCenter", false)
	try("host", "", true)
	if err := r.lab.SetHostThumbprint(hosts[2], ""); err != nil {
		t.Fatal(err)
	}
	try("auto", "vCenter", false)
	_, err := r.c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datastore: "iso 1+1", Transport: "ssh"})
	if err == nil || !strings.Contains(err.Error(), "write auto, vcenter or host") {
		t.Errorf("%v", err)
	}
}

// A host whose certificate is not the one that vCenter knows gets nothing, not even a ticket, and the error says why.
func TestHostWithAnotherCertificate(t *testing.T) {
	r, hosts := routes(t)
	for _, h := range hosts {
		if err := r.lab.SetHostThumbprint(h, r.lab.Thumbprint()); err != nil {
			t.Fatal(err)
		}
	}
	s := r.open(vsphere.StoreConfig{Datastore: "iso 1+1", Transport: "host"})
	err := s.Put(t.Context(), "w/x"+part, strings.NewReader("iso"), 3)
	var cert *vsphere.CertificateError
	if !errors.As(err, &cert) || !cert.ByVCenter || !strings.Contains(err.Error(), "reconnect the host in vCenter") || temporary(err) {
		t.Errorf("%v", err)
	}
	if got := r.uploads(); got != "" {
		t.Errorf("%s took it", got)
	}
}

// A host that takes connections and fails at the upload is not asked again. When part of the body was sent, the caller
// has to begin anew, else vCenter takes it at once.
func TestUploadFallsBackToVCenter(t *testing.T) {
	r, hosts := routes(t)
	for _, fault := range []lab.Fault{lab.Drop, lab.CutAt(50), lab.Status(500), lab.Status(401), lab.FullStore} {
		s := r.open(vsphere.StoreConfig{Datastore: "iso 1+1"})
		if err := s.Mkdir(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		r.lab.OnCall(func(c lab.Call) lab.Fault {
			if c.Via != "" {
				return fault
			}
			return lab.None
		})
		content := strings.Repeat("x", 1<<20)
		put := func() error { return s.Put(t.Context(), "w/x"+part, strings.NewReader(content), 1<<20) }
		err := put()
		if err != nil && (!temporary(err) || !strings.Contains(err.Error(), "host "+hosts[0]) || !strings.Contains(err.Error(), "next try goes through vCenter")) {
			t.Errorf("%v: %v", fault, err)
		}
		if err != nil {
			err = put()
		}
		if err != nil {
			t.Errorf("%v: next: %v", fault, err)
		}
		if got := r.uploads(); got != hosts[0]+" vCenter" {
			t.Errorf("%v: %s", fault, got)
		}
		if got := read(t)(s.Open(t.Context(), "w/x"+part)); got != content {
			t.Errorf("%v: %d bytes", fault, len(got))
		}
		r.lab.OnCall(nil)
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
