package lab

import "context"

// Driver starts the machines behind the lab's VMs: Paper or QEMU.
type Driver interface {
	// Boot starts a machine and returns at once: it must not wait for the guest. It calls publish whenever what the
	// guest says about itself changes; calls after the machine is done are ignored.
	Boot(ctx context.Context, b Boot, publish func(Guest)) (Machine, error)
}

// Machine is one power-on of a VM.
type Machine interface {
	// Shutdown presses the power button and returns at once.
	Shutdown(ctx context.Context) error
	// Reset restarts the guest without notice.
	Reset(ctx context.Context) error
	// Kill cuts the power and returns when the machine is gone.
	Kill()
	// Done is closed when the machine is off, whoever did it.
	Done() <-chan struct{}
	// Serial is the path of the serial console's log.
	Serial() string
}

// Boot is what a VM's configuration says at power on. Paths are files of this machine.
type Boot struct {
	VM         string // inventory name
	Dir        string // a directory of this VM alone; kept from boot to boot
	Count      int    // power-ons of this VM in this lab, from 1
	MemoryMiB  int
	CPUs       int
	Firmware   string // "bios" or "efi"
	SecureBoot bool
	DB         [][]byte // certificates (DER) that firmware trusts beside Microsoft's; the same at every boot
	ISO        string   // empty: no CD-ROM connected
	Disks      []BootDisk
	NICs       []BootNIC
	Guestinfo  map[string]string // extraConfig keys that begin with "guestinfo."
}

// BootDisk is one disk: a flat file of Bytes bytes.
type BootDisk struct {
	Path       string
	Serial     string // disk UUID, lower case, without dashes
	Controller string // "pvscsi", "lsi", "ahci" or "nvme"
	Bytes      int64
}

// BootNIC is one network card.
type BootNIC struct {
	MAC     string
	Model   string // "vmxnet3" or "e1000"
	Network string
	IP      string // address the network's DHCP server gives it

	// Plug starts the network's switch and returns the unix socket that takes the card's frames, each behind its
	// length in four bytes, big endian (QEMU's -netdev stream).
	Plug func() (socket string, err error)
}

// Guest is what a running guest says about itself.
type Guest struct {
	Tools    bool // guest tools (or the QEMU guest agent) answer
	IP       string
	Hostname string
	Report   []byte // report.Report as JSON; nil: the guest has none
}
