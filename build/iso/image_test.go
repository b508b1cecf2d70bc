package iso

import (
	"bytes"
	"debug/pe"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t testing.TB, f *memory) *Image {
	t.Helper()
	m, err := Open(f)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return m
}

func readFile(t testing.TB, m *Image, path string) []byte {
	t.Helper()
	b, err := m.ReadFile(path)
	if err != nil {
		t.Fatalf("ReadFile: %v", err)
	}
	return b
}

func TestReadBack(t *testing.T) {
	o, initrd := sample(), noise(7, 1<<20+5)
	f, l := build(t, o, initrd, 1<<20)
	m := open(t, f)
	if m.VolumeID != o.VolumeID || m.Size != l.Size || int64(len(f.b)) != l.Size {
		t.Errorf("label %q, size %d, file %d; layout %d", m.VolumeID, m.Size, len(f.b), l.Size)
	}
	for path, want := range map[string][]byte{
		KernelPath:              o.Kernel,
		InitrdPath:              initrd,
		EFIPath:                 f.b[l.EFI.Offset : l.EFI.Offset+l.EFI.Size],
		UKIPath:                 f.b[l.UKI.Offset : l.UKI.Offset+l.UKI.Size],
		"isolinux/ldlinux.c32":  o.BIOS.Ldlinux,
		ConfigPath:              isolinuxConfig(o.Cmdline),
		"lkv/empty":             {},
		o.Files[2].Path:         o.Files[2].Data,
		"isolinux/isolinux.bin": bootInfo(o.BIOS.Isolinux, uint32(m.Boot[0].Offset/sector)),
		CatalogPath:             f.b[27*sector : 28*sector],
		"lkv/manifest.json":     []byte("{}\n"),
	} {
		if got := readFile(t, m, path); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes read, differ from the %d wanted", path, len(got), len(want))
		}
	}
	for _, e := range m.Files() {
		if !e.ModTime.Equal(o.Epoch) {
			t.Errorf("%s is dated %v", e.Path, e.ModTime)
		}
		if want := map[bool]fs.FileMode{true: fs.ModeDir | 0o555, false: 0o444}[e.Mode.IsDir()]; e.Mode != want {
			t.Errorf("%s has mode %v", e.Path, e.Mode)
		}
	}
	want := []Boot{{PlatformBIOS, m.Boot[0].Offset, 4}, {PlatformEFI, l.EFI.Offset, int(l.EFI.Size / block)}}
	if d := cmp.Diff(want, m.Boot); d != "" {
		t.Errorf("boot entries (-want +got):\n%s", d)
	}
}

func TestReadFileErrors(t *testing.T) {
	f, _ := build(t, sample(), noise(7, 100), 100)
	m := open(t, f)
	if _, err := m.ReadFile("boot/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := m.ReadFile("boot"); err == nil {
		t.Error("a directory was read as a file")
	}
	f.b = f.b[:m.Size/2]
	if _, err := m.ReadFile(EFIPath); err == nil {
		t.Error("a cut file was read")
	}
}

// TestUnifiedKernelImage reads the kernel image with the standard library's PE reader.
func TestUnifiedKernelImage(t *testing.T) {
	o, initrd := sample(), noise(7, 300001)
	f, _ := build(t, o, initrd, 1000)
	p, err := pe.NewFile(bytes.NewReader(readFile(t, open(t, f), UKIPath)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{".osrel": []byte(o.EFI.OSRelease), ".cmdline": []byte(o.Cmdline),
		".uname": []byte(o.EFI.Uname), ".initrd": initrd, ".linux": o.Kernel, ".sbat": []byte("sbat,1,test,sbat,1,x")}
	var order []string
	end := uint32(0)
	raw := uint32(0)
	for _, s := range p.Sections {
		order = append(order, s.Name)
		if s.VirtualAddress%4096 != 0 || s.VirtualAddress < end {
			t.Errorf("%s at address %#x, the one before ends at %#x", s.Name, s.VirtualAddress, end)
		}
		end = s.VirtualAddress + s.VirtualSize
		if raw != 0 && s.Offset != raw && s.Name != ".initrd" || s.Offset%512 != 0 {
			t.Errorf("%s lies at %#x of the file, the one before ends at %#x", s.Name, s.Offset, raw)
		}
		raw = s.Offset + s.Size
		data, err := s.Data()
		if w, ok := want[s.Name]; ok && (err != nil || s.VirtualSize > s.Size || !bytes.Equal(data[:s.VirtualSize], w)) {
			t.Errorf("%s: content differs (%d bytes, error %v)", s.Name, s.VirtualSize, err)
		}
	}
	if d := cmp.Diff([]string{".text", ".sbat", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"}, order); d != "" {
		t.Errorf("sections (-want +got):\n%s", d)
	}
	h := p.OptionalHeader.(*pe.OptionalHeader64)
	if h.SizeOfImage != uint32(align(int64(end), 4096)) || h.CheckSum != 0 {
		t.Errorf("image size %#x, sections end at %#x, checksum %#x", h.SizeOfImage, end, h.CheckSum)
	}
}

// TestOneFirmware: without the other firmware's parts nothing of them is left in the image.
func TestOneFirmware(t *testing.T) {
	initrd := noise(7, 5000)
	bios, efi := sample(), sample()
	bios.EFI, efi.BIOS = nil, nil
	for name, c := range map[string]struct {
		o        Options
		platform byte
		absent   []string
		mbr      byte
	}{
		"bios": {bios, PlatformBIOS, []string{EFIPath, UKIPath}, hidden},
		"efi":  {efi, PlatformEFI, []string{ConfigPath, "isolinux/isolinux.bin"}, gptType},
	} {
		f, l := build(t, c.o, initrd, 5000)
		m := open(t, f)
		if len(m.Boot) != 1 || m.Boot[0].Platform != c.platform {
			t.Errorf("%s: boot entries %+v", name, m.Boot)
		}
		for _, p := range c.absent {
			if _, err := m.Stat(p); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is there (%v)", name, p, err)
			}
		}
		if !bytes.Equal(readFile(t, m, InitrdPath), initrd) || !bytes.Equal(readFile(t, m, KernelPath), c.o.Kernel) {
			t.Errorf("%s: kernel or initrd differ", name)
		}
		if f.b[mbrTable+4] != c.mbr || (l.EFI.Size == 0) != (name == "bios") {
			t.Errorf("%s: partition type %#x, EFI image of %d bytes", name, f.b[mbrTable+4], l.EFI.Size)
		}
	}
}
