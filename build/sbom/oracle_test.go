package sbom

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/package-url/packageurl-go"
)

func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, stderr.String())
	}
	return string(out)
}

// dpkg itself says what is installed: in a fixture with odd states, and on the Debian this test runs on.
func TestDpkgAgrees(t *testing.T) {
	fixture, _ := unpack(t, "debian")
	for _, root := range []string{fixture, "/"} {
		var want []string
		for line := range strings.Lines(output(t, root, "dpkg-query", "--admindir", filepath.Join(root, "var/lib/dpkg"), "-W",
			"-f", "${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package}\n")) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "installed "); ok {
				want = append(want, rest)
			}
		}
		p, err := Scan(under(t, root, "var/lib/dpkg"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range p.Packages {
			u, err := packageurl.FromString(q.PURL)
			if err != nil {
				t.Fatal(err)
			}
			source, _, _ := strings.Cut(u.Qualifiers.Map()["upstream"], "@")
			if source == "" {
				source = q.Name
			}
			got = append(got, fmt.Sprintf("%s %s %s %s", q.Name, q.Version, u.Qualifiers.Map()["arch"], source))
		}
		slices.Sort(got)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" || len(want) == 0 {
			t.Errorf("%s: %d packages (-dpkg-query +Scan)\n%s", root, len(want), d)
		}
	}
}

// The go command says what a program was built from: one with every kind of replaced module, and one of ours.
func TestGoAgrees(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module example.org/main\n\ngo 1.24\n\nrequire (\n\texample.org/local v1.2.3\n\tgithub.com/google/go-cmp v0.6.0\n)\n\n" +
			"replace example.org/local => ./local\n\nreplace github.com/google/go-cmp => github.com/google/go-cmp v0.7.0\n",
		"main.go":        "package main\n\nimport (\n\t_ \"example.org/local\"\n\t\"github.com/google/go-cmp/cmp\"\n)\n\nfunc main() { println(cmp.Equal(1, 2)) }\n",
		"local/go.mod":   "module example.org/local\n",
		"local/local.go": "package local\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built := filepath.Join(dir, "program")
	output(t, dir, "go", "build", "-ldflags", "-s -w", "-o", built, ".")
	guest := filepath.Join(dir, "lkv-guest")
	output(t, ".", "go", "build", "-mod=readonly", "-o", guest, "github.com/lkv-io/lkv/cmd/lkv-guest")
	for _, program := range []string{built, guest} {
		want := modules(output(t, dir, "go", "version", "-m", program))
		p, err := Scan(under(t, filepath.Dir(program), filepath.Base(program)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range p.Packages {
			got = append(got, strings.TrimSpace(q.Name+" "+q.Version))
			if d := cmp.Diff([]string{filepath.Base(program)}, q.FoundIn); d != "" || !strings.HasPrefix(q.PURL, "pkg:golang/") {
				t.Error(q, d)
			}
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" || len(want) < 3 {
			t.Errorf("%s (-go version -m +Scan)\n%s", program, d)
		}
	}
	if info, err := buildinfo.ReadFile(built); err != nil || len(info.Deps) != 2 {
		t.Errorf("the program to find modules in is not as meant: %v %v", info, err)
	}
}

// modules reads what `go version -m` prints. A module that is a directory now has no version.
func modules(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0: // after the build settings
		case len(list) == 0:
			list = append(list, "stdlib "+strings.TrimPrefix(f[1], "go"))
		case f[0] == "mod" || f[0] == "dep":
			list = append(list, f[1]+" "+f[2])
		case f[0] == "=>" && strings.HasPrefix(f[1], "."):
			name, _, _ := strings.Cut(list[len(list)-1], " ")
			list[len(list)-1] = name
		case f[0] == "=>":
			list[len(list)-1] = f[1] + " " + f[2]
		}
	}
	for i := range list {
		list[i] = strings.TrimSuffix(list[i], " (devel)")
	}
	slices.Sort(list)
	return list
}
