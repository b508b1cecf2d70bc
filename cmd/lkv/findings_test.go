package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/specs"
)

// What lkv build prints: one line for each finding, nothing where the YAML is faulty.
func TestLintWarnings(t *testing.T) {
	img := specs.Image{Name: "w", Rootfs: "initrd"}
	for name, x := range map[string]struct {
		yaml string
		want []string
	}{
		"none":   {"kernel: {image: 'lkv/kernel:1', cmdline: console=tty0}\ninit: ['lkv/init:1']\n", nil},
		"one":    {"kernel: {image: 'lkv/kernel:1', cmdline: quiet}\ninit: ['lkv/init:1']\n", []string{"w.yml:1:42: L24: cmdline names no console (lkv lint --explain L24)"}},
		"faulty": {"kernel: {image: 'lkv/kernel:1', cmdlin: quiet}\n", nil},
	} {
		in := build.Input{YAML: []build.Source{{Name: "w.yml", Data: []byte(x.yaml)}}}
		if d := cmp.Diff(x.want, lintWarnings(specs.Spec{}, img, in, images.Lock{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// A file is replaced at once: its mode and a link to it stay, a change by somebody else is not overwritten, and
// nothing else is left in the directory.
func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a.yml"), filepath.Join(dir, "link.yml")
	if err := os.WriteFile(file, []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.yml", link); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(link, []byte("before"), []byte("after")); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(link, []byte("before"), []byte("again")); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("a file that was changed meanwhile: %v", err)
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != "after" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	st, err := os.Lstat(link)
	if err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is none any more: %v", err)
	}
	if st, err = os.Stat(file); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", st.Mode(), err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}
