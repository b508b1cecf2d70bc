package push

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What goes to a registry has the names that the manifest lists, the manifest after the rest and the ISO as the last.
func TestFiles(t *testing.T) {
	in, _ := build(t, "the ISO")
	described(t, &in)
	files, m, err := Files(in)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		if f.Path == "" && (int64(len(f.Raw)) != f.Size || len(f.SHA256) != 64) {
			t.Errorf("%s: %d bytes, size %d, digest %s", f.Name, len(f.Raw), f.Size, f.SHA256)
		}
	}
	last := files[len(files)-1]
	if last.Path != in.ISO || last.SHA256 != m.ISO.SHA256 || !strings.HasSuffix(names[len(names)-2], ".manifest.json") {
		t.Errorf("files %v", names)
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(filepath.Dir(in.ISO), name)); err != nil && name != files[len(files)-2].Name {
			t.Errorf("%s lies not beside the ISO", name)
		}
	}
	if err := os.Truncate(in.ISO, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Files(in); err == nil {
		t.Error("a cut ISO is taken")
	}
}

// A store has an ISO when its manifest is there and its size is right.
func TestWhole(t *testing.T) {
	in, _ := build(t, "the ISO")
	described(t, &in)
	s := newMemory("dc1")
	in.Stores = []Store{s}
	digest := ""
	if res, err := Push(t.Context(), in); err != nil {
		t.Fatal(err)
	} else {
		digest = res[0].SHA256
	}
	for name, spoil := range map[string]func(){
		"whole":    func() {},
		"cut":      func() { p := ISOPath(in.Image, digest); s.files[p] = s.files[p][1:] },
		"nothing":  func() { delete(s.files, ISOPath(in.Image, digest)) },
		"manifest": func() { delete(s.files, ManifestPath(in.Image, digest)) },
	} {
		kept := map[string][]byte{}
		for p, b := range s.files {
			kept[p] = b
		}
		spoil()
		if ok, err := Whole(t.Context(), s, in.Image, digest); err != nil || ok != (name == "whole") {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		s.files = kept
	}
}
