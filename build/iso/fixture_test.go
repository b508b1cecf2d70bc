package iso

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// memory is a File and an io.ReaderAt in memory.
type memory struct{ b []byte }

// Truncate makes holes, as a file does.
func (m *memory) Truncate(size int64) error {
	if n := int(size); n > len(m.b) {
		m.b = append(m.b, make([]byte, n-len(m.b))...)
	} else {
		m.b = m.b[:n]
	}
	return nil
}

// plain is a File that can only be written, so that holes are written out as zeros.
type plain struct{ m *memory }

func (p plain) WriteAt(b []byte, at int64) (int, error) { return p.m.WriteAt(b, at) }

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	if end := int(at) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[at:], p), nil
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, at)
}

// noise returns n bytes that depend on the seed only.
func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// stubPE builds a small EFI program with the traits that matter here: room for eight more section headers,
// 4 KiB sections in memory, 512-byte alignment in the file.
func stubPE() []byte {
	const pe, headers = 0x78, 0x400
	le := binary.LittleEndian
	b := make([]byte, headers+3*512)
	copy(b, "MZ")
	le.PutUint32(b[60:], pe)
	copy(b[pe:], "PE\x00\x00")
	le.PutUint16(b[pe+4:], 0x8664)
	le.PutUint16(b[pe+6:], 2)    // sections
	le.PutUint16(b[pe+20:], 240) // optional header
	le.PutUint16(b[pe+22:], 0x022e)
	o := b[pe+24:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[4:], 1024)
	le.PutUint32(o[8:], 512)
	le.PutUint32(o[16:], 0x1000) // entry point
	le.PutUint32(o[32:], 4096)
	le.PutUint32(o[36:], 512)
	le.PutUint32(o[56:], 0x3000)
	le.PutUint32(o[60:], headers)
	le.PutUint32(o[64:], 0xdeadbeef) // a checksum that is stale afterwards
	le.PutUint16(o[68:], 10)
	le.PutUint32(o[108:], 16)
	peSection{".text", 0x1000, 900, headers, 1024, peCode}.put(b[pe+24+240:])
	peSection{".sbat", 0x2000, 20, headers + 1024, 512, peData}.put(b[pe+24+240+40:])
	copy(b[headers:], noise(9, 900))
	copy(b[headers+1024:], "sbat,1,test,sbat,1,x")
	return b
}

// bootCode is noise with the few bytes by which xorriso tells isolinux.bin and isohybrid's MBR from others.
func bootCode(seed uint64, n int, at int, magic string) []byte {
	b := noise(seed, n)
	copy(b[at:], magic)
	return b
}

// sample is a set of options that every feature is on in; contents are noise.
func sample() Options {
	return Options{
		VolumeID:    "LKV_worker",
		Epoch:       time.Date(2024, 2, 29, 13, 37, 59, 0, time.UTC),
		BIOS:        &BIOS{Isolinux: bootCode(1, 38913, 64, "\xfb\xc0\x78\x70"), Ldlinux: noise(2, 118724), Isohdpfx: bootCode(3, mbrCode, 182, "isolinux.bin")},
		EFI:         &EFI{Stub: stubPE(), OSRelease: "ID=lkv\n", Uname: "6.12.48"},
		Cmdline:     `console=ttyS0 a="b c" pct=%d bs=C:\new`,
		Kernel:      noise(4, 123457),
		InitrdBound: 4 << 20,
		Files: []Extra{
			{Path: "lkv/manifest.json", Data: []byte("{}\n")},
			{Path: "lkv/empty"},
			{Path: "lkv/a rather long name, with spaces.and.dots.txt", Data: noise(5, 4096)},
		},
	}
}

// build writes an image with the given initrd, handed over in pieces of at most step bytes.
func build(t testing.TB, o Options, initrd []byte, step int) (*memory, Layout) {
	t.Helper()
	f := &memory{}
	return f, buildInto(t, f, o, initrd, step)
}

// buildInto is build with another File.
func buildInto(t testing.TB, f File, o Options, initrd []byte, step int) Layout {
	t.Helper()
	w, err := New(f, o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	for rest := initrd; len(rest) > 0; {
		n := min(step, len(rest))
		if _, err := io.Copy(w, bytes.NewReader(rest[:n])); err != nil {
			t.Fatalf("Write: %v", err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return w.Layout()
}
