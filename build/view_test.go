package build

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rootAfter builds with the given init images (and the shelf's kernel) and returns what GNU cpio makes of the
// whole initrd, which replaces and follows names by the kernel's rules as far as these tests go.
func rootAfter(t *testing.T, inits ...[]file) (dir string, list []member) {
	t.Helper()
	s := aShelf(t)
	yaml := "kernel: {image: \"lkv/kernel:1\"}\ninit:\n"
	for i, files := range inits {
		ref := "x/init:" + string(rune('a'+i))
		s[ref] = imageOf(t, nil, files)
		yaml += "- " + ref + "\n"
	}
	in := smallInput(t, s)
	in.YAML = []Source{{"w.yml", []byte(yaml + "files: [{path: bin/tool, contents: mine, mode: \"0755\"}, {path: lib/extra, contents: e}]\n")}}
	r := mustBuild(t, in)
	cpio := inflate(t, initrdOf(t, r.ISO))
	dir = t.TempDir()
	cmd := exec.Command(tool(t, "cpio", "cpio"), "-idmu", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(cpio)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	return dir, readNewc(t, cpio)
}

func contentOf(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// TestModulesFollowMergedLib: an init image with /lib -> usr/lib and a kernel that brings lib/modules.
func TestModulesFollowMergedLib(t *testing.T) {
	_, list := rootAfter(t, f("usr/", "usr/lib/", "usr/lib/libc.so=c", "lib->usr/lib", "bin->usr/bin", "usr/bin/"), f("lib/", "lib/b.so=b"))
	files := bodies(list)
	for name, want := range map[string]string{
		"usr/lib/modules/6.12.0-test/a.ko": "module", "usr/lib/libc.so": "c", "usr/lib/b.so": "b", "usr/lib/extra": "e", "usr/bin/tool": "mine",
	} {
		if files[name] != want {
			t.Errorf("%s = %q, want %q", name, files[name], want)
		}
	}
	for _, m := range list {
		if (m.name == "lib" || m.name == "bin") && m.mode&typeMask != typeLink {
			t.Errorf("/%s became %o", m.name, m.mode)
		}
		if strings.HasPrefix(m.name, "lib/") || strings.HasPrefix(m.name, "bin/") {
			t.Errorf("%s lies below a link", m.name)
		}
	}
}

// TestReplaceOneOfManyNames: busybox links are one file with many names; replacing one must leave the others.
func TestReplaceOneOfManyNames(t *testing.T) {
	dir, list := rootAfter(t, f("bin/", "bin/busybox=box", "bin/ls=>bin/busybox", "bin/tool=>bin/busybox"), f("bin/ls=real ls"))
	for name, want := range map[string]string{"bin/busybox": "box", "bin/ls": "real ls", "bin/tool": "mine"} {
		if got := contentOf(t, dir, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	var order []string
	for _, m := range list {
		if m.name == "bin/ls" {
			order = append(order, map[uint64]string{typeReg: "file", typeLink: "link"}[m.mode&typeMask])
		}
	}
	if d := cmp.Diff([]string{"file", "link", "file"}, order); d != "" {
		t.Errorf("bin/ls must change its type before it is replaced: %s", d)
	}
}

// TestGuessedParentsKeepModes: an image without entries for its parents does not change those of others.
func TestGuessedParentsKeepModes(t *testing.T) {
	_, list := rootAfter(t, []file{{name: "root/", mode: 0o700, uid: 7}, {name: "root/a", body: "1"}}, []file{{name: "root/b", body: "2"}})
	n := 0
	for _, m := range list {
		if m.name == "root" {
			n++
			if m.mode != typeDir|0o700 || m.uid != 7 {
				t.Errorf("/root is %o %d", m.mode, m.uid)
			}
		}
	}
	if n != 1 {
		t.Errorf("/root is there %d times", n)
	}
}

func TestPlace(t *testing.T) {
	r := newRoot()
	if err := r.add("test", view{Dirs: []text{"usr", "usr/lib", "run"}, Links: []symlink{
		{"lib", "usr/lib"}, {"var/run", "/run"}, {"a", "b"}, {"b", "a"}, {"up", "../../usr"}, {"deep", "lib/x"}}}); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{"lib/x": "usr/lib/x", "var/run/x": "run/x", "up/x": "usr/x", "plain/x": "plain/x", "deep/y": "usr/lib/x/y"} {
		if got, err := r.place(in, false); err != nil || got != want {
			t.Errorf("place(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := r.place("lib", false); got != "lib" || err != nil {
		t.Errorf("a file replaces the link: %q, %v", got, err)
	}
	if got, err := r.place("lib", true); got != "usr/lib" || err != nil {
		t.Errorf("a directory follows the link: %q, %v", got, err)
	}
	if _, err := r.place("a/x", false); err == nil {
		t.Error("no error for a loop")
	}
}

// TestMicrocode goes in front, uncompressed and padded, and counts as a segment.
func TestMicrocode(t *testing.T) {
	s := aShelf(t)
	kernelTar := string(tarOf(t, file{name: "lib/"}))
	s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "kernel", body: bzImage()}, {name: "kernel.tar", body: kernelTar}, {name: "intel-ucode.cpio", body: "070701 pretend"}})
	in := smallInput(t, s)
	in.YAML[0].Data = bytes.Replace(in.YAML[0].Data, []byte("  cmdline:"), []byte("  ucode: intel-ucode.cpio\n  cmdline:"), 1)
	r := mustBuild(t, in)
	initrd := initrdOf(t, r.ISO)
	if !bytes.HasPrefix(initrd, []byte("070701 pretend\x00")) || initrd[4096] == 0 {
		t.Error("the microcode is not in front")
	}
	if m := r.Manifest; m.Segments[0].Name != "ucode" || m.Segments[0].Size != 4096 || m.RAM.Initrd != int64(len(initrd)) {
		t.Errorf("segments %+v, RAM %+v", m.Segments[0], m.RAM)
	}
}

// TestPackageListsJoin: two Alpine init images keep both lists of packages.
func TestPackageListsJoin(t *testing.T) {
	_, list := rootAfter(t, f("lib/", "lib/apk/db/installed=P:a\n\n"), f("lib/apk/db/installed=P:b\n\n"))
	if got := bodies(list)[apkDB]; got != "P:a\n\nP:b\n\n" {
		t.Errorf("%q", got)
	}
}

// TestCapabilitiesWarn: file capabilities cannot be kept, and that is said.
func TestCapabilitiesWarn(t *testing.T) {
	s := aShelf(t)
	s["lkv/dhcp:1"] = oneLayer{imageOf(t, entrypoint("/ping"), nil), withXattr(t)}
	in := smallInput(t, s)
	var warned []string
	in.Progress = func(e Event) {
		if e.Step == "warning" {
			warned = append(warned, e.Name)
		}
	}
	mustBuild(t, in)
	if len(warned) != 1 || !strings.Contains(warned[0], "dhcp") || !strings.Contains(warned[0], "1 file") {
		t.Errorf("warnings %q", warned)
	}
}

func TestFilesSection(t *testing.T) {
	in := smallInput(t, aShelf(t))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "src"), []byte("from disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	in.Home = dir
	in.YAML = append(in.YAML, Source{filepath.Join(dir, "b.yml"), []byte(`files:
- {path: /etc/a, source: src, mode: "0640", uid: 5, gid: 6}
- {path: etc/home, source: ~/src}
- {path: etc/gone, source: nothing, optional: true}
- {path: srv/deep/dir, directory: true, mode: "0711"}
- {path: srv/link, symlink: deep/dir}
- {path: etc/shadow-dir/x, contents: "", mode: "0604", uid: dhcp}
- {path: etc/build.yml, metadata: yaml}
- {path: etc/build.json, metadata: json}
`)})
	list := readNewc(t, inflate(t, initrdOf(t, mustBuild(t, in).ISO)))
	parentsFirst(t, list)
	got := listing(list)
	for _, want := range []string{
		"100640 5:6 x1 etc/a 9 bytes\n", "100600 0:0 x1 etc/home 9 bytes\n", "040711 0:0 x2 srv\n", "040711 0:0 x2 srv/deep\n",
		"040711 0:0 x2 srv/deep/dir\n", "120777 0:0 x1 srv/link -> deep/dir\n", "040705 100:0 x2 etc/shadow-dir\n", "100604 100:0 x1 etc/shadow-dir/x 0 bytes\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(got, "etc/gone") || strings.Contains(got, "040700 0:0 x2 etc\n") {
		t.Errorf("an optional file that is missing was made, or /etc was closed:\n%s", got)
	}
	files := bodies(list)
	for _, name := range []string{"etc/build.yml", "etc/build.json"} {
		if text := files[name]; !strings.Contains(text, "ghcr.io/x/app:1") || strings.Contains(text, "docker.io") || strings.Contains(text, dir) {
			t.Errorf("%s: references must stay as written, no path of this machine may show:\n%s", name, text)
		}
	}
}
