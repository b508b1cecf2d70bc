package vsphere_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// odd has datastores with names that URLs and datastore paths must quote.
func odd() lab.Config {
	return lab.Config{Datacenters: []lab.Datacenter{{
		Name: "DC one", Clusters: []lab.Cluster{{Name: "C1", Hosts: 2}},
		Datastores: []lab.Datastore{{Name: "iso nfs +100%"}, {Name: "vm-1"}},
	}}}
}

// input is a push of an ISO of that content.
func (r *rig) input(image string, content []byte, s push.Store) push.Input {
	r.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	iso := filepath.Join(r.TempDir(), "x.iso")
	if err := os.WriteFile(iso, content, 0o600); err != nil {
		r.Fatal(err)
	}
	var raw bytes.Buffer
	m := manifest.Manifest{Format: manifest.Format, Image: image, ID: "sha256:id", ISO: manifest.File{SHA256: sum, Size: int64(len(content))}}
	if err := m.Write(&raw); err != nil {
		r.Fatal(err)
	}
	return push.Input{Image: image, ISO: iso, Manifest: raw.Bytes(), Stores: []push.Store{s}, Channel: "latest", Owner: "ci", Nonce: "1", Now: time.Now(), Verify: push.Full}
}

func TestPushToNamesThatNeedQuoting(t *testing.T) {
	r := newRig(t, odd())
	for _, folder := range []string{"lkv", "my isos/100% + more", "a#b?c&d"} {
		s, err := r.c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datacenter: "DC one", Datastore: "iso nfs +100%", Folder: folder})
		if err != nil {
			t.Fatal(err)
		}
		content := bytes.Repeat([]byte(folder), 40000)
		in := r.input("my image +1%", content, s)
		got, err := push.Push(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %v", folder, err)
		}
		path := filepath.Join(r.lab.DatastoreDir("DC one", "iso nfs +100%"), folder, "my image +1%", got[0].SHA256+".iso")
		if raw, err := os.ReadFile(path); err != nil || !bytes.Equal(raw, content) {
			t.Errorf("%s: %v, %d bytes of %d", path, err, len(raw), len(content))
		}
		r.mutations()
		if got, err = push.Push(t.Context(), in); err != nil || got[0].How != push.Already || got[0].BytesUploaded != 0 {
			t.Errorf("second push: %v %+v", err, got)
		}
		if calls := r.mutations(); len(calls) > 0 {
			t.Errorf("second push sent %v", calls)
		}
	}
}

// files lists what lies under a store's image folder.
func (r *rig) files(dc, ds, dir string) []string {
	r.Helper()
	var list []string
	root := filepath.Join(r.lab.DatastoreDir(dc, ds), dir)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(p, root+"/"))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Fatal(err)
	}
	return list
}

func TestPushFailuresOnTheWire(t *testing.T) {
	content := bytes.Repeat([]byte("iso "), 50000)
	for name, c := range map[string]struct {
		fault lab.Fault
		want  string
	}{
		"cut":           {lab.CutUpload, "upload to"},
		"no connection": {lab.Drop, "upload to"},
		"full":          {lab.FullStore, "R21"},
		"refused":       {lab.Refuse, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, lab.Config{})
			s := r.store("DC1")
			in := r.input("worker", content, s)
			r.lab.OnCall(func(call lab.Call) lab.Fault {
				if call.Method == http.MethodPut && strings.Contains(call.Target, ".iso") {
					return c.fault
				}
				return lab.None
			})
			_, err := push.Push(t.Context(), in)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			for _, f := range r.files("DC1", "iso-nfs", "lkv/worker") {
				if !strings.HasSuffix(f, ".manifest.json") {
					t.Errorf("it left %s", f)
				}
			}
			if _, err := push.ReadChannel(t.Context(), s, "worker", "latest"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the channel moved: %v", err)
			}
			r.lab.OnCall(nil)
			if _, err := push.Push(t.Context(), in); err != nil {
				t.Errorf("next push: %v", err)
			}
			if n := len(r.files("DC1", "iso-nfs", "lkv/worker")); n != 3 {
				t.Errorf("%d files", n)
			}
		})
	}
}

func TestPushRefusesAFullDatastoreBeforeTheFirstByte(t *testing.T) {
	r := newRig(t, lab.Config{})
	in := r.input("worker", []byte("iso"), r.store("DC1"))
	if err := r.lab.SetFreeSpace("DC1", "iso-nfs", 60<<20); err != nil {
		t.Fatal(err)
	}
	_, err := push.Push(t.Context(), in)
	if !errors.Is(err, push.ErrFull) || !strings.Contains(err.Error(), "60 MiB free") || len(r.files("DC1", "iso-nfs", "lkv")) > 0 {
		t.Errorf("%v", err)
	}
}

func TestStoreNamesTheAlternatives(t *testing.T) {
	r := newRig(t, lab.Config{})
	for _, c := range []struct {
		cfg  vsphere.StoreConfig
		want []string
	}{
		{vsphere.StoreConfig{Name: "s", Datacenter: "DC1", Datastore: "iso-nsf"}, []string{"store s", `"iso-nsf" not found`, "iso-nfs, vm-1, vm-2"}},
		{vsphere.StoreConfig{Name: "s", Datacenter: "DC9", Datastore: "iso-nfs"}, []string{`datacenter "DC9" not found`, "/DC1, /DC2"}},
		{vsphere.StoreConfig{Name: "s", Datastore: "iso-nfs"}, []string{"ambiguous"}},
		{vsphere.StoreConfig{Name: "s", Datacenter: "DC1", Datastore: "iso-nfs", Folder: "../x"}, []string{"leaves the datastore"}},
	} {
		_, err := r.c.Store(t.Context(), c.cfg)
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: %v, want %q", c.cfg, err, w)
			}
		}
	}
	if err := r.lab.SetAccessible("DC1", "iso-nfs", false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Store(t.Context(), vsphere.StoreConfig{Name: "s", Datacenter: "DC1", Datastore: "iso-nfs"}); err == nil || !strings.Contains(err.Error(), "iso-nfs is not accessible") {
		t.Errorf("inaccessible: %v", err)
	}
}

// A store deletes, writes and moves nothing but unfinished uploads, whatever it is asked.
func TestStoreTouchesOnlyTemporaryNames(t *testing.T) {
	r := newRig(t, lab.Config{})
	im := r.image("iso v1")
	s := r.store("DC1")
	iso := push.ISOPath("worker", im.Digest)
	var forbidden *vsphere.ForbiddenError
	for name, err := range map[string]error{
		"delete":    s.Delete(t.Context(), iso),
		"put":       s.Put(t.Context(), iso, strings.NewReader("x"), 1),
		"move":      s.Move(t.Context(), iso, "worker/other.iso", false),
		"overwrite": s.Move(t.Context(), "worker/x.iso.lkv-part-00000000-11111111", iso, true),
	} {
		if !errors.As(err, &forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if info, err := s.Stat(t.Context(), iso); err != nil || info.Size() != 6 {
		t.Errorf("%v %v", info, err)
	}
}

// The session ends in the middle: every part of a push goes on.
func TestPushOutlivesTheSession(t *testing.T) {
	r := newRig(t, lab.Config{})
	s := r.store("DC1")
	r.lab.OnCall(func(lab.Call) lab.Fault { r.lab.ExpireSessions(); return lab.None })
	if _, err := push.Push(t.Context(), r.input("worker", bytes.Repeat([]byte("iso "), 1000), s)); err != nil {
		t.Error(err)
	}
}
