package guestinfo

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lkv-io/lkv/internal/report"
)

func TestFromFirmware(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "opt/lkv/guestinfo.lkv.token/raw")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("t-1\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, ok := FromFirmware(dir, report.TokenKey); !ok || got != "t-1" {
		t.Errorf("%q %t", got, ok)
	}
	if got, ok := FromFirmware(dir, report.HostnameKey); ok {
		t.Errorf("%q for a variable nobody set", got)
	}
}

// TestElsewhereNothingHappens: on another hypervisor the back door's port is not touched, which would kill the process.
func TestElsewhereNothingHappens(t *testing.T) {
	if VMware() {
		t.Fatal("this test is about machines that are no VMware guests")
	}
	if err := Set("guestinfo.lkv.test", "x"); err != nil {
		t.Error(err)
	}
}
