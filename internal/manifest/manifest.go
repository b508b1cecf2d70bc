// Package manifest is the description that lkv build writes beside an ISO and that lkv reconcile reads
// before it puts that ISO on a VM. It is the one type the stages share, so that none imports another.
package manifest

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Format is the version of the manifest's JSON. A reader refuses a newer one.
const Format = 1

// Manifest describes one ISO: what is in it, what it needs to boot, and which data disks it would mount.
type Manifest struct {
	Format     int         `json:"format"`
	Image      string      `json:"image"`                 // name of the image block in the HCL
	ID         string      `json:"id"`                    // "sha256:…" over segments, kernel and command line; the guest reports it after boot
	ISO        File        `json:"iso"`                   // the ISO file itself
	Arch       string      `json:"arch"`                  // Go architecture name, for example "amd64"
	Boot       []string    `json:"boot"`                  // firmware it boots with: "bios", "uefi"
	Rootfs     string      `json:"rootfs"`                // "initrd", "squashfs" or "cd"
	Cmdline    string      `json:"cmdline"`               // kernel command line
	Kernel     string      `json:"kernel"`                // kernel release, for example "6.12.48+deb13-amd64"; empty when unknown
	Engine     string      `json:"engine"`                // Docker Engine version when a component says so, else empty
	RAM        RAM         `json:"ram"`                   // what the boot needs
	Persist    []Persist   `json:"persist"`               // data disks this image would mount, in order
	Components []Component `json:"components"`            // every image that went in, in boot order
	Segments   []Segment   `json:"segments"`              // the initrd's segments, in file order
	Root       *File       `json:"root,omitempty"`        // the squashfs of rootfs "squashfs" and "cd"
	SecureBoot *SecureBoot `json:"secure_boot,omitempty"` // set when the ISO boots with UEFI Secure Boot
	Files      []Named     `json:"files,omitempty"`       // what lies beside the ISO and describes it
	Dropped    []Dropped   `json:"dropped,omitempty"`     // what the images have and the root file system cannot keep
}

// Chains of trust an ISO can boot with when Secure Boot is on.
const (
	ChainKey  = "key"  // signed with the user's own key; the VM's firmware must know Certificate
	ChainShim = "shim" // Microsoft-signed shim, Debian-signed GRUB and kernel
)

// SecureBoot says why firmware with Secure Boot starts the ISO.
type SecureBoot struct {
	Chain       string `json:"chain"`                 // ChainKey or ChainShim
	Certificate []byte `json:"certificate,omitempty"` // DER, base64 in JSON; ChainKey only
}

// Named is one file beside the ISO. Kind is "spdx", "cyclonedx", "provenance", "kernel", "initrd", "cmdline" or "uki".
type Named struct {
	Kind string `json:"kind"`
	Name string `json:"name"` // file name, no directory
	File
}

// Dropped is a file attribute of an image that the root file system has no place for.
type Dropped struct {
	Component string `json:"component"`
	Path      string `json:"path"`
	XAttr     string `json:"xattr"` // for example "security.capability"
}

// File is a file's content address. Size is in bytes; SHA256 is 64 lower-case hex digits.
type File struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// RAM is the memory the boot needs before any workload, all in bytes.
// Minimum is 2*Unpacked + Initrd + 64 MiB, at least 128 MiB: the kernel caps the root tmpfs at half of the memory that
// is left while the initrd is still loaded. Unpacked and Initrd are those of the initrd; with rootfs "cd" that is the
// small one that mounts the CD, and Minimum has 32 MiB more.
type RAM struct {
	Unpacked int64 `json:"unpacked"`
	Initrd   int64 `json:"initrd"`
	Minimum  int64 `json:"minimum"`
}

// Persist is one data disk that the image finds and mounts at boot.
type Persist struct {
	Mount      string `json:"mount"`      // absolute path, for example "/var/lib/docker"
	Label      string `json:"label"`      // file system label it is found by; empty when found otherwise
	UUID       string `json:"uuid"`       // disk UUID it is found by; empty when found by label
	Filesystem string `json:"filesystem"` // "ext4" or "xfs"
	Via        string `json:"via"`        // "lkv", "linuxkit", or "yaml" when the LinuxKit YAML mounts it by itself
	Force      bool   `json:"force"`      // it would format a disk that is not blank: refused by reconcile (R03)
	Gated      bool   `json:"gated"`      // services do not start when the mount fails
}

// Component is one OCI image that went into the ISO.
type Component struct {
	Section string `json:"section"` // "kernel", "init", "onboot", "onshutdown", "service" or "boot" (the boot loader's files)
	Name    string `json:"name"`    // name in the LinuxKit YAML; the reference for kernel, init and boot
	Ref     string `json:"ref"`     // reference as written
	Digest  string `json:"digest"`  // "sha256:…" of the platform manifest
}

// Segment is one independently compressed piece of the initrd. Sizes are in bytes.
type Segment struct {
	Name     string `json:"name"`
	SHA256   string `json:"sha256"` // of the compressed bytes
	Size     int64  `json:"size"`
	Unpacked int64  `json:"unpacked"`
	Entries  int    `json:"entries"`
}

// Write encodes m as indented JSON with a final newline; equal manifests give equal bytes.
func (m Manifest) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// Mounts returns the entry that serves the mount path and whether there is one.
func (m Manifest) Mounts(path string) (Persist, bool) {
	i := slices.IndexFunc(m.Persist, func(p Persist) bool { return p.Mount == path })
	if i < 0 {
		return Persist{}, false
	}
	return m.Persist[i], true
}
