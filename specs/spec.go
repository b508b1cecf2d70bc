// Package specs reads lkv.hcl: HCL in, validated values out. Every problem of every file is reported at once,
// with file, line, a caret and what to write instead.
//
// The package evaluates expressions and checks what can be checked without looking at anything but the files:
// it opens no connection, reads no environment by itself and asks no clock. Whether files that a spec names are there is
// looked at; the LinuxKit YAML that an image names is not read, and a secret's file only when Secret.Reveal is called.
package specs

import (
	"fmt"
	"time"
)

// Pos is a place in a file. Line and Column count from 1; the zero value means "nowhere".
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String returns "file:line", or "file:line:column" when the column is known, or "" for the zero value.
func (p Pos) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Spec is everything that was written. Blocks keep the order of the files.
type Spec struct {
	Dir        string   // directory that relative paths in the spec start from
	Files      []string // files that were read, in order
	Registries []Registry
	VCenters   []VCenter
	Images     []Image
	Stores     []Store
	Fleets     []Fleet
	Reconcile  Reconcile
	Warnings   []Problem // what loads and is probably not meant, in the order of the files
}

// VCenter is one `vcenter` block. Empty fields are taken from the environment by the caller.
type VCenter struct {
	Pos        Pos
	Name       string
	URL        string // without user name and password: those a URL carried are in Username and Password
	Username   string
	Password   Secret
	CAFile     string // path of a PEM file, relative to Spec.Dir
	Thumbprint string // SHA-256 or SHA-1 fingerprint of the certificate, colon separated
	Insecure   bool   // do not verify TLS; the caller warns
}

// Image is one `image` block.
type Image struct {
	Pos      Pos
	Name     string
	LinuxKit []string // LinuxKit YAML files relative to Spec.Dir, at least one; later ones append
	Written  []Pos    // where each of LinuxKit is written, or all of them when an expression gives the list
	Arch     string   // Go architecture name; default "amd64"
	Boot     []string // "bios", "uefi"; default both
	Rootfs   string   // "initrd" (default), "squashfs" or "cd"
	Compress string   // "fastest", "default" (default) or "best"
	EFI      string   // "uki" (default): one file for kernel and initrd; "grub": for firmware that dislikes a large one
	// SecureBoot signs the image with the user's own key; nil: what Boot and EFI make of it.
	SecureBoot *SecureBoot
	Persist    []Persist
	Fetch      bool // reconcile may bring the ISO from a registry store to the stores that VMs read
}

// SecureBoot is the `secure_boot` block of an image: PEM files, relative to Spec.Dir, of the key that signs and of
// its X.509 certificate, which the VMs' firmware has to know.
type SecureBoot struct {
	Pos         Pos
	Key         string
	Certificate string
}

// Persist is one `persist` block of an image: a data disk that is found, checked and mounted at boot.
type Persist struct {
	Pos        Pos
	Mount      string // absolute, clean path
	Label      string // file system label the disk is found by; default the last element of Mount
	UUID       string // disk UUID it is found by instead; empty when found by label
	Filesystem string // "ext4" (default) or "xfs"
	Via        string // "lkv" (default) or "linuxkit"
}

// Reconcile is the `reconcile` block: how the daemon runs.
type Reconcile struct {
	Pos      Pos
	Interval time.Duration // default 5m
	Suspend  bool          // do nothing until it is false again
	ClaimTTL time.Duration // how long a claim lives without renewal; default 2m
	Listen   string        // address of the daemon's HTTP server; empty: none
	Webhook  Secret        // URL that gets events; may carry a token, so it is a secret
}

// VCenter returns the vcenter block of that name.
func (s Spec) VCenter(name string) (VCenter, bool) {
	return named(s.VCenters, name, func(v VCenter) string { return v.Name })
}

// Image returns the image block of that name.
func (s Spec) Image(name string) (Image, bool) {
	return named(s.Images, name, func(v Image) string { return v.Name })
}

func named[T any](list []T, name string, of func(T) string) (T, bool) {
	for _, v := range list {
		if of(v) == name {
			return v, true
		}
	}
	var zero T
	return zero, false
}
