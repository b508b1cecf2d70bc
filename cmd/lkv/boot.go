package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/specs"
)

func (s system) bootCommand() *cli.Command {
	return &cli.Command{
		Name: "boot", Usage: "boot an ISO in QEMU on this machine, serial console attached",
		Description: "The VM has no network. On a terminal every key goes to the guest; Ctrl-] cuts the power.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "image", Usage: "boot the newest ISO of the image `NAME` (default: the spec's only image)"},
			&cli.StringFlag{Name: "iso", Usage: "boot the ISO `FILE`; needs no spec"},
			&cli.StringFlag{Name: "out", Value: "dist", Usage: "`DIR` that lkv build wrote into"},
			&cli.StringFlag{Name: "disk", Usage: "data disk, a raw `FILE`; made when it is missing"},
			&cli.StringFlag{Name: "disk-size", Value: "8GiB", Usage: "`SIZE` of a disk that is made"},
			&cli.StringFlag{Name: "memory", Usage: "`SIZE` of the memory (default 1GiB, or what the image needs and 512MiB)"},
			&cli.IntFlag{Name: "cpus", Value: 1, Usage: "`NUMBER` of processors"},
			&cli.BoolFlag{Name: "uefi", Usage: "boot with UEFI instead of BIOS"},
		},
		Action: s.boot,
	}
}

func (s system) boot(c *cli.Context) error {
	iso, err := s.isoToBoot(c)
	if err != nil {
		return err
	}
	cfg, err := s.machine(c, iso)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lkv-boot-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	cfg.Dir = dir
	err = s.bootMachine(c.Context, cfg)
	return errors.Join(err, os.RemoveAll(dir))
}

// isoToBoot returns the path of the ISO that the flags mean.
func (s system) isoToBoot(c *cli.Context) (string, error) {
	if iso := c.String("iso"); iso != "" {
		if c.String("image") != "" {
			return "", usagef("--image and --iso both name what to boot: leave one out")
		}
		if _, err := os.Stat(iso); err != nil {
			return "", fmt.Errorf("open ISO: %w", err)
		}
		return iso, nil
	}
	name := c.String("image")
	if name == "" {
		spec, err := s.spec(c)
		if err != nil {
			return "", err
		}
		if len(spec.Images) != 1 {
			return "", usagef("the spec has %d images: name one with --image", len(spec.Images))
		}
		name = spec.Images[0].Name
	}
	return newestISO(c.String("out"), name)
}

// newestISO returns the ISO that the pointer of an image names.
func newestISO(dir, image string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, image+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no ISO of image %s in %s: run lkv build --image %s", image, dir, image)
	}
	if err != nil {
		return "", fmt.Errorf("read %s.json: %w", image, err)
	}
	var p struct{ ISO string }
	if err := json.Unmarshal(b, &p); err != nil || p.ISO == "" || filepath.Base(p.ISO) != p.ISO {
		return "", fmt.Errorf("%s names no ISO: run lkv build --image %s again", filepath.Join(dir, image+".json"), image)
	}
	return filepath.Join(dir, p.ISO), nil
}

// manifestOf reads the manifest that lies beside an ISO; ok is false when there is none.
func manifestOf(iso string) (m manifest.Manifest, ok bool, err error) {
	f, err := os.Open(strings.TrimSuffix(iso, ".iso") + ".manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("open manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	m, err = manifest.Read(f)
	return m, err == nil, err
}

// machine describes the VM, and makes its disk when that is missing.
func (s system) machine(c *cli.Context, iso string) (qemu.Config, error) {
	cfg := qemu.Config{Name: "lkv-boot", ISO: iso, CPUs: c.Int("cpus"), Firmware: qemu.BIOS, NICs: []qemu.NIC{{}}, Stdin: s.Stdin, Stdout: s.Stdout}
	if given(c, "uefi") {
		cfg.Firmware = qemu.EFI
	}
	m, known, err := manifestOf(iso)
	if err != nil {
		return cfg, err
	}
	memory := specs.GiB
	if known {
		memory = max(memory, specs.Size(m.RAM.Minimum)+512*specs.MiB)
	}
	if v := c.String("memory"); v != "" {
		if memory, err = specs.ParseSize(v); err != nil {
			return cfg, usagef("--memory: %s", err)
		}
	}
	cfg.MemoryMiB = int(memory / specs.MiB)
	disk := c.String("disk")
	if disk == "" {
		if known && len(m.Persist) > 0 {
			s.note("this image waits for a data disk for %s and starts no service without it: give it one with --disk FILE\n", m.Persist[0].Mount)
		}
		return cfg, nil
	}
	size, err := specs.ParseSize(c.String("disk-size"))
	if err != nil {
		return cfg, usagef("--disk-size: %s", err)
	}
	if err := makeDisk(disk, int64(size)); err != nil {
		return cfg, err
	}
	cfg.Disks = []qemu.Disk{{Path: disk, Serial: "lkvboot0"}}
	return cfg, nil
}

// makeDisk makes a sparse file of that many bytes; one that exists stays as it is.
func makeDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("make disk: %w", err), os.Remove(path))
	}
	return nil
}

// bootMachine runs the VM until its guest powers off, somebody cuts the power, or the context ends; then the guest is
// asked to shut down.
func (s system) bootMachine(ctx context.Context, cfg qemu.Config) error {
	cut := make(chan struct{})
	cfg.Stdin = &escape{r: s.Stdin, cut: cut}
	if s.Raw != nil {
		restore, err := s.Raw()
		if err != nil {
			return fmt.Errorf("prepare terminal: %w", err)
		}
		defer restore()
	}
	m, err := qemu.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Kill()
	select {
	case <-m.Done():
		return m.Err()
	case <-cut:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), powerdown(context.WithoutCancel(ctx), m))
	}
}

// shutdownGrace is how long a guest may take to shut down before its power is cut.
const shutdownGrace = time.Minute

// powerdown presses the power button and waits until the guest has powered off.
func powerdown(ctx context.Context, m *qemu.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	if err := m.Powerdown(ctx); err != nil {
		return fmt.Errorf("shut down guest: %w", err)
	}
	select {
	case <-m.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down guest: still on after %s, its power was cut", shutdownGrace)
	}
}

// escapeKey is Ctrl-], as in telnet: no shell or editor needs it.
const escapeKey = 0x1d

// escape passes keys on until the escape key, then closes cut and ends.
type escape struct {
	r     io.Reader
	cut   chan struct{}
	ended bool
}

func (e *escape) Read(b []byte) (int, error) {
	if e.ended {
		return 0, io.EOF
	}
	n, err := e.r.Read(b)
	for i := range n {
		if b[i] == escapeKey {
			e.ended = true
			close(e.cut)
			return i, io.EOF
		}
	}
	return n, err
}
