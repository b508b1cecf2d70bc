package vsphere_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
	_ "github.com/vmware/govmomi/vapi/simulator" // serves content libraries
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// What push asks of a store.
var (
	_ push.Store       = (*vsphere.Library)(nil)
	_ push.RangeReader = (*vsphere.Library)(nil)
	_ push.Users       = (*vsphere.Library)(nil)
	_ push.Remover     = (*vsphere.Library)(nil)
	_ push.Sealed      = (*vsphere.Library)(nil)
	_ push.Keeper      = (*vsphere.Library)(nil)
)

// shelf is a simulated vCenter with content libraries, on loopback.
type shelf struct {
	rig    // no lab in it
	strict *strict
	front  *httptest.Server
	admin  *library.Manager
	vim    *govmomi.Client
	dc     *object.Datacenter
	store  []types.ManagedObjectReference
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	m := simulator.VPX()
	m.Datastore, m.Machine, m.Host, m.ClusterHost = 2, 1, 0, 1
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	m.Service.RegisterEndpoints = true
	back := m.Service.NewServer()
	t.Cleanup(func() { back.Close(); m.Remove() })
	ctx := t.Context()
	vim, err := govmomi.NewClient(ctx, back.URL, true)
	if err != nil {
		t.Fatal(err)
	}
	api := rest.NewClient(vim.Client)
	if err := api.Login(ctx, back.URL.User); err != nil {
		t.Fatal(err)
	}
	s := &shelf{rig: rig{TB: t}, admin: library.NewManager(api), vim: vim}
	plain := &url.URL{Scheme: back.URL.Scheme, Host: back.URL.Host}
	s.strict = &strict{next: httputil.NewSingleHostReverseProxy(plain), admin: s.admin, sessions: map[string]*updating{}, gone: map[string]bool{}, dead: map[string]bool{}}
	s.front = httptest.NewTLSServer(s.strict)
	t.Cleanup(s.front.Close)
	f := find.NewFinder(vim.Client)
	if s.dc, err = f.DefaultDatacenter(ctx); err != nil {
		t.Fatal(err)
	}
	list, err := f.SetDatacenter(s.dc).DatastoreList(ctx, "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		s.store = append(s.store, d.Reference())
	}
	s.library("isos", library.Library{Type: "LOCAL"}, 0)
	return s
}

// library makes a content library on the nth datastore.
func (s *shelf) library(name string, l library.Library, n int) library.Library {
	s.Helper()
	l.Name, l.Storage = name, []library.StorageBacking{{DatastoreID: s.store[n].Value, Type: "DATASTORE"}}
	id, err := s.admin.CreateLibrary(s.Context(), l)
	if err != nil {
		s.Fatal(err)
	}
	got, err := s.admin.GetLibraryByID(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	return *got
}

// connect makes a session whose requests can be made to fail.
func (s *shelf) connect() (*vsphere.Client, *wire) {
	s.Helper()
	ca := filepath.Join(s.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.front.Certificate().Raw}), 0o600); err != nil {
		s.Fatal(err)
	}
	w := &wire{}
	c, err := vsphere.Connect(s.Context(), vsphere.Config{URL: s.front.URL, Username: "user", Password: "pass", CAFile: ca,
		Wrap: func(next http.RoundTripper) http.RoundTripper { w.next = next; return w },
		Trace: func(m string, mutating bool) {
			if mutating {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.calls = append(s.calls, m)
			}
		}})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		w.set(nil)
		if err := c.Close(context.Background()); err != nil {
			s.Errorf("log out: %v", err)
		}
	})
	return c, w
}

func (s *shelf) open(c *vsphere.Client, name string) *vsphere.Library {
	s.Helper()
	l, err := c.Library(s.Context(), vsphere.LibraryConfig{Name: "s-" + name, Library: name})
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// names lists the files of an item, by the names vCenter shows.
func (s *shelf) names(lib, image string) []string {
	s.Helper()
	var names []string
	for _, f := range s.items(lib, image) {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

func (s *shelf) items(lib, image string) []library.Storage {
	s.Helper()
	l, err := s.admin.GetLibraryByName(s.Context(), lib)
	if err != nil {
		s.Fatal(err)
	}
	ids, err := s.admin.FindLibraryItems(s.Context(), library.FindItem{LibraryID: l.ID, Name: image})
	if err != nil || len(ids) > 1 {
		s.Fatal(ids, err)
	}
	if len(ids) == 0 {
		return nil
	}
	s.strict.mu.Lock()
	defer s.strict.mu.Unlock()
	list, err := s.strict.stored(ids[0])
	if err != nil {
		s.Fatal(err)
	}
	return list
}

// bytes returns what lies under a datastore path.
func (s *shelf) bytes(p string) []byte {
	s.Helper()
	var dp object.DatastorePath
	if !dp.FromString(p) {
		s.Fatalf("%s is no datastore path", p)
	}
	ds, err := find.NewFinder(s.vim.Client).SetDatacenter(s.dc).Datastore(s.Context(), dp.Datastore)
	if err != nil {
		s.Fatal(err)
	}
	r, _, err := ds.Download(s.Context(), dp.Path, nil)
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		s.Fatal(err)
	}
	return raw
}

// sessions returns how many update sessions there are.
func (s *shelf) sessions() int {
	s.strict.mu.Lock()
	defer s.strict.mu.Unlock()
	return len(s.strict.sessions)
}

// local reads a file by the simulator's storage URI, which is a path.
func (s *shelf) local(uri string) []byte {
	s.Helper()
	raw, err := os.ReadFile(uri)
	if err != nil {
		s.Fatal(err)
	}
	return raw
}

// flip turns one bit of what is read.
type flip struct {
	io.ReadCloser
	done bool
}

// Read implements io.Reader.
func (f *flip) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}

// partOf is the name that an ISO has while an owner uploads it.
func partOf(t *testing.T, in push.Input, owner string) string {
	t.Helper()
	m, err := manifest.Read(bytes.NewReader(in.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(owner))
	return fmt.Sprintf("%s.lkv-part-%x-12345678", push.ISOPath(in.Image, m.ISO.SHA256), sum[:4])
}
