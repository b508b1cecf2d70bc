package early

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/rootdesc"
)

func root(mode string) rootdesc.Root {
	return rootdesc.Root{
		Mode: mode, Volume: "LKV", SHA256: strings.Repeat("a0", 32), Size: 4096, Init: "/sbin/init",
		Modules: []string{"/lib/modules/r/kernel/fs/a.ko", "/lib/modules/r/kernel/fs/b.ko"},
	}
}

func TestFrontAndBack(t *testing.T) {
	for mode, want := range map[string]string{
		rootdesc.ModeSquashfs: "init lib/ lib/modules/ lib/modules/r/ lib/modules/r/kernel/ lib/modules/r/kernel/fs/ lib/modules/r/kernel/fs/a.ko " +
			"lib/modules/r/kernel/fs/b.ko etc/ etc/lkv/ etc/lkv/image.json .lkv/ .lkv/root.json .lkv/root.squashfs .lkv/complete",
		rootdesc.ModeCD: "init lib/ lib/modules/ lib/modules/r/ lib/modules/r/kernel/ lib/modules/r/kernel/fs/ lib/modules/r/kernel/fs/a.ko " +
			"lib/modules/r/kernel/fs/b.ko etc/ etc/lkv/ etc/lkv/image.json .lkv/ .lkv/root.json .lkv/complete",
	} {
		back, err := Back(root(mode), []byte(`{"name":"worker"}`))
		if err != nil {
			t.Fatal(err)
		}
		got := append(Front(root(mode).Modules), back...)
		var all []string
		seen := map[string]bool{".": true}
		for _, e := range got {
			name := e.Path
			if !seen[path.Dir(name)] {
				t.Errorf("%s comes before its directory", name)
			}
			if e.Mode.IsDir() {
				seen[name] = true
				name += "/"
			}
			all = append(all, name)
		}
		if d := cmp.Diff(want, strings.Join(all, " ")); d != "" {
			t.Error(d)
		}
		if last := got[len(got)-1]; len(last.Data) == 0 {
			t.Error("an empty marker is none")
		}
	}
}

// TestRoundTrip: what the guest reads is what was described, and only files carry content.
func TestRoundTrip(t *testing.T) {
	want := root(rootdesc.ModeCD)
	all, err := Back(want, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Mode&fs.ModeDir != 0 && (e.Source != Made || e.Data != nil) {
			t.Errorf("directory with content: %+v", e)
		}
		if "/"+e.Path == rootdesc.Path {
			got, err := rootdesc.Parse(e.Data)
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Error(err, d)
			}
			return
		}
	}
	t.Error("no description")
}

func TestBackRefuses(t *testing.T) {
	r := root(rootdesc.ModeCD)
	r.Volume = ""
	if _, err := Back(r, nil); err == nil || !strings.Contains(err.Error(), "volume ID") {
		t.Error(err)
	}
}
