package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUniqueIdent(t *testing.T) {
	for _, c := range []struct {
		name, want string
		dir        bool
		taken      []string
	}{
		{name: "vmlinuz", want: "VMLINUZ.;1"},
		{name: "isolinux.bin", want: "ISOLINUX.BIN;1"},
		{name: "BOOT", want: "BOOT", dir: true},
		{name: "v1.2", want: "V1_2", dir: true},
		{name: "manifest.json", want: "MANIFEST.JSO;1"},
		{name: ".hidden", want: "_HIDDEN.;1"},
		{name: "a.b.c", want: "A_B.C;1"},
		{name: "größe.txt", want: "GR____E.TXT;1"},
		{name: "manifest.jsonl", want: "MANI0000.JSO;1", taken: []string{"MANIFEST.JSO;1"}},
		{name: "x", want: "X0001.;1", taken: []string{"X.;1", "X0000.;1"}},
		{name: "x", want: "X0000.;1", taken: []string{"X"}}, // a directory of that name
	} {
		taken := idents{}
		for _, id := range c.taken {
			taken[sortKey(id)]++
		}
		if got, err := taken.unique(c.name, c.dir); err != nil || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestIdentsRunOut(t *testing.T) {
	r := newRoot()
	for i := range 10_002 {
		r.children = append(r.children, &node{name: fmt.Sprintf("%05d-same.txt", 12345) + strings.Repeat("x", i%200) + fmt.Sprint(i), parent: r})
	}
	if err := r.nameChildren(); err == nil || !strings.Contains(err.Error(), "more than 10000 names alike") {
		t.Errorf("error %v", err)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("n", 255)
	for name, want := range map[string][]string{
		"a":        {"NM\x06\x01\x00a"},
		long[:250]: {"NM\xff\x01\x00" + long[:250]},
		long:       {"NM\xff\x01\x01" + long[:250], "NM\x0a\x01\x00" + long[250:]},
	} {
		var got []string
		for _, e := range names(name) {
			got = append(got, string(e))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d bytes (-want +got):\n%s", len(name), d)
		}
	}
}

// TestOverflowSectors: no continuation crosses a sector, and every CE entry points at what was put there.
func TestOverflowSectors(t *testing.T) {
	o := overflow{lba: 100}
	for i := range 50 {
		entry := bytes.Repeat([]byte{byte(i + 1)}, 200+i)
		ce := o.put([][]byte{entry[:100], entry[100:]})
		le := binary.LittleEndian
		lba, at, n := le.Uint32(ce[4:]), le.Uint32(ce[12:]), le.Uint32(ce[20:])
		from := (lba-100)*sector + at
		if at+n > sector || int(n) != len(entry) || !bytes.Equal(o.data[from:from+n], entry) {
			t.Fatalf("entry %d: sector %d, byte %d, %d bytes", i, lba, at, n)
		}
	}
}

func TestFATTime(t *testing.T) {
	for in, want := range map[string][2]uint16{
		"1970-01-01T00:00:00Z": {1<<5 | 1, 0},
		"1980-01-01T00:00:00Z": {1<<5 | 1, 0},
		"2024-02-29T13:37:59Z": {44<<9 | 2<<5 | 29, 13<<11 | 37<<5 | 29},
		"2107-12-31T23:59:58Z": {127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29},
	} {
		when, err := time.Parse(time.RFC3339, in)
		if err != nil {
			t.Fatal(err)
		}
		if date, clock := fatTime(when); [2]uint16{date, clock} != want {
			t.Errorf("%s: %x %x, want %x", in, date, clock, want)
		}
	}
}

func TestFATGeometry(t *testing.T) {
	for _, c := range []struct{ file, cluster, clusters int64 }{
		{1, 4 << 10, 4096},
		{65522 * 4 << 10, 4 << 10, 65524},
		{65522*4<<10 + 1, 8 << 10, 32764},
		{65522 * 32 << 10, 32 << 10, 65524},
	} {
		f, err := newFAT(ukiCluster, fatFile{UKIPath, c.file})
		if err != nil || f.cluster != c.cluster || (f.size()-fatData)/f.cluster != c.clusters {
			t.Errorf("file of %d bytes: %+v, %v", c.file, f, err)
		}
	}
	if _, err := newFAT(ukiCluster, fatFile{UKIPath, 65522*32<<10 + 1}); err == nil {
		t.Error("a file too large for FAT16 was accepted")
	}
	if fatData%initrdAlign != 0 {
		t.Errorf("clusters begin at %d, which is not aligned", fatData)
	}
}

// TestGPT checks both headers as firmware does: checksums, positions, and the partition's bounds.
func TestGPT(t *testing.T) {
	f, l := build(t, sample(), noise(7, 9000), 9000)
	le := binary.LittleEndian
	last := l.Size/block - 1
	for _, at := range []int64{1, last} {
		h := bytes.Clone(f.b[at*block : at*block+92])
		sum := le.Uint32(h[16:])
		clear(h[16:20])
		first := int64(le.Uint64(h[72:]))
		entries := f.b[first*block : (first+gptBlocks)*block]
		if string(h[:8]) != "EFI PART" || crc32.ChecksumIEEE(h) != sum || crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
			t.Errorf("header at block %d: checksums differ", at)
		}
		if self, other := int64(le.Uint64(h[24:])), int64(le.Uint64(h[32:])); self != at || other != 1+last-at {
			t.Errorf("header at block %d says it is at %d, the other at %d", at, self, other)
		}
		from, to := int64(le.Uint64(entries[32:])), int64(le.Uint64(entries[40:]))
		if from*block != l.EFI.Offset || (to+1)*block != l.EFI.Offset+l.EFI.Size || to > int64(le.Uint64(h[48:])) {
			t.Errorf("partition from %d to %d; layout %+v", from, to, l)
		}
	}
}
