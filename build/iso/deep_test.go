package iso

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestXorrisoReadsDeepTree: what lies deeper than ECMA-119's eight levels, and symbolic links of every form, come out
// of xorriso as they went in.
func TestXorrisoReadsDeepTree(t *testing.T) {
	deep := strings.Repeat("level/", maxDepth-1) + "file"
	links := map[string]string{
		"l/relative":                    "../boot/vmlinuz",
		"l/absolute":                    "/usr/lib/os-release",
		"l/root":                        "/",
		"l/self":                        ".",
		"l/long":                        strings.Repeat("n", 255) + "/" + strings.Repeat("m", 249) + "/" + strings.Repeat("o", 248),
		"l/many":                        strings.TrimSuffix(strings.Repeat("a/", 512), "/"),
		"l/" + strings.Repeat("x", 255): strings.TrimSuffix(strings.Repeat("b/", 512), "/"),
		deep + ".link":                  "file",
	}
	o := sample()
	o.Files = []Extra{{Path: deep, Data: []byte("deep")}}
	for path, target := range links {
		o.Files = append(o.Files, Extra{Path: path, Link: target})
	}
	f, _ := build(t, o, noise(7, 1000), 1000)
	image, dir := save(t, "x.iso", f.b), t.TempDir()
	defer chmodTree(dir)
	run(t, "xorriso", "xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", filepath.Join(dir, "tree"))
	if got, err := os.ReadFile(filepath.Join(dir, "tree", deep)); err != nil || string(got) != "deep" {
		t.Errorf("%d levels deep: %q, %v", maxDepth, got, err)
	}
	m := open(t, f)
	for path, want := range links {
		if got, err := os.Readlink(filepath.Join(dir, "tree", path)); err != nil || got != want {
			t.Errorf("%.40s: xorriso made a link to %.40q, want %.40q: %v", path, got, want, err)
		}
		if e, err := m.Stat(path); err != nil || e.Link != want || e.Mode.Type() != fs.ModeSymlink {
			t.Errorf("%.40s: read back as %v to %.40q, want %.40q: %v", path, e.Mode, e.Link, want, err)
		}
	}
}

// TestAnyLink: every target that is not refused comes back.
func TestAnyLink(t *testing.T) {
	part := rapid.OneOf(rapid.Just(".."), rapid.StringMatching(`[a-z. ]{1,5}`), rapid.StringMatching(`n{245,255}`))
	rapid.Check(t, func(r *rapid.T) {
		target := strings.Join(rapid.SliceOfN(part, 1, 200).Draw(r, "parts"), "/")
		if rapid.Bool().Draw(r, "absolute") {
			target = "/" + target
		}
		if _, err := checkLink(Extra{Link: target}); err != nil {
			r.Skip(err)
		}
		var l linkReader
		for _, e := range linkTarget(target) {
			if err := l.add(e[5:]); err != nil || len(e) > 255 || int(e[2]) != len(e) {
				r.Fatalf("entry of %d bytes: %v", len(e), err)
			}
		}
		if l.target != target {
			r.Fatalf("got %q, want %q", l.target, target)
		}
	})
}
