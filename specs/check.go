package specs

import (
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// check finds contradictions between blocks.
func (l *loader) check(s *Spec) {
	for i := range s.Stores {
		if st := &s.Stores[i]; st.Kind() != RegistryStore {
			l.vcenterRef(s, &st.VCenter, l.at["store.vcenter "+st.Name])
		}
	}
	for i := range s.Fleets {
		f := &s.Fleets[i]
		for j := range f.Placements {
			p := &f.Placements[j]
			l.vcenterRef(s, &p.VCenter, l.at["placement.vcenter "+p.Pos.String()])
		}
		l.imageRef(s, f)
	}
	if !l.shaky {
		l.reach(s)
	}
	l.registryStores(s)
	l.names(s)
}

// vcenterRef resolves a reference to a vcenter block. An empty one means the only block there is.
func (l *loader) vcenterRef(s *Spec, ref *string, at hcl.Range) {
	names := make([]string, len(s.VCenters))
	for i, v := range s.VCenters {
		names[i] = v.Name
	}
	switch {
	case *ref == "" && len(names) == 1:
		*ref = names[0]
	case *ref == "" && len(names) > 1:
		l.fail(at, "Missing argument", "There are %d vcenter blocks: write vcenter = %s", len(names), quotedOr(names))
		l.shaky = true
	case *ref != "" && !slices.Contains(names, *ref):
		l.dangling(at, "vcenter", *ref, names)
	}
}

func (l *loader) dangling(at hcl.Range, kind, name string, known []string) {
	l.shaky = l.shaky || kind == "vcenter"
	if len(known) == 0 {
		l.fail(at, "Dangling reference", "There is no %s block at all: write %s %q { … }", kind, kind, name)
		return
	}
	l.fail(at, "Dangling reference", "There is no %s %q: write %s", kind, name, quotedOr(known))
}

// imageRef checks that the image exists, mounts every disk of the fleet and boots with its firmware.
func (l *loader) imageRef(s *Spec, f *Fleet) {
	if f.Image == "" {
		return // reported where it is missing
	}
	img, ok := s.Image(f.Image)
	if !ok {
		names := make([]string, len(s.Images))
		for i, v := range s.Images {
			names[i] = v.Name
		}
		l.dangling(l.at["fleet.image "+f.Name], "image", f.Image, names)
		return
	}
	for _, d := range f.Disks {
		if d.Mount != "" && !slices.ContainsFunc(img.Persist, func(p Persist) bool { return p.Mount == d.Mount }) {
			l.fail(l.at["disk.mount "+d.Pos.String()], "Disk that nothing mounts",
				"Image %q has no persist block for it, so the disk of every VM would stay unused: write persist %q { label = %q } in the image.", img.Name, d.Mount, path.Base(d.Mount))
		}
	}
	firmware := strings.Replace(f.VM.Firmware, "efi", "uefi", 1)
	if !slices.Contains(img.Boot, firmware) {
		l.fail(l.at["fleet.image "+f.Name], "Firmware the image does not boot with",
			"Image %q boots with %s, but the VMs have firmware = %q: change one of them.", img.Name, quotedOr(img.Boot), f.VM.Firmware)
	}
	if f.VM.SecureBoot && img.SecureBoot == nil && img.EFI != "grub" {
		l.fail(l.at["fleet.image "+f.Name], "Secure Boot with an unsigned image",
			"Firmware with Secure Boot would not start image %q: give the image a secure_boot block, write efi = \"grub\" there (Debian's signed kernel only), or remove secure_boot from the VMs.", img.Name)
	}
}

// names checks that no two fleets want a VM of the same name, now or once they grow.
func (l *loader) names(s *Spec) {
	owner := map[string]string{}
	pattern := map[string]string{}
	for _, f := range s.Fleets {
		at := l.at["fleet "+f.Name]
		if first, dup := pattern[f.Pattern]; dup && f.Pattern != "" && first != f.Name {
			l.fail(at, "Two fleets with one name pattern", "Fleets %q and %q both name their VMs %q: change one of them.", first, f.Name, f.Pattern)
			continue
		}
		pattern[f.Pattern] = f.Name
		for _, m := range f.Members() {
			if first, dup := owner[m.Name]; dup && first != f.Name { // a fleet's own name twice is reported there
				l.fail(at, "Two fleets with one VM", "Fleets %q and %q both have a VM %q: change the name of one.", first, f.Name, m.Name)
				break
			}
			owner[m.Name] = f.Name
		}
	}
}
