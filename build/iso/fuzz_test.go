package iso

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzOpen: a damaged image gives an error or a tree without escaping names; it never panics or hangs.
// Fuzz it with -fuzzminimizetime 0x: shrinking inputs of 60 KB takes most of the time otherwise.
func FuzzOpen(f *testing.F) {
	o := sample()
	o.EFI = nil // keeps the seeds small
	o.Kernel, o.BIOS.Isolinux, o.BIOS.Ldlinux = o.Kernel[:100], o.BIOS.Isolinux[:2048], o.BIOS.Ldlinux[:10]
	o.Files = append(o.Files, Extra{Path: "link", Link: "../" + strings.Repeat("n", 255) + "/x"})
	image, _ := build(f, o, noise(7, 100), 100)
	f.Add(image.b)
	f.Add(image.b[:25*sector])
	f.Add(image.b[:17*sector])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, e := range m.Files() {
			for part := range strings.SplitSeq(e.Path, "/") {
				if part == "" || part == "." || part == ".." {
					t.Fatalf("path %q", e.Path)
				}
			}
			if got, err := m.ReadFile(e.Path); err == nil && len(got) > len(b) {
				t.Fatalf("%q: %d bytes out of an image of %d", e.Path, len(got), len(b))
			}
		}
	})
}

// FuzzStub: whatever the stub is, New refuses it or makes a file whose headers lie within it.
func FuzzStub(f *testing.F) {
	f.Add(stubPE(), "quiet")
	f.Add([]byte("MZ"), "")
	f.Fuzz(func(t *testing.T, stub []byte, cmdline string) {
		u, err := newUKI(&EFI{Stub: stub, Uname: "1"}, cmdline)
		if err != nil {
			return
		}
		if got := u.head(1000, 2000); len(got)%initrdAlign != 0 || len(got) < len(stub)/2 && len(stub) < initrdAlign {
			t.Fatalf("stub of %d bytes gave a head of %d", len(stub), len(got))
		}
	})
}
