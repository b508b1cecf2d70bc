package iso

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run calls another program that judges an image. A missing one is a failure, not a skip.
func run(t *testing.T, debianPackage, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && filepath.Base(name) == name {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatalf("%s is missing; on Debian: apt-get install %s", name, debianPackage)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// runs tells whether another program, which an earlier call of run has found, accepts its input.
func runs(t *testing.T, name string, args ...string) bool {
	t.Helper()
	return exec.CommandContext(t.Context(), name, args...).Run() == nil
}

// save puts bytes into a file of the test's own directory.
func save(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestXorrisoReadsImage(t *testing.T) {
	o, initrd := sample(), noise(7, 1<<20+5)
	o.Files = append(o.Files, Extra{Path: "deep/er/and/deep/er/" + strings.Repeat("n", 255), Data: []byte("x")})
	o.Files = append(o.Files, Extra{Path: "rootfs.squashfs", Content: bytes.NewReader(noise(6, 50_001)), Size: 50_001})
	o.extent = 8 * sector // makes multi-extent files of what is longer than 16 KiB
	f, l := build(t, o, initrd, 1<<20)
	image, dir := save(t, "x.iso", f.b), t.TempDir()
	report := run(t, "xorriso", "xorriso", "-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain")
	for _, want := range []string{
		"Boot record  : El Torito , MBR isohybrid cyl-align-off GPT",
		"Volume id    : 'LKV_worker'",
		"El Torito cat path : /boot/boot.cat",
		"El Torito img opts :   1  boot-info-table isohybrid-suitable",
		"El Torito img path :   2  /boot/efi.img",
		"GPT partition path :   1  /boot/efi.img",
		"GPT partname local :   1  EFI system",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("report lacks %q", want)
		}
	}
	for _, bad := range []string{"WARNING", "FAILURE", "SORRY", "damaged", "backup"} {
		if strings.Contains(report, bad) {
			t.Errorf("report contains %q", bad)
		}
	}
	if t.Failed() {
		t.Log(report)
	}
	run(t, "xorriso", "xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", filepath.Join(dir, "tree"))
	for _, e := range open(t, f).Files() {
		if e.Mode.IsDir() {
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, "tree", e.Path))
		if want := f.b[e.Extent.Offset : e.Extent.Offset+e.Extent.Size]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: xorriso extracted %d bytes, want %d: %v", e.Path, len(got), len(want), err)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "tree", InitrdPath)); !bytes.Equal(got, initrd) {
		t.Errorf("initrd differs; layout %+v", l)
	}
	chmodTree(dir)
}

// chmodTree lets the test's clean-up remove the read-only directories of an extracted tree.
func chmodTree(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, _ error) error { return os.Chmod(p, 0o700) })
}

// TestFATOracles checks the EFI system partition for every cluster size, and the fill levels in between.
func TestFATOracles(t *testing.T) {
	for _, c := range []struct {
		bound   int64
		initrd  int
		cluster int64
	}{
		{1 << 20, 1 << 20, 4 << 10},
		{200 << 20, 20 << 20, 4 << 10},
		{300 << 20, 1, 8 << 10},
		{600 << 20, 5000, 16 << 10},
		{1500 << 20, 5 << 20, 32 << 10},
	} {
		o, initrd := sample(), noise(8, c.initrd)
		o.InitrdBound = c.bound
		f, l := build(t, o, initrd, 1<<20)
		image := save(t, "efi.img", f.b[l.EFI.Offset:l.EFI.Offset+l.EFI.Size])
		if out := run(t, "dosfstools", "fsck.fat", "-n", "-v", image); strings.Contains(out, "differ") || !strings.Contains(out, "16 bit entries") {
			t.Errorf("bound %d: fsck.fat says\n%s", c.bound, out)
		}
		if got := int64(f.b[l.EFI.Offset+13]) * block; got != c.cluster {
			t.Errorf("bound %d: clusters of %d bytes, want %d", c.bound, got, c.cluster)
		}
		if out := run(t, "mtools", "mdir", "-/", "-b", "-i", image, "::"); strings.TrimSpace(out) != "::/EFI/\n::/EFI/BOOT/\n::/EFI/BOOT/BOOTX64.EFI" {
			t.Errorf("bound %d: mdir lists\n%s", c.bound, out)
		}
		kernel := filepath.Join(t.TempDir(), "uki.efi")
		run(t, "mtools", "mcopy", "-n", "-i", image, "::EFI/BOOT/BOOTX64.EFI", kernel)
		if got, err := os.ReadFile(kernel); err != nil || !bytes.Equal(got, f.b[l.UKI.Offset:l.UKI.Offset+l.UKI.Size]) {
			t.Errorf("bound %d: mcopy gave %d bytes that differ from the extent: %v", c.bound, len(got), err)
		}
	}
}
