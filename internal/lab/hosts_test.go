package lab

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// TestHostTickets: a host takes an upload with a ticket, for that request and once, and its certificate is the one
// that vCenter shows.
func TestHostTickets(t *testing.T) {
	r := newRig(t, Config{HostFiles: true})
	ref, err := r.f.HostSystem(r.ctx(), HostName("DC1", "C1", 1))
	r.must(err)
	var h mo.HostSystem
	r.must(object.NewHostSystem(r.c.Client, ref.Reference()).Properties(r.ctx(), ref.Reference(), []string{"summary.config"}, &h))
	seen := ""
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		seen = soap.ThumbprintSHA1(s.PeerCertificates[0])
		return nil
	}}}}
	at := func(file string) string {
		return fmt.Sprintf("https://127.0.0.1:%d/folder/%s?dcPath=ha-datacenter&dsName=iso-nfs", h.Summary.Config.Port, file)
	}
	ticket := func(u string) string {
		got, err := session.NewManager(r.c.Client).AcquireGenericServiceTicket(r.ctx(), &types.SessionManagerHttpServiceRequestSpec{Method: "httpPut", Url: u})
		r.must(err)
		return got.Id
	}
	put := func(u, id string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(r.ctx(), http.MethodPut, u, strings.NewReader("x"))
		r.must(err)
		if id != "" {
			req.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: id})
		}
		res, err := client.Do(req)
		r.must(err)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %s, want %d", u, res.Status, want)
		}
	}
	put(at("a"), "", http.StatusUnauthorized)
	put(at("a"), "made-up", http.StatusUnauthorized)
	put(at("b"), ticket(at("a")), http.StatusUnauthorized)
	id := ticket(at("a"))
	put(at("a"), id, http.StatusCreated)
	put(at("a"), id, http.StatusUnauthorized)
	elsewhere := strings.Replace(at("a"), "iso-nfs", "none", 1)
	put(elsewhere, ticket(elsewhere), http.StatusNotFound)
	if seen != h.Summary.Config.SslThumbprint {
		t.Errorf("certificate %s, vCenter says %s", seen, h.Summary.Config.SslThumbprint)
	}
	if raw, err := os.ReadFile(filepath.Join(r.lab.DatastoreDir("DC1", "iso-nfs"), "a")); err != nil || string(raw) != "x" {
		t.Errorf("%q %v", raw, err)
	}
	if j := r.lab.Journal(); len(j) != 1 || j[0].Via != HostName("DC1", "C1", 1) {
		t.Errorf("journal %v", j)
	}
}

// TestFaultNumbers: faults that carry a number keep apart.
func TestFaultNumbers(t *testing.T) {
	if p, ok := CutAt(30).percent(); p != 30 || !ok {
		t.Errorf("CutAt(30): %d %v", p, ok)
	}
	if _, ok := CutAt(100).status(); ok {
		t.Error("a cut is a status")
	}
	if s, ok := Status(503).status(); s != 503 || !ok {
		t.Errorf("Status(503): %d %v", s, ok)
	}
	for _, f := range []Fault{None, Drop, FullStore, Status(500)} {
		if _, ok := f.percent(); ok {
			t.Errorf("%d is a cut", f)
		}
	}
}
