package hardware

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseUevent(t *testing.T) {
	u, ok := ParseUevent([]byte("add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00MODALIAS=scsi:t-0x00\x00"))
	want := Uevent{"add", "/devices/x", map[string]string{"ACTION": "add", "SUBSYSTEM": "block", "MODALIAS": "scsi:t-0x00"}}
	if d := cmp.Diff(want, u); !ok || d != "" {
		t.Error(ok, d)
	}
	for _, msg := range []string{"", "libudev\x00\xfe\xed", "add", "@/x", "add@x"} {
		if u, ok := ParseUevent([]byte(msg)); ok {
			t.Errorf("%q: taken as %v", msg, u)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00A=b\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if u, ok := ParseUevent(msg); ok && (u.Action == "" || !strings.HasPrefix(u.Path, "/") || u.Vars == nil) {
			t.Errorf("%q: %v", msg, u)
		}
	})
}

func TestModaliases(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"pci0/a/modalias": "pci:v1\n", "pci0/b/modalias": "pci:v1\n", "acpi/modalias": "acpi:LNXPWRBN:\n", "x/modalias": "\n", "x/other": "no",
	} {
		p := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"acpi:LNXPWRBN:", "pci:v1"}, Modaliases(root)); d != "" {
		t.Error(d)
	}
}

func TestListed(t *testing.T) {
	root := t.TempDir()
	if got := Listed(root); len(got) != 0 {
		t.Errorf("nothing listed, got %v", got)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/modules-load.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"modules": "# c\nbr_netfilter\n; c\n\nfoo opt=1", "modules-load.d/b.conf": "overlay\n", "modules-load.d/a.conf": "loop", "modules-load.d/c.txt": "no",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"br_netfilter", "foo", "loop", "overlay"}, Listed(root)); d != "" {
		t.Error(d)
	}
}

func TestBatchesKeepEverything(t *testing.T) {
	names := make([]string, 2*batch+1)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	var all []string
	for _, b := range Batches(names) {
		if len(b) > batch {
			t.Errorf("batch of %d", len(b))
		}
		all = append(all, b...)
	}
	if d := cmp.Diff(names, all); d != "" {
		t.Error(d)
	}
}

// TestHasKey builds bitmaps as the kernel prints them: words in hex, the highest first, leading zero words left out.
func TestHasKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.MapOf(rapid.IntRange(0, 767), rapid.Just(true)).Draw(t, "keys")
		var words [12]uint64
		for k := range set {
			words[k/64] |= 1 << (k % 64)
		}
		text := ""
		for i := len(words) - 1; i >= 0; i-- {
			if words[i] != 0 || text != "" || i == 0 {
				text += fmt.Sprintf("%x ", words[i])
			}
		}
		k := rapid.IntRange(0, 767).Draw(t, "key")
		if got := HasKey(text+"\n", k); got != set[k] {
			t.Fatalf("%q: key %d is %t, want %t", text, k, got, set[k])
		}
	})
}

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.LittleEndian.PutUint16(b[16:], kind)
	binary.LittleEndian.PutUint16(b[18:], code)
	binary.LittleEndian.PutUint32(b[20:], value)
	return b
}

func TestIsPress(t *testing.T) {
	for _, c := range []struct {
		event []byte
		want  bool
	}{
		{event(evKey, keyPower, 1), true}, {event(evKey, keyPower, 0), false}, {event(evKey, 30, 1), false},
		{event(0, keyPower, 1), false}, {nil, false},
	} {
		if got := IsPress(c.event); got != c.want {
			t.Errorf("%x: %t", c.event, got)
		}
	}
}

// TestButtons feeds events through a file in place of a device: a keyboard without a power key is not read.
func TestButtons(t *testing.T) {
	dev, sys := t.TempDir(), t.TempDir()
	for name, keys := range map[string]string{"event0": "10000000000000 0", "event1": "ffff"} {
		dir := filepath.Join(sys, name, "device/capabilities")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "key"), []byte(keys+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dev, name), append(event(evKey, 30, 1), event(evKey, keyPower, 1)...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pressed := make(chan bool, 4)
	b := Buttons{Pressed: func() { pressed <- true }}
	b.Scan(dev, sys)
	<-pressed
	select {
	case <-pressed:
		t.Error("one press was seen twice, or the keyboard was read")
	default:
	}
}
