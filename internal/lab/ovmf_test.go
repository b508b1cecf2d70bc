package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

// dbOf returns the data of the one signature database that counts, found by its bytes alone.
func dbOf(t *testing.T, vars []byte) []byte {
	t.Helper()
	var found [][]byte
	for i := 0; i+varHeader < len(vars); i++ {
		if bytes.HasPrefix(vars[i:], []byte{0xaa, 0x55, 0x3f}) && bytes.HasPrefix(vars[i+varGUID:], []byte(dbVariable)) {
			data := vars[i+varHeader+6:]
			found = append(found, data[:binary.LittleEndian.Uint32(vars[i+varDataSize:])])
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d signature databases count", len(found))
	}
	return found[0]
}

// TestEnroll: what is added to Microsoft's keys is, but for its owner, what Debian's firmware has in its db after the
// same certificate was enrolled there by EDK2's own program.
func TestEnroll(t *testing.T) {
	read := func(file string) []byte {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v: apt-get install ovmf", err)
		}
		return raw
	}
	base, snakeoil := read(ovmfVars), read("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd")
	block, _ := pem.Decode(read("/usr/share/ovmf/PkKek-1-snakeoil.pem"))
	vars, err := enroll(base, [][]byte{block.Bytes})
	if err != nil || len(vars) != len(base) {
		t.Fatalf("%d bytes of %d, %v", len(vars), len(base), err)
	}
	before, after, theirs := dbOf(t, base), dbOf(t, vars), dbOf(t, snakeoil)
	added, ok := bytes.CutPrefix(after, before)
	i := bytes.Index(theirs, block.Bytes) - 16 - 28
	if !ok || i < 0 {
		t.Fatalf("%d bytes of db became %d; the certificate is at %d of Debian's", len(before), len(after), i)
	}
	list := theirs[i : i+28+16+len(block.Bytes)]
	for _, part := range [][2]int{{0, 28}, {28 + 16, len(list)}} { // but the owner
		if !bytes.Equal(added[part[0]:part[1]], list[part[0]:part[1]]) {
			t.Errorf("bytes %v: %x, Debian has %x", part, added[part[0]:part[1]], list[part[0]:part[1]])
		}
	}
	if len(added) != len(list) {
		t.Errorf("%d bytes added, Debian has %d", len(added), len(list))
	}
	twice, err := enroll(vars, [][]byte{[]byte("of odd length"), []byte("third")})
	if err != nil || !bytes.HasPrefix(dbOf(t, twice), after) {
		t.Errorf("again: %v", err)
	}
	if same, err := enroll(base, nil); err != nil || !bytes.Equal(same, base) {
		t.Errorf("no certificate: changed, %v", err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "short": base[:100], "no keys": make([]byte, len(base)), "cut": base[:0x4000],
	} {
		if _, err := enroll(bad, [][]byte{block.Bytes}); err == nil {
			t.Errorf("%s: enrolled", name)
		}
	}
	if _, err := enroll(base, [][]byte{make([]byte, 300<<10)}); err == nil {
		t.Error("a certificate larger than the store fits")
	}
}

// TestVarsFor: a machine keeps its variables as long as it trusts the same.
func TestVarsFor(t *testing.T) {
	dir := t.TempDir()
	nvram := filepath.Join(dir, "nvram.fd")
	for _, c := range []struct {
		name string
		db   [][]byte
		kept bool
	}{{"first", nil, false}, {"again", nil, true}, {"another key", [][]byte{[]byte("a")}, false}, {"again", [][]byte{[]byte("a")}, true}} {
		if err := os.WriteFile(nvram, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := varsFor(dir, c.db)
		if err != nil || file != filepath.Join(dir, "vars.fd") {
			t.Fatalf("%s: %q, %v", c.name, file, err)
		}
		if _, err := os.Stat(nvram); (err == nil) != c.kept {
			t.Errorf("%s: kept %v, want %v", c.name, err == nil, c.kept)
		}
	}
}

func FuzzEnroll(f *testing.F) {
	if base, err := os.ReadFile(ovmfVars); err == nil {
		f.Add(base[:0x6000])
	}
	f.Fuzz(func(t *testing.T, vars []byte) {
		if out, err := enroll(vars, [][]byte{[]byte("k")}); err == nil && len(out) != len(vars) {
			t.Errorf("%d bytes became %d", len(vars), len(out))
		}
	})
}
