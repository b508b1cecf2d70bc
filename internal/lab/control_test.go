package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDial: another process sees what the lab shows, and hears when it is gone.
func TestDial(t *testing.T) {
	r := newRig(t, Config{})
	if _, err := Dial(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "lkv lab up") {
		t.Errorf("no lab: %v", err)
	}
	c, err := Dial(t.Context(), r.lab.cfg.Dir)
	r.must(err)
	vm := r.create("w", r.iso("v1"))
	r.must(r.on(vm))
	if d := cmp.Diff(r.lab.Env(), c.Env()); d != "" {
		t.Error(d)
	}
	got, err := c.VM(r.ctx(), "w")
	r.must(err)
	want, err := r.lab.VM("w")
	r.must(err)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := c.VM(r.ctx(), "x"); err == nil {
		t.Error("there is a VM x")
	}
	calls, err := c.Journal(r.ctx())
	r.must(err)
	if d := cmp.Diff(r.lab.Journal(), calls); d != "" {
		t.Error(d)
	}
	if _, err := c.Forward(r.ctx(), "w", 22); err == nil || !strings.Contains(err.Error(), "plugged") {
		t.Errorf("forward to a paper machine: %v", err)
	}
	if _, err := c.Forward(r.ctx(), "w", 0); err == nil {
		t.Error("port 0")
	}
	r.must(c.Invariants(r.ctx()))
	r.must(c.CutPower(r.ctx(), "w"))
	if err := c.CutPower(r.ctx(), "w"); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("second power cut: %v", err)
	}
}
