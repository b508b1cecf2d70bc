package specs

import (
	"os"
	"path/filepath"
	"testing"

	"gopkg.in/yaml.v3"
)

// Every example loads as it stands, and the LinuxKit YAML that it names is there and is YAML.
func TestExamplesLoad(t *testing.T) {
	found, err := filepath.Glob("examples/*/lkv.hcl")
	if err != nil || len(found) < 2 {
		t.Fatalf("examples: %v, %v", found, err)
	}
	for _, path := range found {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			s, err := Load(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range s.Warnings {
				t.Error(w)
			}
			for _, f := range s.Fleets {
				if u := f.Unsupported(); len(u) > 0 {
					t.Errorf("fleet %s: %v", f.Name, u)
				}
			}
			for _, img := range s.Images {
				for _, y := range img.LinuxKit {
					parseYAML(t, filepath.Join(s.Dir, y))
				}
			}
		})
	}
}

func parseYAML(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Kernel struct{ Image, Cmdline string }
		Init   []string
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Kernel.Image == "" || len(doc.Init) == 0 {
		t.Errorf("%s: no kernel or no init: %+v", path, doc)
	}
}
