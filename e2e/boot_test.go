//go:build e2e

// Package e2e boots what lkv builds, in QEMU, and looks at what the guest does to its data disk.
// It runs the real lkv binary; `make boot-test` prepares it and the component images.
package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
)

// bootDeadline bounds one boot to services; under TCG on a busy two-core machine it takes about 20 s.
const bootDeadline = 4 * time.Minute

// need returns an environment variable that the Makefile sets.
func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run this through `make boot-test`", name)
	}
	return v
}

// lkv runs the binary in dir and returns its standard output.
func lkv(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(need(t, "LKV_BIN"), "lkv"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LKV_CACHE="+need(t, "LKV_CACHE"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("lkv %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// image is one built ISO.
type image struct {
	iso      string
	manifest manifest.Manifest
}

// build builds testdata/boot.* with the version written into a file of the image.
func build(t *testing.T, version string) image {
	t.Helper()
	return buildRoot(t, version, "initrd")
}

// buildRoot does the same with the root file system of that kind and further flags.
func buildRoot(t *testing.T, version, rootfs string, flags ...string) image {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"boot.yml", "boot.hcl"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.ReplaceAll(b, []byte("VERSION"), []byte(version))
		b = bytes.ReplaceAll(b, []byte("ROOTFS"), []byte(rootfs))
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var res struct {
		Images []struct{ ISO, Manifest string }
	}
	if err := json.Unmarshal(lkv(t, dir, append([]string{"-f", "boot.hcl", "build", "--offline", "--json"}, flags...)...), &res); err != nil || len(res.Images) != 1 {
		t.Fatalf("build --json: %v, %d images", err, len(res.Images))
	}
	abs := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	f, err := os.Open(abs(res.Images[0].Manifest))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m, err := manifest.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return image{abs(res.Images[0].ISO), m}
}

const diskSerial = "6000c29a5e0d4f0fb5f3f1f0a1b2c3d4"

func blankDisk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// guest is one boot of a machine.
type guest struct {
	t *testing.T
	*qemu.Machine
	ctx context.Context
	at  int // offset in the serial log behind what was already waited for
}

func boot(t *testing.T, c qemu.Config) *guest {
	t.Helper()
	c.Dir = t.TempDir()
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 1024
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootDeadline)
	t.Cleanup(cancel)
	m, err := qemu.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return &guest{t: t, Machine: m, ctx: ctx}
}

// see waits for a line on the console.
func (g *guest) see(re string) string {
	g.t.Helper()
	s, at, err := g.WaitSerial(g.ctx, regexp.MustCompile(re), g.at)
	if err != nil {
		g.t.Fatal(err)
	}
	g.at = at
	return s
}

// sh runs a shell command in the root file system of the host, not of the container the agent lives in.
func (g *guest) sh(script string) string {
	g.t.Helper()
	var err error
	for range 30 { // the agent starts a moment after the console line
		var res qemu.ExecResult
		res, err = g.Agent().Exec(g.ctx, "/bin/sh", "-c", "chroot /proc/1/root /bin/sh -c '"+script+"'")
		if err == nil {
			if res.Code != 0 {
				g.t.Fatalf("%s: exit %d: %s", script, res.Code, res.Stderr)
			}
			return res.Stdout
		}
		time.Sleep(time.Second)
	}
	g.t.Fatalf("%s: %v", script, err)
	return ""
}

func (g *guest) report() report.Report {
	g.t.Helper()
	var r report.Report
	if err := json.Unmarshal([]byte(g.sh("cat "+report.Path)), &r); err != nil {
		g.t.Fatal(err)
	}
	return r
}

// shutdown presses the power button and waits until the machine has powered itself off.
func (g *guest) shutdown() {
	g.t.Helper()
	if err := g.Powerdown(g.ctx); err != nil {
		g.t.Fatal(err)
	}
	select {
	case <-g.Done():
		if g.Err() != nil {
			g.t.Fatal(g.Err())
		}
	case <-g.ctx.Done():
		g.t.Fatal("the guest did not power off")
	}
}

func TestDataSurvives(t *testing.T) {
	v1, v2 := build(t, "one"), buildRoot(t, "two", "squashfs")
	if v1.manifest.ID == v2.manifest.ID {
		t.Fatal("two different images have one ID")
	}
	disk := blankDisk(t, 512<<20)
	disks := []qemu.Disk{{Path: disk, Serial: diskSerial}}

	t.Log("BIOS, first image, blank disk: it is formatted")
	g := boot(t, qemu.Config{Name: "v1-bios", ISO: v1.iso, Disks: disks})
	g.see(`lkv: mounted /var/lib/docker \S+ serial=` + diskSerial + ` formatted=true`)
	g.see(`lkv: services started`)
	g.sh("echo kept > /var/lib/docker/clean; dd if=/dev/urandom of=/var/lib/docker/big bs=1M count=8; sha256sum /var/lib/docker/big > /var/lib/docker/sum")
	if r := g.report(); r.State != report.Running || r.Image.ID != v1.manifest.ID || len(r.Disks) != 1 || !r.Disks[0].Mounted {
		t.Errorf("report: %+v", r)
	}
	g.shutdown()

	t.Log("UEFI, same image: data is there after a clean shutdown; then the power is cut")
	g = boot(t, qemu.Config{Name: "v1-efi", ISO: v1.iso, Disks: disks, Firmware: qemu.EFI})
	g.see(`lkv: mounted /var/lib/docker \S+ serial=` + diskSerial + ` formatted=false`)
	g.see(`lkv: services started`)
	g.sh("grep -q kept /var/lib/docker/clean && cd / && sha256sum -c /var/lib/docker/sum")
	g.sh("echo cut > /var/lib/docker/cut; sync; dd if=/dev/zero of=/var/lib/docker/lost bs=1M count=16")
	g.Kill()

	t.Log("BIOS, second image with another kind of root, larger disk: data is there after the power cut and the swap, the file system has grown")
	if err := os.Truncate(disk, 768<<20); err != nil {
		t.Fatal(err)
	}
	token := map[string]string{report.TokenKey: "token, with a comma", report.HostnameKey: "wrk-07"}
	g = boot(t, qemu.Config{Name: "v2-bios", ISO: v2.iso, Disks: disks, Guestinfo: token})
	g.see(`lkv: mounted /var/lib/docker \S+ serial=` + diskSerial + ` formatted=false`)
	g.see(`lkv: services started`)
	g.sh("grep -q kept /var/lib/docker/clean && grep -q cut /var/lib/docker/cut && cd / && sha256sum -c /var/lib/docker/sum && grep -q two /etc/lkv-test-version")
	r := g.report()
	if r.Image.ID != v2.manifest.ID || r.Token != token[report.TokenKey] || r.Hostname != "wrk-07" {
		t.Errorf("report of the second image: %+v", r)
	}
	if len(r.Disks) != 1 || r.Disks[0].Size < 650<<20 {
		t.Errorf("the file system did not grow: %+v", r.Disks)
	}
	g.shutdown()
}

// TestRefusals boots one image on disks it must not touch: services do not start and every byte stays.
func TestRefusals(t *testing.T) {
	v := build(t, "refusals")
	foreign := blankDisk(t, 128<<20)
	run(t, "mke2fs", "-q", "-t", "ext4", "-L", "somebody", foreign)
	stray := blankDisk(t, 128<<20)
	if err := patch(stray, 128<<20-4096, []byte("not blank")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, reason string
		disks        []string
		firmware     string
	}{
		{"no disk", "no disk", nil, qemu.BIOS},
		{"foreign and stray disks", "docker", []string{foreign, stray}, qemu.EFI},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := qemu.Config{Name: "refuse", ISO: v.iso, Firmware: tc.firmware}
			before := map[string][32]byte{}
			for i, d := range tc.disks {
				before[d] = digest(t, d)
				c.Disks = append(c.Disks, qemu.Disk{Path: d, Serial: fmt.Sprintf("disk%d", i)})
			}
			g := boot(t, c)
			g.see(`lkv: boot stopped: .*` + tc.reason)
			g.shutdown()
			log, err := os.ReadFile(g.Serial())
			if err != nil || bytes.Contains(log, []byte("lkv: services started")) {
				t.Errorf("services were started without the disk (%v)", err)
			}
			for d, want := range before {
				if digest(t, d) != want {
					t.Errorf("%s was changed", d)
				}
			}
		})
	}
}

