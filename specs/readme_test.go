package specs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestPages loads every HCL example of the README and of docs: what people copy first must work.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "../README.md")
	for _, must := range []string{"../README.md", "../docs/build.md", "../docs/images.md"} {
		if !slices.Contains(pages, must) || len(examplesIn(t, must)) == 0 {
			t.Errorf("%s is not there or shows no HCL", must)
		}
	}
	for _, page := range pages {
		for _, example := range examplesIn(t, page) {
			path := filepath.Join(t.TempDir(), "lkv.hcl")
			if err := os.WriteFile(path, example, 0o600); err != nil {
				t.Fatal(err)
			}
			spec, err := Load(path, Options{})
			if err != nil {
				t.Errorf("%s:\n%s\n%v", page, example, err)
			}
			for _, f := range spec.Fleets {
				if u := f.Unsupported(); len(u) > 0 {
					t.Errorf("%s shows what no run can do yet: %v", page, u)
				}
			}
		}
	}
}

// examplesIn returns the HCL of a page.
func examplesIn(t *testing.T, page string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, m := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}
