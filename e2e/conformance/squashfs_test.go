package conformance

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/lkv-io/lkv/e2e/conformance/oracle"
)

// TestSquashfsKeepsAttributes: an initrd has no extended attributes, neither LinuxKit's nor lkv's, but LinuxKit's
// tar has, and so has lkv's squashfs.
func TestSquashfsKeepsAttributes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run this test as root: unsquashfs sets file capabilities")
	}
	c := newCaches(t)
	addAll(t, c, job{images: shared(t)})
	addEarly(t, c)
	for _, x := range cases {
		if x.name != "file capabilities" {
			continue
		}
		j := x.make(t)
		addAll(t, c, j)
		// The early initrd needs a real kernel's modules.
		yaml := strings.NewReplacer("t/kernel:1", "lkv/kernel:1", "  ucode: intel-ucode.cpio\n", "").Replace(j.yaml[0])
		dir := t.TempDir()
		m, err := oracle.Config([]byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		if err := oracle.KernelInitrd(m, c.LinuxKit, dir, filepath.Join(dir, "linuxkit")); err != nil {
			t.Fatal(err)
		}
		want, err := ReadTar(filepath.Join(dir, "linuxkit.tar"))
		if err != nil {
			t.Fatal(err)
		}
		if len(want.attrs) != 2 {
			t.Fatalf("LinuxKit's tar has %d attributes", len(want.attrs))
		}
		write(t, filepath.Join(dir, "0.yml"), yaml)
		write(t, filepath.Join(dir, "lkv.hcl"), "image \"test\" {\n  linuxkit = [\"0.yml\"]\n  rootfs = \"cd\"\n}\n")
		lkvBuild(t, c, dir)
		if d := cmp.Diff(want.attrs, squashfsAttrs(t, dir)); d != "" {
			t.Error(d)
		}
	}
}

// addEarly gives the boot image a program for the early initrd; nobody starts it here.
func addEarly(t testing.TB, c oracle.Caches) {
	t.Helper()
	boot, err := c.Image("lkv/boot:1")
	if err != nil {
		t.Fatal(err)
	}
	extra, err := imageOf(t, v1.Config{}, entries{{name: "early/"}, {name: "early/init", body: "x", mode: 0o755}}).Layers()
	if err != nil {
		t.Fatal(err)
	}
	if boot, err = mutate.AppendLayers(boot, extra...); err != nil {
		t.Fatal(err)
	}
	if err := c.Replace("lkv/boot:1", boot); err != nil {
		t.Fatal(err)
	}
}

// squashfsAttrs lets unsquashfs unpack the containers of the ISO in dir/out and reads their attributes from disk.
func squashfsAttrs(t testing.TB, dir string) map[string]string {
	t.Helper()
	for _, args := range [][]string{
		{tool(t, "xorriso", "xorriso"), "-osirrox", "on", "-indev", isoIn(t, dir), "-extract", "/lkv/root.squashfs", filepath.Join(dir, "root.squashfs")},
		{tool(t, "unsquashfs", "squashfs-tools"), "-q", "-n", "-d", filepath.Join(dir, "root"), filepath.Join(dir, "root.squashfs"), "containers"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	got := map[string]string{}
	root := filepath.Join(dir, "root")
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		list, value := make([]byte, 4096), make([]byte, 4096)
		n, err := syscall.Listxattr(p, list)
		if err != nil {
			return err
		}
		for _, k := range strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }) {
			n, err := syscall.Getxattr(p, k, value)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			got[rel+" "+k] = string(value[:n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
