package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lkv-io/lkv/e2e/conformance/oracle"
)

// Names in the scratch directory.
const (
	yamlName     = "docker-host.yml"
	linuxkitBase = "out-linuxkit"
	agentRef     = "lkv-bench/agent:1"
)

// spec is the HCL lkv builds from. The file system is LinuxKit's; persist blocks are left out because LinuxKit
// has none.
const spec = `image "docker-host" {
  linuxkit = ["` + yamlName + `"]
}
`

// A scenario is what changed since the build before.
type scenario struct {
	name   string
	goal   float64 // of LinuxKit's time
	change func(b *bench, round int) error
}

var scenarios = []scenario{
	{"first build, images cached", 0.35, func(b *bench, _ int) error { return b.forget() }},
	{"one `files:` line changed", 0.05, func(b *bench, n int) error {
		b.line = fmt.Sprintf("round %d", n)
		return nil
	}},
	{"one service's image changed (sshd)", 0.12, func(b *bench, n int) error { return b.replace(b.service, n) }},
	{"largest service's image changed (docker)", 0.12, func(b *bench, n int) error { return b.replace(b.big, n) }},
	{"nothing changed", 0.01, func(*bench, int) error { return nil }},
}

type bench struct {
	dir, lkv, self string
	yaml           []byte
	caches         oracle.Caches
	service, big   string // images of which new versions appear
	line           string // in files:
	tags           map[string]string
}

// run is what one build took.
type sample struct {
	wall, cpu float64 // seconds
	rss       int64   // peak, bytes
}

func (b *bench) all(rounds int) error {
	if err := os.WriteFile(filepath.Join(b.dir, "lkv.hcl"), []byte(spec), 0o644); err != nil {
		return err
	}
	t := table{samples: map[string][][2]sample{}}
	for n := 1; n <= rounds; n++ {
		b.tags, b.line = map[string]string{}, "round 0"
		for _, s := range scenarios {
			if err := s.change(b, n); err != nil {
				return err
			}
			if err := b.write(); err != nil {
				return err
			}
			pair, err := b.pair(n)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d: %-42s LinuxKit %6.2f s, lkv %6.2f s\n", n, s.name, pair[0].wall, pair[1].wall)
			t.samples[s.name] = append(t.samples[s.name], pair)
		}
	}
	var err error
	if t.initrd, err = size(b.dir, linuxkitBase+"-initrd.img"); err != nil {
		return err
	}
	if t.kernel, err = size(b.dir, linuxkitBase+"-kernel"); err != nil {
		return err
	}
	if t.iso, err = size(b.dir, "out-lkv/docker-host-*.iso"); err != nil {
		return err
	}
	if t.root, err = unpacked(filepath.Join(b.dir, linuxkitBase+"-initrd.img")); err != nil {
		return err
	}
	if err := b.smallest(&t); err != nil { // last: it removes the others' ISOs
		return err
	}
	return t.print(os.Stdout)
}

// smallest builds once more at the highest level, from the beginning.
func (b *bench) smallest(t *table) error {
	if err := b.forget(); err != nil {
		return err
	}
	s, err := b.exec(b.lkv, "build", "--offline", "--progress", "none", "--compress", "best", "--cache", b.caches.LKV, "--out", "out-best")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "first build with --compress best: lkv %6.2f s\n", s.wall)
	t.bestWall, t.bestPeak = s.wall, s.rss
	t.best, err = size(b.dir, "out-best/docker-host-*.iso")
	return err
}

// pair builds with both, the first one first in odd rounds only.
func (b *bench) pair(n int) ([2]sample, error) {
	var out [2]sample
	run := []func() (sample, error){
		func() (sample, error) { return b.exec(b.self, "-linuxkit") },
		func() (sample, error) {
			return b.exec(b.lkv, "build", "--offline", "--progress", "none", "--cache", b.caches.LKV, "--out", "out-lkv")
		},
	}
	for i := range run {
		if n%2 == 0 {
			i = 1 - i
		}
		var err error
		if out[i], err = run[i](); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (b *bench) exec(name string, args ...string) (sample, error) {
	syscall.Sync()
	cmd := exec.Command(name, args...) //nolint:noctx // ends by itself
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, text.String())
	}
	use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, errors.New("the system does not say what the process used")
	}
	cpu := cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime()
	return sample{wall: wall.Seconds(), cpu: cpu.Seconds(), rss: use.Maxrss * 1024}, nil
}

// forget removes everything lkv kept of earlier builds; the images stay.
func (b *bench) forget() error {
	for _, d := range []string{filepath.Join(b.caches.LKV, "segments"), filepath.Join(b.caches.LKV, "tmp"), filepath.Join(b.dir, "out-lkv")} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	return nil
}

// replace gives a service's image a version no build has seen.
func (b *bench) replace(ref string, n int) error {
	img, err := b.caches.Image(ref)
	if err != nil {
		return err
	}
	if img, err = version(img, n); err != nil {
		return err
	}
	b.tags[ref] = fmt.Sprintf("%s-%d", ref, n)
	return b.caches.Add(b.tags[ref], img)
}

// write writes the YAML both build from.
func (b *bench) write() error {
	text := string(b.yaml)
	for _, ref := range []string{b.service, b.big} {
		if !strings.Contains(text, "image: "+ref) {
			return fmt.Errorf("docker-host.yml has no image %s any more", ref)
		}
		if tag := b.tags[ref]; tag != "" {
			text = strings.Replace(text, "image: "+ref, "image: "+tag, 1)
		}
	}
	before, files, ok := strings.Cut(text, "files:\n")
	if !ok {
		return errors.New("docker-host.yml has no files section any more")
	}
	text = before + "  - name: agent\n    image: " + agentRef + "\nfiles:\n  - path: etc/round\n    contents: \"" + b.line + "\"\n" + files
	return os.WriteFile(filepath.Join(b.dir, yamlName), []byte(text), 0o644)
}
