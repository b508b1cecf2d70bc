package persist

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/report"
)

const mib = 1 << 20

// TestRefusals: each of these disks must be refused with a sentence that says why, and no bit may change.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		fill func(l *lab, disk string)
		says string
	}{
		"foreign ext4":      {80 * mib, func(l *lab, d string) { l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "other", d) }, `ext4 labelled "other"`},
		"unlabelled ext4":   {80 * mib, func(l *lab, d string) { l.tool("mke2fs", "-q", "-F", "-t", "ext4", d) }, "holds ext4"},
		"label, but ext2":   {80 * mib, func(l *lab, d string) { l.tool("mke2fs", "-q", "-F", "-t", "ext2", "-L", "docker", d) }, "is ext2, not ext4"},
		"swap":              {80 * mib, func(l *lab, d string) { l.tool("mkswap", "-q", d) }, "swap"},
		"xfs with label":    {80 * mib, func(l *lab, d string) { l.put(d, 0, xfsSuper("docker", 16384)) }, "is xfs, not ext4"},
		"foreign xfs":       {80 * mib, func(l *lab, d string) { l.put(d, 0, xfsSuper("other", 16384)) }, `xfs labelled "other"`},
		"MBR":               {80 * mib, func(l *lab, d string) { l.put(d, 0, mbr(0x83, 2048, 100000)) }, "partition table"},
		"empty MBR":         {80 * mib, func(l *lab, d string) { l.put(d, 510, []byte{0x55, 0xaa}) }, "holds"},
		"GPT":               {80 * mib, func(l *lab, d string) { gpt(l, d, 80*mib, true) }, "gpt partition table"},
		"GPT, only backup":  {80 * mib, func(l *lab, d string) { gpt(l, d, 80*mib, false) }, "holds"},
		"LVM":               {80 * mib, func(l *lab, d string) { l.put(d, 512, lvm()) }, "LVM2_member"},
		"LUKS":              {80 * mib, func(l *lab, d string) { l.put(d, 0, []byte("LUKS\xba\xbe\x00\x01")) }, "holds"},
		"stray byte at end": {80 * mib, func(l *lab, d string) { l.put(d, 80*mib-3, []byte{1}) }, "unknown data (first seen at byte 83886077)"},
		"stray first byte":  {80 * mib, func(l *lab, d string) { l.put(d, 0, []byte{1}) }, "unknown data (first seen at byte 0)"},
		"only an ext4 backup superblock": {200 * mib, func(l *lab, d string) { l.put(d, 128*mib+0x38, []byte{0x53, 0xef}) },
			"unknown data (first seen at byte 134217784)"},
		"too small":      {63 * mib, func(*lab, string) {}, "too small"},
		"much too small": {512, func(*lab, string) {}, "too small"},
		"nothing at all": {0, func(*lab, string) {}, "none is blank"},
		"truncated ext4": {80 * mib, func(l *lab, d string) {
			l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", d)
			l.attr("sda", "size", "100000")
		}, "shrunk or is damaged"},
		"note of another disk": {80 * mib, func(l *lab, d string) {
			putNote(l, d, Note{Serial: serialB, Size: 80 * mib, Label: "docker", Filesystem: "ext4"})
		}, "unknown data"},
		"note of another size": {80 * mib, func(l *lab, d string) {
			putNoteAt(l, d, 80*mib, Note{Serial: serialA, Size: 70 * mib, Label: "docker", Filesystem: "ext4"})
		}, "unknown data"},
		"note for other label": {80 * mib, func(l *lab, d string) {
			putNote(l, d, Note{Serial: serialA, Size: 80 * mib, Label: "x", Filesystem: "ext4"})
		}, `being formatted for label "x"`},
		"note, then somebody's ext4": {80 * mib, func(l *lab, d string) {
			putNote(l, d, Note{Serial: serialA, Size: 80 * mib, Label: "docker", UUID: "not that", Filesystem: "ext4"})
			l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "other", d, "40000k")
		}, `ext4 labelled "other"`},
		"note, then somebody's bytes": {80 * mib, func(l *lab, d string) {
			putNote(l, d, Note{Serial: serialA, Size: 80 * mib, Label: "docker", UUID: "u", Filesystem: "ext4"})
			l.put(d, 100, []byte("somebody's boot sector"))
		}, "unknown data"},
		"mounted": {80 * mib, func(l *lab, d string) {
			l.must(os.WriteFile(filepath.Join(l.sys, "block/sda/holders/dm-0"), nil, 0o644))
		}, "in use by dm-0"},
		"read-only": {80 * mib, func(l *lab, d string) { l.attr("sda", "ro", "1") }, "read-only"},
		"removable": {80 * mib, func(l *lab, d string) { l.attr("sda", "removable", "1") }, "removable"},
		"label, but read-only": {80 * mib, func(l *lab, d string) {
			l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", d)
			l.attr("sda", "ro", "1")
		}, "is read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c.fill(l, l.disk("sda", serialA, c.size))
			refused(t, l, l.persist(), c.says)
		})
	}
}

