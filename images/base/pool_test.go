package base

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestSources(t *testing.T) {
	bare := fstest.MapFS{}
	deb822 := fstest.MapFS{"etc/apt/sources.list.d/debian.sources": {Data: []byte(
		"Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\nComponents: main\n\n" +
			"Types: deb\nURIs: https://mirror.example/debian-security\nSuites: bookworm-security\n")}}
	oneLine := fstest.MapFS{
		"etc/apt/sources.list":             {Data: []byte("deb [signed-by=/x] https://m.example/debian bookworm main\n")},
		"etc/apt/sources.list.d/node.list": {Data: []byte("deb https://vendor.example/node nodistro main\n")},
	}
	for _, tc := range []struct {
		name           string
		o              Options
		main, security string
	}{
		{"nothing known", Options{APT: bare}, "http://deb.debian.org/debian", "http://security.debian.org/debian-security"},
		{"deb822", Options{APT: deb822}, "http://mirror.example/debian", "https://mirror.example/debian-security"},
		{"one line", Options{APT: oneLine}, "https://m.example/debian", "http://security.debian.org/debian-security"},
		{"chosen", Options{APT: deb822, Mirror: "http://chosen.example/debian"}, "http://chosen.example/debian", "http://chosen.example/debian-security"},
		{"public chosen", Options{APT: deb822, Mirror: "http://deb.debian.org/debian"}, "http://deb.debian.org/debian", "http://security.debian.org/debian-security"},
	} {
		got, err := tc.o.sources()
		want := []string{
			"deb " + tc.main + " trixie main",
			"deb " + tc.main + " trixie-updates main",
			"deb " + tc.security + " trixie-security main",
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", tc.name, err, d)
		}
	}
}

func TestMissingToolNamesPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	c := Component{Name: "x", def: definition{Packages: []string{"runc"}}}
	_, err := Build(context.Background(), c, Options{WorkDir: t.TempDir(), APT: fstest.MapFS{}})
	if !errors.Is(err, ErrTool) || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
		t.Errorf("got %v", err)
	}
}

// A download that fails leaves nothing that a later build would take for a whole pool.
func TestFailedFetchLeavesNothing(t *testing.T) {
	bin, work := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\necho E: Unable to locate package nonesuch >&2\nexit 25\n"
	if err := os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	c := Component{Name: "x", def: definition{Packages: []string{"nonesuch"}}}
	_, err := Build(context.Background(), c, Options{WorkDir: work, APT: fstest.MapFS{}})
	if err == nil || !strings.Contains(err.Error(), "Unable to locate package nonesuch") {
		t.Errorf("what apt said is missing: %v", err)
	}
	left, err := os.ReadDir(work)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// needTools fails the test, with the remedy, when the machine cannot build.
func needTools(t *testing.T) {
	t.Helper()
	for tool, pkg := range map[string]string{"mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed for this test: apt-get install %s", tool, pkg)
		}
	}
}

// TestBuildFromDebian builds runc from real, verified packages: once through a pool of its own, once through a pool
// that also holds other packages. Both give the same image, and the program in it runs with the libraries in it.
func TestBuildFromDebian(t *testing.T) {
	needTools(t)
	cs, err := Components()
	if err != nil {
		t.Fatal(err)
	}
	byName := func(n string) Component {
		return cs[slices.IndexFunc(cs, func(c Component) bool { return c.Name == n })]
	}
	runc, dhcp := byName("runc"), byName("dhcp")
	ctx := context.Background()
	var digests []string
	for _, with := range [][]Component{{runc}, {runc, dhcp}} {
		o := Options{WorkDir: t.TempDir(), Log: t.Output()}
		if _, err := Fetch(ctx, with, o); err != nil {
			t.Fatal(err)
		}
		img, err := Build(ctx, runc, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Error(err)
		}
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d.String())
		if len(with) > 1 {
			layer := filepath.Join(o.WorkDir, "layer-*.tar.gz")
			runInRoot(t, layer)
			cfg, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if p := cfg.Config.Labels[PackagesLabel]; !strings.Contains(p, "runc=") || !strings.Contains(p, "libseccomp2=") || strings.Contains(p, "dhcpcd") {
				t.Errorf("%s = %s", PackagesLabel, p)
			}
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("the same packages gave two images: %v", digests)
	}
}

// runInRoot unpacks the layer and runs its runc through its own loader and libraries, without needing a chroot.
func runInRoot(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("layers %v, %v", files, err)
	}
	root := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", files[0], "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	cmd := exec.Command(filepath.Join(root, "lib64/ld-linux-x86-64.so.2"), "--inhibit-cache",
		"--library-path", filepath.Join(root, "usr/lib/x86_64-linux-gnu"), filepath.Join(root, "usr/bin/runc"), "--version")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "runc version") {
		t.Errorf("runc does not run: %v: %s", err, out)
	}
	// What scanners read: the package, and that the program is its own.
	for name, want := range map[string]string{"runc": "\nSource: runc (", "runc.md5sums": "  usr/bin/runc\n", "libseccomp2": "\nArchitecture: amd64\n"} {
		text, err := os.ReadFile(filepath.Join(root, statusDir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
