package specs

import "fmt"

// reach checks that every store serves a placement and every placement has a store.
func (l *loader) reach(s *Spec) {
	used := map[string]bool{}
	for _, f := range s.Fleets {
		for _, p := range f.Placements {
			if _, ok := s.StoreFor(p); !ok {
				l.fail(l.at["placement.vcenter "+p.Pos.String()], "Placement without store",
					"VMs in datacenter %q can read no store, so they have no ISO to boot from: write store \"…\" { %sdatacenter = %q datastore = \"…\" } (one argument per line)", p.Datacenter, refText(p.VCenter), p.Datacenter)
			}
			for _, st := range s.Stores {
				used[st.Name] = used[st.Name] || st.serves(p)
			}
		}
	}
	for _, st := range s.Stores {
		switch {
		case len(s.Fleets) == 0 || used[st.Name] || st.Kind() == RegistryStore:
		case st.Kind() == LibraryStore && st.Datacenter == "":
			l.fail(l.at["store.vcenter "+st.Name], "Store that no placement can reach",
				"No fleet has a placement in vCenter %q, so nothing would read the ISOs of store %q: add a placement there, or remove the store.", st.VCenter, st.Name)
		default:
			l.fail(l.at["store.vcenter "+st.Name], "Store that no placement can reach",
				"No fleet has a placement in datacenter %q, so nothing would read the ISOs of store %q: add a placement there, correct the datacenter, or remove the store.", st.Datacenter, st.Name)
		}
	}
}

func refText(vcenter string) string {
	if vcenter == "" {
		return ""
	}
	return fmt.Sprintf("vcenter = %q ", vcenter)
}
