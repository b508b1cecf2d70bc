package specs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestReadme loads every HCL example of the README: what people copy first must work.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("the README shows no HCL")
	}
	for _, b := range blocks {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "lkv.hcl"), b[1], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "worker.yml"), []byte("kernel:\n  image: lkv/kernel:1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := Load(filepath.Join(dir, "lkv.hcl"), Options{})
		if err != nil {
			t.Errorf("README:\n%s\n%v", b[1], err)
		}
		if len(spec.Fleets) == 1 && len(spec.Fleets[0].Unsupported()) > 0 {
			t.Errorf("the README shows what no run can do yet: %v", spec.Fleets[0].Unsupported())
		}
	}
}
