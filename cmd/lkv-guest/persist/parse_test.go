package persist

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestReadExt compares with what mke2fs and blkid say.
func TestReadExt(t *testing.T) {
	l := newLab(t)
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		disk := l.disk("sda", serialA, 80*mib)
		const id = "deadbeef-0000-4000-8000-0123456789ab"
		l.tool("mke2fs", "-q", "-F", "-t", kind, "-L", "sixteen-bytes-ok", "-U", id, "-b", "1024", disk, "40000")
		got, ok, err := ReadSuper(readerOf(t, disk, 0))
		want := Super{Type: kind, Label: "sixteen-bytes-ok", UUID: id, Size: 40000 * 1024, Block: 1024, Fresh: true}
		if d := cmp.Diff(want, got); err != nil || !ok || d != "" {
			t.Errorf("%s: %t %v %s", kind, ok, err, d)
		}
	}
}

// TestReadXFS reads the first bytes of a file system of 1200 MiB that mkfs.xfs 6.13 made and a kernel grew.
func TestReadXFS(t *testing.T) {
	head, err := hex.DecodeString("584653420000100000000000" + "0004af00" + strings.Repeat("00", 16) +
		"693a7137" + "01194dddafb4ad2650c986bc" + "0000000000020007" + "0000000000000080" + "0000000000000081" + "0000000000000082" +
		"00000001000095c0" + "0000000900000000" + "00004000b4b50200" + "02000008646f636b" + "6572000000000000" + "0c0909031000" + "0019")
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := ReadSuper(bytes.NewReader(append(head, make([]byte, superEnd)...)))
	want := Super{Type: "xfs", Label: "docker", UUID: "693a7137-0119-4ddd-afb4-ad2650c986bc", Size: 0x4af00 * 4096, Block: 4096}
	if d := cmp.Diff(want, got); err != nil || !ok || d != "" {
		t.Errorf("%t %v %s", ok, err, d)
	}
}

func FuzzReadSuper(f *testing.F) {
	f.Add(xfsSuper("docker", 1<<60))
	ext := make([]byte, superEnd)
	ext[1024+0x38], ext[1024+0x39], ext[1024+0x60] = 0x53, 0xef, 0xff
	f.Add(ext)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok, err := ReadSuper(bytes.NewReader(data))
		if err == nil && ok && (s.Size < 0 || s.Block <= 0 || len(s.UUID) != 36 || strings.Contains(s.Label, "\x00")) {
			t.Errorf("%+v", s)
		}
	})
}

func note(t *rapid.T) Note {
	s := rapid.StringMatching(`[a-z0-9 "\\-]{0,40}`)
	return Note{Serial: s.Draw(t, "serial"), Size: rapid.Int64Range(0, 1<<50).Draw(t, "size"), Label: s.Draw(t, "label"), UUID: s.Draw(t, "uuid"), Filesystem: "ext4"}
}

// TestNoteRoundTrip: a note reads back as it was; with any bit changed, or the rest of another block, it is none.
func TestNoteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := note(t)
		block, err := want.encode()
		if err != nil || len(block) != sample {
			t.Fatal(len(block), err)
		}
		got, ok := parseNote(block)
		if d := cmp.Diff(want, got); !ok || d != "" {
			t.Fatal(ok, d)
		}
		used := len(bytes.TrimRight(block, "\x00"))
		i := rapid.IntRange(0, used-1).Draw(t, "byte")
		block[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, ok := parseNote(block); ok {
			t.Fatalf("byte %d changed, still read as %+v", i, got)
		}
	})
}

func TestNoteTooLong(t *testing.T) {
	if _, err := (Note{Label: strings.Repeat("x", sample)}).encode(); err == nil {
		t.Error("a note longer than its block was written")
	}
}

func FuzzParseNote(f *testing.F) {
	block, err := Note{Serial: serialA}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(block)
	f.Add(append(append([]byte{}, noteMagic...), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(_ *testing.T, data []byte) { parseNote(data) })
}

// TestNotBlank: one byte anywhere in what must be zero is found at its place.
func TestNotBlank(t *testing.T) {
	const size = 40 * mib
	image := make([]byte, size)
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.OneOf(rapid.Int64Range(0, edge-1), rapid.Int64Range(size-edge, size-1)).Draw(t, "at")
		image[at] = byte(rapid.IntRange(1, 255).Draw(t, "value"))
		defer func() { image[at] = 0 }()
		if got, err := NotBlank(bytes.NewReader(image), size, -1); err != nil || got != at {
			t.Fatalf("%d, %v; want %d", got, err, at)
		}
		place := notePlace(size)
		got, err := NotBlank(bytes.NewReader(image), size, place)
		if hidden := at >= place && at < place+sample; err != nil || (got < 0) != hidden {
			t.Fatalf("with the note left out: %d, %v", got, err)
		}
	})
	if got, err := NotBlank(bytes.NewReader(image), size, -1); err != nil || got != -1 {
		t.Errorf("all zero: %d, %v", got, err)
	}
}

