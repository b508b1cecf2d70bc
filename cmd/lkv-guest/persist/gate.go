package persist

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"github.com/lkv-io/lkv/internal/report"
)

// Gate proves that a path is a mount point on a block device, made by whomever, and reports the disk.
type Gate struct {
	Mount   string
	Label   string // empty: any
	Sys     string // "/sys"
	Dev     string // "/dev"
	Reports string // report.DisksDir
}

// Check returns what is mounted, with Error set when err is.
func (g Gate) Check(mounts []mountinfo.Mount) (report.Disk, error) {
	d := report.Disk{Mount: g.Mount, Label: g.Label}
	err := g.check(mounts, &d)
	if err != nil {
		d.Error = err.Error()
	}
	d.Mounted = err == nil
	var before report.Disk
	if readReport(g.Reports, g.Mount, &before) == nil && before.UUID == d.UUID {
		d.Formatted = before.Formatted // by a persist step of this boot
	}
	if werr := writeReport(g.Reports, d); werr != nil && err == nil {
		err = werr
	}
	return d, err
}

func (g Gate) check(mounts []mountinfo.Mount, d *report.Disk) error {
	m, ok := mountinfo.At(mounts, g.Mount)
	if !ok {
		return fmt.Errorf("%s is not a mount point: the data disk is missing", g.Mount)
	}
	d.Filesystem = m.Type
	if m.Major == 0 {
		return fmt.Errorf("%s is %s, which is not on a disk: the data disk is missing", g.Mount, m.Type)
	}
	disks := Disks(g.Sys, g.Dev, nil)
	i := slices.IndexFunc(disks, func(x Disk) bool { return x.Dev == device(m) })
	if i < 0 {
		// A mapped device (encryption, LVM): it is a block device, but only its own name is known.
		d.Device = m.Source
		if g.Label != "" {
			return fmt.Errorf("%s is on %s, whose label cannot be read; it should be %q", g.Mount, m.Source, g.Label)
		}
		return nil
	}
	d.Device, d.Serial, d.Size = disks[i].Node, disks[i].Serial(), disks[i].Size
	dev, err := os.Open(filepath.Clean(disks[i].Node))
	if err != nil {
		return fmt.Errorf("open %s: %w", disks[i].Node, err)
	}
	defer func() { _ = dev.Close() }()
	s, known, err := ReadSuper(dev)
	if err != nil {
		return fmt.Errorf("%s: %w", disks[i].Node, err)
	}
	if known {
		d.Label, d.UUID, d.Size = s.Label, s.UUID, s.Size
	}
	if g.Label != "" && s.Label != g.Label {
		return fmt.Errorf("%s is on %s, which carries the label %q instead of %q", g.Mount, d.Device, s.Label, g.Label)
	}
	return nil
}
