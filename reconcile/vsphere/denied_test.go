package vsphere_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

// denying answers as vCenter does when the role lacks a privilege: every call whose body has that text, from the n-th on.
type denying struct {
	next   http.RoundTripper
	text   string
	n      int
	object string // managed object reference of a datastore
}

const noPermission = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>
<faultcode>ServerFaultCode</faultcode><faultstring>Permission to perform this operation was denied.</faultstring>
<detail><NoPermissionFault xmlns="urn:vim25" xsi:type="NoPermission"><object type="Datastore">%s</object><privilegeId>Datastore.Browse</privilegeId></NoPermissionFault></detail>
</soapenv:Fault></soapenv:Body></soapenv:Envelope>`

// RoundTrip implements http.RoundTripper.
func (d *denying) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || d.text == "" {
		return d.next.RoundTrip(r)
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	if !bytes.Contains(raw, []byte(d.text)) || d.asked(raw) {
		return d.next.RoundTrip(r)
	}
	if d.n--; d.n >= 0 {
		return d.next.RoundTrip(r)
	}
	body := fmt.Sprintf(noPermission, d.object)
	return &http.Response{StatusCode: http.StatusInternalServerError, Status: "500 denied", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// asked tells whether a call asks for no more than the object's name, which the user may read.
func (d *denying) asked(raw []byte) bool {
	return bytes.Contains(raw, []byte("<pathSet>name</pathSet>")) && bytes.Contains(raw, []byte(">"+d.object+"<"))
}

// A look that a missing privilege makes impossible is R20, with the privilege, the object and what to do; whichever call
// of it is denied, nothing is done. So is a look that a step needs.
func TestLookIsDenied(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	cfg, w := r.config(), &denying{}
	cfg.Wrap = func(next http.RoundTripper) http.RoundTripper { w.next = next; return w }
	c, err := vsphere.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.text = ""
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	fresh := func() *vsphere.Fleet { return c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now}) }
	ds, err := r.admin("DC1").f.Datastore(t.Context(), "vm-1")
	if err != nil {
		t.Fatal(err)
	}
	w.object = ds.Reference().Value
	want := "privilege Datastore.Browse is missing on " + w.object + " (Datastore vm-1)"
	r.mutations()
	for n := 0; ; n++ {
		w.text, w.n = "Envelope", n
		o, err := fresh().Observe(t.Context(), d)
		if w.n >= 0 && o.Problem == "" {
			if n < 3 {
				t.Errorf("a look takes %d calls", n)
			}
			break
		}
		p := plan.Compute(d, o, time.Now())
		if err != nil || !o.Denied || o.Problem != want || len(p.Waves) > 0 || len(p.Blocked) != 1 || p.Blocked[0].Code != plan.R20 ||
			!strings.Contains(p.Blocked[0].Error(), want) || !strings.Contains(p.Blocked[0].Clear, "give the role") {
			t.Fatalf("call %d: %v %+v, plan %+v", n, err, o, p)
		}
	}
	w.text, w.n = "SearchDatastore", 0
	f := fresh()
	res, err := reconcile.Run(t.Context(), reconcile.Options{Desired: d, Observer: f, Executor: f, Clock: wall{}, Poll: time.Millisecond})
	if err != nil || res.Outcome != reconcile.Refused || len(res.Blocked) != 1 || res.Blocked[0].Code != plan.R20 {
		t.Errorf("a run: %v %+v", err, res)
	}
	var b plan.Blocked
	if err := f.Execute(t.Context(), diskOf(d, 0), d); !errors.As(err, &b) || b.Code != plan.R20 || b.VM != one || !strings.Contains(b.Reason, want) {
		t.Errorf("a step: %v", err)
	}
	if err := c.DeleteDataDisk(t.Context(), "DC1", "[vm-1] lkv-disks/x.vmdk"); !errors.As(err, &b) || b.Code != plan.R20 || !strings.Contains(b.Reason, want) {
		t.Errorf("an operator: %v", err)
	}
	r.still("denied")
	north := c.Fleet(vsphere.FleetConfig{OwnerID: "test", Now: time.Now, VCenter: "north"})
	m, err := vsphere.NewMany(map[string]*vsphere.Fleet{"north": north}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.VMs[0].Place.VCenter = "north"
	if o, err := m.Observe(t.Context(), d); err != nil || !o.Denied || o.Problem != "vCenter north: "+want {
		t.Errorf("one of several: %v %+v", err, o)
	}
}
