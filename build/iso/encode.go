package iso

import (
	"encoding/binary"
	"time"
)

// sector is ISO 9660's logical block, block the unit of MBR, GPT, FAT and El Torito counts. Both in bytes.
const (
	sector = 2048
	block  = 512
)

func align(n, to int64) int64 { return (n + to - 1) / to * to }

func sectors(n int64) uint32 { return uint32(align(n, sector) / sector) }

// putBoth32 writes a number in both byte orders, ECMA-119 7.3.3.
func putBoth32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

// putBoth16 writes a number in both byte orders, ECMA-119 7.2.3.
func putBoth16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

// putDate7 writes a directory record's date, ECMA-119 9.1.5, in UTC.
func putDate7(b []byte, t time.Time) {
	b[0] = byte(t.Year() - 1900)
	b[1], b[2] = byte(t.Month()), byte(t.Day())
	b[3], b[4], b[5] = byte(t.Hour()), byte(t.Minute()), byte(t.Second())
	b[6] = 0
}

// putDate17 writes a volume descriptor's date, ECMA-119 8.4.26.1, in UTC.
func putDate17(b []byte, t time.Time) {
	copy(b, t.Format("20060102150405")+"00")
	b[16] = 0
}

// putNoDate17 writes the value that means "no date": zero digits and zone 0, not NULs.
func putNoDate17(b []byte) {
	copy(b, "0000000000000000")
	b[16] = 0
}

// putText fills a field with text and spaces.
func putText(b []byte, s string) {
	n := copy(b, s)
	for i := n; i < len(b); i++ {
		b[i] = ' '
	}
}
