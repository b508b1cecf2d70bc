package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	p := Pair{Persist: j.hcl != "", Created: times(t, c)}
	lkvFiles := lkvBuild(t, c, dir)
	p.LKV = side(t, lkvFiles.initrd)
	for _, f := range m.Files {
		p.Paths = append(p.Paths, strings.TrimPrefix(f.Path, "/"))
		if f.Metadata != "" {
			p.Metadata = append(p.Metadata, strings.TrimPrefix(f.Path, "/"))
		}
	}
	base := filepath.Join(dir, "linuxkit")
	if err := oracle.KernelInitrd(m, c.LinuxKit, dir, base); err != nil {
		t.Fatal(err)
	}
	if p.Tar, err = ReadTar(base + ".tar"); err != nil {
		t.Fatal(err)
	}
	p.LinuxKit = side(t, base+"-initrd.img")
	equal(t, "kernel", read(t, base+"-kernel"), read(t, lkvFiles.kernel))
	cmdline := []byte(m.Kernel.Cmdline)
	if len(cmdline) > 0 { // LinuxKit writes no file for an empty one
		cmdline = read(t, base+"-cmdline")
	}
	equal(t, "command line", cmdline, []byte(lkvFiles.cmdline))
	return p
}

func equal(t testing.TB, what string, linuxkit, lkv []byte) {
	t.Helper()
	if !bytes.Equal(linuxkit, lkv) {
		t.Errorf("%s: LinuxKit has %d bytes (%.60q), lkv %d (%.60q)", what, len(linuxkit), linuxkit, len(lkv), lkv)
	}
}

// times are the creation times of all images.
func times(t testing.TB, c oracle.Caches) map[int64]bool {
	t.Helper()
	list, err := c.Created()
	if err != nil {
		t.Fatal(err)
	}
	out := map[int64]bool{}
	for _, x := range list {
		out[x.Unix()] = true
	}
	return out
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// output is what lkv's ISO holds, taken out with xorriso.
type output struct {
	initrd, kernel string // file names
	cmdline        string
}

// lkvBuild builds an ISO with the real program.
func lkvBuild(t testing.TB, c oracle.Caches, dir string) output {
	t.Helper()
	lkv := filepath.Join(need(t, "LKV_BIN", "the directory with the lkv program"), "lkv")
	cmd := exec.CommandContext(t.Context(), lkv, "build", "--offline", "--progress", "none", "--cache", c.LKV, "--out", "out")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("lkv build: %v\n%s", err, out)
	}
	iso := isoIn(t, dir)
	o := output{initrd: filepath.Join(dir, "initrd"), kernel: filepath.Join(dir, "vmlinuz")}
	cmd = exec.CommandContext(t.Context(), tool(t, "xorriso", "xorriso"), "-osirrox", "on", "-indev", iso,
		"-extract", "/boot/initrd", o.initrd, "-extract", "/boot/vmlinuz", o.kernel)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	var m struct{ Cmdline string }
	if err := json.Unmarshal(read(t, strings.TrimSuffix(iso, ".iso")+".manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	o.cmdline = m.Cmdline
	return o
}

func isoIn(t testing.TB, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "out", "test-*.iso"))
	if err != nil || len(list) != 1 {
		t.Fatalf("lkv build: %d ISOs, %v", len(list), err)
	}
	return list[0]
}

func side(t testing.TB, initrd string) Side {
	t.Helper()
	r := unpack.NewRoot()
	if err := unpack.Initrd(read(t, initrd), r.Add); err != nil {
		t.Fatal(err)
	}
	return NewSide(r)
}
