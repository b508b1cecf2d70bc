package plan

import (
	"fmt"
	"slices"
)

// compatible is the image-to-disk gate: it returns why the wanted image must not run on this VM, or nil. v is nil for
// a VM that does not exist yet. A VM booting an image that does not mount its disk loses nothing at once, but its
// services start on memory and everybody believes that the data is gone.
func compatible(want Desired, w WantVM, v *VM) *Blocked {
	im := want.Image
	rebuild := im.rebuild()
	refuse := func(c Code, format string, args ...any) *Blocked {
		return &Blocked{VM: w.Name, Code: c, Reason: fmt.Sprintf(format, args...), Clear: rebuild}
	}
	if im.Paths[w.Place.Store] == "" {
		b := refuse(R01, "ISO %s of image %s is not on store %q", short(im.Digest), im.Name, w.Place.Store)
		b.Clear = im.bring(w.Place.Store)
		return b
	}
	if !im.Known {
		return refuse(R02, "the manifest of ISO %s is missing or describes another ISO", short(im.Digest))
	}
	for _, m := range im.Mounts {
		if m.Force {
			b := refuse(R03, "image %s formats the disk for %s by force, whatever is on it", im.Name, m.Path)
			b.Clear = "remove -force from the format in its LinuxKit YAML: " + rebuild
			return b
		}
	}
	if v != nil && older(im.Engine, v.Record.Engine) {
		b := refuse(R04, "image %s has Docker Engine %s, and %s has used the VM's disks: an older one may not read them", im.Name, im.Engine, v.Record.Engine)
		b.Clear = "build the image with the newer engine: " + rebuild
		return b
	}
	if why, clear := machine(im, w, v); why != "" {
		return &Blocked{VM: w.Name, Code: R02, Reason: why, Clear: clear + rebuild}
	}
	if why, clear := untrusted(im, w, v); why != "" {
		return &Blocked{VM: w.Name, Code: R02, Reason: why, Clear: clear}
	}
	for _, rule := range []func() (why, clear string){
		func() (string, string) { return selectors(im.Mounts) },
		func() (string, string) { return served(im, w) },
		func() (string, string) { return carried(im, w, v) },
	} {
		if why, clear := rule(); why != "" {
			return &Blocked{VM: w.Name, Code: R02, Reason: why, Clear: clear + rebuild}
		}
	}
	return nil
}

// machine compares what the image needs with the machine it will boot on. This and the next ones return why it does not
// fit, and what is to be written before the image is built again.
func machine(im Image, w WantVM, v *VM) (why, clear string) {
	firmware := w.Firmware
	if v != nil && v.Firmware != "" {
		firmware = v.Firmware
	}
	name := map[string]string{"": "bios", "efi": "uefi"}[firmware]
	if name == "" {
		name = firmware
	}
	switch {
	case !slices.Contains(im.Boot, name):
		return fmt.Sprintf("image %s boots with %v, the VM has firmware %s", im.Name, im.Boot, name), fmt.Sprintf("write %q into boot of the image: ", name)
	case im.RAM > w.MemoryMiB<<20:
		need := (im.RAM + 1<<20 - 1) >> 20
		return fmt.Sprintf("image %s needs %d MiB to boot, the VM gets %d MiB", im.Name, need, w.MemoryMiB),
			fmt.Sprintf("give the fleet's VMs memory = \"%dMiB\" or more, or make the image smaller: ", need)
	}
	return "", ""
}

// selectors refuses mounts that could find each other's disk.
func selectors(mounts []Mount) (why, clear string) {
	seen := map[string]string{}
	for _, m := range mounts {
		key := m.Label
		if key == "" {
			key = SerialOf(m.UUID)
		}
		if key == "" {
			return fmt.Sprintf("the mount of %s finds its disk by order, not by label or disk UUID", m.Path), fmt.Sprintf("write persist %q with a label into the image: ", m.Path)
		}
		if other, dup := seen[key]; dup {
			return fmt.Sprintf("the mounts of %s and %s look for the same disk %q", other, m.Path, key), "give each persist of the image a label of its own: "
		}
		seen[key] = m.Path
	}
	return "", ""
}

// served compares the image's mounts with the fleet's disks, both ways.
func served(im Image, w WantVM) (why, clear string) {
	for _, d := range w.Disks {
		if d.Mount == "" {
			continue
		}
		m := mountOf(im, d.Mount)
		switch {
		case m == nil:
			return fmt.Sprintf("image %s mounts nothing at %s, where disk %s belongs", im.Name, d.Mount, d.Name), fmt.Sprintf("write persist %q into the image: ", d.Mount)
		case !m.Gated:
			return fmt.Sprintf("image %s starts its services even when %s is not mounted", im.Name, d.Mount), fmt.Sprintf("write persist %q into the image, which makes them wait: ", d.Mount)
		}
	}
	for _, m := range im.Mounts {
		if !slices.ContainsFunc(w.Disks, func(d WantDisk) bool { return d.Mount == m.Path }) {
			return fmt.Sprintf("image %s waits for a disk at %s, the fleet has none for it", im.Name, m.Path),
				fmt.Sprintf("remove persist %q from the image, or give it to a fleet of new VMs that have a disk for it: ", m.Path)
		}
	}
	return "", ""
}

// carried compares the image's mounts with what the VM's disks were formatted with, as far as the record knows.
func carried(im Image, w WantVM, v *VM) (why, clear string) {
	for _, d := range w.Disks {
		m := mountOf(im, d.Mount)
		if m == nil {
			continue
		}
		var rec DiskRecord
		if v != nil {
			if r := recorded(v.Record, d.Name); r != nil {
				rec = *r
			}
		}
		switch {
		case m.UUID != "" && SerialOf(m.UUID) != SerialOf(rec.UUID):
			return fmt.Sprintf("image %s looks for disk UUID %s at %s, this VM's is %s", im.Name, m.UUID, m.Path, orNone(rec.UUID)),
				fmt.Sprintf("write a label into persist %q of the image instead of a UUID: ", m.Path)
		case rec.Label != "" && m.Label != "" && m.Label != rec.Label:
			return fmt.Sprintf("image %s looks for label %s at %s, the disk was labelled %s", im.Name, m.Label, m.Path, rec.Label),
				fmt.Sprintf("write label = %q into persist %q of the image: ", rec.Label, m.Path)
		case rec.Filesystem != "" && m.Filesystem != "" && m.Filesystem != rec.Filesystem:
			return fmt.Sprintf("image %s mounts %s at %s, the disk was formatted with %s", im.Name, m.Filesystem, m.Path, rec.Filesystem),
				fmt.Sprintf("write filesystem = %q into persist %q of the image: ", rec.Filesystem, m.Path)
		}
	}
	return "", ""
}

func mountOf(im Image, path string) *Mount {
	if i := slices.IndexFunc(im.Mounts, func(m Mount) bool { return m.Path == path }); path != "" && i >= 0 {
		return &im.Mounts[i]
	}
	return nil
}
