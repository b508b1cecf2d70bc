package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ovmfVars are the variables of a new machine with Secure Boot, with Microsoft's keys (Debian package ovmf).
const ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"

// The layout of EDK2's variable store (MdeModulePkg/Include/Guid/VariableFormat.h): a firmware volume header that says
// how long it is, a store header with the store's size, and authenticated variables, each from a multiple of four on.
const (
	volumeLength = 48 // offset of the volume header's length, two bytes
	storeSize    = 16 // offset of the store's size in its header, four bytes
	storeHeader  = 28
	varStart     = 0x55aa
	varState     = 2 // offsets in a variable's header
	varNameSize  = 36
	varDataSize  = 40
	varGUID      = 44
	varHeader    = 60
	varAdded     = 0x3f // state of a variable that counts
	varDeleted   = 0xfd // is taken from the state of one that counts no more
)

const (
	dbVariable = "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f" + "d\x00b\x00\x00\x00" // GUID of the image security database, and the name
	x509List   = "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"                        // EFI_CERT_X509_GUID
	labOwner   = "lkv-lab-lkv-lab-"                                                                        // who owns the lab's entries in db: any GUID will do
)

// varsFor writes the variables of a machine with Secure Boot into its directory and returns the file. Variables that
// the machine has already are kept while they were made from the same.
func varsFor(dir string, certificates [][]byte) (string, error) {
	base, err := os.ReadFile(ovmfVars)
	if err != nil {
		return "", fmt.Errorf("read UEFI variables: %w: install them with: apt-get install ovmf", err)
	}
	vars, err := enroll(base, certificates)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ovmfVars, err)
	}
	file := filepath.Join(dir, "vars.fd")
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, vars) {
		return file, nil
	}
	if err := os.Remove(filepath.Join(dir, "nvram.fd")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return file, os.WriteFile(file, vars, 0o600)
}

// enroll returns the variables with more X.509 certificates (DER) in db: the old db is marked as deleted, and a longer
// one is appended, as the firmware itself would do.
func enroll(vars []byte, certificates [][]byte) ([]byte, error) {
	vars = bytes.Clone(vars)
	if len(certificates) == 0 {
		return vars, nil
	}
	errStore := errors.New("it is no UEFI variable store with Secure Boot keys")
	if len(vars) < volumeLength+2 {
		return nil, errStore
	}
	le := binary.LittleEndian
	store := int(le.Uint16(vars[volumeLength:]))
	if len(vars) < store+storeHeader {
		return nil, errStore
	}
	end := store + int(le.Uint32(vars[store+storeSize:]))
	if end > len(vars) {
		return nil, errStore
	}
	var db []byte
	at := store + storeHeader
	for at+varHeader <= end && le.Uint16(vars[at:]) == varStart {
		size := varHeader + int(le.Uint32(vars[at+varNameSize:])) + int(le.Uint32(vars[at+varDataSize:]))
		if size > end-at {
			return nil, errStore
		}
		if vars[at+varState] == varAdded && bytes.HasPrefix(vars[at+varGUID:at+size], []byte(dbVariable)) {
			db = vars[at : at+size]
		}
		at += (size + 3) &^ 3
	}
	if db == nil {
		return nil, errStore
	}
	long := bytes.Clone(db)
	for _, der := range certificates {
		long = append(long, x509List...)
		long = le.AppendUint32(long, uint32(28+16+len(der))) //nolint:gosec // certificates are small; the store's size bounds them
		long = le.AppendUint32(long, 0)
		long = le.AppendUint32(long, uint32(16+len(der))) //nolint:gosec // see above
		long = append(append(long, labOwner...), der...)
	}
	if at+len(long) > end {
		return nil, fmt.Errorf("%d bytes of certificates do not fit into the UEFI variables", len(long)-len(db))
	}
	le.PutUint32(long[varDataSize:], uint32(len(long)-varHeader)-le.Uint32(long[varNameSize:])) //nolint:gosec // less than the store
	db[varState] &= varDeleted
	copy(vars[at:], long)
	return vars, nil
}
