package vsphere

import "github.com/vmware/govmomi/vim25/types"

func (g *gate) permitDestroy(types.ManagedObjectReference) {}