// refused runs everything up to mounting and compares all disks byte for byte.
func refused(t *testing.T, l *lab, p Persist, says string) {
	t.Helper()
	before := l.sums()
	d, err := p.Ensure(t.Context())
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want one that says %q", err, says)
	}
	if d.Mounted || d.Formatted {
		t.Errorf("mounted %t, formatted %t", d.Mounted, d.Formatted)
	}
	if diff := cmp.Diff(before, l.sums()); diff != "" {
		t.Errorf("a refused disk was changed: %s", diff)
	}
	var left report.Disk
	data, rerr := os.ReadFile(filepath.Join(p.Reports, "nonexistent-lkv-test.json"))
	if rerr == nil {
		rerr = json.Unmarshal(data, &left)
	}
	if rerr != nil || left.Error == "" || left.Mounted {
		t.Errorf("report %+v, %v", left, rerr)
	}
}

func TestTwoDisksAreRefused(t *testing.T) {
	label := func(l *lab, d string) { l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", d) }
	blank := func(*lab, string) {}
	note := func(serial string) func(*lab, string) {
		return func(l *lab, d string) {
			putNote(l, d, Note{Serial: serial, Size: 80 * mib, Label: "docker", Filesystem: "ext4"})
		}
	}
	for name, c := range map[string]struct {
		a, b func(*lab, string)
		says string
	}{
		"both blank":             {blank, blank, "more than one is blank"},
		"both labelled":          {label, label, "more than one disk carries the label"},
		"both half formatted":    {note(serialA), note(serialB), "more than one disk was being formatted"},
		"labelled and half":      {label, note(serialB), "detach one"},
		"blank beside a strange": {blank, func(l *lab, d string) { l.must(os.Remove(d)) }, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c.a(l, l.disk("sda", serialA, 80*mib))
			c.b(l, l.disk("sdb", serialB, 80*mib))
			refused(t, l, l.persist(), c.says)
		})
	}
}

// TestDiskUUID: a disk named by its UUID is the only one that counts, in whatever way the UUID is written.
func TestDiskUUID(t *testing.T) {
	l := newLab(t)
	l.disk("sda", serialA, 80*mib)
	l.disk("sdb", serialB, 80*mib)
	p := l.persist()
	p.DiskUUID = Normalize("6000C29b-bbbb-bbbb-bbbb-bbbbbbbbbbbb")
	if c, err := p.find(t.Context()); err != nil || c.Verb != Format || c.Disk.Name != "sdb" {
		t.Errorf("%+v, %v", c, err)
	}
	p.DiskUUID = "ffff"
	refused(t, l, p, "no disk has the UUID ffff")
	l.disk("sdc", serialB, 80*mib)
	p.DiskUUID = serialB
	refused(t, l, p, "more than one disk")
}

