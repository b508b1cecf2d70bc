package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/build/squashfs"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
)

// rootShelf has a kernel that can mount a squashfs, and an image with all that a file system can have.
func rootShelf(t testing.TB) shelf {
	t.Helper()
	const dir = "lib/modules/6.12.0-test/"
	modules := tarOf(t, file{name: dir + "modules.dep", body: "kernel/fs/overlay.ko: kernel/lib/dep.ko\nkernel/lib/dep.ko:\n"},
		file{name: dir + "modules.builtin", body: "kernel/a/loop.ko\nkernel/b/squashfs.ko\nkernel/c/isofs.ko\nkernel/d/sr_mod.ko\n"},
		file{name: dir + "kernel/fs/overlay.ko", body: "overlay"}, file{name: dir + "kernel/lib/dep.ko", body: "dep"})
	s := aShelf(t)
	s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "kernel", body: bzImage()}, {name: "kernel.tar", body: string(modules)}})
	s["lkv/boot:1"] = imageOf(t, nil, []file{{name: "isolinux/isolinux.bin", body: strings.Repeat("I", 4096)}, {name: "isolinux/ldlinux.c32", body: "ld"},
		{name: "isolinux/isohdpfx.bin", body: strings.Repeat("M", 432)}, {name: "early/init", body: "guest", mode: 0o755}})
	s["ghcr.io/x/app:1"] = imageOf(t, entrypoint("/app"), []file{
		{name: "app", body: strings.Repeat("app ", 100_000), mode: 0o4755}, {name: "hard=>app"}, {name: "soft->app"}, {name: "empty", body: ""},
		{name: "d/", mode: 0o1777}, {name: "d/ping", body: "ping", mode: 0o755, xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02cap"}},
	})
	s["lkv/runc:1"] = imageOf(t, nil, []file{{name: "usr/bin/runc", body: "runc", mode: 0o755}, {name: "bin/sh", body: "another shell", mode: 0o700}})
	return s
}

// lines describes names of a file system: type, mode, owner, and target or content. Hard links name the first.
func lines(list []member) map[string]string {
	out := map[string]string{}
	type key struct {
		dev [2]uint64
		ino uint64
	}
	first := map[key]string{}
	contents := map[key]string{}
	for _, m := range list {
		if m.data != "" {
			contents[key{m.dev, m.ino}] = m.data
		}
	}
	for _, m := range list {
		link := ""
		if m.mode&typeMask == typeReg {
			if f, ok := first[key{m.dev, m.ino}]; ok {
				link = " = " + f
			} else {
				first[key{m.dev, m.ino}] = m.name
			}
		}
		data := m.data
		if m.mode&typeMask == typeReg {
			data = contents[key{m.dev, m.ino}]
		}
		out[m.name] = fmt.Sprintf("%o %d:%d %.40q %d%s", m.mode, m.uid, m.gid, data, len(data), link)
	}
	return out
}

