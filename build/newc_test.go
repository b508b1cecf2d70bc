package build

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// member is one cpio entry as a reader sees it.
type member struct {
	name            string
	ino, mode       uint64
	uid, gid, nlink uint64
	mtime           int64
	dev, rdev       [2]uint64
	data            string
}

// readNewc reads a cpio archive independently of the code under test, strictly: anything odd fails the test.
func readNewc(t testing.TB, b []byte) []member {
	t.Helper()
	var out []member
	for off := 0; ; {
		if string(b[off:off+6]) != "070701" {
			t.Fatalf("offset %d: no magic after %d entries", off, len(out))
		}
		var v [13]uint64
		for i := range v {
			n, err := strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			if err != nil {
				t.Fatalf("offset %d: field %d: %v", off, i, err)
			}
			v[i] = n
		}
		name := string(b[off+110 : off+110+int(v[11])-1])
		off = up4(off + 110 + int(v[11]))
		data := string(b[off : off+int(v[6])])
		off = up4(off + int(v[6]))
		if name == "TRAILER!!!" {
			if off != len(b) {
				t.Fatalf("%d bytes after the trailer", len(b)-off)
			}
			return out
		}
		out = append(out, member{name: name, ino: v[0], mode: v[1], uid: v[2], gid: v[3], nlink: v[4], mtime: int64(v[5]),
			dev: [2]uint64{v[7], v[8]}, rdev: [2]uint64{v[9], v[10]}, data: data})
	}
}

func up4(n int) int { return (n + 3) &^ 3 }

// listing is the archive as text: one line per entry, in order.
func listing(list []member) string {
	var b strings.Builder
	for _, m := range list {
		what := ""
		switch m.mode & typeMask {
		case typeLink:
			what = " -> " + m.data
		case typeChar, typeBlk:
			what = fmt.Sprintf(" %d,%d", m.rdev[0], m.rdev[1])
		case typeReg:
			what = fmt.Sprintf(" %d bytes", len(m.data))
		}
		fmt.Fprintf(&b, "%06o %d:%d x%d %s%s\n", m.mode, m.uid, m.gid, m.nlink, m.name, what)
	}
	return b.String()
}

func bodies(list []member) map[string]string {
	out := map[string]string{}
	for _, m := range list {
		if m.mode&typeMask == typeReg && (m.data != "" || out[m.name] == "") {
			out[m.name] = m.data
		}
	}
	return out
}

// parentsFirst checks the rule the kernel's unpacker needs: it makes no directories by itself.
func parentsFirst(t testing.TB, list []member) {
	t.Helper()
	dirs := map[string]bool{}
	for _, m := range list {
		if i := strings.LastIndexByte(m.name, '/'); i >= 0 && !dirs[m.name[:i]] {
			t.Errorf("%s comes before its directory", m.name)
		}
		if m.mode&typeMask == typeDir {
			dirs[m.name] = true
		}
	}
}

func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s", name, pkg)
	}
	return p
}

// TestSystemCpio lets GNU cpio unpack an initrd and compares what lies on disk.
func TestSystemCpio(t *testing.T) {
	s := aShelf(t)
	s["lkv/init:1"] = imageOf(t, nil,
		[]file{{name: "bin/"}, {name: "bin/busybox", body: "box", mode: 0o4755}, {name: "bin/sh=>bin/busybox"}, {name: "bin/ls=>bin/busybox"},
			{name: "lib/"}, {name: "lib64->lib"}, {name: "empty", mode: 0o600}, {name: strings.Repeat("n/", 90) + "deep", body: "deep"}})
	r := mustBuild(t, smallInput(t, s))
	dir := t.TempDir()
	cmd := exec.Command(tool(t, "cpio", "cpio"), "-idmu", "--no-absolute-filenames", "--quiet")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(inflate(t, initrdOf(t, r.ISO))))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"bin/busybox": "box", "bin/ls": "box", "bin/sh": "box", "lib64/modules/6.12.0-test/a.ko": "module",
		"empty": "", strings.Repeat("n/", 90) + "deep": "deep", "etc/motd": "hello", "containers/services/app/rootfs/app": "app v1"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
	a, errA := os.Stat(filepath.Join(dir, "bin/busybox"))
	b, errB := os.Stat(filepath.Join(dir, "bin/ls"))
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("bin/ls is no hard link to bin/busybox: %v %v", errA, errB)
	}
	if a.Mode()&os.ModeSetuid == 0 {
		t.Error("bin/busybox lost its setuid bit")
	}
	st, err := os.Stat(filepath.Join(dir, "bin/busybox"))
	if err != nil || !st.ModTime().Equal(created.Add(-3600e9)) {
		t.Errorf("mtime %v, %v", st.ModTime(), err)
	}
}

func TestNumber(t *testing.T) {
	shared := &inode{mode: typeReg, size: 3, data: []byte("abc")}
	link := &inode{mode: typeLink, target: "x"}
	got := number([]entry{{"a", shared}, {"b", link}, {"c", link}, {"d", shared}, {"e", &inode{mode: typeDir}}})
	type row struct {
		num, links uint32
		size       int64
	}
	var rows []row
	for _, r := range got {
		rows = append(rows, row{r.num, r.links, r.size})
	}
	want := []row{{1, 2, 3}, {2, 1, 1}, {3, 1, 1}, {1, 2, 0}, {5, 2, 0}}
	if d := cmp.Diff(want, rows, cmp.AllowUnexported(row{})); d != "" {
		t.Error(d)
	}
}
