package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Pool is a set of downloaded and unpacked Debian packages.
type Pool struct {
	dir      string
	include  []string              // packages asked for
	packages map[string]debPackage // by name
	files    map[string]poolFile   // by path after the /usr merge
}

// poolFormat changes when an index says more than before; pools of another format are fetched anew.
const poolFormat = 2

// poolIndex is how a Pool lies on disk, as index.json; its presence means that the pool is whole.
type poolIndex struct {
	Format   int          `json:"format"` // poolFormat
	Source   string       `json:"source"` // sources that apt was given
	Include  []string     `json:"include"`
	Packages []debPackage `json:"packages"`
}

// Fetch downloads the packages of the components and everything they depend on, lets apt verify them, and unpacks
// them below o.WorkDir. A pool that is already there and covers them is used as it is. Calling it once with all
// components before Build spares Build a download per component.
func Fetch(ctx context.Context, cs []Component, o Options) (*Pool, error) {
	var include []string
	for _, c := range cs {
		include = append(include, c.def.Packages...)
	}
	slices.Sort(include)
	include = slices.Compact(include)
	if len(include) == 0 {
		return &Pool{}, nil
	}
	src, err := o.sources()
	if err != nil {
		return nil, err
	}
	if p, err := findPool(o.WorkDir, src, include); p != nil || err != nil {
		return p, err
	}
	return newPool(ctx, src, include, o)
}

// findPool returns a pool of the same source that holds every package of include, or nil.
func findPool(work string, src []string, include []string) (*Pool, error) {
	dirs, err := filepath.Glob(filepath.Join(work, "pool-*", "index.json"))
	if err != nil {
		return nil, fmt.Errorf("list package pools: %w", err)
	}
	for _, f := range dirs {
		var ix poolIndex
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read package pool: %w", err)
		}
		if err := json.Unmarshal(text, &ix); err != nil {
			return nil, fmt.Errorf("read package pool %s: %w", f, err)
		}
		if ix.Format != poolFormat || ix.Source != strings.Join(src, "\n") || !covers(ix.Include, include) {
			continue
		}
		return openPool(filepath.Dir(f), ix), nil
	}
	return nil, nil
}

// covers reports whether every element of want is in have.
func covers(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}

// openPool makes the lookup tables of a pool on disk.
func openPool(dir string, ix poolIndex) *Pool {
	p := &Pool{dir: dir, include: ix.Include, packages: map[string]debPackage{}, files: map[string]poolFile{}}
	for _, d := range ix.Packages {
		p.packages[d.Name] = d
		for _, f := range d.Files {
			f.Pkg = d.Name
			p.files[f.Path] = f
		}
	}
	return p
}

// newPool downloads and unpacks into a directory of its own and names it finally only when it is whole.
func newPool(ctx context.Context, src, include []string, o Options) (*Pool, error) {
	sum := sha256.Sum256([]byte(fmt.Sprintln(poolFormat) + strings.Join(src, "\n") + "\n" + strings.Join(include, " ")))
	final := filepath.Join(o.WorkDir, "pool-"+hex.EncodeToString(sum[:8]))
	tmp, err := os.MkdirTemp(o.WorkDir, "fetching-")
	if err != nil {
		return nil, fmt.Errorf("make package directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := download(ctx, src, include, filepath.Join(tmp, "debs"), o); err != nil {
		return nil, err
	}
	ix := poolIndex{Format: poolFormat, Source: strings.Join(src, "\n"), Include: include}
	if ix.Packages, err = unpackAll(ctx, tmp); err != nil {
		return nil, err
	}
	text, err := json.Marshal(ix)
	if err != nil {
		return nil, fmt.Errorf("write package index: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "index.json"), text, 0o644); err != nil {
		return nil, fmt.Errorf("write package index: %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, fmt.Errorf("open up package directory: %w", err)
	}
	if err := os.Rename(tmp, final); err != nil && !exists(filepath.Join(final, "index.json")) {
		return nil, fmt.Errorf("keep packages: %w", err)
	}
	return openPool(final, ix), nil
}

// exists reports whether something lies at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// download lets mmdebstrap resolve, fetch and verify the packages, and copies the .deb files to dir.
//
// Its chrootless mode serves root and everybody else alike: nothing is run in the unpacked packages, so neither a user
// namespace nor fakechroot is needed (its special hooks, such as copy-out, fail in fakechroot mode without a tar). The
// custom variant installs nothing by itself; the hook uses the apt it has set up only to download, which saves
// unpacking a gigabyte twice (34 s became 12 s for all components).
func download(ctx context.Context, src, include []string, dir string, o Options) error {
	tool, err := lookTool("mmdebstrap", "mmdebstrap")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("make package directory: %w", err)
	}
	if strings.ContainsAny(dir, "'\n") {
		return fmt.Errorf("download packages: the directory %q has a quote or line break in its name: use another", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make package directory: %w", err)
	}
	hook := `APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get install --yes --download-only ` + strings.Join(include, " ") +
		` && cp "$1"/var/cache/apt/archives/*.deb '` + dir + `'/`
	args := []string{
		"--mode=chrootless", "--variant=custom", "--format=null", "--architectures=amd64",
		"--customize-hook=" + hook, o.suite(), "/dev/null",
	}
	return runTool(ctx, o.log(), tool, append(args, src...)...)
}

// lookTool finds a program or says which Debian package brings it.
func lookTool(name, pkg string) (string, error) {
	p, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s is needed to build component images: apt-get install %s", ErrTool, name, pkg)
	}
	return p, nil
}

// runTool runs a program; its output goes to log, and its last lines into the error when it fails.
func runTool(ctx context.Context, log io.Writer, name string, args ...string) error {
	var last tail
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout = io.MultiWriter(log, &last)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %s", filepath.Base(name), err, last.String())
	}
	return nil
}

// tail keeps the last part of what is written to it.
type tail struct{ b []byte }

// Write keeps at most 2 KiB.
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - 2048; n > 0 {
		t.b = t.b[n:]
	}
	return len(p), nil
}

// String returns what is left, in one line.
func (t *tail) String() string {
	return strings.Join(strings.FieldsFunc(string(t.b), func(r rune) bool { return r == '\n' }), "; ")
}

// unpackAll unpacks every .deb of the pool, several at a time; packages come back in name order.
func unpackAll(ctx context.Context, dir string) ([]debPackage, error) {
	debs, err := filepath.Glob(filepath.Join(dir, "debs", "*.deb"))
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	all := make([]debPackage, len(debs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, d := range debs {
		g.Go(func() (err error) {
			all[i], err = unpackDeb(ctx, d, filepath.Join(dir, "root"))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b debPackage) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
