package vsphere_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

const part = ".lkv-part-0123abcd-99887766"

var digest = strings.Repeat("0a", 32)

func (r *rig) open(cfg vsphere.StoreConfig) *vsphere.Store {
	r.Helper()
	cfg.Name = "s"
	s, err := r.c.Store(r.Context(), cfg)
	if err != nil {
		r.Fatalf("%+v: %v", cfg, err)
	}
	return s
}

// roundtrip makes a folder, uploads, lists, reads back, moves into place and reads a part.
func roundtrip(t *testing.T, s *vsphere.Store, image string) {
	t.Helper()
	ctx, content := t.Context(), strings.Repeat("0123456789", 1000)
	final := image + "/" + digest + ".iso"
	steps := []error{
		s.Mkdir(ctx, image),
		s.Put(ctx, final+part, strings.NewReader(content), int64(len(content))),
		s.Move(ctx, final+part, final, false),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatalf("%s: %v", s.Path(image), err)
	}
	if info, err := s.Stat(ctx, final); err != nil || info.Size() != int64(len(content)) {
		t.Errorf("stat %s: %v %v", s.Path(final), info, err)
	}
	if got := read(t)(s.Open(ctx, final)); got != content {
		t.Errorf("%s: read %d bytes of %d", s.Path(final), len(got), len(content))
	}
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, 3, "012"}, {9995, 3, "567"}, {9995, 100, "56789"}, {5, 0, ""}, {20000, 5, ""}} {
		if got := read(t)(s.OpenRange(ctx, final, c.off, c.n)); got != c.want {
			t.Errorf("%d bytes at %d: %q, want %q", c.n, c.off, got, c.want)
		}
	}
}

func read(t *testing.T) func(io.ReadCloser, error) string {
	return func(r io.ReadCloser, err error) string {
		t.Helper()
		if err != nil {
			t.Error(err)
			return ""
		}
		defer r.Close()
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		return string(raw)
	}
}

// Every kind of name, in folders, named in every way.
func TestStoresAreFound(t *testing.T) {
	hosts := []lab.Cluster{{Name: "C1", Hosts: 2}}
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{
		{Name: "DC1", Folder: "Europe/North %2f West", Clusters: hosts, Datastores: []lab.Datastore{{Name: "iso"}, {Name: "a%2fb 100%25 + #1 'x' \"y\"&c=d"}}},
		{Name: "DC2", Clusters: hosts, Datastores: []lab.Datastore{{Name: "iso"}, {Name: "*"}}},
		{Name: "r%2fd", Folder: "Europe", Clusters: hosts, Datastores: []lab.Datastore{{Name: "iso"}}},
	}})
	const odd = "a%2fb 100%25 + #1 'x' \"y\"&c=d"
	for _, c := range []struct{ dc, ds, in, is string }{
		{"DC1", "iso", "DC1", "iso"},
		{"/Europe/North %2f West/DC1", "iso", "DC1", "iso"},
		{"Europe/North %2f West/DC1", "iso", "DC1", "iso"},
		{"", "/Europe/North %2f West/DC1/datastore/iso", "DC1", "iso"},
		{"DC1", odd, "DC1", odd},
		{"DC1", "a/b 100% + #1 'x' \"y\"&c=d", "DC1", odd},
		{"DC2", "*", "DC2", "*"},
		{"DC2", "/DC2/datastore/iso", "DC2", "iso"},
		{"r/d", "iso", "r%2fd", "iso"},
		{"r%2fd", "is?", "r%2fd", "iso"},
		{"/Europe/r/d", "iso", "r%2fd", "iso"},
	} {
		s := r.open(vsphere.StoreConfig{Datacenter: c.dc, Datastore: c.ds, Folder: "lkv " + strings.ReplaceAll(c.dc+c.ds, "/", "_")})
		roundtrip(t, s, "my image + 1% #2 ?x=y&z 'q' \"w\" %2f ü")
		if files := r.files(c.in, c.is, ""); len(files) == 0 {
			t.Errorf("%+v: it went elsewhere", c)
		}
		if err := os.RemoveAll(r.lab.DatastoreDir(c.in, c.is)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(r.lab.DatastoreDir(c.in, c.is), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// A datastore that no working host has mounted is refused by name, with the hosts' states.
func TestStoreWithoutAHost(t *testing.T) {
	h1, h2 := lab.HostName("DC1", "C1", 1), lab.HostName("DC1", "C1", 2)
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 3}},
		Datastores: []lab.Datastore{{Name: "iso", Hosts: []string{h1, h2}}, {Name: "vm-1"}}}}})
	if err := errors.Join(r.lab.SetHost(h1, "connected", true), r.lab.SetHost(h2, "disconnected", false)); err != nil {
		t.Fatal(err)
	}
	_, err := r.c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datastore: "iso"})
	for _, w := range []string{"store s", "iso is mounted on no host", h1 + " is in maintenance mode", h2 + " is disconnected"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v, want %q", err, w)
		}
	}
	if err := r.lab.SetHost(h2, "connected", false); err != nil {
		t.Fatal(err)
	}
	roundtrip(t, r.open(vsphere.StoreConfig{Datastore: "iso"}), "worker")
}

