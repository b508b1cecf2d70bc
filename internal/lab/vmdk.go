package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/vmdk"
)

// ddbUUID is the key in a descriptor's disk database under which the disk's UUID travels with the file.
const ddbUUID = "uuid"

// readDisk parses a descriptor file.
func readDisk(path string) (*vmdk.Descriptor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return vmdk.ParseDescriptor(bytes.NewReader(b))
}

func writeDisk(path string, d *vmdk.Descriptor) error {
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// settleDisk brings a disk's two files into order after the simulator touched them: the descriptor has a UUID (a new
// one when fresh), names its extent, and knows at least bytes; the extent has that size. Nothing ever shrinks, and no
// byte of the extent is written.
func settleDisk(path string, bytes int64, fresh bool) error {
	d, err := readDisk(path)
	if err != nil {
		return fmt.Errorf("read descriptor: %w", err)
	}
	if len(d.Extent) != 1 {
		return fmt.Errorf("descriptor %s has %d extents", filepath.Base(path), len(d.Extent))
	}
	bytes = max(bytes, d.Capacity())
	d.Extent[0].Size = bytes / vmdk.SectorSize
	d.Extent[0].Info = filepath.Base(flat(path))
	if fresh || d.DDB[ddbUUID] == "" {
		d.DDB[ddbUUID] = spaced(uuid.New())
	}
	if err := writeDisk(path, d); err != nil {
		return fmt.Errorf("write descriptor: %w", err)
	}
	f, err := os.OpenFile(flat(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < bytes {
		return f.Truncate(bytes)
	}
	return nil
}

// spaced writes a UUID as a disk database and QueryVirtualDiskUuid do: "60 00 c2 9d 0b 1a 7e 2f-8a 4c …".
// The first three bytes are VMware's for disks, as on a vCenter.
func spaced(u uuid.UUID) string {
	u[0], u[1], u[2] = 0x60, 0x00, 0xc2
	return strings.TrimSpace(fmt.Sprintf("% x", u[:8])) + "-" + fmt.Sprintf("% x", u[8:])
}

// dashed turns a disk database's UUID into the form of a device backing: "6000C29d-0b1a-7e2f-8a4c-…". Empty when it is none.
func dashed(s string) string {
	u, err := uuid.Parse(strings.NewReplacer(" ", "", "-", "").Replace(s))
	if err != nil {
		return ""
	}
	id := u.String()
	return strings.ToUpper(id[:6]) + id[6:]
}

// serial is the SCSI serial number of a disk with that UUID.
func serial(id string) string { return strings.ToLower(strings.ReplaceAll(id, "-", "")) }
