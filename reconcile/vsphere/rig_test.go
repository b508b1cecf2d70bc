package vsphere_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// The interfaces of the consumers, which this package must not import outside of tests.
var (
	_ push.Store         = (*vsphere.Store)(nil)
	_ reconcile.Observer = (*vsphere.Fleet)(nil)
	_ reconcile.Executor = (*vsphere.Fleet)(nil)
)

// rig is a paper lab with a client and a fleet of two VMs.
type rig struct {
	testing.TB
	lab   *lab.Lab
	c     *vsphere.Client
	fleet *vsphere.Fleet

	mu    sync.Mutex
	calls []string // mutating ones
}

func newRig(t testing.TB, cfg lab.Config) *rig {
	t.Helper()
	cfg.Dir = t.TempDir()
	if cfg.Driver == nil {
		cfg.Driver = lab.Paper{BootDelay: 20 * time.Millisecond}
	}
	l, err := lab.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	r := &rig{TB: t, lab: l}
	r.c = r.connect()
	r.fleet = r.c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now})
	return r
}

func (r *rig) config() vsphere.Config {
	user, password := r.lab.Credentials()
	return vsphere.Config{URL: r.lab.URL(), Username: user, Password: password, CAFile: r.lab.CAFile(), Trace: func(m string, mutating bool) {
		if mutating {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.calls = append(r.calls, m)
		}
	}}
}

func (r *rig) connect() *vsphere.Client {
	r.Helper()
	c, err := vsphere.Connect(r.Context(), r.config())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			r.Errorf("log out: %v", err)
		}
	})
	return c
}

// mutations returns and forgets the mutating calls since the last time.
func (r *rig) mutations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.calls
	r.calls = nil
	return list
}

func (r *rig) store(dc string) *vsphere.Store {
	r.Helper()
	s, err := r.c.Store(r.Context(), vsphere.StoreConfig{Name: "iso-" + dc, Datacenter: dc, Datastore: "iso-nfs"})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// image pushes an ISO of that content to both datacenters.
func (r *rig) image(content string) plan.Image {
	r.Helper()
	return r.signed(content, nil)
}

// signed does so with an ISO that firmware with Secure Boot starts.
func (r *rig) signed(content string, sb *manifest.SecureBoot) plan.Image {
	r.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	m := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:id-" + content, Boot: []string{"bios", "uefi"},
		ISO: manifest.File{SHA256: sum, Size: int64(len(content))}, SecureBoot: sb,
		Persist: []manifest.Persist{{Mount: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Via: "lkv", Gated: true}}}
	iso := filepath.Join(r.TempDir(), "worker.iso")
	if err := os.WriteFile(iso, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
	var raw bytes.Buffer
	if err := m.Write(&raw); err != nil {
		r.Fatal(err)
	}
	stores := []push.Store{r.store("DC1"), r.store("DC2")}
	in := push.Input{Image: "worker", ISO: iso, Manifest: raw.Bytes(), Stores: stores, Channel: "latest", Owner: "test", Nonce: content, Now: time.Now()}
	if _, err := push.Push(r.Context(), in); err != nil {
		r.Fatal(err)
	}
	im := plan.Image{Name: "worker", Digest: sum, ID: m.ID, Known: true, Boot: m.Boot, Paths: map[string]string{},
		Mounts: []plan.Mount{{Path: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Gated: true}}}
	if sb != nil {
		im.Trust = plan.Trust{Chain: sb.Chain, Certificate: sb.Certificate}
	}
	for _, s := range stores {
		im.Paths[s.Name()] = s.Path(push.ISOPath("worker", sum))
	}
	return im
}

// desired is a fleet of n VMs that take turns between the datacenters.
func desired(n int, im plan.Image) plan.Desired {
	d := plan.Desired{Fleet: "workers", Image: im, Claimer: "run-1", TTL: time.Minute, Rollout: plan.Rollout{
		Strategy: "in-place", MaxUnavailable: 1, OnFailure: "pause", Grace: 2 * time.Second, Timeout: 20 * time.Second,
	}}
	for i := 1; i <= n; i++ {
		dc := fmt.Sprintf("DC%d", (i-1)%2+1)
		d.VMs = append(d.VMs, plan.WantVM{
			Name: fmt.Sprintf("wrk-%02d", i), Ordinal: i, CPUs: 2, MemoryMiB: 512, Firmware: "bios", GuestID: "other4xLinux64Guest",
			Place:       plan.Placement{Datacenter: dc, Cluster: "C1", Datastore: "vm-1", Folder: "lkv/workers", Store: "iso-" + dc},
			Networks:    []plan.Network{{Name: "VM Network", Type: "vmxnet3"}},
			ExtraConfig: map[string]string{"guestinfo.lkv.role": "worker"},
			Disks:       []plan.WantDisk{{Name: "docker", Bytes: 64 << 20, Mount: "/var/lib/docker", Thin: true}},
		})
	}
	return d
}

func (r *rig) observe(d plan.Desired) plan.Observed {
	r.Helper()
	o, err := r.fleet.Observe(r.Context(), d)
	if err != nil || o.Problem != "" {
		r.Fatalf("observe: %v %s", err, o.Problem)
	}
	return o
}

func (r *rig) execute(s plan.Step, d plan.Desired) {
	r.Helper()
	if err := r.fleet.Execute(r.Context(), s, d); err != nil {
		r.Fatalf("%s: %v", s, err)
	}
}

// refused executes a step that must be refused with the code.
func (r *rig) refused(code plan.Code, s plan.Step, d plan.Desired) plan.Blocked {
	r.Helper()
	err := r.fleet.Execute(r.Context(), s, d)
	var b plan.Blocked
	if !errors.As(err, &b) || b.Code != code {
		r.Fatalf("%s: got %v, want refusal %s", s, err, code)
	}
	return b
}

type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (r *rig) run(d plan.Desired) reconcile.Result {
	r.Helper()
	res, err := reconcile.Run(r.Context(), reconcile.Options{Desired: d, Observer: r.fleet, Executor: r.fleet, Clock: wall{}, Poll: 20 * time.Millisecond})
	if err != nil {
		r.Fatalf("run: %v (%+v)", err, res)
	}
	return res
}
