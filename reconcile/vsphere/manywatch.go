package vsphere

import (
	"context"
	"fmt"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Glance reads one VM afresh, in the vCenter in which it was seen last.
func (m *Many) Glance(ctx context.Context, vm string, desired plan.Desired) (plan.VM, error) {
	f, err := m.of(vm, desired)
	if err != nil {
		return plan.VM{}, err
	}
	v, err := f.Glance(ctx, vm, desired)
	v.Ref, v.VCenter = f.cfg.VCenter+"/"+v.Ref, f.cfg.VCenter // as in a whole look
	return v, err
}

// Watch tells of changes of one VM, in the vCenter in which it was seen last.
func (m *Many) Watch(ctx context.Context, vm string, desired plan.Desired) (<-chan struct{}, error) {
	f, err := m.of(vm, desired)
	if err != nil {
		return nil, err
	}
	return f.Watch(ctx, vm, desired)
}

// of returns the vCenter that waits for a VM.
func (m *Many) of(vm string, desired plan.Desired) (*Fleet, error) {
	var gate plan.AwaitReady
	gate.Name = vm
	name, err := m.route(gate, desired)
	if err != nil {
		return nil, err
	}
	f := m.fleet(name)
	if f == nil {
		return nil, fmt.Errorf("VM %s is in vCenter %q, which the fleet does not have", vm, name)
	}
	return f, nil
}
