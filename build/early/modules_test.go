package early

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/rootdesc"
	"pgregory.net/rapid"
)

// debian is a part of what depmod wrote for Debian 13's kernel.
func debian(t testing.TB) ModuleTree {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return ModuleTree{Image: "lkv/kernel:1", Release: "6.12-deb", Dep: read("modules.dep"), Builtin: read("modules.builtin")}
}

// TestDebian lists what the two modes load, by which the order can be reviewed.
func TestDebian(t *testing.T) {
	for _, mode := range []string{rootdesc.ModeSquashfs, rootdesc.ModeCD} {
		got, err := Modules(debian(t), mode)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", mode+".modules"), strings.Join(got, "\n")+"\n")
	}
}

// TestBuiltIn is a kernel as LinuxKit's, which needs no modules at all.
func TestBuiltIn(t *testing.T) {
	tree := ModuleTree{Builtin: []byte("kernel/drivers/block/loop.ko\nkernel/fs/squashfs/squashfs.ko\nkernel/fs/overlayfs/overlay.ko\n")}
	got, err := Modules(tree, rootdesc.ModeSquashfs)
	if err != nil || len(got) != 0 {
		t.Error(got, err)
	}
	_, err = Modules(tree, rootdesc.ModeCD)
	if !errors.Is(err, ErrModules) || !strings.Contains(err.Error(), "has no isofs, sr_mod,") {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	tree := debian(t)
	for _, c := range []struct {
		name, dep, mode, says string
	}{
		{"nothing", "", rootdesc.ModeSquashfs, "kernel image lkv/kernel:1 (6.12-deb) has no loop, squashfs, overlay, neither"},
		{"no colon", "a/b.ko\n", rootdesc.ModeSquashfs, `modules.dep: line 1: "a/b.ko"`},
		{"outside", "a/b.ko: ../../etc/passwd\n", rootdesc.ModeSquashfs, `line 1: "../../etc/passwd" is not a path`},
		{"absolute", "\n/a/b.ko:\n", rootdesc.ModeSquashfs, `line 2: "/a/b.ko" is not a path`},
		{"unknown need", "x/loop.ko: x/gone.ko\n", rootdesc.ModeSquashfs, "lkv/kernel:1: modules.dep names x/gone.ko"},
		{"mode", "", "initrd", `unknown root file system mode "initrd"`},
	} {
		tree.Dep = []byte(c.dep)
		if _, err := Modules(tree, c.mode); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCompressed: file names of compressed modules are kept, their names are the same.
func TestCompressed(t *testing.T) {
	tree := ModuleTree{Release: "r", Dep: []byte("k/loop.ko.xz:\nk/squashfs.ko.zst: k/dep-one.ko.gz\nk/dep-one.ko.gz:\nk/overlay.ko:\n")}
	got, err := Modules(tree, rootdesc.ModeSquashfs)
	want := []string{"/lib/modules/r/k/loop.ko.xz", "/lib/modules/r/k/dep-one.ko.gz", "/lib/modules/r/k/squashfs.ko.zst", "/lib/modules/r/k/overlay.ko"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

// TestOrder makes random trees without circles: every module comes once, after all that it needs.
func TestOrder(t *testing.T) {
	wanted := slices.Concat(buttons, required[rootdesc.ModeCD], optional[rootdesc.ModeCD])
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Permutation(slices.Concat(wanted, []string{"a", "b", "c", "d"})).Draw(t, "modules")
		needs := map[string][]string{}
		var lines []string
		for i, m := range all {
			file := fmt.Sprintf("k/%s.ko", m)
			for _, n := range all[:i] {
				if rapid.IntRange(0, 4).Draw(t, "needs") == 0 {
					needs[file] = append(needs[file], fmt.Sprintf("k/%s.ko", n))
				}
			}
			lines = append(lines, file+": "+strings.Join(needs[file], " "))
		}
		got, err := Modules(ModuleTree{Release: "r", Dep: []byte(strings.Join(lines, "\n"))}, rootdesc.ModeCD)
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]int{}
		for i, f := range got {
			f = strings.TrimPrefix(f, "/lib/modules/r/")
			for _, n := range needs[f] {
				if _, ok := at[n]; !ok {
					t.Fatalf("%s comes before %s", f, n)
				}
			}
			if _, again := at[f]; again {
				t.Fatalf("%s comes twice", f)
			}
			at[f] = i
		}
		for _, w := range wanted {
			if _, ok := at["k/"+w+".ko"]; !ok {
				t.Fatalf("%s is missing", w)
			}
		}
	})
}

// FuzzModules: whatever modules.dep says, circles included, paths stay below the module directory.
func FuzzModules(f *testing.F) {
	tree := debian(f)
	f.Add(tree.Dep, tree.Builtin)
	f.Add([]byte("a/loop.ko: b/squashfs.ko\nb/squashfs.ko: a/loop.ko\nc/overlay.ko:"), []byte{})
	f.Fuzz(func(t *testing.T, dep, builtin []byte) {
		got, err := Modules(ModuleTree{Release: "r", Dep: dep, Builtin: builtin}, rootdesc.ModeSquashfs)
		if err != nil {
			return
		}
		for _, p := range got {
			if !strings.HasPrefix(p, "/lib/modules/r/") {
				t.Errorf("%q", p)
			}
		}
		if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("twice: %q", got)
		}
	})
}
