package specs

import "testing"

// What VMs can boot from: never a registry, a library of their vCenter, a datastore of their datacenter.
func TestStoreFor(t *testing.T) {
	reg := Store{Name: "reg", Registry: "reg.example.net/lkv"}
	lib := Store{Name: "lib", Library: "isos", VCenter: "main"}
	libDC := Store{Name: "lib-dc", Library: "isos", VCenter: "main", Datacenter: "DC1"}
	ds := Store{Name: "ds", Datastore: "iso", VCenter: "main", Datacenter: "DC1"}
	for name, c := range map[string]struct {
		stores []Store
		p      Placement
		want   string
	}{
		"registry only":                {[]Store{reg}, Placement{}, ""},
		"registry first":               {[]Store{reg, ds}, Placement{VCenter: "main", Datacenter: "DC1"}, "ds"},
		"library of the vCenter":       {[]Store{reg, lib}, Placement{VCenter: "main", Datacenter: "DC2"}, "lib"},
		"library of another vCenter":   {[]Store{lib}, Placement{VCenter: "other", Datacenter: "DC2"}, ""},
		"library of a datacenter":      {[]Store{libDC}, Placement{VCenter: "main", Datacenter: "DC2"}, ""},
		"datastore elsewhere":          {[]Store{ds, lib}, Placement{VCenter: "main", Datacenter: "DC2"}, "lib"},
		"first of several":             {[]Store{libDC, ds}, Placement{VCenter: "main", Datacenter: "DC1"}, "lib-dc"},
		"datastore without datacenter": {[]Store{{Name: "x", Datastore: "iso", VCenter: "main"}}, Placement{VCenter: "main", Datacenter: "DC1"}, ""},
	} {
		got, ok := Spec{Stores: c.stores}.StoreFor(c.p)
		if got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got.Name, ok, c.want)
		}
	}
	if got := reg.Repository("worker"); got != "reg.example.net/lkv/worker" {
		t.Error(got)
	}
}