// squashed reads a squashfs.
func squashLines(t *testing.T, data []byte) (map[string]string, []string) {
	t.Helper()
	r, err := squashfs.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var list []member
	var caps []string
	err = r.Walk(func(n *squashfs.Node) error {
		m := member{name: n.Path, ino: uint64(n.Number), mode: uint64(n.Mode), uid: uint64(n.UID), gid: uint64(n.GID), data: n.Target}
		if n.Mode&typeMask == typeReg {
			b, err := io.ReadAll(n.Open())
			if err != nil {
				return err
			}
			m.data = string(b)
		}
		if n.XAttrs["security.capability"] != "" {
			caps = append(caps, n.Path)
		}
		if n.Path != "" {
			list = append(list, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines(list), caps
}

// smallInitrd splits the initrd of a squashfs root: what is compressed, then plain cpio.
func smallInitrd(t *testing.T, initrd []byte) []member {
	t.Helper()
	at := bytes.Index(initrd, []byte("070701"))
	if at < 0 {
		t.Fatal("no plain part")
	}
	return readNewc(t, append(inflate(t, initrd[:at]), initrd[at:]...))
}

// TestRootsAgree builds one image with every root file system: the same files, whichever way they get there.
func TestRootsAgree(t *testing.T) {
	s := rootShelf(t)
	want := map[string]string{}
	for _, mode := range []string{rootInitrd, rootSquashfs, rootCD} {
		in := smallInput(t, s)
		in.Rootfs = mode
		r := mustBuild(t, in)
		var got map[string]string
		var caps []string
		switch mode {
		case rootInitrd:
			want = lines(readNewc(t, inflate(t, initrdOf(t, r.ISO))))
			delete(want, report.ImagePath[1:])
			delete(want, report.MarkerPath[1:])
			if n := len(r.Manifest.Dropped); n != 1 || r.Manifest.Dropped[0].XAttr != "security.capability" || r.Manifest.Root != nil {
				t.Errorf("initrd: dropped %+v", r.Manifest.Dropped)
			}
			continue
		case rootSquashfs:
			got, caps = squashLines(t, body(smallInitrd(t, initrdOf(t, r.ISO)), rootdesc.Squashfs))
		case rootCD:
			got, caps = squashLines(t, fileOf(t, r.ISO, rootdesc.OnMedium))
		}
		if got[report.MarkerPath[1:]] == "" {
			t.Errorf("%s: the real init would take the root for incomplete", mode)
		}
		delete(got, report.ImagePath[1:])
		delete(got, report.MarkerPath[1:])
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-initrd +it):\n%s", mode, d)
		}
		if d := cmp.Diff([]string{"containers/services/app/lower/d/ping"}, caps); d != "" || len(r.Manifest.Dropped) > 0 {
			t.Errorf("%s: capabilities: %s, dropped %+v", mode, d, r.Manifest.Dropped)
		}
		checkEarly(t, mode, r)
	}
}

func body(list []member, name string) []byte {
	i := slices.IndexFunc(list, func(m member) bool { return "/"+m.name == name })
	if i < 0 {
		return nil
	}
	return []byte(list[i].data)
}

// checkEarly looks at the small initrd: what mounting needs, in an order that a kernel without memory survives.
func checkEarly(t *testing.T, mode string, r Result) {
	t.Helper()
	list := smallInitrd(t, initrdOf(t, r.ISO))
	parentsFirst(t, list)
	root, err := rootdesc.Parse(body(list, rootdesc.Path))
	if err != nil {
		t.Fatal(err)
	}
	modules := []string{"/lib/modules/6.12.0-test/kernel/lib/dep.ko", "/lib/modules/6.12.0-test/kernel/fs/overlay.ko"}
	if d := cmp.Diff(modules, root.Modules); d != "" || root.Mode != mode || root.Size != r.Manifest.Root.Size {
		t.Errorf("%s: %+v %s", mode, root, d)
	}
	if mode == rootCD && (root.SHA256 != r.Manifest.Root.SHA256 || root.Volume != "LKV_WORKER" || root.Memory <= 0) {
		t.Errorf("cd: %+v", root)
	}
	if string(body(list, "/init")) != "guest" || string(body(list, modules[1])) != "overlay" {
		t.Errorf("%s: the early files are not the images'", mode)
	}
	if last := list[len(list)-1].name; "/"+last != report.MarkerPath {
		t.Errorf("%s: the last entry is %s", mode, last)
	}
	if m := r.Manifest.RAM; m.Initrd < int64(len(initrdOf(t, r.ISO))) || m.Minimum < 128<<20 {
		t.Errorf("%s: RAM %+v", mode, m)
	}
}

// TestSquashfsIsRebuiltFromPacks: a changed file costs its own piece, and the bytes are those of a cold build.
func TestSquashfsIsRebuiltFromPacks(t *testing.T) {
	in := smallInput(t, rootShelf(t))
	in.Rootfs = rootSquashfs
	mustBuild(t, in)
	in.YAML = []Source{{"worker.yml", []byte(strings.Replace(smallYAML, "contents: hello", "contents: bye", 1))}}
	made, cached := segmentEvents(t, in)
	if d := cmp.Diff([]string{"files", "lkv"}, made); d != "" || len(cached) != 8 {
		t.Errorf("cached %q, made %s", cached, d)
	}
	warm := mustBuild(t, in).Manifest
	in.Cache, in.Out = t.TempDir(), t.TempDir()
	if d := cmp.Diff(mustBuild(t, in).Manifest, warm); d != "" {
		t.Error(d)
	}
}

// TestDamagedPackHeals: a pack is verified while it is copied into the squashfs.
func TestDamagedPackHeals(t *testing.T) {
	in := smallInput(t, rootShelf(t))
	in.Rootfs = rootCD
	want := mustBuild(t, in).Manifest
	damageCache(t, in.Cache, "*.zst")
	in.Out = t.TempDir()
	var warned []string
	in.Progress = func(e Event) {
		if e.Step == "warning" {
			warned = append(warned, e.Name)
		}
	}
	if d := cmp.Diff(want, mustBuild(t, in).Manifest); d != "" {
		t.Error(d)
	}
	if len(warned) == 0 || !strings.Contains(warned[0], "the segment cache is damaged") {
		t.Errorf("warnings %q", warned)
	}
}

// TestKernelThatCannotMount is refused with its name and what to do.
func TestKernelThatCannotMount(t *testing.T) {
	s := rootShelf(t)
	s["lkv/kernel:1"] = aShelf(t)["lkv/kernel:1"]
	in := smallInput(t, s)
	in.Rootfs = rootSquashfs
	_, err := Build(t.Context(), in)
	if err == nil || !strings.Contains(err.Error(), "lkv/kernel:1") || !strings.Contains(err.Error(), `rootfs = "initrd"`) {
		t.Error(err)
	}
	in.Rootfs = "nfs"
	if _, err := Build(t.Context(), in); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
}

// TestAlso writes kernel and initrd beside the ISO, the same bytes that are in it.
func TestAlso(t *testing.T) {
	in := smallInput(t, rootShelf(t))
	in.Also = []string{alsoPair}
	r := mustBuild(t, in)
	base := strings.TrimSuffix(r.ISO, ".iso")
	for ending, want := range map[string]string{".vmlinuz": bzImage(), ".initrd": string(initrdOf(t, r.ISO)), ".cmdline": "console=ttyS0\n"} {
		got, err := os.ReadFile(base + ending)
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, want %d (%v)", ending, len(got), len(want), err)
		}
	}
	kinds := map[string]bool{}
	for _, f := range r.Manifest.Files {
		kinds[f.Kind] = true
		sum, size, err := hashFile(in.Out + "/" + f.Name)
		if err != nil || (manifest.File{SHA256: sum, Size: size}) != f.File {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if d := cmp.Diff(map[string]bool{"spdx": true, "cyclonedx": true, "kernel": true, "initrd": true, "cmdline": true, "provenance": true}, kinds); d != "" {
		t.Error(d)
	}
	if err := os.Remove(base + ".spdx.json"); err != nil {
		t.Fatal(err)
	}
	if again := mustBuild(t, in); again.Cached || again.Manifest.ISO != r.Manifest.ISO {
		t.Error("a build whose SBOM is gone counts as done")
	}
}
