package vsphere

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// adopt writes owner and record into a VM that is nobody's, and gives it its name in the fleet, in one call, after its
// disks have their markers.
func (f *Fleet) adopt(ctx context.Context, s plan.Adopt, desired plan.Desired) error {
	v, done, err := f.stranger(ctx, s, desired)
	if done || err != nil {
		return err
	}
	if len(v.vm.Busy) > 0 {
		return plan.Blocked{VM: s.VM(), Code: plan.R08, Reason: v.vm.Busy[0], Clear: "see to it in the vSphere client"}
	}
	own, err := json.Marshal(owner{Fleet: s.Fleet, Ordinal: s.Ordinal, ID: f.cfg.OwnerID})
	if err != nil {
		return err
	}
	raw, err := encodeRecord(s.Record)
	if err != nil {
		return err
	}
	dc, err := f.c.datacenterOf(ctx, v.ref)
	if err != nil {
		return err
	}
	if err := f.noteMade(ctx, dc, s.Fleet, s.To, s.Record.Generation, s.Record.Disks...); err != nil {
		return err
	}
	spec := types.VirtualMachineConfigSpec{ExtraConfig: options(uuidKey, "TRUE", ownerKey, string(own), recordKey, raw, report.HostnameKey, s.To)}
	if s.To != v.vm.Name {
		spec.Name = s.To
		f.c.gate.permitRename(v.ref, s.To)
	}
	return f.reconfigure(ctx, v, spec)
}

// stranger finds the one VM of that name that is nobody's. done says that it was adopted already.
func (f *Fleet) stranger(ctx context.Context, s plan.Adopt, desired plan.Desired) (v sighted, done bool, err error) {
	all, err := f.named(ctx, s.VM(), desired)
	if err == nil && s.To != s.VM() {
		var there []sighted
		there, err = f.named(ctx, s.To, desired)
		all = append(all, there...)
	}
	if err != nil {
		return v, false, err
	}
	found := 0
	for _, x := range all {
		switch {
		case x.vm.Name == s.To && x.vm.Fleet == s.Fleet && x.vm.Ordinal == s.Ordinal:
			return v, true, nil
		case x.vm.Name == s.To && s.To != s.VM():
			return v, false, plan.Blocked{VM: s.VM(), Code: plan.R22, Reason: fmt.Sprintf("VM %s (%s) has the name it should get", s.To, x.vm.Ref), Clear: "rename that VM in the vSphere client"}
		case x.vm.Name == s.VM():
			v, found = x, found+1
		}
	}
	switch {
	case found != 1:
		return v, false, plan.Blocked{VM: s.VM(), Code: plan.R22, Reason: fmt.Sprintf("%d VMs have this name", found), Clear: "name the VM as it is named in the vSphere client, and give it a name that no other has"}
	case v.extra[ownerKey] != "":
		return v, false, plan.Blocked{VM: s.VM(), Code: plan.R22, Reason: "it belongs to a fleet already: " + v.extra[ownerKey], Clear: "lkv forget --fleet " + cmp.Or(v.vm.Fleet, "NAME") + " --vm " + s.VM() + ", where that fleet is managed"}
	}
	return v, false, nil
}

// letGo takes everything that lkv wrote out of a VM. vSphere removes a key that gets an empty value.
func (f *Fleet) letGo(ctx context.Context, s plan.Forget, desired plan.Desired) error {
	all, err := f.named(ctx, s.VM(), desired)
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.vm.Name != s.VM() || v.vm.Fleet != desired.Fleet {
			continue
		}
		if r := v.vm.Record; r.Owner != "" && r.Owner != desired.Claimer && r.Expires.After(f.cfg.Now()) {
			return f.otherClaim(v)
		}
		return f.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: options(ownerKey, "", recordKey, "", report.TokenKey, "")})
	}
	return nil
}
