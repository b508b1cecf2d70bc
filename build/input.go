// Package build turns LinuxKit YAML and container images into one bootable ISO, without a container daemon and
// without root: images are unpacked into the root file system LinuxKit's init expects, that becomes an initrd of
// independently compressed pieces, one per component and each cached by what it is made from, and build/iso puts
// it beside the kernel. The same input gives the same bytes on every machine.
//
// Not supported: in an initrd file capabilities and other extended attributes (it has none; Build warns) and files of
// 4 GiB and more; volumes of format "oci".
package build

import (
	"context"
	"errors"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/build/provenance"
	"github.com/lkv-io/lkv/internal/manifest"
)

// References of the images Build adds by itself.
const (
	BootImage    = "lkv/boot:1"
	PersistImage = "lkv/persist:1"
	FormatImage  = "linuxkit/format:4f779c0b0d0ba145b7f03211b5cbf59fbbe12e54"
	MountImage   = "linuxkit/mount:bd1c3bb45e48e68e47a9456d1669f7119f855184"
)

// ErrInput is wrapped by every refusal of an Input that is not about its YAML.
var ErrInput = errors.New("cannot build this")

// Images finds images by reference, as images.Source does. The layers it returns must fail at their end when
// their bytes don't match their digest.
type Images interface {
	Image(ctx context.Context, ref string) (v1.Image, v1.Hash, error)

	// Attestations returns the SPDX documents somebody attached to the image, as JSON; nil when there are none.
	Attestations(ctx context.Context, ref string, digest v1.Hash) ([][]byte, error)
}

// Source is one LinuxKit YAML file. Name is its path: it stands in messages, and relative "source:" files are
// looked up beside it.
type Source struct {
	Name string
	Data []byte
}

// Persist is one data disk the image mounts, from a persist block of the HCL.
type Persist struct {
	Mount      string   // absolute path
	Label      string   // file system label
	Filesystem string   // "ext4" or "xfs"; empty means ext4
	Via        string   // "lkv" (also when empty) or "linuxkit"
	Options    []string // mount options
}

// Root file systems an image can have.
const (
	rootInitrd   = "initrd"   // the unpacked initrd, as LinuxKit does it
	rootSquashfs = "squashfs" // a squashfs inside of a small initrd
	rootCD       = "cd"       // a squashfs on the ISO
)

// What UEFI firmware starts.
const (
	efiUKI  = "uki"  // one file with kernel and initrd
	efiGrub = "grub" // shim and GRUB, for firmware that dislikes a large file, and for the keys machines come with
)

// Input is everything an ISO is made from.
type Input struct {
	Name     string    // of the image, for example "worker": file names and volume label
	YAML     []Source  // later files append to earlier ones
	Arch     string    // Go architecture; only "amd64"
	Boot     []string  // "bios", "uefi" or both
	Rootfs   string    // "initrd", "squashfs" or "cd"; empty means initrd
	Compress string    // "fastest", "default" or "best"; empty means default
	EFI      string    // with UEFI: "uki" (also when empty), one file for kernel and initrd, or "grub"
	Also     []string  // further outputs: "kernel+initrd", "uki"
	Persist  []Persist // in order of mounting
	Images   Images
	Version  string    // of lkv, for the SBOM and the provenance
	Epoch    time.Time // latest time stamp in the ISO; zero means the newest creation time of the images
	Home     string    // what "~/" in the YAML's source: means; empty refuses it
	Out      string    // directory of the ISO and its descriptions
	Cache    string    // directory of cached segments, may be shared by concurrent builds
	Progress func(Event)
	// SecureBoot signs the unified kernel image, so that firmware that knows the certificate starts it; nil leaves it unsigned.
	SecureBoot *iso.Signer
	Sign       *provenance.Signer // signs manifest and provenance; nil leaves them unsigned

	BootImage string // reference of the boot files' image; empty means BootImage
}

// Event tells how far a build is. Events come from several goroutines, one at a time.
type Event struct {
	Step   string // "image" (reference resolved), "segment", "iso" or "warning"
	Name   string // what it is about; the text of a warning
	Bytes  int64  // size of what is finished
	Count  int    // how many of Total are finished, this one included
	Total  int    // 0 when unknown
	Cached bool   // taken from the cache
}

// Result is a finished ISO.
type Result struct {
	ISO      string // path
	Path     string // of the manifest
	Manifest manifest.Manifest
	Cached   bool // the ISO was there already
}
