package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/specs"
)

// lockPath returns where the lock file of a spec lies: beside the spec.
func lockPath(spec specs.Spec) string { return filepath.Join(spec.Dir, "lkv.lock") }

// openCache opens the cache of images.
func (s system) openCache(c *cli.Context) (*images.Cache, error) {
	dir, err := s.cacheDir(c)
	if err != nil {
		return nil, err
	}
	cache, err := images.OpenCache(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return cache, nil
}

func (s system) lockCommand() *cli.Command {
	return &cli.Command{
		Name: "lock", Usage: "pin every image reference to a digest in lkv.lock", ArgsUsage: "[IMAGE...]",
		Description: "References that are pinned already keep their digest. With --update the named images (component\n" +
			"references as in the LinuxKit YAML), or all, are looked up again.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "update", Usage: "look up the named images again, all when none is named"},
			&cli.BoolFlag{Name: "offline", Usage: "never speak to a registry"},
			&cli.StringSliceFlag{Name: "insecure", Usage: insecureUsage},
		},
		Action: s.lock,
	}
}

func (s system) lock(c *cli.Context) error {
	if c.Args().Present() && !given(c, "update") {
		return usagef("images are named only with --update: lkv lock --update %s", c.Args().First())
	}
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	refs, err := references(spec)
	if err != nil {
		return err
	}
	fresh, err := freshRefs(c, refs)
	if err != nil {
		return err
	}
	progress := s.progress(c)
	defer progress.Wait()
	src, err := s.source(c, spec, progress)
	if err != nil {
		return err
	}
	lock, changes, err := src.Update(c.Context, refs, fresh)
	progress.Wait()
	if err != nil {
		return fmt.Errorf("lock images: %w", err)
	}
	if err := lock.Write(lockPath(spec)); err != nil {
		return err
	}
	if given(c, "json") {
		return s.printJSON(map[string]any{"lock": lockPath(spec), "changes": append([]images.Change{}, changes...)})
	}
	return s.printChanges(spec, lock, changes)
}

// printChanges shows what moved: the digests of the images for this platform, before and now.
func (s system) printChanges(spec specs.Spec, lock images.Lock, changes []images.Change) error {
	var rows [][]string
	for _, ch := range changes {
		before, after := ui.Short(ch.Old), ui.Short(ch.New)
		if before == "" {
			before = "new"
		}
		if after == "" {
			after = "dropped"
		}
		rows = append(rows, []string{ch.Ref, before, "->", after})
	}
	if len(rows) > 0 {
		if err := ui.Table(s.Stdout, s.style(), []string{"IMAGE", "WAS", "", "IS"}, rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.Stdout, "%s pins %d images, %d changed\n", lockPath(spec), len(lock.Images), len(changes))
	return err
}

// references returns every reference of every image of the spec.
func references(spec specs.Spec) ([]string, error) {
	var refs []string
	for _, img := range spec.Images {
		in, problems := readYAML(spec, img)
		if len(problems) > 0 {
			return nil, &specs.Error{Problems: problems}
		}
		found, err := build.References(in)
		if err != nil {
			return nil, &specs.Error{Problems: yamlProblems(err, in, img.Pos)}
		}
		refs = append(refs, found...)
	}
	slices.Sort(refs)
	return slices.Compact(refs), nil
}

// freshRefs says which references --update looks up again.
func freshRefs(c *cli.Context, refs []string) (func(string) bool, error) {
	named := map[string]bool{}
	for _, a := range c.Args().Slice() {
		if !slices.Contains(refs, a) {
			return nil, usagef("the spec uses no image %q%s", a, suggestion(a, refs))
		}
		canonical, err := images.Canonical(a)
		if err != nil {
			return nil, err
		}
		named[a], named[canonical] = true, true
	}
	update := given(c, "update")
	return func(ref string) bool { return update && (len(named) == 0 || named[ref]) }, nil
}
