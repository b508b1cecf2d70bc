package vsphere_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// stingy is a vCenter whose user lacks privileges.
type stingy struct {
	next http.RoundTripper
	not  []string
}

func (s stingy) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.next.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/sdk") {
		return res, err
	}
	raw, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	for _, p := range s.not {
		granted := regexp.MustCompile(`(<privId>` + regexp.QuoteMeta(p) + `</privId>\s*<isGranted>)true`)
		raw = granted.ReplaceAll(raw, []byte("${1}false"))
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	res.Header.Del("Content-Length")
	return res, nil
}

// Every privilege that is missing is named, with the object it is missing on and what it is for; others are not asked.
func TestMissingPrivilegesAreNamed(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := r.stand(1)
	vms := r.observe(d).VMs
	iso := d.Image.Paths["iso-DC1"]
	every := func(vsphere.Privilege) bool { return true }
	if lacks, err := r.c.Lacks(t.Context(), d.VMs[0], iso, vms, every); err != nil || len(lacks) > 0 {
		t.Errorf("an administrator lacks %v, %v", lacks, err)
	}
	cfg := r.config()
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper {
		return stingy{next, []string{"VirtualMachine.Interact.PowerOn", "VirtualMachine.Inventory.Delete", "Network.Assign", "Datastore.AllocateSpace"}}
	}
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	lacks, err := c.Lacks(t.Context(), d.VMs[0], iso, vms, every)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lacks {
		got = append(got, fmt.Sprintf("%s: %s on %s", l.Phase, l.Privilege, l.On))
	}
	want := []string{
		"destroy: VirtualMachine.Inventory.Delete on VM folder workers",
		"store: Datastore.AllocateSpace on datastore iso-nfs",
		"store: Datastore.AllocateSpace on datastore vm-1",
		"create: Network.Assign on network VM Network",
		"roll: VirtualMachine.Interact.PowerOn on VM wrk-01",
		"destroy: VirtualMachine.Inventory.Delete on VM wrk-01",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	lacks, err = c.Lacks(t.Context(), d.VMs[0], iso, nil, func(p vsphere.Privilege) bool { return p.Phase == vsphere.PhaseRoll })
	if err != nil || len(lacks) != 1 || lacks[0].On != "VM folder workers" {
		t.Errorf("before there is a VM: %v, %v", lacks, err)
	}
}

// What a placement names is found, and hosts that cannot run the VM are named with the reason.
func TestPlacementsAreLookedAt(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	w, iso := d.VMs[0], d.Image.Paths["iso-DC1"]
	p, err := r.c.Placement(t.Context(), w, iso)
	if err != nil || p.Fit == 0 || len(p.Unfit) > 0 || p.Where != "cluster C1" {
		t.Fatalf("%+v, %v", p, err)
	}
	hosts := p.Fit
	a := r.admin("DC1")
	list, err := a.f.HostSystemList(t.Context(), "*/*")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.lab.SetHost(list[0].Name(), "connected", true); err != nil {
		t.Fatal(err)
	}
	if p, err = r.c.Placement(t.Context(), w, iso); err != nil || p.Fit != hosts-1 || len(p.Unfit) != 1 || !strings.Contains(p.Unfit[0], "maintenance") {
		t.Errorf("%+v, %v", p, err)
	}
	w.Networks[0].Name = "VM Nowhere"
	if _, err = r.c.Placement(t.Context(), w, ""); err == nil || !strings.Contains(err.Error(), "VM Network") {
		t.Errorf("a network that is not there: %v", err)
	}
	s := r.store("DC1")
	reach, err := s.Reach(t.Context())
	if err != nil || len(reach) != 1 || reach[0].Hosts == 0 || reach[0].Free == 0 || reach[0].Out != "" {
		t.Errorf("%+v, %v", reach, err)
	}
}

func TestClockAndCertificate(t *testing.T) {
	r := newRig(t, lab.Config{})
	now, err := r.c.Time(t.Context())
	if err != nil || time.Since(now).Abs() > time.Minute || r.c.API() == "" || !r.c.VCenter() {
		t.Errorf("%v %v", now, err)
	}
	end, err := vsphere.CertificateEnd(t.Context(), r.config())
	if err != nil || !end.After(now) {
		t.Errorf("%v %v", end, err)
	}
	cfg := r.config()
	cfg.CAFile = ""
	var bad *vsphere.CertificateError
	if _, err := vsphere.CertificateEnd(t.Context(), cfg); !errors.As(err, &bad) {
		t.Errorf("a certificate nobody trusts: %v", err)
	}
	if sent := r.mutations(); len(sent) > 0 {
		t.Errorf("asking sent %v", sent)
	}
}

func TestAMissingPrivilegeIsARefusal(t *testing.T) {
	no := soap.WrapVimFault(&types.NoPermission{PrivilegeId: "Datastore.Browse", Object: &types.ManagedObjectReference{Type: "Datastore", Value: "datastore-7"}})
	var b plan.Blocked
	if err := vsphere.Refused(fmt.Errorf("list: %w", no)); !errors.As(err, &b) || b.Code != plan.R20 || !strings.Contains(b.Reason, "Datastore.Browse is missing on datastore-7") {
		t.Errorf("%v", err)
	}
	other := errors.New("x")
	if err := vsphere.Refused(other); !errors.Is(err, other) || errors.As(err, &b) || vsphere.Refused(nil) != nil {
		t.Error("another error was changed")
	}
}
