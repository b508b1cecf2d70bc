package vsphere

import (
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// TestPathNamedVM: a host that lost a VM's storage shows the VM under the path of its .vmx file, without configuration
// and so without owner. It may be ours, still running, with its data disk: nothing is made in its place.
func TestPathNamedVM(t *testing.T) {
	d := plan.Desired{Fleet: "web", VMs: []plan.WantVM{{Name: "web-1"}, {Name: "web-10"}}}
	for name, may := range map[string]bool{
		"/vmfs/volumes/5f0c-1/web-1/web-1.vmx":           true,
		"%2fvmfs%2fvolumes%2f5f0c-1%2fweb-1%2fweb-1.vmx": true,
		"/vmfs/volumes/vsan:52d1/6a0e-77/web-10.vmx":     true,
		"[ds] web-1_1/web-1_1.vmx":                       true,
		"[ds] web-1.vmx":                                 true,
		"/vmfs/volumes/5f0c-1/web-2/web-2.vmx":           false,
		"/vmfs/volumes/5f0c-1/web-1-old/web-1-old.vmx":   false,
		"Unknown VM": false,
	} {
		for _, version := range []string{"", "2026"} {
			props := map[string]types.AnyType{"name": name}
			if version != "" {
				props["config.changeVersion"] = version
			}
			f := &Fleet{}
			err := f.vanished([]brief{{item: item{props: props}, name: name}}, d)
			if (err != nil) != (may && version == "") {
				t.Errorf("%s, version %q: %v", name, version, err)
			}
		}
	}
}
