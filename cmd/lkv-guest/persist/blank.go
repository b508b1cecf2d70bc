package persist

import (
	"fmt"
	"io"
)

// edge is how much of both ends of a disk must be zero for it to be blank. Every signature that blkid knows lies
// within; the end holds backup partition tables and RAID superblocks.
const edge = 1 << 20

// sample is how much is read at each place in between, samples how many places, spread evenly.
const (
	sample  = 4096
	samples = 256
)

// extBackups are the places of ext4's backup superblocks with 4 KiB blocks: groups 1, 3, 5, 7, 9 and 25 of 128 MiB.
// A disk whose beginning was wiped by mistake can still be saved from them, so it is not blank.
var extBackups = []int64{128 << 20, 3 * 128 << 20, 5 * 128 << 20, 7 * 128 << 20, 9 * 128 << 20, 25 * 128 << 20}

// NotBlank returns the position of a byte that is not zero, or -1 when everything that is looked at is zero: both
// ends, the backup superblocks and samples. except is an area of 4 KiB that is left out (a note of ours), or -1.
func NotBlank(r io.ReaderAt, size, except int64) (int64, error) {
	if size < 2*edge {
		return notZero(r, 0, size, except)
	}
	areas := [][2]int64{{0, edge}, {size - edge, edge}}
	for _, p := range extBackups {
		areas = append(areas, [2]int64{p, sample})
	}
	for i := range int64(samples) {
		areas = append(areas, [2]int64{size / samples * i / sample * sample, sample})
	}
	for _, a := range areas {
		if a[0]+a[1] > size {
			continue
		}
		if at, err := notZero(r, a[0], a[1], except); err != nil || at >= 0 {
			return at, err
		}
	}
	return -1, nil
}

func notZero(r io.ReaderAt, from, n, except int64) (int64, error) {
	buf := make([]byte, n)
	if got, err := r.ReadAt(buf, from); int64(got) < n { // what could not be read is not zero
		return -1, fmt.Errorf("read %d bytes at %d: %w", n, from, err)
	}
	for i, b := range buf {
		at := from + int64(i)
		if b != 0 && (except < 0 || at < except || at >= except+sample) {
			return at, nil
		}
	}
	return -1, nil
}
