package build

import (
	"encoding/binary"
	"slices"

	"github.com/lkv-io/lkv/internal/manifest"
)

// secureBoot says why firmware with Secure Boot starts the ISO; nil when it doesn't.
func (b *builder) secureBoot(kernel []byte) *manifest.SecureBoot {
	switch {
	case !slices.Contains(b.Boot, "uefi"):
		return nil
	case b.SecureBoot != nil:
		return &manifest.SecureBoot{Chain: manifest.ChainKey, Certificate: b.SecureBoot.Certificate()}
	case b.EFI == efiGrub && signed(kernel):
		return &manifest.SecureBoot{Chain: manifest.ChainShim}
	}
	return nil
}

// signed tells whether somebody has signed a kernel for Secure Boot: its certificate table, data directory 4 of the PE
// optional header, is not empty. Whether shim knows who that was is for shim to say.
func signed(pe []byte) bool {
	const certificates = 24 + 112 + 4*8 // from the "PE" signature, in a PE32+ file
	if len(pe) < 64 {
		return false
	}
	at := int64(binary.LittleEndian.Uint32(pe[60:])) + certificates
	return at+8 <= int64(len(pe)) && binary.LittleEndian.Uint32(pe[at+4:]) > 0
}
