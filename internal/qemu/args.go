package qemu

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lkv-io/lkv/internal/report"
)

// Binary is the QEMU program; Package is the Debian package that has it.
const (
	Binary  = "qemu-system-x86_64"
	Package = "qemu-system-x86"
)

// firmware is one OVMF build: code is read-only, vars is the template of a machine's own variables.
type firmware struct{ code, vars string }

var ovmf = map[bool]firmware{ // by SecureBoot
	false: {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	true:  {"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
}

// args builds QEMU's command line. Files that it names in c.Dir are written by prepare; sockets lie in sock.
func args(c Config, sock string, kvm bool) []string {
	a := []string{"-name", "lkv-" + c.Name, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std", "-rtc", "base=utc",
		"-m", strconv.Itoa(c.MemoryMiB), "-smp", strconv.Itoa(c.CPUs)}
	a = append(a, machineArgs(c, kvm)...)
	a = append(a, "-chardev", "socket,id=qmp,server=on,wait=off,path="+escape(filepath.Join(sock, "qmp")), "-mon", "chardev=qmp,mode=control")
	a = append(a, serialArgs(c)...)
	a = append(a, "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,server=on,wait=off,path="+escape(filepath.Join(sock, "agent")),
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
	a = append(a, kernelArgs(c)...)
	a = append(a, cdArgs(c)...)
	a = append(a, diskArgs(c)...)
	a = append(a, nicArgs(c)...)
	for i, k := range guestinfoKeys(c) {
		a = append(a, "-fw_cfg", "name="+report.FwCfgPrefix+k+",file="+escape(guestinfoFile(c, i)))
	}
	return a
}

// machineArgs picks chipset, accelerator, CPU and firmware.
// Without KVM a plain CPU model is faster: TCG emulates every vector instruction that libraries would pick. And it has no
// cmpxchg16b: with it about one boot in twelve of a 6.12 kernel died of a double fault in kmalloc under QEMU 7.2's TCG,
// without it none of twenty.
func machineArgs(c Config, kvm bool) []string {
	m, cpu := c.Machine, "qemu64,-cx16"
	if c.SecureBoot {
		m += ",smm=on"
	}
	accel := "tcg,thread=multi"
	if kvm {
		accel, cpu = "kvm", "host"
	}
	a := []string{"-machine", m, "-accel", accel, "-cpu", cpu}
	if c.Firmware != EFI {
		return a
	}
	if c.SecureBoot {
		a = append(a, "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	return append(a, "-drive", "if=pflash,format=raw,readonly=on,file="+ovmf[c.SecureBoot].code,
		"-drive", "if=pflash,format=raw,file="+escape(nvram(c)))
}

func serialArgs(c Config) []string {
	log := escape(serialPath(c))
	if c.Stdin != nil || c.Stdout != nil {
		return []string{"-chardev", "stdio,id=serial,signal=off,logappend=on,logfile=" + log, "-serial", "chardev:serial"}
	}
	return []string{"-chardev", "file,id=serial,append=on,path=" + log, "-serial", "chardev:serial"}
}

func kernelArgs(c Config) []string {
	if c.Kernel == "" {
		return nil
	}
	a := []string{"-kernel", c.Kernel, "-append", c.Cmdline}
	if c.Initrd != "" {
		a = append(a, "-initrd", c.Initrd)
	}
	return a
}

// cdArgs puts the ISO on an AHCI port (q35) or an IDE channel (pc), first in the boot order as vSphere does for lkv's VMs.
func cdArgs(c Config) []string {
	if c.ISO == "" {
		return nil
	}
	bus := "ide.0"
	if c.Machine == "pc" {
		bus = "ide.1"
	}
	return []string{"-drive", "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file=" + escape(c.ISO), "-device", "ide-cd,drive=cd0,bootindex=0,bus=" + bus}
}

// diskArgs attaches every disk to its controller; controllers are made once each, in the order they are first needed.
func diskArgs(c Config) []string {
	var a []string
	made := map[string]bool{}
	for i, d := range c.Disks {
		id := fmt.Sprintf("disk%d", i)
		drive := "if=none,id=" + id + ",format=raw,cache=writeback,discard=unmap"
		if d.Snapshot {
			drive += ",snapshot=on"
		}
		a = append(a, "-drive", drive+",file="+escape(d.Path))
		ctl := d.Controller
		if dev, ok := controllers[ctl]; ok && !made[ctl] {
			a = append(a, "-device", dev+",id="+ctl)
			made[ctl] = true
		}
		dev := diskDevice(d, id, i)
		if d.Boot {
			dev += ",bootindex=1"
		}
		a = append(a, "-device", dev)
	}
	return a
}

// controllers maps our controller names to the QEMU device of those that must be added.
var controllers = map[string]string{"pvscsi": "pvscsi", "virtio-scsi": "virtio-scsi-pci", "lsi": "mptsas1068", "usb": "qemu-xhci"}

func diskDevice(d Disk, id string, n int) string {
	serial := ""
	if d.Serial != "" {
		serial = ",serial=" + d.Serial
	}
	switch d.Controller {
	case "nvme":
		if serial == "" {
			serial = fmt.Sprintf(",serial=nvme%d", n) // QEMU's nvme insists on one
		}
		return "nvme,drive=" + id + serial
	case "ahci":
		return fmt.Sprintf("ide-hd,drive=%s,bus=ide.%d%s", id, n+1, serial)
	case "virtio":
		return "virtio-blk-pci,drive=" + id + serial
	case "usb":
		return "usb-storage,bus=usb.0,removable=on,drive=" + id + serial
	default:
		return fmt.Sprintf("scsi-hd,drive=%s,bus=%s.0,device_id=%s%s", id, d.Controller, id, serial)
	}
}

func nicArgs(c Config) []string {
	if len(c.NICs) == 0 {
		return []string{"-nic", "none"}
	}
	var a []string
	for i, n := range c.NICs {
		backend := fmt.Sprintf("stream,id=net%d,server=off,addr.type=unix,addr.path=%s", i, escape(n.Socket))
		if n.Socket == "" {
			backend = fmt.Sprintf("user,id=net%d,restrict=on", i)
		}
		a = append(a, "-netdev", backend)
		dev := fmt.Sprintf("%s,netdev=net%d", n.Model, i)
		if n.MAC != "" {
			dev += ",mac=" + n.MAC
		}
		a = append(a, "-device", dev)
	}
	return a
}

// escape doubles commas, which QEMU's option parser would take as separators.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func nvram(c Config) string      { return filepath.Join(c.Dir, "nvram.fd") }
func serialPath(c Config) string { return filepath.Join(c.Dir, "serial.log") }

func guestinfoFile(c Config, i int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("guestinfo-%d", i))
}

func guestinfoKeys(c Config) []string {
	keys := make([]string, 0, len(c.Guestinfo))
	for k := range c.Guestinfo {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// prepare checks that everything the machine needs is there and writes the files QEMU reads:
// guestinfo variables (files, so that values never show up in the process list) and the firmware's variables, which
// are kept when they exist already.
func prepare(c Config) error {
	for i, k := range guestinfoKeys(c) {
		if err := os.WriteFile(guestinfoFile(c, i), []byte(c.Guestinfo[k]), 0o600); err != nil {
			return fmt.Errorf("write guestinfo %s: %w", k, err)
		}
	}
	if c.Firmware != EFI {
		return nil
	}
	if _, err := os.Stat(nvram(c)); err == nil {
		return nil
	}
	vars, err := os.ReadFile(cmp.Or(c.Vars, ovmf[c.SecureBoot].vars))
	if err != nil {
		return fmt.Errorf("read UEFI firmware: %w: install it with: apt-get install ovmf", err)
	}
	if err := os.WriteFile(nvram(c), vars, 0o600); err != nil {
		return fmt.Errorf("write firmware variables: %w", err)
	}
	return nil
}
