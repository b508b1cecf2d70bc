package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestUntrusted: what Secure Boot would not start is refused with R02 before anything is shut down, and what clears it
// is said. The fleet has two VMs that stand on the old image with their own key.
func TestUntrusted(t *testing.T) {
	second := func(f func(v *VM)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { f(&o.VMs[1]) }
	}
	trust := func(tr Trust) func(*Desired, *Observed) {
		return func(d *Desired, _ *Observed) { d.Image.Trust = tr }
	}
	unasked := func(d *Desired) {
		for i := range d.VMs {
			d.VMs[i].SecureBoot = false
		}
	}
	another := Trust{ChainKey, []byte("another certificate")}
	for name, c := range map[string]struct {
		spoil func(d *Desired, o *Observed)
		vm    string // refused; "" is nobody
		says  string
		clear string
	}{
		"the same key":           {func(*Desired, *Observed) {}, "", "", ""},
		"from key to shim":       {trust(Trust{Chain: ChainShim}), "", "", ""},
		"not signed":             {trust(Trust{}), "wrk-01", "is not signed", "give image worker a secure_boot block"},
		"another key":            {trust(another), "wrk-01", "the VM's firmware was made with key " + short(KeyOf(certificate)), "around its data disk"},
		"no certificate":         {trust(Trust{Chain: ChainKey}), "wrk-01", "no Secure Boot certificate", "lkv build --image worker"},
		"a chain of a later lkv": {trust(Trust{Chain: "tpm"}), "wrk-01", `chain "tpm"`, "newer lkv"},
		"made without a key":     {second(func(v *VM) { v.Keys, v.Record.Key = nil, "" }), "wrk-02", "no key of lkv", "around its data disk"},
		"made without, and off":  {second(func(v *VM) { *v = off(*v); v.Keys, v.Record.Key = nil, "" }), "wrk-02", "no key of lkv", "around its data disk"},
		"a second key, by hand": {func(d *Desired, o *Observed) {
			d.Image.Trust = another
			o.VMs[0].Keys = []string{another.Key(), o.VMs[0].Keys[0]}
			o.VMs[1].Keys = o.VMs[0].Keys
		}, "", "", ""},
		"BIOS":                        {second(func(v *VM) { v.Firmware, v.SecureBoot = "bios", false }), "wrk-02", "part of UEFI", "take secure_boot out"},
		"no firmware wanted":          {func(d *Desired, o *Observed) { d.VMs[1].Firmware, o.VMs = "", o.VMs[:1] }, "wrk-02", "firmware none", "take secure_boot out"},
		"unsigned for a new VM":       {func(d *Desired, o *Observed) { d.Image.Trust, o.VMs, o.Files = Trust{}, nil, nil }, "wrk-01", "is not signed", "take secure_boot out"},
		"unsigned, on without asking": {func(d *Desired, _ *Observed) { unasked(d); d.Image.Trust = Trust{} }, "wrk-01", "is not signed", "boot options in the vSphere client"},
		"signed, on without asking":   {func(d *Desired, _ *Observed) { unasked(d) }, "", "", ""},
		"unsigned, neither asked nor on": {func(d *Desired, o *Observed) {
			unasked(d)
			d.Image.Trust, o.VMs[0].SecureBoot, o.VMs[1].SecureBoot = Trust{}, false, false
		}, "", "", ""},
		"the first power on is over": {second(func(v *VM) {
			*v = off(*v)
			v.Record.Started, v.Keys = t0, []string{KeyOf([]byte("x"))}
		}), "wrk-02", "takes no other", "around its data disk"},
	} {
		d := locked(wish(2, "docker"), ChainKey)
		o := fleetOf(d, oldDigest)
		c.spoil(&d, &o)
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		i := slices.IndexFunc(p.Blocked, func(b Blocked) bool { return b.Code == R02 })
		switch {
		case (i < 0) != (c.vm == ""):
			t.Errorf("%s: blocked %+v", name, p.Blocked)
		case i >= 0 && (p.Blocked[i].VM != c.vm || !strings.Contains(p.Blocked[i].Reason, c.says) || !strings.Contains(p.Blocked[i].Clear, c.clear)):
			t.Errorf("%s: %s", name, p.Blocked[i].Error())
		case slices.ContainsFunc(flat(p), func(s Step) bool { return s.VM() == c.vm }):
			t.Errorf("%s: refused, but touched: %v", name, flat(p))
		}
	}
}