// TestNotBlankShort: what could not be read is not zero.
func TestNotBlankShort(t *testing.T) {
	for _, size := range []int64{1 << 20, 80 * mib} {
		if at, err := NotBlank(bytes.NewReader(make([]byte, 512)), size, -1); err == nil {
			t.Errorf("a device of 512 bytes that should have %d: %d, want an error", size, at)
		}
	}
}

func TestNotBlankSamplesTheMiddle(t *testing.T) {
	const size = 40 * mib
	image := make([]byte, size)
	copy(image[20*mib:], bytes.Repeat([]byte{7}, mib))
	if got, err := NotBlank(bytes.NewReader(image), size, -1); err != nil || got < 20*mib || got >= 21*mib {
		t.Errorf("%d, %v: a MiB of data in the middle was not seen", got, err)
	}
}

func TestSerials(t *testing.T) {
	dir := t.TempDir()
	naa := []byte{0x01, 0x03, 0, 16, 0x60, 0x00, 0xc2, 0x9a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	t10 := []byte{0x02, 0x01, 0, 4, 'V', 'M', 'w', 'a'}
	page83 := append([]byte{0, 0x83, 0, byte(len(naa) + len(t10))}, append(t10, naa...)...)
	for name, data := range map[string][]byte{
		"device/vpd_pg80": append([]byte{0, 0x80, 0, 12}, " 6000C29A-ff "...), "device/vpd_pg83": page83,
		"wwid": []byte("naa.6000c29a0102030405060708090a0b0c\n"), "serial": []byte("S1\n"),
	} {
		if err := os.MkdirAll(filepath.Join(dir, "device"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"6000c29aff", "s1", "6000c29a0102030405060708090a0b0c"}, serials(dir)); d != "" {
		t.Error(d)
	}
}

func FuzzVPD(f *testing.F) {
	f.Add([]byte{0, 0x83, 0, 8, 1, 3, 0, 4, 1, 2, 3, 4})
	f.Add([]byte{0, 0x80, 0xff, 0xff, 'x'})
	f.Fuzz(func(_ *testing.T, page []byte) {
		vpdSerial(page)
		vpdIdentifiers(page)
	})
}

func TestDescribe(t *testing.T) {
	for out, want := range map[string]string{
		"DEVNAME=/dev/sda\nLABEL=a\\ b\nTYPE=ext4\nUSAGE=filesystem\n": `ext4 labelled "a b"`,
		"PTTYPE=gpt\n": "gpt partition table",
		"DEVNAME=/dev/sda1\nPART_ENTRY_TYPE=0x83\nMINIMUM_IO_SIZE=512\n": "",
		"USAGE=other\n": "unknown signature (USAGE)",
		"":              "",
	} {
		if got := describe(parseExport(out)); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		mount, label, disk, filesystem string
		ok                             bool
	}{
		{"/var/lib/docker", "docker", "", "ext4", true}, {"/data", "", "6000", "xfs", true},
		{"/", "d", "", "ext4", false}, {"data", "d", "", "ext4", false}, {"/a/../b", "d", "", "ext4", false},
		{"/d", "", "", "ext4", false}, {"/d", "d", "", "btrfs", false}, {"/d", "thirteen-char", "", "xfs", false},
		{"/d", "thirteen-char", "", "ext4", true}, {"/d", "seventeen-letters", "", "ext4", false},
	} {
		p := Persist{Want: Want{Label: c.label, DiskUUID: c.disk, Filesystem: c.filesystem}, Mount: c.mount}
		if err := p.Validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestNewUUID(t *testing.T) {
	a, err := newUUID()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newUUID()
	if err != nil || a == b || a[14] != '4' || !strings.Contains("89ab", fmt.Sprintf("%c", a[19])) {
		t.Errorf("%s, %s, %v", a, b, err)
	}
}
