package build

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
)

// TestLayout pins the whole root file system of a small image, with a persist block.
func TestLayout(t *testing.T) {
	in := smallInput(t, aShelf(t))
	in.Persist = []Persist{{Mount: "/var/lib/docker", Label: "docker", Options: []string{"noatime"}}, {Mount: "/data", Label: "d"}}
	r := mustBuild(t, in)
	list := readNewc(t, inflate(t, initrdOf(t, r.ISO)))
	parentsFirst(t, list)
	golden.Check(t, "testdata/layout.txt", listing(list))
	files := bodies(list)
	golden.Check(t, "testdata/app.config.json", files["containers/services/app/config.json"])
	golden.Check(t, "testdata/persist.config.json", files["containers/onboot/000-persist-0/config.json"])
	var all strings.Builder
	for _, m := range list {
		if strings.HasSuffix(m.name, "/runtime.json") {
			all.WriteString(m.name + "\n" + m.data + "\n")
		}
	}
	golden.Check(t, "testdata/runtime.txt", all.String())

	last := list[len(list)-1]
	if "/"+last.name != report.MarkerPath {
		t.Errorf("last entry is %s, want %s", last.name, report.MarkerPath)
	}
	var id report.Image
	if err := json.Unmarshal([]byte(files[strings.TrimPrefix(report.ImagePath, "/")]), &id); err != nil {
		t.Error(err)
	}
	if want := (report.Image{Name: "worker", ID: r.Manifest.ID}); id != want {
		t.Errorf("image.json = %+v, want %+v", id, want)
	}
}

// TestManifest pins everything of the manifest that is no digest or size.
func TestManifest(t *testing.T) {
	in := smallInput(t, aShelf(t))
	in.Persist = []Persist{{Mount: "/var/lib/docker", Label: "docker"}}
	r := mustBuild(t, in)
	f, err := os.Open(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := manifest.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Manifest, m); d != "" {
		t.Errorf("manifest on disk differs from the result:\n%s", d)
	}
	if sum, size, err := hashFile(r.ISO); err != nil || sum != m.ISO.SHA256 || size != m.ISO.Size {
		t.Errorf("ISO is %s %d, %v; manifest says %+v", sum, size, err, m.ISO)
	}
	initrd := initrdOf(t, r.ISO)
	if m.RAM.Initrd != int64(len(initrd)) {
		t.Errorf("initrd has %d bytes, manifest says %d", len(initrd), m.RAM.Initrd)
	}
	if m.RAM.Minimum != 128<<20 || m.RAM.Unpacked == 0 { // a tiny image: what the kernel needs by itself
		t.Errorf("RAM = %+v", m.RAM)
	}
	if m.Kernel != "6.12.0-test" || m.Engine != "28.1.0" || m.Arch != "amd64" || m.Cmdline != "console=ttyS0" {
		t.Errorf("kernel %q, engine %q, arch %q, cmdline %q", m.Kernel, m.Engine, m.Arch, m.Cmdline)
	}
	want := []manifest.Persist{{Mount: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Via: "lkv", Gated: true}}
	if d := cmp.Diff(want, m.Persist); d != "" {
		t.Error(d)
	}
	var comps []string
	for _, c := range m.Components {
		comps = append(comps, c.Section+" "+c.Name+" "+c.Ref)
	}
	wantC := []string{"kernel lkv/kernel:1 lkv/kernel:1", "init lkv/init:1 lkv/init:1", "init lkv/runc:1 lkv/runc:1",
		"onboot persist-0 lkv/persist:1", "onboot dhcp lkv/dhcp:1", "service app ghcr.io/x/app:1", "service again lkv/dhcp:1", "boot lkv/boot:1 lkv/boot:1"}
	if d := cmp.Diff(wantC, comps); d != "" {
		t.Error(d)
	}
	var segs []string
	entries := 0
	for _, s := range m.Segments {
		segs = append(segs, s.Name)
		entries += s.Entries
		if s.Size%4096 != 0 {
			t.Errorf("segment %s has %d bytes, no multiple of 4 KiB", s.Name, s.Size)
		}
	}
	wantS := []string{"init[0] lkv/init:1", "init[1] lkv/runc:1", "kernel lkv/kernel:1", "onboot/000-persist-0 lkv/persist:1",
		"onboot/001-dhcp lkv/dhcp:1", "services/app ghcr.io/x/app:1", "containers", "files", "lkv"}
	if d := cmp.Diff(wantS, segs); d != "" {
		t.Error(d)
	}
	list := readNewc(t, inflate(t, initrd))
	if entries != len(list) || list[len(list)-1].data != strings.TrimSpace(list[len(list)-1].data)+"\n" {
		t.Errorf("%d entries, manifest says %d", len(list), entries)
	}
}
