package build

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLeftovers: a killed build's file goes with the next build; one that is being written stays, and so does a new one.
func TestLeftovers(t *testing.T) {
	in := smallInput(t, aShelf(t))
	if err := os.MkdirAll(in.Out, 0o755); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	for name, age := range map[string]time.Time{".lkv-killed.iso": long, ".lkv-writing.iso": long, ".lkv-new.iso": time.Now()} {
		path := filepath.Join(in.Out, name)
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, age, age); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(filepath.Join(in.Out, ".lkv-writing.iso"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, in)
	for name, there := range map[string]bool{".lkv-killed.iso": false, ".lkv-writing.iso": true, ".lkv-new.iso": true} {
		if _, err := os.Stat(filepath.Join(in.Out, name)); (err == nil) != there {
			t.Errorf("%s: %v, want it there: %v", name, err, there)
		}
	}
}
