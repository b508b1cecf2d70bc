package build

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/lkv-io/lkv/internal/manifest"
)

// Labels by which component images tell what they hold.
const (
	kernelLabel = "lkv.kernel" // kernel release
	engineLabel = "lkv.engine" // Docker Engine version
)

// manifest describes the finished initrd; the ISO's own digest is filled in later.
func (b *builder) manifest(ucode []byte, p payload) manifest.Manifest {
	m := manifest.Manifest{
		Format: manifest.Format, Image: b.Name, ID: b.ident, Arch: b.Arch, Boot: b.Boot, Rootfs: b.Rootfs,
		Cmdline: b.config.Kernel.Cmdline, Kernel: b.release(), Engine: b.engine(),
		Persist: b.disks(), Components: b.components(), Segments: []manifest.Segment{},
	}
	if len(ucode) > 0 {
		front := padded(ucode)
		sum := sha256.Sum256(front)
		m.Segments = append(m.Segments, manifest.Segment{Name: "ucode", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(front)), Unpacked: int64(len(front))})
	}
	for _, s := range b.parts {
		m.Segments = append(m.Segments, s.Segment)
		for _, d := range s.Dropped {
			m.Dropped = append(m.Dropped, manifest.Dropped{Component: s.Name, Path: d.Path, XAttr: d.XAttr})
		}
	}
	p.describe(&m)
	return m
}

func (b *builder) disks() []manifest.Persist {
	var commands [][]string
	var required []bool
	for _, x := range b.bundles {
		if x.section == "onboot" {
			commands = append(commands, x.oci.Process.Args)
			required = append(required, isRequired(x.oci.Annotations))
		}
	}
	out := b.config.disks(commands, required, b.Persist)
	if out == nil {
		return []manifest.Persist{}
	}
	return out
}

func (b *builder) components() []manifest.Component {
	k := b.images[b.config.Kernel.Image]
	out := []manifest.Component{{Section: "kernel", Name: k.ref, Ref: k.ref, Digest: k.digest.String()}}
	for _, ref := range b.config.Init {
		out = append(out, manifest.Component{Section: "init", Name: ref, Ref: ref, Digest: b.images[ref].digest.String()})
	}
	for _, x := range b.bundles {
		section := x.section
		if section == "services" {
			section = "service"
		}
		out = append(out, manifest.Component{Section: section, Name: x.Name, Ref: x.image.ref, Digest: x.image.digest.String()})
	}
	boot := b.images[b.BootImage]
	return append(out, manifest.Component{Section: "boot", Name: boot.ref, Ref: boot.ref, Digest: boot.digest.String()})
}

// release is the kernel's, from its modules or from the image's label.
func (b *builder) release() string {
	return or(b.kernel.Release, b.images[b.config.Kernel.Image].config.Config.Labels[kernelLabel])
}

// engine is the first Docker Engine version any component names.
func (b *builder) engine() string {
	for _, ref := range b.config.references(b.BootImage) {
		if v := b.images[ref].config.Config.Labels[engineLabel]; v != "" {
			return v
		}
	}
	return ""
}
