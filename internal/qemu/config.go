// Package qemu starts real QEMU machines for lkv boot, for the lab and for the tests: it builds the command line,
// speaks QMP and the guest agent's protocol, and keeps the serial console in a file.
//
// It uses KVM only when the CPU has vmx or svm: /dev/kvm may open on machines where a guest then hangs.
package qemu

import (
	"cmp"
	"fmt"
	"io"
	"os/exec"
	"slices"
)

// Firmware of a machine.
const (
	BIOS = "bios" // SeaBIOS
	EFI  = "efi"  // OVMF
)

// Config describes one machine. The zero value of every field but Dir is usable.
type Config struct {
	Name       string
	Dir        string // directory for sockets, serial log and firmware variables; must exist
	MemoryMiB  int    // default 1024
	CPUs       int    // default 1
	Firmware   string // BIOS (default) or EFI
	SecureBoot bool   // EFI on q35 only: OVMF with Microsoft's keys, or those of Vars
	Vars       string // EFI only: file with the variables a new machine gets, for Secure Boot keys of one's own; empty: OVMF's
	Machine    string // "q35" (default) or "pc"
	ISO        string // path of the CD-ROM image; empty: no CD-ROM
	Kernel     string // boots this kernel without a boot loader; empty: from ISO or disk
	Initrd     string // with Kernel only
	Cmdline    string // with Kernel only
	Disks      []Disk
	NICs       []NIC
	Guestinfo  map[string]string // handed to the guest through fw_cfg, see package report

	Stdin  io.Reader // serial console input; the serial log is written in any case
	Stdout io.Writer // serial console output
}

// Disk is one disk of a machine.
type Disk struct {
	Path       string
	Serial     string // up to 36 characters; what the guest sees as the disk's serial number
	Controller string // "pvscsi" (default), "virtio-scsi", "lsi" (LSI Logic SAS), "ahci", "nvme", "virtio" or "usb" (a stick)
	Boot       bool   // in the boot order, after the CD-ROM
	Snapshot   bool   // what is written is lost at the end
}

// NIC is one network card.
type NIC struct {
	MAC    string
	Model  string // "vmxnet3" (default), "e1000" or "virtio-net-pci"
	Socket string // unix stream socket that takes length-prefixed Ethernet frames (QEMU's -netdev stream); empty: DHCP and nothing else
}

// withDefaults fills the empty fields and refuses what QEMU would only complain about later.
func (c Config) withDefaults() (Config, error) {
	c.MemoryMiB = cmp.Or(c.MemoryMiB, 1024)
	c.CPUs = cmp.Or(c.CPUs, 1)
	c.Firmware = cmp.Or(c.Firmware, BIOS)
	c.Machine = cmp.Or(c.Machine, "q35")
	c.Disks = slices.Clone(c.Disks)
	for i := range c.Disks {
		d := &c.Disks[i]
		d.Controller = cmp.Or(d.Controller, "pvscsi")
		if !slices.Contains([]string{"pvscsi", "virtio-scsi", "lsi", "ahci", "nvme", "virtio", "usb"}, d.Controller) {
			return c, fmt.Errorf("disk %s: unknown controller %q: use pvscsi, virtio-scsi, lsi, ahci, nvme, virtio or usb", d.Path, d.Controller)
		}
	}
	c.NICs = slices.Clone(c.NICs)
	for i := range c.NICs {
		c.NICs[i].Model = cmp.Or(c.NICs[i].Model, "vmxnet3")
	}
	if c.Firmware != BIOS && c.Firmware != EFI {
		return c, fmt.Errorf("unknown firmware %q: use %s or %s", c.Firmware, BIOS, EFI)
	}
	if c.SecureBoot && (c.Firmware != EFI || c.Machine != "q35") {
		return c, fmt.Errorf("secure boot with firmware %q on machine %q: use %s and q35", c.Firmware, c.Machine, EFI)
	}
	if _, err := exec.LookPath(Binary); err != nil {
		return c, fmt.Errorf("%w: install it with: apt-get install %s ovmf", err, Package)
	}
	return c, nil
}
