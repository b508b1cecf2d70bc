package build

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var imageName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// check fills in defaults and refuses what no build can do, everything at once.
func (in Input) check() (Input, error) {
	in = in.withDefaults()
	bad := slices.Concat(in.badImage(), in.badOutputs())
	for i, p := range in.Persist {
		var why []string
		in.Persist[i], why = p.check()
		bad = append(bad, why...)
	}
	if len(bad) > 0 {
		return in, fmt.Errorf("%w: %s", ErrInput, strings.Join(bad, "; "))
	}
	return in, nil
}

// withDefaults fills the empty fields and puts lists into the order that counts.
func (in Input) withDefaults() Input {
	in.Compress = cmp.Or(in.Compress, "default")
	in.Rootfs = cmp.Or(in.Rootfs, rootInitrd)
	in.EFI = cmp.Or(in.EFI, efiUKI)
	in.BootImage = cmp.Or(in.BootImage, BootImage)
	if in.Progress == nil {
		in.Progress = func(Event) {}
	}
	in.Also = slices.Compact(slices.Sorted(slices.Values(in.Also)))
	in.Boot = slices.Compact(slices.Sorted(slices.Values(in.Boot)))
	in.Persist = slices.Clone(in.Persist)
	return in
}

// badImage says what is wrong with what the image is to be.
func (in Input) badImage() []string {
	var bad []string
	if !imageName.MatchString(in.Name) {
		bad = append(bad, fmt.Sprintf("image name %q: use lower-case letters, digits, dot, dash and underscore", in.Name))
	}
	if in.Arch != "amd64" {
		bad = append(bad, fmt.Sprintf("arch %q: only amd64 is supported", in.Arch))
	}
	if _, ok := levels[in.Compress]; !ok {
		bad = append(bad, fmt.Sprintf(`compress %q: it is "fastest", "default" or "best"`, in.Compress))
	}
	if !slices.Contains([]string{rootInitrd, rootSquashfs, rootCD}, in.Rootfs) {
		bad = append(bad, fmt.Sprintf(`rootfs %q: it is "initrd", "squashfs" or "cd"`, in.Rootfs))
	}
	if len(in.YAML) == 0 {
		bad = append(bad, "no LinuxKit YAML given")
	}
	return bad
}

// badOutputs says what is wrong with the ways to boot it.
func (in Input) badOutputs() []string {
	var bad []string
	if len(in.Boot) == 0 {
		bad = append(bad, `boot is empty: name "bios", "uefi" or both`)
	}
	for _, b := range in.Boot {
		if b != "bios" && b != "uefi" {
			bad = append(bad, fmt.Sprintf(`boot %q: it is "bios" or "uefi"`, b))
		}
	}
	if in.EFI != efiUKI && in.EFI != efiGrub {
		bad = append(bad, fmt.Sprintf(`efi %q: it is "uki" or "grub"`, in.EFI))
	}
	hasUKI := slices.Contains(in.Boot, "uefi") && in.EFI == efiUKI
	if in.SecureBoot != nil && !hasUKI {
		bad = append(bad, `a Secure Boot key signs the unified kernel image: it needs "uefi" in boot and efi = "uki"`)
	}
	for _, a := range in.Also {
		if a != alsoPair && a != alsoUKI {
			bad = append(bad, fmt.Sprintf(`further output %q: it is "kernel+initrd" or "uki"`, a))
		}
		if a == alsoUKI && !hasUKI {
			bad = append(bad, `further output "uki": it needs "uefi" in boot and efi = "uki"`)
		}
	}
	return bad
}

var label = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (p Persist) check() (Persist, []string) {
	if p.Filesystem == "" {
		p.Filesystem = "ext4"
	}
	if p.Via == "" {
		p.Via = "lkv"
	}
	var bad []string
	if !path.IsAbs(p.Mount) || path.Clean(p.Mount) != p.Mount || p.Mount == "/" {
		bad = append(bad, fmt.Sprintf("persist %q: give an absolute path without trailing slash", p.Mount))
	}
	limit := map[string]int{"ext4": 16, "xfs": 12}[p.Filesystem]
	if limit == 0 {
		bad = append(bad, fmt.Sprintf(`persist %q: filesystem %q: it is "ext4" or "xfs"`, p.Mount, p.Filesystem))
	} else if !label.MatchString(p.Label) || len(p.Label) > limit {
		bad = append(bad, fmt.Sprintf("persist %q: label %q: give 1 to %d letters, digits, dots, dashes, underscores", p.Mount, p.Label, limit))
	}
	if p.Via != "lkv" && p.Via != "linuxkit" {
		bad = append(bad, fmt.Sprintf(`persist %q: via %q: it is "lkv" or "linuxkit"`, p.Mount, p.Via))
	}
	if p.Via == "linuxkit" && len(p.Options) > 0 {
		bad = append(bad, fmt.Sprintf(`persist %q: LinuxKit's mount knows no options: use via = "lkv"`, p.Mount))
	}
	return p, bad
}
