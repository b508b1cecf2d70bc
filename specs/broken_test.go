package specs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/golden"
)

// Each broken file gives exactly the problems of its golden file, and none shows a secret.
func TestBrokenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.hcl*")
	if err != nil || len(files) < 10 {
		t.Fatalf("broken files: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := Load(path, Options{})
			if err == nil {
				t.Fatal("loads")
			}
			if len(Problems(err)) == 0 {
				t.Errorf("no problems in %v", err)
			}
			golden.Check(t, strings.TrimSuffix(strings.TrimSuffix(path, ".json"), ".hcl")+".golden", err.Error()+"\n")
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("a secret is printed")
			}
		})
	}
}