// On vSAN the top folder is made by the namespace manager, once, and the paths are those of the namespace.
func TestStoreOnVSAN(t *testing.T) {
	r := newRig(t, lab.Config{Datacenters: []lab.Datacenter{{Name: "DC1", Clusters: []lab.Cluster{{Name: "C1", Hosts: 3}},
		Datastores: []lab.Datastore{{Name: "vsanDatastore", VSAN: true}}}}})
	cfg := vsphere.StoreConfig{Datastore: "vsanDatastore", Folder: "lkv/isos"}
	s := r.open(cfg)
	if _, err := s.List(t.Context(), "worker"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list: %v", err)
	}
	r.mutations()
	roundtrip(t, s, "worker")
	if calls := strings.Join(r.mutations(), " "); calls != "CreateDirectory MakeDirectory PUT MoveDatastoreFile_Task" {
		t.Errorf("calls: %s", calls)
	}
	path := s.Path("worker")
	if strings.HasPrefix(path, "[vsanDatastore] lkv") || !strings.HasSuffix(path, "/isos/worker") {
		t.Errorf("path %s", path)
	}
	if again := r.open(cfg); again.Path("worker") != path || again.Mkdir(t.Context(), "worker") != nil {
		t.Errorf("path of another store: %s, want %s", again.Path("worker"), path)
	}
}

// A host without vCenter is a store, too.
func TestStoreOnESXi(t *testing.T) {
	m := simulator.ESX()
	defer m.Remove()
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	m.Service.TLS = new(tls.Config)
	server := m.Service.NewServer()
	defer server.Close()
	u := url.URL{Scheme: "https", Host: server.URL.Host}
	pass, _ := server.URL.User.Password()
	c, err := vsphere.Connect(t.Context(), vsphere.Config{URL: u.String(), Username: server.URL.User.Username(), Password: pass, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datastore: "LocalDS_0"})
	if err != nil {
		t.Fatal(err)
	}
	roundtrip(t, s, "worker")
	if s.CanCopyFrom(s) {
		t.Error("a host copies")
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Only files of images can be removed under their final names.
func TestRemove(t *testing.T) {
	r := newRig(t, lab.Config{})
	s := r.store("DC1")
	roundtrip(t, s, "worker")
	var forbidden *vsphere.ForbiddenError
	for _, p := range []string{"worker", "worker/latest.iso", "worker/channels/stable.json", "worker/../worker/" + digest + ".iso", "../worker/" + digest + ".iso",
		digest + ".iso", "worker/" + digest + ".vmdk", "worker/" + digest + ".vmx", "worker/" + digest, "worker/" + digest + ".iso" + part, "a/b/" + digest + ".iso"} {
		if err := s.Remove(t.Context(), p); !errors.As(err, &forbidden) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := s.Remove(t.Context(), "worker/"+digest+".iso"); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), "worker/"+digest+".iso"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("again: %v", err)
	}
}

// CopyFrom copies within a vCenter, also to another datacenter, to temporary names only.
func TestCopyFrom(t *testing.T) {
	r := newRig(t, lab.Config{})
	a, b := r.store("DC1"), r.store("DC2")
	roundtrip(t, a, "worker")
	final := "worker/" + digest + ".iso"
	if !b.CanCopyFrom(a) || b.CanCopyFrom("a") || b.CanCopyFrom((*vsphere.Store)(nil)) {
		t.Error("CanCopyFrom")
	}
	if err := b.Mkdir(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	var forbidden *vsphere.ForbiddenError
	for _, to := range []string{final, "worker/x.vmdk", "worker/" + digest + ".vmdk" + part, "x" + part} {
		if err := b.CopyFrom(t.Context(), a, final, to); !errors.As(err, &forbidden) {
			t.Errorf("to %s: %v", to, err)
		}
	}
	if err := b.CopyFrom(t.Context(), a, "worker/x.iso", final+part); !errors.As(err, &forbidden) {
		t.Errorf("from no ISO: %v", err)
	}
	if err := b.CopyFrom(t.Context(), a, final, final+part); err != nil {
		t.Fatal(err)
	}
	if x, y := read(t)(a.Open(t.Context(), final)), read(t)(b.Open(t.Context(), final+part)); x != y || x == "" {
		t.Errorf("copied %d bytes of %d", len(y), len(x))
	}
	if err := b.CopyFrom(t.Context(), a, final, final+part); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	missing := strings.ReplaceAll(final, "0a", "0b")
	if err := b.CopyFrom(t.Context(), a, missing, missing+part); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	r.lab.OnCall(func(lab.Call) lab.Fault { return lab.FailTask })
	var temporary interface{ Temporary() bool }
	if err := b.CopyFrom(t.Context(), a, final, final+part+"0"); !errors.As(err, &temporary) || !temporary.Temporary() {
		t.Errorf("a failing task: %v", err)
	}
	other := newRig(t, lab.Config{})
	if other.store("DC1").CanCopyFrom(a) {
		t.Error("two vCenters copy")
	}
	if err := other.store("DC1").CopyFrom(t.Context(), a, final, final+part); err == nil {
		t.Error("two vCenters copied")
	}
}

func TestPutOfNothing(t *testing.T) {
	r := newRig(t, lab.Config{})
	s := r.store("DC1")
	if err := errors.Join(s.Mkdir(t.Context(), "w"), s.Put(t.Context(), "w/x"+part, bytes.NewReader(nil), 0)); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Stat(t.Context(), "w/x"+part); err != nil || info.Size() != 0 {
		t.Errorf("%v %v", info, err)
	}
}
