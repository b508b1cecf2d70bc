package iso

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lkv-io/lkv/internal/golden"
)

// grubSample is an EFI option of three programs that are noise behind their first two bytes.
func grubSample() *EFI {
	program := func(seed uint64, n int) []byte { return append([]byte("MZ"), noise(seed, n)...) }
	return &EFI{Grub: &Grub{Shim: program(11, 900_001), Grub: program(12, 2_300_000), MokManager: program(13, 800_000)}}
}

// grubOptions is sample with GRUB and a command line it can pass.
func grubOptions() Options {
	o := sample()
	o.EFI = grubSample()
	o.Cmdline = `console=ttyS0 "a=b c" pct=%d $x;{y}`
	return o
}

func TestGrubLayout(t *testing.T) {
	o, initrd := grubOptions(), noise(7, 300_001)
	o.InitrdBound = 3 << 30 // no FAT limits it
	f, l := build(t, o, initrd, 1<<16)
	m := open(t, f)
	config := grubConfig(o.VolumeID, []string{"console=ttyS0", "a=b c", "pct=%d", "$x;{y}"})
	for path, want := range map[string][]byte{
		UKIPath: o.EFI.Grub.Shim, grubPath: o.EFI.Grub.Grub, managerPath: o.EFI.Grub.MokManager, GrubConfigPath: config,
		KernelPath: o.Kernel, InitrdPath: initrd, ConfigPath: isolinuxConfig(o.Cmdline),
	} {
		if got := readFile(t, m, path); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes read, differ from the %d wanted", path, len(got), len(want))
		}
	}
	if l.UKI.Size != 0 || l.EFI.Size >= 32<<20 || m.Boot[1].Blocks == 0 {
		t.Errorf("the EFI image is not small: %+v, %+v", l, m.Boot)
	}
	if l.Initrd.Offset < l.EFI.Offset+l.EFI.Size || l.Kernel.Offset < l.Initrd.Offset+l.Initrd.Size {
		t.Errorf("kernel and initrd are not behind the EFI image: %+v", l)
	}
}

// TestGrubPartition reads the EFI system partition with mtools and checks it with fsck.fat, with shim and without.
func TestGrubPartition(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Grub)
		want   map[string]func(*Grub) []byte
	}{
		"shim": {func(*Grub) {}, map[string]func(*Grub) []byte{
			"BOOTX64.EFI": func(g *Grub) []byte { return g.Shim }, "GRUBX64.EFI": func(g *Grub) []byte { return g.Grub },
			"MMX64.EFI": func(g *Grub) []byte { return g.MokManager }}},
		"no shim": {func(g *Grub) { g.Shim, g.MokManager = nil, nil }, map[string]func(*Grub) []byte{
			"BOOTX64.EFI": func(g *Grub) []byte { return g.Grub }}},
	} {
		o := grubOptions()
		c.change(o.EFI.Grub)
		f, l := build(t, o, noise(7, 100), 100)
		image, dir := save(t, "efi.img", f.b[l.EFI.Offset:l.EFI.Offset+l.EFI.Size]), t.TempDir()
		if out := run(t, "dosfstools", "fsck.fat", "-n", "-v", image); strings.Contains(out, "differ") || !strings.Contains(out, "16 bit entries") {
			t.Errorf("%s: fsck.fat says\n%s", name, out)
		}
		run(t, "mtools", "mcopy", "-n", "-s", "-i", image, "::EFI", "::BOOT", dir)
		if got, err := os.ReadFile(filepath.Join(dir, "BOOT/GRUB/GRUB.CFG")); err != nil || !bytes.HasSuffix(got, []byte("\nboot\n")) {
			t.Errorf("%s: grub.cfg: %q, %v", name, got, err)
		}
		list, err := os.ReadDir(filepath.Join(dir, "EFI/BOOT"))
		if err != nil || len(list) != len(c.want) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
		for file, want := range c.want {
			if got, err := os.ReadFile(filepath.Join(dir, "EFI/BOOT", file)); err != nil || !bytes.Equal(got, want(o.EFI.Grub)) {
				t.Errorf("%s: %s: mcopy gave %d other bytes: %v", name, file, len(got), err)
			}
		}
	}
}

func TestGrubConfig(t *testing.T) {
	words, err := grubWords(`quiet  "init=/a b" $root;{x} %d`)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/grub.golden", string(grubConfig("it's LKV", words)))
}

func TestGrubWords(t *testing.T) {
	for in, want := range map[string][]string{
		"":             nil,
		"a b":          {"a", "b"},
		"a  b":         {"a", "", "b"},
		`"a=b c" d`:    {"a=b c", "d"},
		`d " a"`:       {"d", " a"},
		`"a b" "c  d"`: {"a b", "c  d"},
	} {
		if got, err := grubWords(in); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{`a="b c"`, `"a"`, `"a b"c`, `"a b`, `a\b`, `it's`, `"a 'b'"`, `"a \b"`, `""`} {
		if got, err := grubWords(in); err == nil {
			t.Errorf("%q was cut into %q, and GRUB changes it", in, got)
		}
	}
}

// TestGrubJoins: GRUB's rule for joining words (booted with GRUB 2.12: e2e/iso_test.go) gives back every command
// line that is not refused.
func TestGrubJoins(t *testing.T) {
	join := func(words []string) string {
		var out []string
		for _, w := range words {
			w = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`).Replace(w)
			if strings.Contains(w, " ") {
				w = `"` + w + `"`
			}
			out = append(out, w)
		}
		return strings.Join(out, " ")
	}
	rapid.Check(t, func(r *rapid.T) {
		in := strings.Trim(rapid.StringMatching(`[ "'\\a=]{0,12}`).Draw(r, "line"), " ")
		words, err := grubWords(in)
		if err != nil {
			if !strings.ContainsAny(in, `"'\`) {
				r.Fatalf("%q was refused: %v", in, err)
			}
			return
		}
		if got := join(words); got != in {
			r.Fatalf("%q became %q", in, got)
		}
	})
}
