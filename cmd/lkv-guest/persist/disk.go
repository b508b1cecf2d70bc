// Package persist finds, checks, formats, grows and mounts one data disk.
//
// A disk is found by the label of its file system or by its own UUID, never by its place. It is written to only
// after the decision; until then it is open for reading alone. Every doubt is a refusal: the caller exits non-zero
// and the machine starts no service.
//
// The file system takes the whole disk, without a partition table: growing is then the file system's own, crash-safe
// business, and there is no table to lose. A labelled file system on a partition (stock LinuxKit makes such) is
// mounted too and grows up to its partition; the partition itself is not changed.
package persist

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Disk is a block device as sysfs shows it.
type Disk struct {
	Name    string   // "sda", "sda1"
	Node    string   // "/dev/sda"
	Parent  string   // name of the whole disk when it is a partition, else empty
	Dev     string   // "8:0"
	Size    int64    // bytes
	Serials []string // normalized, the most telling first; a partition has its disk's
	Busy    string   // why it must not be formatted or mounted; empty when nothing is known against it
}

// Serial is the one to report: what the host calls the disk.
func (d Disk) Serial() string {
	if len(d.Serials) == 0 {
		return ""
	}
	return d.Serials[0]
}

// wholeName are the kinds of disks that may carry data: SCSI and ATA, virtio, Xen, NVMe. Not CD-ROM (sr), floppy,
// loop, ram, zram, network and mapped devices.
var wholeName = regexp.MustCompile(`^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme[0-9]+n[0-9]+)$`)

// Disks lists disks and partitions by name, below sys ("/sys") with nodes below dev ("/dev"). mounted are the
// device numbers ("8:1") that are in use somewhere.
func Disks(sys, dev string, mounted map[string]bool) []Disk {
	names, _ := os.ReadDir(filepath.Join(sys, "block"))
	var out []Disk
	for _, n := range names {
		if !wholeName.MatchString(n.Name()) {
			continue
		}
		dir := filepath.Join(sys, "block", n.Name())
		d := readDisk(dir, dev, n.Name(), mounted)
		d.Serials = serials(dir)
		var parts []Disk
		subs, _ := filepath.Glob(filepath.Join(dir, n.Name()+"*", "partition"))
		for _, s := range subs {
			p := readDisk(filepath.Dir(s), dev, filepath.Base(filepath.Dir(s)), mounted)
			p.Parent, p.Serials = d.Name, d.Serials
			if p.Busy != "" && d.Busy == "" {
				d.Busy = "its partition " + p.Name + " is " + p.Busy
			}
			parts = append(parts, p)
		}
		out = append(append(out, d), parts...)
	}
	return out
}

func readDisk(dir, dev, name string, mounted map[string]bool) Disk {
	d := Disk{Name: name, Node: filepath.Join(dev, name), Dev: attr(dir, "dev")}
	sectors, err := strconv.ParseInt(attr(dir, "size"), 10, 54)
	if err == nil {
		d.Size = sectors * 512 // sysfs counts in 512 bytes whatever the disk's sectors are
	}
	holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
	switch {
	case mounted[d.Dev]:
		d.Busy = "mounted"
	case len(holders) > 0:
		d.Busy = "in use by " + holders[0].Name()
	case attr(dir, "ro") == "1":
		d.Busy = "read-only"
	}
	return d
}

func attr(dir, name string) string {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// removable tells whether the medium can be taken out: such a disk is never formatted.
func removable(sys, name string) bool {
	return attr(filepath.Join(sys, "block", name), "removable") == "1"
}

// Normalize makes serials and UUIDs comparable: lower case, without dashes and blanks.
func Normalize(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == '-' || r <= ' ' || r == 0x7f:
			return -1
		}
		return r
	}, s)
}

// serials are all names by which the host may know the disk. vSphere shows a disk's UUID as SCSI serial (page 0x80)
// and as NAA identifier (page 0x83) when disk.EnableUUID is set.
func serials(dir string) []string {
	var out []string
	add := func(s string) {
		if s = Normalize(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80")); err == nil {
		add(vpdSerial(page))
	}
	for _, name := range []string{"serial", "device/serial", "uuid", "nguid", "wwid", "device/wwid"} {
		_, value, cut := strings.Cut(attr(dir, name), ".")
		if !cut || !strings.HasSuffix(name, "wwid") {
			value = attr(dir, name)
		}
		add(value)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg83")); err == nil {
		for _, s := range vpdIdentifiers(page) {
			add(s)
		}
	}
	return out
}

// vpdSerial reads SCSI VPD page 0x80: header of four bytes with the length, then text.
func vpdSerial(page []byte) string {
	if len(page) < 4 || page[1] != 0x80 {
		return ""
	}
	n := int(page[2])<<8 | int(page[3])
	return strings.Trim(string(page[4:min(4+n, len(page))]), " \x00")
}

// vpdIdentifiers reads SCSI VPD page 0x83 and returns the logical unit's EUI-64 and NAA identifiers in hex.
func vpdIdentifiers(page []byte) []string {
	if len(page) < 4 || page[1] != 0x83 {
		return nil
	}
	rest := page[4:min(4+(int(page[2])<<8|int(page[3])), len(page))]
	var out []string
	for len(rest) >= 4 {
		kind, owner, n := rest[1]&0x0f, rest[1]>>4&3, int(rest[3])
		if len(rest) < 4+n {
			break
		}
		if owner == 0 && (kind == 2 || kind == 3) {
			out = append(out, hex.EncodeToString(rest[4:4+n]))
		}
		rest = rest[4+n:]
	}
	return out
}
