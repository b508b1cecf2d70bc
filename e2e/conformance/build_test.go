package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"github.com/lkv-io/lkv/e2e/conformance/oracle"
	"github.com/lkv-io/lkv/e2e/conformance/unpack"
)

// need returns a setting the Makefile passes.
func need(t testing.TB, name, what string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("set %s to %s", name, what)
	}
	return v
}

func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s", name, pkg)
	}
	return p
}

// job is one image both build.
type job struct {
	yaml     []string // files, in order
	images   map[string]v1.Image
	hcl      string   // what stands in the image block beside "linuxkit"
	linuxkit []string // the YAML for LinuxKit when that needs another
}

// build makes both root file systems.
func (j job) build(t testing.TB, c oracle.Caches) Pair {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i, y := range j.yaml {
		n := fmt.Sprintf("%d.yml", i)
		write(t, filepath.Join(dir, n), y)
		names = append(names, fmt.Sprintf("%q", n))
	}
	write(t, filepath.Join(dir, "lkv.hcl"), fmt.Sprintf("image \"test\" {\n  linuxkit = [%s]\n%s}\n", strings.Join(names, ", "), j.hcl))
	if j.linuxkit == nil {
		j.linuxkit = j.yaml
	}
	var yaml [][]byte
	for _, y := range j.linuxkit {
		yaml = append(yaml, []byte(y))
	}
	m, err := oracle.Config(yaml...)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{LKV: lkvSide(t, c, dir), Persist: j.hcl != "", Created: created}
	for _, f := range m.Files {
		p.Paths = append(p.Paths, strings.TrimPrefix(f.Path, "/"))
		if f.Metadata != "" {
			p.Metadata = append(p.Metadata, strings.TrimPrefix(f.Path, "/"))
		}
	}
	p.LinuxKit, p.Tar = linuxkitSide(t, m, c, dir)
	return p
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// linuxkitSide builds kernel and initrd with LinuxKit.
func linuxkitSide(t testing.TB, m moby.Moby, c oracle.Caches, dir string) (Side, Tar) {
	t.Helper()
	base := filepath.Join(dir, "linuxkit")
	if err := oracle.KernelInitrd(m, c.LinuxKit, dir, base); err != nil {
		t.Fatal(err)
	}
	names, err := ReadTar(base + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	return side(t, base+"-initrd.img"), names
}

// lkvSide builds an ISO with the real program and takes the initrd out with xorriso.
func lkvSide(t testing.TB, c oracle.Caches, dir string) Side {
	t.Helper()
	lkv := filepath.Join(need(t, "LKV_BIN", "the directory with the lkv program"), "lkv")
	cmd := exec.CommandContext(t.Context(), lkv, "build", "--offline", "--progress", "none", "--cache", c.LKV, "--out", "out")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("lkv build: %v\n%s", err, out)
	}
	list, err := filepath.Glob(filepath.Join(dir, "out", "test-*.iso"))
	if err != nil || len(list) != 1 {
		t.Fatalf("lkv build: %d ISOs, %v", len(list), err)
	}
	name := filepath.Join(dir, "initrd")
	cmd = exec.CommandContext(t.Context(), tool(t, "xorriso", "xorriso"), "-osirrox", "on", "-indev", list[0], "-extract", "/boot/initrd", name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return side(t, name)
}

func side(t testing.TB, initrd string) Side {
	t.Helper()
	data, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	r := unpack.NewRoot()
	if err := unpack.Initrd(data, r.Add); err != nil {
		t.Fatal(err)
	}
	return NewSide(r)
}
