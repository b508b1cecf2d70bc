package iso

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/golden"
)

// dump prints the non-zero 16-byte rows of a part of the image.
func dump(b []byte, title string, from, to int64) string {
	var s strings.Builder
	fmt.Fprintf(&s, "# %s\n", title)
	for at := from; at < to; at += 16 {
		row := b[at:min(at+16, to)]
		if strings.Trim(string(row), "\x00") != "" {
			fmt.Fprintf(&s, "%06x  % -47x\n", at, row)
		}
	}
	return s.String()
}

// TestGoldenStructures pins every structure byte by byte; contents of files are noise and left out.
func TestGoldenStructures(t *testing.T) {
	for _, name := range []string{"hybrid", "bios", "efi"} {
		o := sample()
		switch name {
		case "bios":
			o.EFI = nil
		case "efi":
			o.BIOS = nil
		}
		f, l := build(t, o, noise(7, 70000), 70000)
		m := open(t, f)
		catalog, _ := m.Stat(CatalogPath)
		s := fmt.Sprintf("%+v\n", l)
		for _, e := range m.Files() {
			s += fmt.Sprintf("%v %8d %8d %s %s\n", e.Mode, e.Extent.Offset, e.Extent.Size, e.Ident, e.Path)
		}
		s += dump(f.b, "MBR and GPT", mbrTarget, 16*sector)
		s += dump(f.b, "descriptors to boot catalog", 16*sector, catalog.Extent.Offset+sector)
		if o.EFI != nil {
			s += dump(f.b, "FAT boot sector", l.EFI.Offset, l.EFI.Offset+block)
			s += dump(f.b, "FAT, first copy", l.EFI.Offset+fatReserved*block, l.EFI.Offset+(fatReserved+fatBlocks)*block)
			s += dump(f.b, "FAT directories", l.EFI.Offset+(fatReserved+2*fatBlocks)*block, l.UKI.Offset)
			s += dump(f.b, "PE header", l.UKI.Offset, l.UKI.Offset+0x400)
			s += dump(f.b, "backup GPT", l.Size-gptTail*block, l.Size)
		}
		golden.Check(t, "testdata/"+name+".golden", s)
	}
}

// TestBootInfo checks isolinux's table against values computed by hand for a file of 66 bytes.
func TestBootInfo(t *testing.T) {
	in := make([]byte, 66)
	for i := range in {
		in[i] = byte(i)
	}
	got := hex.EncodeToString(bootInfo(in, 0x1234)[8:28])
	if want := "10000000" + "34120000" + "42000000" + "40410000" + "00000000"; got != want {
		t.Errorf("table %s, want %s", got, want)
	}
}

func TestEFIBlocks(t *testing.T) {
	for size, want := range map[int64]uint16{512: 1, 65535 * 512: 65535, 65536 * 512: 0, 1 << 30: 0} {
		if got := efiBlocks(size); got != want {
			t.Errorf("%d bytes: %d blocks, want %d", size, got, want)
		}
	}
}
