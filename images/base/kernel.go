package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
)

// moduleIndexes are the files besides modules that modprobe and the kernel's users read; depmod makes the rest.
var moduleIndexes = []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"}

// kernel adds /kernel and /kernel.tar, the pair LinuxKit wants: the boot image, and an uncompressed tar that is
// unpacked at / and holds lib/modules/<release>.
func (t *tree) kernel(ctx context.Context, k kernelDef, p *Pool, o Options) error {
	image, release, err := findKernel(p)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(o.WorkDir, "kernel-")
	if err != nil {
		return fmt.Errorf("make kernel directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	dir, err := p.modules(ctx, release, k.Modules, work)
	if err != nil {
		return err
	}
	tarFile, err := os.CreateTemp(o.WorkDir, "kernel-*.tar")
	if err != nil {
		return fmt.Errorf("make kernel.tar: %w", err)
	}
	defer func() { _ = os.Remove(tarFile.Name()) }()
	mods, err := diskTree(dir, "/lib/modules/"+release)
	if err != nil {
		return err
	}
	if err := errors.Join(mods.writeTar(tarFile), tarFile.Close()); err != nil {
		return fmt.Errorf("write kernel.tar: %w", err)
	}
	text, err := os.ReadFile(tarFile.Name())
	if err != nil {
		return fmt.Errorf("read kernel.tar: %w", err)
	}
	if err := t.addPool(p, image, "/kernel"); err != nil {
		return err
	}
	t.entries["/kernel.tar"] = entry{mode: 0o644, open: inMemory(text), size: int64(len(text)), data: true}
	t.labels[KernelLabel] = release
	return nil
}

// findKernel returns the boot image of the pool and its release. More than one kernel is an error.
func findKernel(p *Pool) (image, release string, err error) {
	for at := range p.files {
		if rel, ok := strings.CutPrefix(at, "/boot/vmlinuz-"); ok {
			if image != "" {
				return "", "", fmt.Errorf("two kernels were fetched: %s and %s", image, at)
			}
			image, release = at, rel
		}
	}
	if image == "" {
		return "", "", errors.New("no fetched package has a kernel: list one, such as linux-image-amd64, under packages")
	}
	return image, release, nil
}

// modules unpacks the wanted modules of a release below work, with modules.dep and the other indexes, and returns
// the release's directory. Modules are stored uncompressed: the whole image is compressed once, and better.
func (p *Pool) modules(ctx context.Context, release string, wanted []string, work string) (string, error) {
	src := filepath.Join(p.dir, "root/usr/lib/modules", release)
	full := filepath.Join(work, "full")
	deps, err := p.allDeps(ctx, release, src, full)
	if err != nil {
		return "", err
	}
	builtin, err := os.ReadFile(filepath.Join(src, "modules.builtin"))
	if err != nil {
		return "", fmt.Errorf("read list of built-in modules: %w", err)
	}
	picked, err := deps.pick(wanted, strings.Fields(string(builtin)))
	if err != nil {
		return "", fmt.Errorf("choose modules of %s: %w", release, err)
	}
	dst := filepath.Join(work, "root/lib/modules", release)
	// Undoing xz is most of the work of a kernel image: 20 s for 440 modules on one core.
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, m := range picked {
		g.Go(func() error {
			return copyModule(filepath.Join(src, m), filepath.Join(dst, strings.TrimSuffix(m, ".xz")))
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	if err := copyIndexes(src, dst, picked); err != nil {
		return "", err
	}
	return dst, p.depmod(ctx, filepath.Join(work, "root"), release)
}

// allDeps runs depmod over the complete kernel and returns its modules.dep.
func (p *Pool) allDeps(ctx context.Context, release, src, full string) (moduleDeps, error) {
	at := filepath.Join(full, "lib/modules", release)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, fmt.Errorf("make module directory: %w", err)
	}
	names, err := os.ReadDir(src)
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	abs, err := filepath.Abs(src)
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	for _, n := range names {
		if err := os.Symlink(filepath.Join(abs, n.Name()), filepath.Join(at, n.Name())); err != nil {
			return nil, fmt.Errorf("link modules: %w", err)
		}
	}
	if err := p.depmod(ctx, full, release); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(at, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read modules.dep: %w", err)
	}
	defer func() { _ = f.Close() }()
	return parseModulesDep("modules.dep", f)
}

// copyModule writes one module without its compression; signatures are part of the uncompressed file.
func copyModule(src, dst string) error {
	f, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("read module: %w", err)
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = f
	if strings.HasSuffix(src, ".xz") {
		if r, err = xz.NewReader(f); err != nil {
			return fmt.Errorf("unpack module %s: %w", path.Base(src), err)
		}
	}
	if err := writeFile(dst, r); err != nil {
		return fmt.Errorf("unpack module %s: %w", path.Base(src), err)
	}
	return nil
}

// copyIndexes writes the lists that come with the kernel; modules.order keeps only what was picked.
func copyIndexes(src, dst string, picked []string) error {
	keep := map[string]bool{}
	for _, m := range picked {
		keep[modulePath(m)] = true
	}
	for _, name := range moduleIndexes {
		text, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return fmt.Errorf("read module lists: %w", err)
		}
		if name == "modules.order" {
			lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(l string) bool { return !keep[modulePath(l)] })
			text = []byte(strings.Join(lines, ""))
		}
		if err := writeFile(filepath.Join(dst, name), bytes.NewReader(text)); err != nil {
			return fmt.Errorf("write module lists: %w", err)
		}
	}
	return nil
}

// depmod runs the pool's own depmod through the pool's own loader, so that neither this machine's version nor its
// absence matters.
func (p *Pool) depmod(ctx context.Context, root, release string) error {
	lib := filepath.Join(p.dir, "root/usr/lib/x86_64-linux-gnu")
	at, err := p.resolve("/usr/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		return fmt.Errorf("find depmod: %w", err)
	}
	kmod := filepath.Join(p.dir, "root/usr/bin/kmod")
	// The index holds the links, the disk only the files, so that libraries need their links back.
	libs, err := os.MkdirTemp(filepath.Dir(root), "libs-")
	if err != nil {
		return fmt.Errorf("run depmod: %w", err)
	}
	if err := p.linkLibraries(lib, libs); err != nil {
		return err
	}
	loader := filepath.Join(libs, "loader")
	if err := copyProgram(filepath.Join(p.dir, "root", at), loader); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, loader, "--library-path", libs, "--argv0", "depmod", kmod, "-b", root, release)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run depmod: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// copyProgram copies a file and makes it executable.
func copyProgram(src, dst string) error {
	f, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("copy program: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := writeFile(dst, f); err != nil {
		return fmt.Errorf("copy program: %w", err)
	}
	return os.Chmod(dst, 0o755)
}

// linkLibraries makes dir hold every library of the pool under the name programs ask for.
func (p *Pool) linkLibraries(lib, dir string) error {
	abs, err := filepath.Abs(p.dir)
	if err != nil {
		return fmt.Errorf("link libraries: %w", err)
	}
	for at := range p.files {
		if path.Dir(at) != "/usr/lib/x86_64-linux-gnu" || !strings.Contains(path.Base(at), ".so") {
			continue
		}
		real, err := p.resolve(at)
		if err != nil {
			continue // a link of a package that is only half here; nobody asks for it
		}
		if err := os.Symlink(filepath.Join(abs, "root", real), filepath.Join(dir, path.Base(at))); err != nil {
			return fmt.Errorf("link libraries of %s: %w", lib, err)
		}
	}
	return nil
}

// diskTree is the tree of a directory on disk, placed at prefix. Owners are root, modes 0755 and 0644.
func diskTree(dir, prefix string) (*tree, error) {
	t := &tree{entries: map[string]entry{}, unmerged: true}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		t.entries[path.Join(prefix, filepath.ToSlash(rel))] = entry{mode: 0o644, open: onDisk(name), size: info.Size()}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return t, t.finish(&Pool{})
}