// TestUse finds the label whatever else is there, and also on a partition.
func TestUse(t *testing.T) {
	l := newLab(t)
	l.disk("sda", serialA, 80*mib)
	l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", l.disk("sdb", serialB, 80*mib))
	before := l.sums()
	c, err := l.persist().find(t.Context())
	if err != nil || c.Verb != Use || c.Disk.Node != filepath.Join(l.dev, "sdb") || c.Disk.Serial() != serialB {
		t.Errorf("%+v, %v", c, err)
	}
	l.must(os.Rename(filepath.Join(l.dev, "sdb"), filepath.Join(l.dev, "sdb1")))
	l.put(l.disk("sdb", serialB, 90*mib), 0, mbr(0x83, 2048, 163840))
	part := filepath.Join(l.sys, "block/sdb/sdb1")
	l.must(os.MkdirAll(part, 0o755))
	for name, value := range map[string]string{"partition": "1", "size": "163840", "dev": "8:17", "ro": "0"} {
		l.must(os.WriteFile(filepath.Join(part, name), []byte(value+"\n"), 0o644))
	}
	c, err = l.persist().find(t.Context())
	if err != nil || c.Verb != Use || c.Disk.Name != "sdb1" || c.Disk.Serial() != serialB || c.Disk.Parent != "sdb" {
		t.Errorf("%+v, %v", c, err)
	}
	if d := cmp.Diff(before["sda"], l.sums()["sda"]); d != "" {
		t.Error("the blank disk beside it was changed")
	}
}

func putNote(l *lab, d string, n Note) { putNoteAt(l, d, n.Size, n) }

func putNoteAt(l *lab, d string, size int64, n Note) {
	block, err := n.encode()
	l.must(err)
	l.put(d, notePlace(size), block)
}

// xfsSuper is the beginning of a superblock: 4 KiB blocks, one group.
func xfsSuper(label string, blocks uint64) []byte {
	b := make([]byte, 512)
	copy(b, "XFSB")
	be := binary.BigEndian
	be.PutUint32(b[4:], 4096)
	be.PutUint64(b[8:], blocks)
	copy(b[32:], "0123456789abcdef")
	be.PutUint32(b[84:], uint32(blocks))
	be.PutUint32(b[88:], 1)
	be.PutUint32(b[96:], 1368)
	be.PutUint16(b[100:], 0xb4a5)
	be.PutUint16(b[102:], 512)
	be.PutUint16(b[104:], 512)
	be.PutUint16(b[106:], 8)
	copy(b[108:], label)
	copy(b[120:], []byte{12, 9, 9, 3, 14, 0, 0, 25})
	return b
}

func mbr(kind byte, first, sectors uint32) []byte {
	b := make([]byte, 512)
	b[446+4] = kind
	binary.LittleEndian.PutUint32(b[446+8:], first)
	binary.LittleEndian.PutUint32(b[446+12:], sectors)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// gpt writes the backup table, and the primary one with its protective MBR if asked.
func gpt(l *lab, disk string, size int64, primary bool) {
	last := uint64(size/512 - 1)
	entries := make([]byte, 128*128)
	copy(entries, "0FC63DAF-8483-47") // any type but zero
	header := func(self, other, table uint64) []byte {
		var b bytes.Buffer
		b.WriteString("EFI PART")
		for _, v := range []any{uint32(0x10000), uint32(92), uint32(0), uint32(0), self, other, uint64(34), last - 33, [16]byte{1}, table, uint32(128), uint32(128), crc32.ChecksumIEEE(entries)} {
			l.must(binary.Write(&b, binary.LittleEndian, v))
		}
		h := b.Bytes()
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		return h
	}
	l.put(disk, int64(last-32)*512, entries)
	l.put(disk, int64(last)*512, header(last, 1, last-32))
	if primary {
		l.put(disk, 0, mbr(0xee, 1, uint32(last)))
		l.put(disk, 512, header(1, last, 2))
		l.put(disk, 1024, entries)
	}
}

// lvm is a physical volume's label, with the checksum LVM uses: CRC-32 with another start and no final inversion.
func lvm() []byte {
	b := make([]byte, 512)
	copy(b, "LABELONE")
	le := binary.LittleEndian
	le.PutUint64(b[8:], 1)
	le.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001")
	copy(b[32:], "abcdefghijklmnopqrstuvwxyz012345")
	le.PutUint32(b[16:], ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b[20:]))
	return b
}
