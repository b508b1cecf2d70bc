// Package oracle runs LinuxKit's own builder, of the version and with the dependencies LinuxKit pins, on images in
// a directory. It never needs Docker or a network: Build fails when an image is not there.
package oracle

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby/build"
	"github.com/sirupsen/logrus"
)

// Config reads LinuxKit YAML files and appends them as the linuxkit command does.
func Config(yaml ...[]byte) (moby.Moby, error) {
	var all moby.Moby
	for _, data := range yaml {
		m, err := moby.NewConfig(data, nil)
		if err != nil {
			return all, fmt.Errorf("read LinuxKit YAML: %w", err)
		}
		if all, err = moby.AppendConfig(all, m); err != nil {
			return all, fmt.Errorf("append LinuxKit YAML: %w", err)
		}
	}
	return all, nil
}

// Tar writes the root file system LinuxKit makes: what "linuxkit build --format tar --no-sbom" writes. scratch
// is a directory for LinuxKit's own files.
func Tar(m moby.Moby, cache, scratch string, w io.Writer) error {
	logrus.SetLevel(logrus.WarnLevel)
	build.MobyDir = filepath.Join(scratch, "moby")
	if err := present(m, cache); err != nil {
		return err
	}
	if err := build.Build(m, w, build.BuildOpts{CacheDir: cache, Arch: "amd64"}); err != nil {
		return fmt.Errorf("run LinuxKit's builder: %w", err)
	}
	return nil
}

// KernelInitrd makes <base>-kernel, <base>-initrd.img and <base>-cmdline as the linuxkit command does: through
// a tar of the root file system, which stays at <base>.tar.
func KernelInitrd(m moby.Moby, cache, scratch, base string) error {
	f, err := os.Create(base + ".tar")
	if err != nil {
		return fmt.Errorf("run LinuxKit's builder: %w", err)
	}
	if err := Tar(m, cache, scratch, f); err != nil {
		f.Close() //nolint:errcheck // there is a better error
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("run LinuxKit's builder: %w", err)
	}
	if err := build.Formats(base, f.Name(), []string{"kernel+initrd"}, 0, "amd64", cache); err != nil {
		return fmt.Errorf("write LinuxKit's initrd: %w", err)
	}
	return nil
}

// present refuses what LinuxKit would look for in a registry.
func present(m moby.Moby, cache string) error {
	have, err := names(cache)
	if err != nil {
		return err
	}
	refs := append([]string{m.Kernel.Image}, m.Init...)
	for _, section := range [][]*moby.Image{m.Onboot, m.Onshutdown, m.Services} {
		for _, i := range section {
			refs = append(refs, i.Image)
		}
	}
	for _, r := range refs {
		if r != "" && !have[Expand(r)] {
			return fmt.Errorf("run LinuxKit's builder: image %s is not in its cache", r)
		}
	}
	return nil
}
