package squashfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// words is text of random words.
func words(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var out []byte
	for len(out) < n {
		out = fmt.Appendf(out, "%x ", int(r.ExpFloat64()*5000))
	}
	return out[:n]
}

// BenchmarkPack compresses 64 MiB in files of 1 MiB and 3 KiB.
func BenchmarkPack(b *testing.B) {
	big, little := words(1<<20), words(3000)
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBestCompression} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%v-%d", level, workers), func(b *testing.B) {
				b.SetBytes(64 * int64(len(big)+len(little)))
				b.ReportAllocs()
				for b.Loop() {
					p, err := NewPacker(io.Discard, PackOptions{Level: level, Workers: workers})
					if err != nil {
						b.Fatal(err)
					}
					for range 64 {
						for _, data := range [][]byte{big, little} {
							if _, err := p.Add(int64(len(data)), func() (io.Reader, error) { return bytes.NewReader(data), nil }); err != nil {
								b.Fatal(err)
							}
						}
					}
					pack, err := p.Close()
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(pack.Size)/float64(64*(len(big)+len(little))), "ratio")
				}
			})
		}
	}
}

// BenchmarkImage plans and writes an image of 20 000 files whose contents are packed already.
func BenchmarkImage(b *testing.B) {
	list := []file{dir("")}
	for i := range 100 {
		list = append(list, dir(fmt.Sprint(i)))
		for j := range 200 {
			list = append(list, reg(fmt.Sprintf("%d/%d", i, j), text(100)))
		}
	}
	entries, packs, data := packs(b, list, PackOptions{Level: zstd.SpeedFastest, Workers: 2}, 1)
	b.ReportAllocs()
	for b.Loop() {
		img, err := Plan(entries, packs, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := img.WriteTo(context.Background(), io.Discard, from(data)); err != nil {
			b.Fatal(err)
		}
	}
}