// TestMemory boots each kind of root file system with just what its manifest asks for, and with less: then it must say
// so and not boot half a system.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		rootfs string
		less   float64 // of the minimum
	}{{"initrd", 0.85}, {"squashfs", 0.85}, {"cd", 0.78}} {
		t.Run(c.rootfs, func(t *testing.T) {
			v := buildRoot(t, "memory", c.rootfs)
			need := v.manifest.RAM.Minimum >> 20
			g := boot(t, qemu.Config{Name: "enough", ISO: v.iso, MemoryMiB: int(need) + 8, Disks: []qemu.Disk{{Path: blankDisk(t, 256<<20)}}})
			g.see(`lkv: mounted /var/lib/docker \S+ serial=\S* formatted=true`)
			g.see(`lkv: services started`)
			g.sh("grep -q memory /etc/lkv-test-version && touch /etc/writable")
			g.shutdown()
			g = boot(t, qemu.Config{Name: "less", ISO: v.iso, MemoryMiB: int(float64(need) * c.less)})
			g.see(`lkv: this VM has too little memory`)
			log, err := os.ReadFile(g.Serial())
			if err != nil || bytes.Contains(log, []byte("lkv: services started")) {
				t.Errorf("half a system was booted (%v)", err)
			}
			g.shutdown()
		})
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func digest(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func patch(path string, at int64, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	return f.Close()
}
