package vsphere_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// what the model does not know, or knows only roughly.
var volatile = cmp.Options{
	cmpopts.IgnoreFields(plan.VM{}, "ID", "Ref", "ChangeVersion", "Age", "Guest", "Host", "Home"),
	cmpopts.EquateEmpty(),
	cmpopts.EquateApproxTime(time.Second),
	cmpopts.SortSlices(func(a, b plan.VM) bool { return a.Name < b.Name }),
	cmpopts.SortSlices(func(a, b plan.DiskFile) bool { return a.Path < b.Path }),
}

// sameAs fails unless vCenter shows what the step means. A file's UUID is only known once it exists.
func (r *rig) sameAs(s plan.Step, model, real plan.Observed) {
	r.Helper()
	for i := range model.Files {
		for _, f := range real.Files {
			if f.Path == model.Files[i].Path && model.Files[i].UUID == "" {
				model.Files[i].UUID = f.UUID
			}
		}
	}
	if diff := cmp.Diff(model, real, volatile...); diff != "" {
		r.Fatalf("after %q (-model +vCenter):\n%s", s, diff)
	}
}

// walk executes the first wave step by step. Each step is executed twice: the second time it is done already.
func (r *rig) walk(d plan.Desired, kinds map[string]bool) {
	r.Helper()
	p := plan.Compute(d, r.observe(d), time.Now())
	if len(p.Waves) == 0 {
		r.Fatalf("nothing to do: %+v", p)
	}
	for _, roll := range p.Waves[0].Rolls {
		for _, s := range roll.Steps {
			if _, ok := s.(plan.AwaitReady); ok {
				continue
			}
			kinds[kindOf(s)] = true
			before := r.observe(d)
			r.execute(s, d)
			after := r.observe(d)
			r.sameAs(s, before.After(s), after)
			r.mutations()
			r.execute(s, d)
			if again := r.mutations(); len(again) > 0 {
				r.Errorf("%s, done already: sent %v", s, again)
			}
		}
	}
}

func kindOf(s plan.Step) string {
	switch s.(type) {
	case plan.CreateDisk:
		return "CreateDisk"
	case plan.CreateVM:
		return "CreateVM"
	case plan.AttachDisk:
		return "AttachDisk"
	case plan.Claim:
		return "Claim"
	case plan.Release:
		return "Release"
	case plan.Shutdown:
		return "Shutdown"
	case plan.InsertISO:
		return "InsertISO"
	case plan.InstallKey:
		return "InstallKey"
	case plan.EnableSecureBoot:
		return "EnableSecureBoot"
	case plan.Resize:
		return "Resize"
	case plan.PowerOn:
		return "PowerOn"
	case plan.Fail:
		return "Fail"
	case plan.Unblock:
		return "Unblock"
	}
	return "other"
}

// Every step kind: what Execute did is what After says, and doing it again sends nothing.
func TestEveryStepMeansWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	kinds := map[string]bool{}
	d := locked(desired(2, r.signed("iso v1", ownKey)))
	d.VMs[1].SecureBoot = false
	r.walk(d, kinds)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("after the walk: %+v", res)
	}
	d.Image = r.signed("iso v2", &manifest.SecureBoot{Chain: manifest.ChainShim})
	for i := range d.VMs {
		d.VMs[i].CPUs, d.VMs[i].MemoryMiB = 1, 1024
	}
	r.walk(d, kinds)
	if res := r.run(d); res.Outcome != reconcile.Converged {
		t.Fatalf("after the walk: %+v", res)
	}
	d.VMs[1].SecureBoot = true
	r.walk(d, kinds)
	for _, k := range []string{"CreateDisk", "CreateVM", "AttachDisk", "InstallKey", "EnableSecureBoot", "Claim", "Release", "Shutdown", "InsertISO", "Resize", "PowerOn"} {
		if !kinds[k] {
			t.Errorf("no plan had a %s", k)
		}
	}
	// What only a failure and a person bring about.
	var fail plan.Fail
	fail.Name, fail.Why = one, "it did not come back"
	var unblock plan.Unblock
	unblock.Name = one
	for _, s := range []plan.Step{claim("run-1", 3), fail, claim("run-1", 4), unblock} {
		before := r.observe(d)
		r.execute(s, d)
		r.sameAs(s, before.After(s), r.observe(d))
		r.mutations()
		r.execute(s, d)
		if again := r.mutations(); len(again) > 0 {
			t.Errorf("%s, done already: sent %v", s, again)
		}
	}
	if o := r.observe(d); o.VMs[0].Record.Failed != "" || o.VMs[0].Record.Owner != "" {
		t.Errorf("unblocked: %+v", o.VMs[0].Record)
	}
}
