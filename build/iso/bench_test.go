package iso

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkWrite writes an image with a 150 MB initrd and a 12 MB kernel into the page cache, in pieces of 1 MiB.
func BenchmarkWrite(b *testing.B) {
	b.Run("uki", func(b *testing.B) { benchmarkWrite(b, sample()) })
	b.Run("grub", func(b *testing.B) { benchmarkWrite(b, grubOptions()) })
	o := sample()
	key, cert := keyPair(b, rsaKey(b, 2048))
	o.EFI.Signer = signer(b, key, cert)
	b.Run("signed", func(b *testing.B) { benchmarkWrite(b, o) })
}

func benchmarkWrite(b *testing.B, o Options) {
	piece := noise(7, 1<<20)
	o.Kernel, o.InitrdBound = noise(6, 12<<20), 420<<20
	const pieces = 143
	b.SetBytes(pieces << 20)
	b.ReportAllocs()
	for b.Loop() {
		f, err := os.Create(filepath.Join(b.TempDir(), "x.iso"))
		if err != nil {
			b.Fatal(err)
		}
		w, err := New(f, o)
		if err != nil {
			b.Fatal(err)
		}
		for range pieces {
			if _, err := w.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(f.Name()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen reads the descriptors and the tree of an image.
func BenchmarkOpen(b *testing.B) {
	f, _ := build(b, sample(), noise(7, 1000), 1000)
	for b.Loop() {
		if _, err := Open(f); err != nil {
			b.Fatal(err)
		}
	}
}
