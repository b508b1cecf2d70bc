package build

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPrune: what the last build used stays, what only an older one used and what a killed one left goes.
func TestPrune(t *testing.T) {
	s := aShelf(t)
	in := smallInput(t, s)
	mustBuild(t, in)
	long := time.Now().Add(-48 * time.Hour)
	left := filepath.Join(in.Cache, "tmp", "seg-killed")
	if err := os.WriteFile(left, []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(filepath.Join(in.Cache, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := os.Chtimes(p, long, long); err != nil {
			t.Fatal(err)
		}
	}
	s["lkv/dhcp:1"] = imageOf(t, entrypoint("/dhcp"), []file{{name: "dhcp", body: "new", mode: 0o755}})
	want := mustBuild(t, in).Manifest
	dry, err := Prune(in.Cache, long.Add(time.Hour), true)
	if err != nil {
		t.Fatal(err)
	}
	freed, err := Prune(in.Cache, long.Add(time.Hour), false)
	if dry != freed {
		t.Errorf("would free %d, freed %d", dry, freed)
	}
	if err != nil || freed == 0 {
		t.Fatalf("freed %d, %v", freed, err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the killed build's file is still there")
	}
	in.Out = t.TempDir()
	made, cached := segmentEvents(t, in)
	if len(made) != 0 || len(cached) != len(want.Segments)+1 { // the boot files are no segment of the initrd
		t.Errorf("after pruning: made %q, cached %q", made, cached)
	}
	if freed, err := Prune(t.TempDir(), time.Now(), false); freed != 0 || err != nil {
		t.Errorf("no cache: %d, %v", freed, err)
	}
}