// TestImageChangesBeforeTheKey: a run died between the creation and the key, and by then the channel has moved on to an
// image with another key: the VM gets the new one, because its firmware has not started yet.
func TestImageChangesBeforeTheKey(t *testing.T) {
	d := locked(wish(1, "docker"), ChainKey)
	o := Observed{}
	for _, s := range flat(Compute(d, o, t0))[:3] {
		o = o.After(s)
	}
	d.Image.Digest, d.Image.Trust.Certificate = oldDigest, []byte("another certificate")
	p := Compute(d, o, t0.Add(time.Second))
	if err := Check(p, o); err != nil {
		t.Fatal(err)
	}
	for _, s := range flat(p) {
		o = o.After(s)
	}
	if v := o.VMs[0]; v.Power != On || !slices.Equal(v.Keys, []string{d.Image.Trust.Key()}) || v.Record.Key != d.Image.Trust.Key() {
		t.Errorf("%v\n%+v", p, v)
	}
}

// TestNoBootWithoutItsKey: no plan powers on a VM with Secure Boot before its firmware knows the image's key, and no VM
// of a fleet that asks for Secure Boot runs the wanted image without it.
func TestNoBootWithoutItsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o := genWorld(t, d)
		for _, s := range flat(Compute(d, o, t0)) {
			o = o.After(s)
			if _, ok := s.(PowerOn); !ok {
				continue
			}
			v := o.find(s.VM())
			if d.VMs[0].SecureBoot && !v.SecureBoot || v.SecureBoot && v.Record.Key != "" && !slices.Contains(v.Keys, v.Record.Key) {
				t.Fatalf("powered on: %+v", v)
			}
		}
	})
}

// TestCheckKeys: Check refuses the power on of a VM whose key was left out, and a key for a VM that has run.
func TestCheckKeys(t *testing.T) {
	without := func(s []Step, kind string) []Step {
		return slices.DeleteFunc(slices.Clone(s), func(s Step) bool { return nameOf(s) == kind })
	}
	for name, c := range map[string]struct {
		spoil func(r *Roll, o *Observed)
		says  string
	}{
		"as planned":       {func(*Roll, *Observed) {}, ""},
		"no key":           {func(r *Roll, _ *Observed) { r.Steps = without(r.Steps, "installkey") }, "does not know key"},
		"empty key":        {func(r *Roll, _ *Observed) { r.Steps[1] = InstallKey{base: Of("wrk-01")} }, "no certificate"},
		"it runs":          {func(_ *Roll, o *Observed) { o.VMs[0].Power = On }, "is poweredOn"},
		"it ran":           {func(_ *Roll, o *Observed) { o.VMs[0].Record.Previous = oldDigest }, "has its keys already"},
		"nothing is begun": {func(_ *Roll, o *Observed) { o.VMs[0].Record.Started = time.Time{} }, "has its keys already"},
		"another's key":    {func(_ *Roll, o *Observed) { o.VMs[0].Keys = []string{"x"} }, "has its keys already"},
		"unclaimed":        {func(_ *Roll, o *Observed) { o.VMs[0].Record.Owner = "" }, "without a claim"},
	} {
		d := locked(wish(1, "docker"), ChainKey)
		o := Observed{}
		for _, s := range flat(Compute(d, o, t0))[:2] {
			o = o.After(s)
		}
		p := Compute(d, o, t0)
		if got := fmt.Sprint(nameOf(flat(p)[0]), nameOf(flat(p)[1])); got != "attachdiskinstallkey" {
			t.Fatalf("the rest of the creation: %v", flat(p))
		}
		c.spoil(&p.Waves[0].Rolls[0], &o)
		if err := Check(p, o); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyOf(t *testing.T) {
	if KeyOf(nil) != "" || len(KeyOf(certificate)) != 64 || (Trust{Chain: ChainShim, Certificate: certificate}).Key() != "" {
		t.Errorf("%q %q", KeyOf(nil), KeyOf(certificate))
	}
}
