package early

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sector16 is a volume descriptor with this identifier.
func sector16(kind byte, id string) []byte {
	b := bytes.Repeat([]byte{0}, sectorSize)
	copy(b, []byte{kind})
	copy(b[1:], "CD001\x01")
	copy(b[40:], id+strings.Repeat(" ", 32-len(id)))
	return b
}

func TestVolumeID(t *testing.T) {
	for _, c := range []struct {
		name   string
		sector []byte
		id     string
		ok     bool
	}{
		{"padded", sector16(1, "LKV-WORKER"), "LKV-WORKER", true},
		{"full", sector16(1, strings.Repeat("A", 32)), strings.Repeat("A", 32), true},
		{"none", sector16(1, ""), "", true},
		{"boot record", sector16(0, "LKV"), "", false},
		{"short", sector16(1, "LKV")[:2047], "", false},
		{"blank disk", make([]byte, sectorSize), "", false},
		{"nothing", nil, "", false},
	} {
		if id, ok := volumeID(c.sector); id != c.id || ok != c.ok {
			t.Errorf("%s: %q %t", c.name, id, ok)
		}
	}
}

// TestXorriso reads the ID of a volume that somebody else's program wrote.
func TestXorriso(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x.iso")
	if out, err := exec.CommandContext(t.Context(), "xorriso", "-as", "mkisofs", "-V", "LKV worker 01", "-o", name, t.TempDir()).CombinedOutput(); err != nil {
		t.Fatalf("xorriso (Debian package xorriso): %v\n%s", err, out)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := volumeID(b[descriptor:]); !ok || id != "LKV worker 01" {
		t.Errorf("%q %t", id, ok)
	}
}

func FuzzVolumeID(f *testing.F) {
	f.Add(sector16(1, "LKV"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := volumeID(b)
		if len(id) > 32 || !ok && id != "" || strings.HasSuffix(id, " ") {
			t.Errorf("%q %t", id, ok)
		}
	})
}
