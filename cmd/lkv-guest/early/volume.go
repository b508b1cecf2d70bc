package early

import (
	"bytes"
	"strings"
)

// Where an ISO 9660 volume keeps its first volume descriptor (ECMA-119 6.2.1), which is the primary one.
const (
	sectorSize = 2048
	descriptor = 16 * sectorSize
)

// volumeID reads a primary volume descriptor (ECMA-119 8.4) and returns the volume identifier without its padding.
func volumeID(sector []byte) (id string, ok bool) {
	if len(sector) < sectorSize || !bytes.HasPrefix(sector, []byte("\x01CD001\x01")) {
		return "", false
	}
	return strings.TrimRight(string(sector[40:72]), " \x00"), true
}
